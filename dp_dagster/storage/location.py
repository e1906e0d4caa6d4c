"""Where things lie below the storage root. Names become paths here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from dp_dagster.storage.places import Place

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AREA = re.compile(r"(?:input|transform|quarantine|v[0-9]+/(?:dataset|quarantine))/[A-Za-z_][A-Za-z0-9_]*")


def check_name(what: str, name: str) -> str:
    """Return ``name`` if it is fit to be one component of a path.

    Raises:
        UsageError: it is not, so it could lead out of the storage root.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{what} {name!r} is not a name; use letters, digits and underscores")
    return name


def product_directory(root: str, product: str) -> Path:
    """The folder of one product below the storage root.

    Raises:
        SettingsError: the root is a folder that Delta tables cannot be in.
        UsageError: the product's id is not a name.
    """
    folder = Path(root).absolute()
    if "%" in str(folder):
        # deltalake writes to such a folder and then looks for it unescaped.
        raise SettingsError(f"storage {folder} has a percent sign in its path; choose a folder without one")
    return folder / check_name("product", product)


@dataclass(frozen=True)
class TableLocation:
    """Address of one table.

    Attributes:
        root: Storage root, a local folder.
        product: Id of the product that owns the table.
        area: Place in the product: ``input/<port>``, ``quarantine/<port>``, ``transform/<name>``,
            ``v<major>/dataset/<name>`` or ``v<major>/quarantine/<name>``.
    """

    root: str
    product: str
    area: str

    def __post_init__(self) -> None:
        check_name("product", self.product)
        if not _AREA.fullmatch(self.area):
            raise UsageError(
                f"table area {self.area!r} of product {self.product} is unknown; "
                "use input/NAME, quarantine/NAME, transform/NAME, v1/dataset/NAME or v1/quarantine/NAME"
            )

    def __str__(self) -> str:
        return f"{self.product}/{self.area}"

    @property
    def name(self) -> str:
        """Last part of the area."""
        return self.area.rpartition("/")[2]

    @property
    def directory(self) -> Path:
        """Folder of the table, absolute."""
        return product_directory(self.root, self.product) / self.area

    @property
    def place(self) -> Place:
        """Where the table is."""
        return self.directory

    @property
    def uri(self) -> str:
        """The folder of the table, as other tools take it."""
        return str(self.directory)

    @property
    def slug(self) -> str:
        """The area as one file name, unique in the product."""
        return self.area.replace("/", ".")

    @property
    def candidates_directory(self) -> Path:
        """Where candidates of this table are registered and their verdicts lie."""
        return product_directory(self.root, self.product) / ".candidates" / self.slug

    @property
    def lock_file(self) -> Path:
        """The file whose lock makes one writer."""
        return product_directory(self.root, self.product) / ".locks" / f"{self.slug}.lock"

    @property
    def audited(self) -> bool:
        """Whether nothing may be published here without a verdict."""
        return "/dataset/" in self.area


def input_table(root: str, product: str, name: str) -> TableLocation:
    """Table of a landed input port."""
    return TableLocation(root, product, f"input/{name}")


def input_quarantine_table(root: str, product: str, name: str) -> TableLocation:
    """Table of the rows of a landed input port that were set aside."""
    return TableLocation(root, product, f"quarantine/{name}")


def transform_table(root: str, product: str, name: str) -> TableLocation:
    """Table of a materialised transform."""
    return TableLocation(root, product, f"transform/{name}")


def dataset_table(root: str, product: str, major: int, name: str) -> TableLocation:
    """Table of a dataset, one for each major version."""
    return TableLocation(root, product, f"v{major}/dataset/{name}")


def quarantine_table(root: str, product: str, major: int, name: str) -> TableLocation:
    """Table of the rows of a dataset that broke its contract."""
    return TableLocation(root, product, f"v{major}/quarantine/{name}")
