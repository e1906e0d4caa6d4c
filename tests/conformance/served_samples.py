"""How consumers ask each served kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES
from dp_dagster.testing.served_stand import Question, Reply, ServedSample

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


def ask_graphql(client: Client, path: str, question: Question) -> Reply:
    many, base, key = graphql_names(client, path)
    variables: dict[str, Any] = {"asOf": {"version": question.as_of} if question.as_of is not None else None}
    fields = " ".join(question.columns) or "__typename"
    if question.key is not None:
        variables["key"] = question.key
        document = (
            f"query ($key: Long!, $asOf: AsOf) {{rows: {many}ByKey({key}: $key, asOf: $asOf) {{{fields}}}}}"
        )
    else:
        inner = "totalCount" if question.count else f"nodes {{{fields}}}"
        types = f"$where: {base}Filter, $orderBy: [{base}Order!], $asOf: AsOf"
        arguments = "first: 1000, where: $where, orderBy: $orderBy, asOf: $asOf"
        document = f"query ({types}) {{rows: {many}({arguments}) {{version {inner}}}}}"
    if question.where:
        column, operator, value = question.where
        variables["where"] = {column: {{"le": "lte", "ge": "gte"}.get(operator, operator): value}}
    if question.sort is not None:
        variables["orderBy"] = [{"column": question.sort}]
    return graphql_reply(graphql(client, path, document, variables))


def graphql(client: Client, path: str, document: str, variables: dict[str, Any]) -> Response:
    body = json.dumps({"query": document, "variables": variables}).encode()
    return client.request("POST", path, headers={"content-type": "application/json"}, body=body)


def graphql_names(client: Client, path: str) -> tuple[str, str, str]:
    """What the schema calls the field of pages, its rows, and the first column of the key."""
    document = "{__schema {queryType {fields {name type {name} args {name}}}}}"
    told = graphql(client, path, document, {}).json()
    if "data" not in told:
        return "people", "People", "id"
    many, one, *_ = told["data"]["__schema"]["queryType"]["fields"]
    return many["name"], one["type"]["name"], one["args"][0]["name"]


def graphql_reply(response: Response) -> Reply:
    body: dict[str, Any] = json.loads(response.body)
    if "data" not in body or "errors" in body:
        said = [error["message"] for error in body["errors"]] if "errors" in body else [response.text]
        return Reply(response.status, refused=" ".join(said))
    rows = body["data"]["rows"]
    (version,) = {number for numbers in body["extensions"]["versions"].values() for number in numbers}
    if rows is None:
        return Reply(200, rows=(), version=version)
    if "totalCount" in rows:
        return Reply(200, count=rows["totalCount"], version=version)
    return Reply(200, rows=tuple(rows.get("nodes", [rows])), version=version)


def ask_events(client: Client, path: str, question: Question) -> Reply:
    """All rows of a version, up to its publication."""
    version = "newest" if question.as_of is None else str(question.as_of)
    query: list[tuple[str, str]] = [("snapshot", version), ("until", version)]
    if question.where:
        column, operator, value = question.where
        text = ",".join(escaped(str(one)) for one in value) if operator == "in" else str(value)
        query.append((f"{column}[{_OPERATORS[operator]}]", text))
    if question.key is not None:
        query.append(("id", str(question.key)))
    if question.sort is not None:
        # Events have an order of their own.
        query.append(("sort", question.sort))
    if question.columns:
        query.append(("fields", ",".join(escaped(name) for name in question.columns)))
    return events_reply(client.get(f"{path}?{urlencode(query)}"), count=question.count)


def events_reply(response: Response, *, count: bool = False) -> Reply:
    if response.status != 200:
        body: dict[str, Any] = json.loads(response.body)
        body.pop("request_id", None)
        return Reply(response.status, refused=json.dumps(body))
    told = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    rows = [event["data"]["after"] for event in told if ".row.inserted." in event["type"]]
    version = told[-1]["datasetversion"]
    assert ".published." in told[-1]["type"]
    return (
        Reply(200, count=len(rows), version=version)
        if count
        else Reply(200, rows=tuple(rows), version=version)
    )


#: By kind; a served kind that is not here fails the suite.
SERVED_SAMPLES: dict[str, ServedSample] = {
    "REST_API": ServedSample(ask=ask_rest),
    "GRAPHQL": ServedSample(ask=ask_graphql),
    "EVENT_STREAM": ServedSample(ask=ask_events),
}
