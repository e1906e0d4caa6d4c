"""How consumers ask each served kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES
from dp_dagster.testing.served_ports import Question, Reply, ServedSample

if TYPE_CHECKING:
    from dp_dagster.testing.asgi import Client, Response

_OPERATORS = {operator: name for name, operator in OPERATOR_NAMES.items()}


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,")


def ask_rest(client: Client, path: str, question: Question) -> Reply:
    query: list[tuple[str, str]] = []
    if question.where:
        column, operator, value = question.where
        text = ",".join(escaped(str(one)) for one in value) if operator == "in" else str(value)
        query.append((f"{column}[{_OPERATORS[operator]}]", text))
    if question.as_of is not None:
        query.append(("as_of", str(question.as_of)))
    if question.count:
        return rest_reply(client.get(f"{path}/count?{urlencode(query)}"))
    query.append(("fields", ",".join(escaped(name) for name in question.columns)))
    if question.key is not None:
        return rest_reply(client.get(f"{path}/{quote(str(question.key), safe='')}?{urlencode(query)}"))
    if question.sort is not None:
        query.append(("sort", escaped(question.sort)))
    return rest_reply(client.get(f"{path}?{urlencode([*query, ('limit', 'all')])}"))


def rest_reply(response: Response) -> Reply:
    body: dict[str, Any] = json.loads(response.body)
    version = response.headers.get("dataset-version")
    number = int(version) if version is not None else None
    if response.status == 404 and body["type"].endswith(":no-such-row"):
        return Reply(200, rows=(), version=number)
    if response.status != 200:
        body.pop("request_id", None)
        # Where the request was at fault is said once more, in the requester's own words.
        return Reply(response.status, refused=json.dumps({**body, "value": None}), version=number)
    if "count" in body:
        return Reply(200, count=body["count"], version=number)
    rows = body.get("data", [body])
    return Reply(200, rows=tuple(rows), version=number)


#: By kind; a served kind that is not here fails the suite.
SERVED_SAMPLES: dict[str, ServedSample] = {"REST_API": ServedSample(ask=ask_rest)}
