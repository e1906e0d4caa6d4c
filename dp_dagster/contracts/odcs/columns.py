"""Properties as columns, with what the document says about their meaning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dp_dagster.contracts.model import Column
from dp_dagster.contracts.odcs.types import field_name

if TYPE_CHECKING:
    from dp_dagster.contracts.odcs.models import Property
    from dp_dagster.contracts.odcs.types import Wish

# Samples of a classified column are masked; these words say that there is nothing to mask.
_OPEN = frozenset({"public", "open", "none", "unclassified", "unrestricted"})
_LONGEST_EXAMPLES = 200


def column_of(prop: Property, wish: Wish) -> Column:
    """The column of a top-level property."""
    classification = (prop.classification or "").strip()
    is_open = classification.lower() in _OPEN
    unit = prop.custom("unit")
    description = " ".join((prop.description or prop.business_name or "").split())
    return Column(
        name=field_name(prop),
        type=wish.type,
        nullable=not (prop.required or prop.primary_key),
        description=description,
        classification=classification if classification and not is_open else None,
        unit=str(unit) if unit is not None else None,
        tags=_tags(prop) | ({"classification": classification} if is_open else {}),
        accepts=wish.accepts,
    )


def _tags(prop: Property) -> dict[str, str]:
    tags = dict.fromkeys(prop.tags or (), "")
    said = {
        "business_name": prop.business_name if prop.description else None,
        "logical_name": prop.name if prop.physical_name and prop.physical_name != prop.name else None,
        "semantic_type": prop.semantic_type,
        "critical_data_element": "true" if prop.critical_data_element else None,
        "deprecated": "true" if prop.deprecated else None,
        "encrypted_name": prop.encrypted_name,
        "examples": _examples(prop),
    }
    return tags | {name: value for name, value in said.items() if value}


def _examples(prop: Property) -> str | None:
    if not prop.examples:
        return None
    shown = (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in prop.examples)
    return ", ".join(shown)[:_LONGEST_EXAMPLES]
