"""What an answer costs tells nothing of values that are hidden or masked: what the row store looks at, not time.

The same questions are asked of two versions that differ in nothing but what the consumer may not see.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from row_helpers import published

from dp_dagster.contracts.model import Column
from dp_dagster.errors import AccessDeniedError
from dp_dagster.predicates.model import EVERYTHING, AllOf, AnyOf, Condition, Negation
from dp_dagster.rows import matching, wanted
from dp_dagster.rows.export import Exports
from dp_dagster.rows.files import FilesEngine
from dp_dagster.rows.query import Position, Query, Sort
from dp_dagster.rows.store import StoreFile
from dp_dagster.storage.types import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from row_helpers import Rows

    from dp_dagster.access.view import DatasetView
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.matching import Columns, Matches
    from dp_dagster.rows.query import Row
    from dp_dagster.rows.version import PublishedVersion

TYPES = {"id": "int64", "flag": "bool", "price": "int64", "name": "string", "margin": "int64"}
COUNT = 300
SOUGHT = 7
"""What the consumer filters by; in one version hidden rows have it, in the other none has."""
HIDDEN, ABSENT, SHOWN = 4, 4000, 3


def is_shown(number: int) -> bool:
    return number % 3 == 0


def things(*, hidden: int, masked: str) -> pa.Table:
    """Rows of which every third is shown; hidden ones have that price and margin, all of them that name."""
    import pyarrow as pa

    numbers = list(range(COUNT))
    return pa.table(
        {
            "id": numbers,
            "flag": [is_shown(number) for number in numbers],
            "price": [number % 10 if is_shown(number) else hidden for number in numbers],
            "name": [masked] * COUNT,
            "margin": [hidden] * COUNT,
        },
        schema=arrow_schema([Column(name, kind) for name, kind in TYPES.items()]),
    )


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rows, Rows]]:
    """Hidden rows have what is sought, and masked names are short; hidden rows have not, and names are long."""
    with contextlib.ExitStack() as stack:
        found = []
        for number, table in enumerate(
            (things(hidden=SOUGHT, masked="Ada"), things(hidden=-1, masked="x" * 900))
        ):
            folder = tmp_path_factory.mktemp(f"version-{number}")
            found.append(stack.enter_context(published(folder, [table], TYPES, ("id",), sorted_by_key=True)))
        yield found[0], found[1]


def view(rows: Rows) -> DatasetView:
    """Sees the flagged rows; the name masked, the margin not at all."""
    return rows.view(
        columns=("id", "flag", "price", "name"),
        masks={"name": "redact"},
        rows=Condition("flag", "eq", True),
    )


def looked_at(version: PublishedVersion, ask: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """What a question is answered, and what was looked at for it, in turn.

    Of a condition: the values that it was asked of. Of everything else: which columns of which rows were read.
    """
    store = version.store
    assert store is not None
    seen: list[Any] = []
    real = matching.matcher

    def watched(*arguments: Any) -> Matches:
        matches = real(*arguments)

        def match(columns: Columns) -> Any:
            def noted(name: str) -> pa.Array:
                values = columns(name)
                seen.append((name, values.to_pylist()))
                return values

            return matches(noted)

        return match

    def values(numbers: Sequence[int], names: Sequence[str]) -> list[Row]:
        seen.append((list(numbers), list(names)))
        return StoreFile.values(store, numbers, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wanted, "matcher", watched)
        patch.setattr(matching, "matcher", watched)
        patch.setattr(store, "values", values)
        # Plans that were made before know their filter already.
        version._lookups.clear()
        answer = ask()
        version._lookups.clear()
    return answer, seen


def cost_of(
    versions: tuple[Rows, Rows], ask: Callable[[PublishedVersion, DatasetView], Any]
) -> tuple[Any, int]:
    """What both versions answer alike, and how much they look at for it, which is the same as well."""
    found = [looked_at(one.stored, partial(ask, one.stored, view(one))) for one in versions]
    assert found[0] == found[1]
    assert all(one.stored.store is not None for one in versions)
    return found[0][0], len(found[0][1])


SOUGHT_BY: dict[str, Predicate] = {
    "everything": EVERYTHING,
    "equal": Condition("price", "eq", SOUGHT),
    "one of": Condition("price", "in", (SOUGHT, 8)),
    "at least": Condition("price", "ge", SOUGHT),
    "not": Negation(Condition("price", "eq", SOUGHT)),
    "null": Condition("price", "is_null", True),
    "either": AnyOf((Condition("price", "eq", SOUGHT), Condition("id", "lt", 10))),
    "both": AllOf((Condition("id", "gt", 20), Condition("price", "eq", SOUGHT))),
}


@pytest.mark.parametrize("where", SOUGHT_BY.values(), ids=SOUGHT_BY)
@pytest.mark.parametrize("down", [False, True])
def test_pages_cost_the_same_whatever_hidden_rows_hold(
    versions: tuple[Rows, Rows], where: Predicate, *, down: bool
) -> None:
    """The consumer's own row filter comes first, so nothing else is asked about a hidden row."""
    for after in (None, Position((150,))):
        query = Query(("id", "price", "name"), where=where, sort=(Sort("id", down),), limit=5, after=after)
        cost_of(versions, lambda version, seen, query=query: version.page(seen, query).rows)


def test_rows_by_key_cost_the_same_whatever_they_hold(versions: tuple[Rows, Rows]) -> None:
    """Of a hidden row nothing is looked at but what hides it: that there is one is all that this tells."""
    found = {}
    for key in (SHOWN, HIDDEN, ABSENT):
        answer, found[key] = cost_of(
            versions, lambda version, seen, key=key: version.lookup(seen, (key,), ("id", "name"))
        )
        assert answer == ((SHOWN, "•••") if key == SHOWN else None)
    assert (found[ABSENT], found[HIDDEN], found[SHOWN]) == (0, 1, 2)


@pytest.mark.parametrize("column", ["name", "margin", "nothing"])
def test_what_is_refused_touches_no_data(
    versions: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """Masked, withheld or not there: refused alike, before the row store or a file is asked."""

    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("the data was touched")

    for kind, names in (
        (StoreFile, ("find", "bound", "select", "values", "texts", "batches")),
        (FilesEngine, ("rows", "cursor")),
        (Exports, ("stream", "file")),
    ):
        for name in names:
            monkeypatch.setattr(kind, name, asked)
    refused: list[Callable[[PublishedVersion, DatasetView], Any]] = [
        lambda version, seen: version.lookup_many(seen, (column,), [(SOUGHT,)], ("id",)),
        lambda version, seen: version.page(seen, Query(("id",), sort=(Sort(column),), limit=5)),
    ]
    for value in ("Ada", "Nobody", SOUGHT):
        where = Condition(column, "eq", value)
        refused += [
            lambda version, seen, where=where: version.count(seen, where),
            lambda version, seen, where=where: version.page(seen, Query(("id",), where=where, limit=5)),
            lambda version, seen, where=where: version.export(seen, Query(("id",), where=where), "csv"),
        ]
    for version in (versions[0].stored, versions[0].files, versions[1].stored):
        for ask in refused:
            with pytest.raises(AccessDeniedError, match=column):
                ask(version, view(versions[0]))
