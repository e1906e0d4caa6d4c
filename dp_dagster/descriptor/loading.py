"""From a file to a descriptor, with every problem that there is rather than the first one.

A descriptor is validated part by part, so that a fault in one port does not hide the faults of the others.
What could be read stands in a :class:`Draft`, which the resolver goes on with before anything is raised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from dp_dagster.descriptor import checks
from dp_dagster.descriptor.access import Grant
from dp_dagster.descriptor.alerting import may_hold_secret
from dp_dagster.descriptor.base import Model
from dp_dagster.descriptor.dialects import FIX as DIALECT_FIX
from dp_dagster.descriptor.dialects import foreign
from dp_dagster.descriptor.document import Document, from_mapping, parse, read_text
from dp_dagster.descriptor.model import Dataset, Descriptor, InputPort, OutputPort, Transform
from dp_dagster.descriptor.paths import dotted, shown
from dp_dagster.descriptor.problems import described, problems_of
from dp_dagster.errors import DescriptorError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.descriptor.paths import Keys

FILE_NAMES = ("product.yaml", "product.yml", "product.json")
_PARTS = ("access", "input_ports", "transforms", "datasets", "output_ports")

PartT = TypeVar("PartT", bound=Model)


@dataclass(frozen=True)
class Loaded:
    """A descriptor, and where each of its values stands."""

    descriptor: Descriptor
    document: Document
    path: Path


@dataclass
class Draft:
    """What could be read of a descriptor, by position in its lists, and the problems found so far."""

    document: Document
    path: Path
    head: Descriptor | None
    inputs: dict[int, InputPort]
    transforms: dict[int, Transform]
    datasets: dict[int, Dataset]
    outputs: dict[int, OutputPort]
    grants: dict[int, Grant] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The product's folder."""
        return self.path.parent

    @property
    def product_id(self) -> str:
        """The product's id, or what stands in its place."""
        if self.head is not None:
            return self.head.product_id
        return str(self.document.data.get("product_id", self.root.name))

    def names(self, part: str) -> list[str]:
        """All declared names of a list, those of faulty items included."""
        items = self.document.data.get(part)
        if not isinstance(items, list):
            return []
        named = [item.get("name") for item in items if isinstance(item, dict)]
        return [name for name in named if isinstance(name, str)]

    def unreadable(self, keys: Keys) -> bool:
        """Whether a value at or below a place could not be read, so that nothing follows from it."""
        place = dotted(keys)
        return any(problem.field.startswith(place) for problem in self.document.problems)

    def add(self, keys: Keys, message: str, fix: str = "") -> None:
        """Note a problem."""
        self.problems.append(self.document.problem(keys, message, fix))

    def finish(self) -> Loaded:
        """The whole descriptor.

        Raises:
            DescriptorError: there are problems.
        """
        if self.problems or self.head is None:
            raise DescriptorError(sorted(set(self.problems), key=lambda one: (one.line, one.field)))
        descriptor = self.head.model_copy(
            update={
                "input_ports": tuple(self.inputs.values()),
                "transforms": tuple(self.transforms.values()),
                "datasets": tuple(self.datasets.values()),
                "output_ports": tuple(self.outputs.values()),
                **({"access": tuple(self.grants.values())} if self.grants else {}),
            }
        )
        return Loaded(descriptor, self.document, self.path)


def descriptor_file(path: Path) -> Path:
    """The descriptor that a path names: the file itself, or the one in the folder.

    Raises:
        DescriptorError: there is none, or there are several.
    """
    if not path.is_dir():
        return path
    found = [path / name for name in FILE_NAMES if (path / name).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(file.name for file in found)
        raise DescriptorError([Problem(shown(path), 0, "", f"holds {names}", "keep one of them")])
    raise DescriptorError([Problem(shown(path), 0, "", "holds no descriptor", f"add {FILE_NAMES[0]}")])


def load_descriptor(path: Path) -> Loaded:
    """Read a descriptor. Kinds are not looked up and contracts not loaded; ``resolve`` does that.

    Args:
        path: The file, or the product's folder.

    Raises:
        DescriptorError: with every problem found.
    """
    return read_draft(path).finish()


def read_draft(path: Path) -> Draft:
    """Read what can be read of a file.

    Raises:
        DescriptorError: the file cannot be read, is no YAML, or is a document of another kind.
    """
    file = descriptor_file(path.absolute())
    label = shown(file)
    return _draft(parse(read_text(file, label), label, secret=may_hold_secret), file)


def inline_draft(data: Mapping[str, Any], root: Path, label: str) -> Draft:
    """The draft of a descriptor that stands in another document.

    Args:
        data: Its values.
        root: The product's folder.
        label: Name of the document around it, for messages.

    Raises:
        DescriptorError: as for :func:`read_draft`.
    """
    return _draft(from_mapping(data, label, secret=may_hold_secret), root.absolute() / FILE_NAMES[0])


def _draft(document: Document, path: Path) -> Draft:
    data = document.data
    if not isinstance(data, dict):
        problem = Problem(
            document.file, 1, "", f"wants a mapping, not {described(data)}", "start with `product_id: …`"
        )
        raise DescriptorError([problem])
    alien = foreign(data)
    if alien is not None:
        raise DescriptorError([document.problem(*alien, DIALECT_FIX)])
    draft = Draft(document, path, None, {}, {}, {}, {}, problems=list(document.problems))
    draft.head = _validated(
        draft,
        Descriptor,
        (),
        {key: value for key, value in data.items() if key not in _PARTS},
    )
    draft.grants = _items(draft, "access", Grant)
    draft.inputs = _items(draft, "input_ports", InputPort)
    draft.transforms = _items(draft, "transforms", Transform)
    draft.datasets = _items(draft, "datasets", Dataset)
    draft.outputs = _items(draft, "output_ports", OutputPort)
    checks.check(draft)
    return draft


def _items(draft: Draft, part: str, model: type[PartT]) -> dict[int, PartT]:
    items = draft.document.data.get(part)
    if items is None:
        return {}
    if not isinstance(items, list):
        draft.add((part,), f"wants a list, not {described(items)}", "write each item after `- `")
        return {}
    found = {number: _validated(draft, model, (part, number), item) for number, item in enumerate(items)}
    return {number: item for number, item in found.items() if item is not None}


def _validated(draft: Draft, model: type[PartT], keys: Keys, data: Any) -> PartT | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        draft.problems.extend(problems_of(error, draft.document, keys, model))
        return None
