"""What a run has pinned: one small file a pin, so that steps of one run in several processes agree."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from dp_dagster.ports.base import Pinned, PinnedPartition


class Pins:
    """The pins of one run.

    Args:
        folder: A folder of the run's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Pinned | None:
        """What is pinned under a name."""
        try:
            content = json.loads(self._file(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        partitions = {
            key: PinnedPartition(tuple(one["files"]), one["made_from"])
            for key, one in content["partitions"].items()
        }
        return Pinned(**{**content, "files": tuple(content["files"]), "partitions": partitions})

    def put(self, name: str, pinned: Pinned, *, replace: bool = False) -> Pinned:
        """Pin a version, and give what is pinned from now on.

        Args:
            name: What is pinned.
            pinned: The version.
            replace: Take the place of an earlier pin. Otherwise the first one stays, whoever made it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(asdict(pinned), stream)
            if replace:
                Path(temporary).replace(self._file(name))
                return pinned
            try:
                # Unlike a rename, a link never replaces what is there.
                os.link(temporary, self._file(name))
            except FileExistsError:
                return self.get(name) or pinned
            return pinned
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '.')}.json"
