"""The ODCS contracts that lie beside a product's document, found by id or by path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.descriptor.document import MAX_BYTES, parse
from dp_dagster.descriptor.paths import shown
from dp_dagster.errors import DescriptorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ENDINGS = (".yaml", ".yml", ".json")
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
_MOST_FILES = 5_000


@dataclass(frozen=True)
class Candidate:
    """A file that calls itself an ODCS contract."""

    path: Path
    id: str
    version: str | None
    content: bytes


class ContractCatalog:
    """Contracts in some folders and the folders below them.

    Args:
        folders: Where to look; the first is what relative paths start from.

    Raises:
        UsageError: a folder is not there, or holds too many files to be looked through.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"{folder}: there is no such folder")
        self.folders = tuple(folders)
        self._candidates: list[Candidate] | None = None
        self.unreadable: dict[Path, bytes] = {}
        """Files that name a contract, but cannot be parsed."""

    def find(self, contract_id: str, version: str | None = None) -> Path | None:
        """The file of a contract.

        Args:
            contract_id: Its id, or its path from the product's document.
            version: Which of several contracts of that id is meant.

        Raises:
            DescriptorError: a file that holds the id cannot be parsed.
            UsageError: several different contracts have the id, and the version does not tell which is meant.
        """
        by_path = self._by_path(contract_id)
        if by_path is not None:
            return by_path
        found = [one for one in self._all() if one.id == contract_id]
        if len({one.content for one in found}) > 1:
            same = [one for one in found if version is not None and _plain(one.version) == _plain(version)]
            if len({one.content for one in same}) != 1:
                files = ", ".join(shown(one.path) for one in found)
                raise UsageError(
                    f"several contracts have the id {contract_id}: {files}; keep the one that is meant"
                )
            found = same
        if found:
            return found[0].path
        for path, content in self.unreadable.items():
            if contract_id.encode() in content:
                label = shown(path)
                parse(content.decode("utf-8", "replace"), label, interpolation=False)
        return None

    def _by_path(self, contract_id: str) -> Path | None:
        root = self.folders[0].resolve()
        if not contract_id.endswith(_ENDINGS) or "\0" in contract_id:
            return None
        # An export puts all contracts beside the document.
        for path in ((root / contract_id).resolve(), root / contract_id.rpartition("/")[2]):
            if path.is_relative_to(root) and path.is_file():
                return path
        return None

    def _all(self) -> list[Candidate]:
        if self._candidates is None:
            self._candidates = list(self._read(self._files()))
        return self._candidates

    def _files(self) -> Iterator[Path]:
        count = 0
        for folder in self.folders:
            for place, below, names in os.walk(folder):
                below[:] = sorted(name for name in below if not name.startswith(".") and name not in _SKIPPED)
                for name in sorted(names):
                    if name.endswith(_ENDINGS):
                        count += 1
                        if count > _MOST_FILES:
                            raise UsageError(
                                f"{folder} holds more than {_MOST_FILES:,} documents; put the product's document and "
                                "its contracts into a folder of their own"
                            )
                        yield Path(place) / name

    def _read(self, files: Iterable[Path]) -> Iterator[Candidate]:
        for path in files:
            try:
                if path.stat().st_size > MAX_BYTES:
                    continue
                content = path.read_bytes()
            except OSError:
                continue  # what cannot be read is no contract that could be meant
            if b"DataContract" not in content:
                continue
            try:
                data = parse(content.decode("utf-8-sig"), shown(path), interpolation=False).data
            except (DescriptorError, UnicodeDecodeError):
                self.unreadable[path] = content
                continue
            if (
                isinstance(data, dict)
                and data.get("kind") == "DataContract"
                and isinstance(data.get("id"), str)
            ):
                version = data.get("version")
                yield Candidate(path, data["id"], version if isinstance(version, str) else None, content)


def _plain(version: str | None) -> str | None:
    return version.removeprefix("v") if version is not None else None
