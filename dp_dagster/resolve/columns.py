"""Columns that a dataset names: they must be in its contract, and its key must be proven there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.descriptor.problems import suggestion

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import Dataset, DatasetVersion
    from dp_dagster.descriptor.paths import Keys


def key_of(draft: Draft, part: Dataset | DatasetVersion, keys: Keys, contract: Contract) -> tuple[str, ...]:
    """The key of a dataset; notes where it is missing, unknown, not proven to be unique, or may be null."""
    key = part.key or contract.key
    if not key:
        draft.add(
            (*keys, "key"),
            "is missing, and the contract has none",
            "name the columns that identify a row",
        )
        return ()
    place: Keys = (*keys, "key")
    if not known_columns(draft, part.key, place, contract):
        return key
    proven = any(
        rule.kind == "unique" and rule.severity == "error" and set(rule.columns) <= set(key)
        for rule in contract.rules
    )
    names = ", ".join(key)
    if not proven:
        draft.add(
            place,
            f"nothing in {contract.source} proves that {names} identifies a row",
            f"make it unique there: {_unique_hint(key)}",
        )
    nullable = [name for name in key if (column := contract.column(name)) and column.nullable]
    if nullable:
        draft.add(
            place,
            f"{', '.join(nullable)} may be null in {contract.source}",
            "a key may not: nullable=False",
        )
    return key


def known_columns(draft: Draft, names: tuple[str, ...], keys: Keys, contract: Contract) -> bool:
    """Note names that are no columns of the contract, or stand twice; whether there were none."""
    known = [column.name for column in contract.columns]
    missing = [(number, name) for number, name in enumerate(names) if name not in known]
    for number, name in missing:
        draft.add((*keys, number), f"{name} is no column of {contract.source}", suggestion(name, known))
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        draft.add(keys, f"names {', '.join(sorted(repeated))} twice", "name each column once")
    return not missing and not repeated


def _unique_hint(key: tuple[str, ...]) -> str:
    if len(key) == 1:
        return f"{key[0]} = pa.Field(unique=True)"
    return f"unique = {list(key)} in its Config"
