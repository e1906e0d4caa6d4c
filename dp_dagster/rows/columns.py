"""Single values of Arrow's columns, read where they lie: without an object of Arrow for any of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from dp_dagster.rows.forms import NAN

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_CODES = {"int8": "b", "int16": "h", "int32": "i", "int64": "q", "double": "d"}


class StoredColumn:
    """A column of one batch: integers, doubles, texts or bytes, and null."""

    __slots__ = ("_data", "_valid")

    def __init__(self, data: Any, valid: memoryview | None) -> None:
        self._data = data
        self._valid = valid

    @staticmethod
    def of(array: pa.Array) -> StoredColumn:
        """A column that begins with its buffers."""
        buffers = array.buffers()
        valid = memoryview(buffers[0]) if array.null_count else None
        kind = str(array.type)
        if kind in _CODES:
            numbers: Any = memoryview(buffers[1])
            numbers = numbers.cast(_CODES[kind])[: len(array)]
            return (_Doubles if kind == "double" else StoredColumn)(numbers, valid)
        ends = (
            memoryview(buffers[1]).cast("i")[: len(array) + 1]
            if buffers[1]
            else memoryview(bytes(4)).cast("i")
        )
        data = memoryview(buffers[2] or b"")
        return (_Texts if kind == "string" else _Bytes)(data, valid, ends)

    def value(self, place: int) -> Any:
        """One value."""
        valid = self._valid
        if valid is not None and not valid[place >> 3] >> (place & 7) & 1:
            return None
        return self._data[place]

    def values(self, places: Iterable[int]) -> list[Any]:
        """Several values."""
        if self._valid is None:
            data = self._data
            return [data[place] for place in places]
        value = self.value
        return [value(place) for place in places]

    def search(self, sought: Any, *, after: bool) -> int:
        """How many values come before one, where they are in order and none is null."""
        return (bisect_right if after else bisect_left)(self._data, sought)


class _Doubles(StoredColumn):
    """Doubles; NaN is the text that stands for it."""

    __slots__ = ()

    def value(self, place: int) -> Any:
        found = StoredColumn.value(self, place)
        return found if found == found else NAN  # noqa: PLR0124 - only NaN is not itself

    def values(self, places: Iterable[int]) -> list[Any]:
        value = self.value
        return [value(place) for place in places]


class _Bytes(StoredColumn):
    """Bytes of different lengths."""

    __slots__ = ("_ends",)

    def __init__(self, data: memoryview, valid: memoryview | None, ends: memoryview) -> None:
        super().__init__(data, valid)
        self._ends = ends

    def value(self, place: int) -> Any:
        valid = self._valid
        if valid is not None and not valid[place >> 3] >> (place & 7) & 1:
            return None
        ends = self._ends
        return bytes(self._data[ends[place] : ends[place + 1]])

    def values(self, places: Iterable[int]) -> list[Any]:
        if self._valid is None:
            data, ends = self._data, self._ends
            return [bytes(data[ends[place] : ends[place + 1]]) for place in places]
        value = self.value
        return [value(place) for place in places]

    def search(self, sought: Any, *, after: bool) -> int:
        return (bisect_right if after else bisect_left)(range(len(self._ends) - 1), sought, key=self.value)


class _Texts(_Bytes):
    """Texts."""

    __slots__ = ()

    def value(self, place: int) -> Any:
        found = _Bytes.value(self, place)
        return None if found is None else found.decode()

    def values(self, places: Iterable[int]) -> list[Any]:
        if self._valid is None:
            data, ends = self._data, self._ends
            return [str(data[ends[place] : ends[place + 1]], "utf-8") for place in places]
        value = self.value
        return [value(place) for place in places]
