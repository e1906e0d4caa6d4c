"""What stands in a product's folder for what the imported documents do not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dp_dagster.contracts.type_shapes import quoted, shape_of, sql_type
from dp_dagster.descriptor.model import InputPort, OutputPort
from dp_dagster.documents.odps_mapping import kind_name
from dp_dagster.registry import DECLARED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.contracts.model import Contract
    from dp_dagster.registry import Family, Registry

DEFINITIONS = '''\
"""The code location of this product."""

from dp_dagster import load_product

defs = load_product(__file__)
'''


def placeholder_query(dataset: str, transform: str, contract: Contract) -> str:
    """A query with the columns of a contract that fails when it runs, so that nothing is ever published by it."""
    sentence = f"transforms/{transform}.sql is a placeholder: write the query that makes {dataset}"
    first = f"error('{sentence}')"
    columns = [
        f"    cast({first if number == 0 else 'null'} as {sql_type(shape_of(column.type))}) as {quoted(column.name)}"
        for number, column in enumerate(contract.columns)
    ]
    listed = ",\n".join(columns)
    return (
        f"-- A placeholder: the imported documents say what {dataset} holds, not how it is made.\n"
        "-- Until a query stands here, each run fails with the sentence below and nothing is published.\n"
        f"select\n{listed}\n"
    )


def usable_kind(registry: Registry, family: Family, fields: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A port as it can be declared: with its kind and options if they are sound here, else declared only.

    Args:
        registry: The kinds that there are.
        family: Input or output ports.
        fields: What the document says of the port.

    Returns:
        The port, and why it is declared only; an empty text where its kind can be used.
    """
    model = InputPort if family == "input_ports" else OutputPort
    common = model.keys()
    declared = {key: fields[key] for key in ("name", "description") if key in fields}
    declared = {"name": fields["name"], "type": DECLARED, **declared}
    wanted = kind_name(str(fields["type"]))
    if wanted == DECLARED:
        return declared, "" if family == "output_ports" else "the document does not say how it is read"
    kind = registry.find(family, wanted)
    if kind is None:
        return declared, f"its type, {str(fields['type'])[:60]!r}, is no kind here"
    port = {"name": fields["name"], **fields, "type": kind.name}
    if kind.implementation is None:
        return {key: value for key, value in port.items() if key in {*common, "auth"}}, ""
    options = {key: value for key, value in port.items() if key not in common}
    try:
        model.model_validate(port)
        config = kind.implementation.Config.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        return declared, f"kind {kind.name} refuses {place or 'it'}: {first['msg']}"
    from pathlib import Path

    faults = list(kind.implementation().check(config, Path("/nonexistent/product")))
    if faults:
        return declared, f"kind {kind.name}: {faults[0].message}"
    return port, ""
