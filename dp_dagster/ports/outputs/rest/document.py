"""The OpenAPI 3.1 document of a REST port, as one consumer sees it.

It is made from the contract: types, descriptions, and those rules that a schema of one row can say. What the consumer
may not see is not in it; a masked column is described as the mask leaves it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.row_schema import row_schema
from dp_dagster.ports.outputs.rest.negotiation import FORMS
from dp_dagster.ports.outputs.rest.parameters import (
    as_of_parameter,
    examples_of,
    fields_parameter,
    filters,
    format_parameter,
    key_parameter,
    page_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column, Contract
    from dp_dagster.ports.outputs.rest.description import PortDescription
    from dp_dagster.rows.query import ServedVersion

    Json = dict[str, Any]

MASKED = "Masked for you: it can be selected, and neither filtered nor sorted by."
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
    by_column = filters(clear)
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
            "parameters": [*page_parameters(port, columns, clear), *by_column],
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
                    *(key_parameter(column, example) for column in key),
                    fields_parameter(columns),
                    as_of_parameter(),
                    format_parameter(("json",), "A row is JSON."),
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
            "parameters": [as_of_parameter(), *by_column],
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
    if port.deprecation:
        for path in paths.values():
            path["get"]["deprecated"] = True
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
    for name in clear:
        examples = examples_of(columns[name])
        if examples:
            schema["properties"][name]["examples"] = examples
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
        f"**{port.deprecation[:1].upper()}{port.deprecation[1:]}.**" if port.deprecation else "",
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
                "parameters": [as_of_parameter()],
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
                    as_of_parameter(),
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
            "request_id": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    },
}
