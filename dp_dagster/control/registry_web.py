"""The schema registry over HTTP: the read side of the REST interface that Confluent's clients speak.

Subjects are ``PRODUCT.v1.DATASET``; versions are the contracts that the dataset was published under. Registering and
deleting are refused: a contract changes by publishing under it, past the gate.

Source: the API reference of the Confluent Schema Registry,
https://docs.confluent.io/platform/current/schema-registry/develop/api.html.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from dp_dagster.contracts.evolution import compare
from dp_dagster.contracts.schema_reading import contract_of_schema
from dp_dagster.control.contract_versions import schema_text
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from dp_dagster.control.contract_versions import ContractVersion, ContractVersions

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# What the gate holds: consumers with the last schema can read what is written with the new one.
_LEVEL = "FORWARD"
_MAX_BODY = 1_000_000


class RegistryError(Exception):
    """An answer of the registry that is none: HTTP status, the registry's own code, and a sentence."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def routes(versions: ContractVersions) -> list[Route]:
    """The routes of the registry, below wherever they are mounted."""
    registry = _Registry(versions)

    def get(path: str, answer: Callable[[Request], Any]) -> Route:
        return Route(path, _answered(answer), methods=["GET"])

    return [
        get("/subjects", registry.subjects),
        get("/subjects/{subject}/versions", registry.versions),
        get("/subjects/{subject}/versions/{version}", registry.version),
        get("/subjects/{subject}/versions/{version}/schema", registry.schema),
        get("/subjects/{subject}/versions/{version}/referencedby", registry.referenced),
        Route("/subjects/{subject}", _answered(registry.look_up, body=True), methods=["POST"]),
        get("/schemas/types", lambda _: ["JSON"]),
        get("/schemas/ids/{schema_id:int}", registry.of_id),
        get("/schemas/ids/{schema_id:int}/schema", registry.schema_of_id),
        get("/schemas/ids/{schema_id:int}/subjects", registry.subjects_of_id),
        get("/schemas/ids/{schema_id:int}/versions", registry.versions_of_id),
        get("/config", lambda _: {"compatibilityLevel": _LEVEL}),
        get("/config/{subject}", registry.config),
        get("/mode", lambda _: {"mode": "READONLY"}),
        get("/mode/{subject}", registry.mode),
        Route(
            "/compatibility/subjects/{subject}/versions",
            _answered(registry.compatible_with_all, body=True),
            methods=["POST"],
        ),
        Route(
            "/compatibility/subjects/{subject}/versions/{version}",
            _answered(registry.compatible, body=True),
            methods=["POST"],
        ),
        Route("/subjects/{subject}/versions", _answered(_read_only), methods=["POST"]),
        Route("/subjects/{subject}", _answered(_read_only), methods=["DELETE"]),
        Route("/subjects/{subject}/versions/{version}", _answered(_read_only), methods=["DELETE"]),
        Route("/config", _answered(_read_only), methods=["PUT", "DELETE"]),
        Route("/config/{subject}", _answered(_read_only), methods=["PUT", "DELETE"]),
        Route("/mode", _answered(_read_only), methods=["PUT"]),
    ]


def _read_only(_: Request) -> Any:
    raise RegistryError(
        405, 40501, "this registry is read only: a contract changes when the product is published under it"
    )


def _answered(answer: Callable[..., Any], *, body: bool = False) -> Callable[[Request], Any]:
    """An endpoint whose work is done in a thread, errors answered as the registry does."""

    async def endpoint(request: Request) -> JSONResponse:
        try:
            if body:
                content = await _body(request)
                found = await run_in_threadpool(answer, request, content)
            else:
                found = await run_in_threadpool(answer, request)
        except RegistryError as error:
            return JSONResponse(
                {"error_code": error.code, "message": str(error)}, error.status, media_type=_MEDIA_TYPE
            )
        return JSONResponse(found, media_type=_MEDIA_TYPE)

    return endpoint


async def _body(request: Request) -> dict[str, Any]:
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > _MAX_BODY:
            raise RegistryError(422, 42201, f"Invalid schema: larger than {_MAX_BODY} bytes")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RegistryError(422, 42201, "Invalid schema: the body is no JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("schema"), str):
        raise RegistryError(422, 42201, "Invalid schema: the body has no schema")
    if content.get("schemaType", "AVRO") != "JSON":
        raise RegistryError(422, 42201, "Invalid schema: only schemaType JSON is kept here")
    return content


class _Registry:
    def __init__(self, versions: ContractVersions) -> None:
        self._versions = versions

    # -- subjects ------------------------------------------------------------------------------------------

    def subjects(self, request: Request) -> list[str]:
        prefix = request.query_params.get("subjectPrefix", "")
        found = dict.fromkeys(one.subject for one in self._versions.all())
        return [subject for subject in found if subject.startswith(prefix)]

    def versions(self, request: Request) -> list[int]:
        return [one.version for one in self._of_subject(request)]

    def version(self, request: Request) -> dict[str, Any]:
        found = self._one(request)
        return {**self._told(found), "schema": self._text(found)}

    def schema(self, request: Request) -> Any:
        return json.loads(self._text(self._one(request)))

    def referenced(self, request: Request) -> list[int]:
        self._one(request)
        return []

    def look_up(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        wanted = _parsed(body)
        for one in reversed(self._of_subject(request)):
            text = self._text(one)
            if json.loads(text) == wanted:
                return {**self._told(one), "schema": text}
        raise RegistryError(404, 40403, "Schema not found")

    # -- schemas -------------------------------------------------------------------------------------------

    def of_id(self, request: Request) -> dict[str, Any]:
        return {"schemaType": "JSON", "schema": self._text(self._of_schema(request)[0])}

    def schema_of_id(self, request: Request) -> Any:
        return json.loads(self._text(self._of_schema(request)[0]))

    def subjects_of_id(self, request: Request) -> list[str]:
        return [one.subject for one in self._of_schema(request)]

    def versions_of_id(self, request: Request) -> list[dict[str, Any]]:
        return [{"subject": one.subject, "version": one.version} for one in self._of_schema(request)]

    # -- compatibility -------------------------------------------------------------------------------------

    def config(self, request: Request) -> dict[str, Any]:
        self._of_subject(request)
        return {"compatibilityLevel": _LEVEL}

    def mode(self, request: Request) -> dict[str, Any]:
        self._of_subject(request)
        return {"mode": "READONLY"}

    def compatible(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return self._judged(request, body, [self._one(request)])

    def compatible_with_all(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        # The level is not transitive: what the newest promises is what counts.
        return self._judged(request, body, self._of_subject(request)[-1:])

    def _judged(
        self, request: Request, body: dict[str, Any], against: list[ContractVersion]
    ) -> dict[str, Any]:
        try:
            new = contract_of_schema(_parsed(body))
        except ContractError as error:
            raise RegistryError(422, 42201, f"Invalid schema: {error}") from error
        messages = []
        for one in against:
            old = contract_of_schema(json.loads(self._text(one)))
            messages += [
                f"version {one.version}: {change}: {change.reason}" for change in compare(old, new).breaking
            ]
        answer: dict[str, Any] = {"is_compatible": not messages}
        if request.query_params.get("verbose", "").lower() == "true":
            answer["messages"] = messages
        return answer

    # -- inside --------------------------------------------------------------------------------------------

    def _of_subject(self, request: Request) -> list[ContractVersion]:
        subject = request.path_params["subject"]
        found = self._versions.all(subject)
        if not found:
            raise RegistryError(404, 40401, f"Subject '{subject}' not found.")
        return found

    def _one(self, request: Request) -> ContractVersion:
        found = self._of_subject(request)
        wanted = request.path_params["version"]
        if wanted in ("latest", "-1"):
            return found[-1]
        if not wanted.isdecimal() or not int(wanted):
            raise RegistryError(422, 42202, f"The specified version '{wanted}' is not a valid version id.")
        for one in found:
            if one.version == int(wanted):
                return one
        raise RegistryError(404, 40402, f"Version {wanted} not found.")

    def _of_schema(self, request: Request) -> list[ContractVersion]:
        found = self._versions.of_schema(request.path_params["schema_id"])
        if not found:
            raise RegistryError(404, 40403, f"Schema {request.path_params['schema_id']} not found")
        return found

    def _text(self, version: ContractVersion) -> str:
        return schema_text(self._versions.contract(version))

    @staticmethod
    def _told(version: ContractVersion) -> dict[str, Any]:
        return {
            "subject": version.subject,
            "version": version.version,
            "id": version.schema_id,
            "schemaType": "JSON",
        }


def _parsed(body: dict[str, Any]) -> dict[str, Any]:
    try:
        schema = json.loads(body["schema"])
    except ValueError as error:
        raise RegistryError(422, 42201, "Invalid schema: it is no JSON") from error
    if not isinstance(schema, dict):
        raise RegistryError(422, 42201, "Invalid schema: it is no object")
    return schema
