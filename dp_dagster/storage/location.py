"""Where things lie below the storage root. Names become paths here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.errors import UsageError
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.mirror import local_root, root_place

if TYPE_CHECKING:
    from pathlib import Path

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
    """The folder of one product on this machine: of the storage itself, or of the mirror of a bucket.

    Raises:
        SettingsError: the root is a folder that Delta tables cannot be in.
        UsageError: the product's id is not a name.
    """
    return local_root(root) / check_name("product", product)


def product_place(root: str, product: str) -> Place:
    """The folder of one product in the storage: where its log and documents are.

    Raises:
        SettingsError: the root is no folder or bucket that Delta tables can be in.
        UsageError: the product's id is not a name.
    """
    if is_bucket(root):
        return root_place(root) / check_name("product", product)
    return product_directory(root, product)


@dataclass(frozen=True)
class TableLocation:
    """Address of one table.

    Attributes:
        root: Storage root: a local folder, or ``s3://bucket/folder``.
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
        """Folder of the table's files on this machine, absolute."""
        return product_directory(self.root, self.product) / self.area

    @property
    def place(self) -> Place:
        """Where the table is."""
        return product_place(self.root, self.product) / self.area

    @property
    def uri(self) -> str:
        """The folder of the table, as other tools take it."""
        return str(self.place)

    @property
    def slug(self) -> str:
        """The area as one file name, unique in the product."""
        return self.area.replace("/", ".")

    @property
    def candidates_directory(self) -> Place:
        """Where candidates of this table are registered and their verdicts lie."""
        return product_place(self.root, self.product) / ".candidates" / self.slug

    @property
    def candidates_copies(self) -> Path:
        """Where records of candidates that are settled are kept on this machine, of a storage in a bucket."""
        return product_directory(self.root, self.product) / ".candidates" / self.slug

    @property
    def lock_file(self) -> Path:
        """The file whose lock makes one writer on this machine."""
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
