"""The JSON Schema of product.yaml, made from the models and from the kinds' own configurations.

It is for editors: completion, descriptions, and a warning while typing. What it accepts can still be refused
when a product is resolved, since a schema knows no files, no contracts and nothing of other products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.model import Descriptor, InputPort, OutputPort, Transform
from dp_dagster.registry import FAMILIES

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dp_dagster.registry import Family, Kind, Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MODELS: dict[Family, type[BaseModel]] = {
    "input_ports": InputPort,
    "output_ports": OutputPort,
    "transforms": Transform,
}
_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "A reference to an environment variable: ${NAME} or ${NAME:-default}.",
}
_SCALARS = {"string", "integer", "number", "boolean"}
_FREE_TEXT = {"type", "title", "description", "default", "examples"}


def json_schema(registry: Registry) -> dict[str, Any]:
    """The schema, in the 2020-12 dialect.

    Args:
        registry: The kinds whose configurations become alternatives by ``type``; kinds that are known but not
            installed are accepted with the fields that all kinds share.
    """
    schema = Descriptor.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.pop("$defs")
    for name in ("InputPort", "OutputPort", "Transform"):
        del definitions[name]
    schema["properties"] = _referable(schema["properties"])
    definitions = {name: _object(definition) for name, definition in definitions.items()}
    for family in FAMILIES:
        schema["properties"][family]["items"] = _part(registry, family, definitions)
    return {
        "$schema": DIALECT,
        "title": "product.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
        "$defs": definitions,
    }


def _part(registry: Registry, family: Family, definitions: dict[str, Any]) -> dict[str, Any]:
    model = _MODELS[family]
    common = model.model_json_schema(by_alias=True)
    kinds = registry.kinds(family)
    names = [kind.name for kind in kinds]
    type_field = {
        "description": common["properties"]["type"]["description"],
        # The first alternative is what editors offer, the second takes the other cases.
        "anyOf": [
            {"enum": names},
            {"type": "string", "pattern": f"^({'|'.join(_any_case(name) for name in names)})$"},
        ],
    }
    fields = {name: value for name, value in common["properties"].items() if name not in {"type", "options"}}
    definitions.update({name: _object(definition) for name, definition in common.get("$defs", {}).items()})
    return {
        "type": "object",
        "required": common["required"],
        "properties": {"type": type_field},
        "allOf": [
            {
                "if": {
                    "required": ["type"],
                    "properties": {"type": {"type": "string", "pattern": f"^{_any_case(kind.name)}$"}},
                },
                "then": _alternative(kind, _referable(fields), definitions),
            }
            for kind in kinds
        ],
    }


def _alternative(kind: Kind, fields: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"properties": {"type": True, **fields}}
    if kind.implementation is None:
        made["description"] = f"{kind.summary} (not installed)"
        if kind.reserved:
            made["properties"]["auth"] = {"description": "Not evaluated: nothing is served yet."}
            made["additionalProperties"] = False
        return made
    prefix = f"{kind.family}.{kind.name}."
    own = kind.implementation.Config.model_json_schema(
        by_alias=True, ref_template=f"#/$defs/{prefix}{{model}}"
    )
    for name, definition in own.get("$defs", {}).items():
        definitions[prefix + name] = _object(definition)
    if "endpoint" not in own["properties"]:
        made["properties"].pop("endpoint", None)
    made["description"] = kind.summary
    made["properties"] |= _referable(own["properties"])
    made["required"] = own.get("required", [])
    made["additionalProperties"] = False
    return made


def _any_case(name: str) -> str:
    """A pattern without flags, since JSON Schema has none; ``_`` and ``-`` are one."""
    letters = (
        f"[{char}{char.lower()}]" if char.isalpha() else "[_-]" if char == "_" else char for char in name
    )
    return "".join(letters)


def _object(definition: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in definition:
        return definition
    return {**definition, "properties": _referable(definition["properties"])}


def _referable(properties: dict[str, Any]) -> dict[str, Any]:
    """Let each value that is not free text also be a reference to an environment variable."""
    return {name: _or_reference(schema) for name, schema in properties.items()}


def _or_reference(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {**schema, "anyOf": [_or_reference(choice) for choice in schema["anyOf"]]}
    if "items" in schema and isinstance(schema["items"], dict):
        return {**schema, "items": _or_reference(schema["items"])}
    restricted = schema.get("type") != "string" or bool(set(schema) - _FREE_TEXT)
    if (str(schema.get("type")) in _SCALARS or "enum" in schema) and restricted:
        notes = {key: value for key, value in schema.items() if key in {"title", "description", "default"}}
        return {**notes, "anyOf": [schema, _REFERENCE]}
    return schema
