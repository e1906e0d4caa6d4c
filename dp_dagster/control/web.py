"""The control port over HTTP: each part behind the roles that may use it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router

from dp_dagster.access.verification import verify as verify_accesses
from dp_dagster.control import registry_web
from dp_dagster.control.catalog import catalog, search
from dp_dagster.control.catalog_page import page
from dp_dagster.control.contract_versions import ContractVersions
from dp_dagster.control.metrics import ProductMetrics
from dp_dagster.control.policies_web import PoliciesPart
from dp_dagster.control.states import states_by_port, told
from dp_dagster.errors import NotFoundError, UsageError
from dp_dagster.records import KINDS, Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request

    from dp_dagster.access.view import Identity
    from dp_dagster.control.catalog import ProductEntry
    from dp_dagster.control.config import ControlConfig, Part
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings

Identify = Callable[[Mapping[str, str]], Awaitable["Identity"]]
_PAGE = 200
_MOST = 10_000


def application(
    settings: Settings,
    products: Sequence[ResolvedProduct],
    config: ControlConfig,
    identify: Identify,
    faults: Mapping[str, str] | None = None,
) -> Router:
    """The control port.

    Args:
        settings: Of the platform.
        products: What is watched.
        config: Which roles may use what.
        identify: Finds out who asks, from the headers of a request (names in lower case); raises where it cannot.
        faults: Products that are refused, and why; the catalogue lists them.

    Errors leave the application as ours: whoever mounts it answers them.
    """
    control = _Control(settings, products, faults or {})
    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(ProductMetrics(settings, products))

    def guarded(part: Part, answer: Callable[[Request], Awaitable[Response]]) -> Any:
        async def endpoint(request: Request) -> Response:
            config.admit(await identify(_headers(request)), part)
            return await answer(request)

        return endpoint

    async def scrape(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await run_in_threadpool(encode, metrics), media_type=media_type)

    policies = PoliciesPart(settings, products)

    def steered(
        answer: Callable[[Request, Identity], Awaitable[Response]],
    ) -> Callable[[Request], Awaitable[Response]]:
        """What has to know who asks: changes are put down to them."""

        async def endpoint(request: Request) -> Response:
            identity = await identify(_headers(request))
            config.admit(identity, "policies")
            return await answer(request, identity)

        return endpoint

    registry = Starlette(routes=registry_web.routes(ContractVersions(settings)))

    async def schemas(scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        config.admit(await identify(headers), "schemas")
        await registry(scope, receive, send)

    # A router, not an application: that would answer errors of ours with a bare 500 before anybody else could.
    return Router(
        routes=[
            Route("/", guarded("catalog", control.index)),
            Route("/metrics", guarded("metrics", scrape)),
            Route("/audit", guarded("audit", control.audit)),
            Route("/audit/verification", guarded("audit", control.verification)),
            Route("/audit/anchor", guarded("audit", control.anchor)),
            Route("/catalog", guarded("catalog", control.catalog)),
            Route("/catalog/{product}", guarded("catalog", control.product)),
            Route("/catalog/{product}/{form}", guarded("catalog", control.document)),
            Route("/catalog/{product}/{form}/{dataset}", guarded("catalog", control.document)),
            Route("/policies", steered(policies.all)),
            Route("/policies/exemptions", steered(policies.grant), methods=["POST"]),
            Route("/policies/exemptions/{number:int}", steered(policies.exemption)),
            Route("/policies/exemptions/{number:int}", steered(policies.withdraw), methods=["DELETE"]),
            Route("/policies/{policy}", steered(policies.one)),
            Mount("/schemas", app=schemas),
        ]
    )


class _Control:
    def __init__(
        self, settings: Settings, products: Sequence[ResolvedProduct], faults: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._products = {product.id: product for product in products}
        self._faults = faults
        self._records = Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)

    async def index(self, request: Request) -> Response:
        root = request.scope.get("root_path", "")
        parts = {
            "catalog": "what data products there are; ?search=TEXT",
            "metrics": "for Prometheus",
            "audit": "who did what; ?product= &actor= &kind= &since= &until= &before= &limit=",
            "audit/verification": "whether the audit log is whole",
            "audit/anchor": "its head, to keep outside",
            "policies": "which policies hold, and who keeps them; POST policies/exemptions grants one",
            "schemas": "contract versions, as a schema registry",
        }
        return JSONResponse({f"{root}/{name}": text for name, text in parts.items()})

    # -- audit ---------------------------------------------------------------------------------------------

    async def audit(self, request: Request) -> Response:
        """Records, newest first; as JSON lines all of them, oldest first, as a stream."""
        wanted = _wanted(request)
        if "application/x-ndjson" in request.headers.get("accept", ""):

            def lines() -> Iterator[str]:
                for record in self._records.stream(**wanted, oldest_first=True):
                    yield json.dumps(asdict(record), ensure_ascii=False) + "\n"

            return StreamingResponse(iterate_in_threadpool(lines()), media_type="application/x-ndjson")
        limit = _number(request, "limit", _PAGE, most=_MOST)
        before = _number(request, "before", None)
        found = await run_in_threadpool(lambda: self._records.query(**wanted, before=before, limit=limit + 1))
        shown = found[:limit]
        more = shown[-1].id if len(found) > limit else None
        return JSONResponse({"records": [asdict(record) for record in shown], "before": more})

    async def verification(self, _: Request) -> Response:
        """As ``dp audit verify`` says it: of the records, and of the accesses that some of them sealed."""
        found = await run_in_threadpool(self._records.verification)
        accesses = await run_in_threadpool(verify_accesses, self._records)
        return JSONResponse(
            {
                "whole": found.is_whole and not accesses,
                "records": found.count,
                "head": found.hash,
                "problems": [str(problem) for problem in found.problems],
                "accesses": accesses,
            }
        )

    async def anchor(self, _: Request) -> Response:
        found = await run_in_threadpool(self._records.anchor)
        return PlainTextResponse(found.to_json() + "\n", media_type="application/json")

    # -- catalogue -----------------------------------------------------------------------------------------

    async def catalog(self, request: Request) -> Response:
        entries = await run_in_threadpool(self._entries)
        text = request.query_params.get("search")
        hits = None if text is None else search(entries, text)
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(
                page(entries, text or "", hits, request.scope.get("root_path", "")),
                headers={
                    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
                },
            )
        found: Any = entries if hits is None else hits
        return JSONResponse([asdict(one) for one in found])

    async def product(self, request: Request) -> Response:
        wanted = request.path_params["product"]
        for entry in await run_in_threadpool(self._entries):
            if entry.id == wanted:
                return JSONResponse(asdict(entry))
        raise NotFoundError(f"there is no product {wanted} in the catalogue")

    async def document(self, request: Request) -> Response:
        """A product's ODPS document, or the ODCS contract of one of its datasets."""
        from dp_dagster.documents.exporting import export_product

        name, form = request.path_params["product"], request.path_params["form"]
        product = self._products.get(name)
        if product is None or form not in ("odps", "odcs"):
            raise NotFoundError(
                f"there is no document {form} of {name}; write PRODUCT/odps or PRODUCT/odcs/DATASET"
            )
        dataset = request.path_params.get("dataset")
        documents = await run_in_threadpool(lambda: export_product(product, form, dataset))
        if len(documents) != 1:
            known = ", ".join(one.label for one in product.datasets)
            raise UsageError(f"{name} has several contracts; name one: {known}")
        return PlainTextResponse(
            documents[0].text,
            media_type="application/yaml",
            headers={"content-disposition": f'attachment; filename="{documents[0].file}"'},
        )

    def _entries(self) -> list[ProductEntry]:
        states = told(states_by_port(self._settings))
        return catalog(self._settings, self._products.values(), self._faults, states)


def _headers(request: Request) -> dict[str, str]:
    return dict(request.headers.items())


def _wanted(request: Request) -> dict[str, Any]:
    known = {"product", "actor", "kind", "since", "until", "before", "limit"}
    unknown = set(request.query_params) - known
    if unknown:
        raise UsageError(
            f"{', '.join(sorted(unknown))}: unknown parameter; known: {', '.join(sorted(known))}"
        )
    kind = request.query_params.get("kind")
    if kind is not None and kind not in KINDS:
        raise UsageError(f"kind {kind}: is no kind of record; choices: {', '.join(KINDS)}")
    return {
        "product": request.query_params.get("product"),
        "actor": request.query_params.get("actor"),
        "kind": kind,
        "since": _moment(request, "since"),
        "until": _moment(request, "until"),
    }


def _moment(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name}: {text[:40]!r} is no time; write 2026-11-25T08:00:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"{name}: {text[:40]!r} has no time zone; write 2026-11-25T08:00:00Z")
    return moment


def _number(request: Request, name: str, default: Any, *, most: int | None = None) -> Any:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 18 or (most is not None and not 1 <= int(text) <= most):
        upto = f" from 1 to {most}" if most is not None else ""
        raise UsageError(f"{name}: {text[:40]!r} is no number{upto}")
    return int(text)
