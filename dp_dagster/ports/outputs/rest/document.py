"""The OpenAPI 3.1 document of a REST port, as one consumer sees it.

It is made from the contract: types, descriptions, and those rules that a schema of one row can say. What the consumer
may not see is not in it; a masked column is described as the mask leaves it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.literals import is_decimal, is_nested
from dp_dagster.contracts.row_schema import row_schema
from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES
from dp_dagster.ports.outputs.rest.negotiation import FORMS
from dp_dagster.predicates.conditions import LIST_OPERATORS, MOST_VALUES, operators_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column, Contract
    from dp_dagster.ports.outputs.rest.description import PortDescription
    from dp_dagster.rows.query import ServedVersion

    Json = dict[str, Any]

MASKED = "Masked for you: it can be selected, and neither filtered nor sorted by."
_IN_WORDS = {
    "eq": "equal to",
    "ne": "not equal to",
    "lt": "less than",
    "lte": "at most",
    "gt": "more than",
    "gte": "at least",
    "in": "one of several, separated by commas; a comma in a value is written `\\,`",
    "not_in": "none of several, separated by commas",
    "null": "`true` for rows without a value, `false` for rows with one",
    "contains": "holds this text, with case",
    "starts_with": "begins with this text, with case",
    "ends_with": "ends with this text, with case",
}
_PROBLEMS = {
    "400": "The request cannot be read: the problem says which part of it, and what would be right.",
    "401": "Who asks is not known.",
    "403": "Who asks may not have this.",
    "404": "There is no such row for who asks, or no such address.",
    "406": "There is nothing of what `Accept` asks for.",
    "410": "The version that is asked for is no longer kept; begin again in the newest one.",
    "414": "The query is too long.",
    "416": "Nothing of the file lies in the range.",
    "422": "The query takes more than a query may.",
    "429": "Who asks has asked too often, or for too much.",
    "503": "There is nothing to answer with now; `Retry-After` says when to ask again.",
}
_FORMS_OF_VALUES = (
    "Decimals are texts with all their digits, times ISO 8601 with microseconds, binary values hexadecimal digits; "
    'a number that JSON lacks is `"NaN"`, `"inf"` or `"-inf"`.'
)
_ALWAYS = ("400", "410", "414", "422", "429", "503")


def openapi_document(
    port: PortDescription, version: ServedVersion, view: DatasetView, example: Mapping[str, Any] | None = None
) -> Json:
    """The document.

    Args:
        port: What the port is.
        version: The version on show, which has the columns.
        view: What the consumer sees.
        example: A row as JSON, as the consumer sees it.
    """
    columns = visible_columns(port.contract, version, view)
    clear = {name: column for name, column in columns.items() if name in view.clear}
    refusals = [*_ALWAYS, *(("401",) if port.auth.type != "none" else ()), "403"]
    tags = [port.dataset]
    filters = _filters(clear)
    rows = {
        "get": {
            "operationId": "list_rows",
            "summary": "Rows, page by page, or all of them.",
            "description": (
                "JSON gives a page unless `limit=all` is said; the other formats give all rows unless `limit` says "
                "how many. `links` (and the header `Link`) lead to the next and the previous page, which are read "
                "from the same version, whatever is published meanwhile."
            ),
            "tags": tags,
            "parameters": [*_page_parameters(port, columns, clear), *filters],
            "responses": {
                "200": {
                    "description": "The rows.",
                    "headers": {**_version_headers(), "Link": _link_header()},
                    "content": {
                        "application/json": {"schema": _ref("schemas/Page")},
                        FORMS["ndjson"].media_type: {"schema": {"type": "string"}},
                        "text/csv": {"schema": {"type": "string"}},
                        FORMS["arrow"].media_type: {},
                        FORMS["parquet"].media_type: {},
                    },
                },
                "206": {
                    "description": "A part of the published Parquet file.",
                    "headers": _version_headers(),
                    "content": {FORMS["parquet"].media_type: {}},
                },
                **_responses([*refusals, "406", "416"]),
            },
        }
    }
    paths: Json = {port.path: rows}
    key = [columns[name] for name in version.key if name in clear]
    if key and len(key) == len(version.key):
        paths[f"{port.path}/{'/'.join(f'{{{column.name}}}' for column in key)}"] = {
            "get": {
                "operationId": "get_row",
                "summary": f"The row of one {', '.join(column.name for column in key)}.",
                "tags": tags,
                "parameters": [
                    *(
                        {
                            "name": column.name,
                            "in": "path",
                            "required": True,
                            "description": column.description or f"Key of type {column.type}.",
                            "schema": {**_value_schema(column), **_key_bounds(column)},
                            **_example(example, column),
                        }
                        for column in key
                    ),
                    _fields_parameter(columns),
                    _as_of_parameter(),
                    {
                        "name": "format",
                        "in": "query",
                        "description": "A row is JSON.",
                        "schema": {"type": "string", "enum": ["json"]},
                    },
                ],
                "responses": {
                    "200": {
                        "description": "The row.",
                        "headers": _version_headers(),
                        "content": {"application/json": {"schema": _ref("schemas/Row")}},
                    },
                    **_responses([*refusals, "404", "406"]),
                },
            }
        }
    paths[f"{port.path}/count"] = {
        "get": {
            "operationId": "count_rows",
            "summary": "How many rows there are.",
            "tags": tags,
            "parameters": [_as_of_parameter(), *filters],
            "responses": {
                "200": {
                    "description": "The number.",
                    "headers": _version_headers(),
                    "content": {"application/json": {"schema": _ref("schemas/Count")}},
                },
                **_responses([*refusals, "406"]),
            },
        }
    }
    if version.hands_out_files(view):
        paths |= _file_paths(port, tags, refusals)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{port.product}: {port.dataset}",
            "summary": port.summary,
            "description": _about(port, version),
            "version": f"v{port.major}",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": port.dataset, "description": port.summary}],
        "paths": paths,
        "components": {
            "schemas": {
                "Row": {
                    **row_document(port.contract, version, view),
                    **({"examples": [example]} if example else {}),
                },
                **_SCHEMAS,
            },
            "responses": {
                f"Problem{status}": {
                    "description": text,
                    "content": {"application/problem+json": {"schema": _ref("schemas/Problem")}},
                }
                for status, text in _PROBLEMS.items()
            },
            **(
                {"securitySchemes": {"consumer": security_scheme(port.auth)}}
                if port.auth.type != "none"
                else {}
            ),
        },
        "security": [{"consumer": []}] if port.auth.type != "none" else [],
        "x-dataset-version": version.version,
    }


def visible_columns(contract: Contract, version: ServedVersion, view: DatasetView) -> dict[str, Column]:
    """The columns that a view shows of a version, as the contract describes them."""
    found = {column.name: column for column in version.columns}
    visible: dict[str, Column] = {}
    for name in view.columns:
        if name in found:
            declared = contract.column(name)
            visible[name] = replace(declared, type=found[name].type, accepts="") if declared else found[name]
    return visible


def row_document(contract: Contract, version: ServedVersion, view: DatasetView) -> Json:
    """One row as JSON Schema. Every column may be missing: ``fields`` selects."""
    columns = visible_columns(contract, version, view)
    clear = {name for name in columns if name not in view.masks}
    # A rule that speaks of a column which is hidden or masked is not for this consumer.
    rules = tuple(rule for rule in contract.rules if rule.columns and clear >= set(rule.columns))
    schema, _ = row_schema(
        replace(contract, columns=tuple(columns.values()), rules=rules, key=(), strict=True)
    )
    schema.pop("required")
    for name in columns.keys() - clear:
        column = columns[name]
        bare, _ = row_schema(replace(contract, columns=(column,), rules=(), key=()))
        shown: Json = bare["properties"][name]
        described = " ".join(part for part in (column.description, MASKED) if part)
        schema["properties"][name] = {**shown, "description": described, "x-masked": view.masks[name]}
    return schema


def security_scheme(auth: Authentication) -> Json:
    """How a port authenticates, as OpenAPI says it."""
    if auth.type == "api_key":
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "A key that the owner made with `dp keys`.",
        }
    about = "A token (JWT) of the issuer" + (f", for the audience {auth.audience}" if auth.audience else "")
    if auth.issuer:
        return {
            "type": "openIdConnect",
            "openIdConnectUrl": f"{auth.issuer.rstrip('/')}/.well-known/openid-configuration",
            "description": f"{about}.",
        }
    return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": f"{about}."}


def _about(port: PortDescription, version: ServedVersion) -> str:
    shown = f"Contract `{port.contract.name}`, version {version.version} with {version.rows:,} rows on show when this"
    older = "Rows of older versions (`as_of`) keep the contract that they were published under."
    lines = [
        port.description.strip() or port.summary,
        f"{shown} document was made. {older}",
        port.access,
        _FORMS_OF_VALUES,
    ]
    return "\n\n".join(line for line in lines if line)


def _file_paths(port: PortDescription, tags: list[str], refusals: list[str]) -> Json:
    return {
        f"{port.path}/files": {
            "get": {
                "operationId": "list_files",
                "summary": "The published Parquet files.",
                "tags": tags,
                "parameters": [_as_of_parameter()],
                "responses": {
                    "200": {
                        "description": "Their addresses.",
                        "headers": _version_headers(),
                        "content": {"application/json": {"schema": _ref("schemas/Files")}},
                    },
                    **_responses([*refusals, "406"]),
                },
            }
        },
        f"{port.path}/files/{{file}}": {
            "get": {
                "operationId": "get_file",
                "summary": "One published Parquet file, or a range of it.",
                "tags": tags,
                "parameters": [
                    {
                        "name": "file",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "pattern": r"^[0-9]{1,6}\.parquet$"},
                        "example": "0.parquet",
                    },
                    _as_of_parameter(),
                ],
                "responses": {
                    "200": {
                        "description": "The file.",
                        "headers": _version_headers(),
                        "content": {FORMS["parquet"].media_type: {}},
                    },
                    "206": {
                        "description": "The range.",
                        "headers": _version_headers(),
                        "content": {FORMS["parquet"].media_type: {}},
                    },
                    **_responses([*refusals, "404", "416"]),
                },
            }
        },
    }


def _page_parameters(
    port: PortDescription, columns: Mapping[str, Column], clear: Mapping[str, Column]
) -> list[Json]:
    sortable = [name for name, column in clear.items() if not is_nested(column.type)]
    return [
        _fields_parameter(columns),
        {
            "name": "sort",
            "in": "query",
            "description": f"Columns to sort by, separated by commas; `-` in front turns the order. "
            f"Of {_names(sortable)}. Rows without a value come last.",
            "style": "form",
            "explode": False,
            "schema": {
                "type": "array",
                "items": {"enum": [sign + _escaped(name) for name in sortable for sign in ("", "-")]},
                "minItems": 1,
            },
        },
        {
            "name": "limit",
            "in": "query",
            "description": f"Rows of a page, or `all`. By default {port.page_size} in JSON, and all in other formats.",
            "schema": {
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": port.most_rows},
                    {"type": "string", "enum": ["all"]},
                ]
            },
        },
        {
            "name": "cursor",
            "in": "query",
            "description": "Where a page goes on; from the links of another page, with the same filters and order.",
            "schema": {"type": "string"},
        },
        _as_of_parameter(),
        {
            "name": "format",
            "in": "query",
            "description": "The form of the answer; goes before `Accept`.",
            "schema": {"type": "string", "enum": list(FORMS)},
        },
    ]


def _fields_parameter(columns: Mapping[str, Column]) -> Json:
    return {
        "name": "fields",
        "in": "query",
        "description": "Columns to give, in this order, separated by commas. By default all.",
        "style": "form",
        "explode": False,
        "schema": {
            "type": "array",
            "items": {"enum": [_escaped(name) for name in columns]},
            "minItems": 1,
            "uniqueItems": True,
        },
    }


def _as_of_parameter() -> Json:
    return {
        "name": "as_of",
        "in": "query",
        "description": "The number of a version, or a time at which it was on show. By default the newest.",
        "schema": {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
                {"type": "string", "format": "date-time"},
            ],
        },
    }


def _filters(columns: Mapping[str, Column]) -> list[Json]:
    """One parameter a column, with the operators in brackets: ``amount[gte]=100``."""
    found = []
    for name, column in columns.items():
        allowed = operators_for(column.type)
        properties: Json = {}
        for written, operator in OPERATOR_NAMES.items():
            if operator not in allowed:
                continue
            if operator == "is_null":
                schema: Json = {"type": "boolean"}
            elif operator in LIST_OPERATORS:
                schema = _list_schema(column)
            else:
                schema = _value_schema(column)
            properties[written] = {**schema, "description": f"{_IN_WORDS[written]}"}
        shortest = f"`{name}=…` is short for `{name}[eq]=…`" if "eq" in properties else f"`{name}[null]=true`"
        found.append(
            {
                "name": name,
                "in": "query",
                "description": f"{column.description or name} Filter: {shortest}.",
                "style": "deepObject",
                "explode": True,
                "schema": {"type": "object", "properties": properties, "additionalProperties": False},
            }
        )
    return found


def _value_schema(column: Column) -> Json:
    """A value of a column as it stands in a query."""
    kind = column.type
    if kind.startswith("int"):
        bits = int(kind.removeprefix("int"))
        return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
    simple: dict[str, Json] = {
        "bool": {"type": "boolean"},
        "float32": {"type": "number"},
        "float64": {"type": "number"},
        "date": {"type": "string", "format": "date"},
        "timestamp(UTC)": {"type": "string", "format": "date-time"},
    }
    return simple.get(kind) or {"type": "string", "pattern": f"^{_pattern(kind)}$"}


def _list_schema(column: Column) -> Json:
    """Values of a column, separated by commas."""
    if column.type == "string":
        return {"type": "string", "pattern": f"^{_TEXT}$"}
    one = _pattern(column.type)
    return {"type": "string", "pattern": f"^{one}(,{one}){{0,{MOST_VALUES - 1}}}$"}


_TEXT = r"[^\u0000]*"
_DAY = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_CLOCK = r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
# Digits that every number of the type may have.
_DIGITS = {"int8": 2, "int16": 4, "int32": 9, "int64": 18}


def _pattern(kind: str) -> str:
    """A regular expression that values of a type keep. It may leave out a few of them."""
    if kind in _DIGITS:
        return f"-?[0-9]{{1,{_DIGITS[kind]}}}"
    if is_decimal(kind):
        precision, scale = (int(part) for part in kind[len("decimal(") : -1].split(","))
        fraction = f"(\\.[0-9]{{1,{scale}}})?" if scale else ""
        return f"-?[0-9]{{1,{precision - scale}}}{fraction}" if precision > scale else f"-?0{fraction}"
    return {
        "bool": "(true|false)",
        "float32": r"-?[0-9]{1,9}(\.[0-9]{1,9})?",
        "float64": r"-?[0-9]{1,15}(\.[0-9]{1,15})?",
        "date": _DAY,
        "timestamp": f"{_DAY}{_CLOCK}",
        "timestamp(UTC)": f"{_DAY}{_CLOCK}Z",
        "binary": "([0-9a-fA-F]{2})*",
    }.get(kind, _TEXT)


def _key_bounds(column: Column) -> Json:
    # An empty part of a path is none.
    return {"minLength": 1} if column.type == "string" else {}


def _example(example: Mapping[str, Any] | None, column: Column) -> Json:
    return {"example": example[column.name]} if example and example.get(column.name) is not None else {}


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(",", "\\,")


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _ref(place: str) -> Json:
    return {"$ref": f"#/components/{place}"}


def _responses(statuses: list[str]) -> Json:
    return {status: _ref(f"responses/Problem{status}") for status in sorted(statuses)}


def _version_headers() -> Json:
    return {
        "ETag": {"description": "Changes with the version.", "schema": {"type": "string"}},
        "Dataset-Version": {"description": "The version that was read.", "schema": {"type": "integer"}},
    }


def _link_header() -> Json:
    return {"description": "RFC 8288: `next` and `prev` pages.", "schema": {"type": "string"}}


_VERSION: Json = {"type": "integer", "minimum": 0, "description": "The version of the dataset that was read."}
_PUBLISHED: Json = {"type": "string", "format": "date-time", "description": "When its rows were published."}
_SCHEMAS: Json = {
    "Page": {
        "type": "object",
        "properties": {
            "version": _VERSION,
            "published_at": _PUBLISHED,
            "data": {"type": "array", "items": _ref("schemas/Row")},
            "links": {
                "type": "object",
                "properties": {
                    "next": {"type": ["string", "null"], "format": "uri-reference"},
                    "previous": {"type": ["string", "null"], "format": "uri-reference"},
                },
                "required": ["next", "previous"],
            },
        },
        "required": ["version", "published_at", "data", "links"],
    },
    "Count": {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "minimum": 0},
            "version": _VERSION,
            "published_at": _PUBLISHED,
        },
        "required": ["count", "version", "published_at"],
    },
    "Files": {
        "type": "object",
        "properties": {
            "version": _VERSION,
            "published_at": _PUBLISHED,
            "files": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "href": {"type": "string", "format": "uri-reference"},
                        "bytes": {"type": "integer", "minimum": 0},
                    },
                    "required": ["href", "bytes"],
                },
            },
        },
        "required": ["version", "published_at", "files"],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457: what is wrong, with which part of the request, and what would be right.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "parameter": {"type": "string"},
            "value": {"type": "string"},
            "fix": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    },
}
