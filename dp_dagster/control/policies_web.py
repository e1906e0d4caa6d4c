"""Policies over HTTP: which hold, who keeps them, and exemptions granted and withdrawn by who may change policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from dp_dagster.descriptor.problems import suggestion
from dp_dagster.errors import AccessDeniedError, NotFoundError, UsageError
from dp_dagster.policies import Grants, check_product, load_policies
from dp_dagster.policies.grants import exemption_of
from dp_dagster.policies.told import exemption_facts, policy_facts, report_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from dp_dagster.access.view import Identity
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings

_MOST_BYTES = 64 * 1024


class PoliciesPart:
    """What answers below ``/policies``. Who asks was let in before."""

    def __init__(self, settings: Settings, products: Sequence[ResolvedProduct]) -> None:
        self._settings = settings
        self._products = products
        self._grants = Grants(settings)

    async def all(self, request: Request, _: Identity) -> Response:
        """Every policy with its parameters, all exemptions, and how each product stands."""
        wanted = request.query_params.get("product")
        return JSONResponse(await run_in_threadpool(self._all, wanted))

    async def one(self, request: Request, _: Identity) -> Response:
        """One policy: what it wants, who is exempted, and what it found at each product."""
        return JSONResponse(await run_in_threadpool(self._one, request.path_params["policy"]))

    async def grant(self, request: Request, identity: Identity) -> Response:
        """Grant an exemption: policy, product, part, reason, expires."""
        actor = _actor(identity)
        given = await _body(request)

        def granted() -> dict[str, Any]:
            exemption = exemption_of(given, self._products)
            return exemption_facts(self._grants.grant(exemption, load_policies(self._settings), actor))

        facts = await run_in_threadpool(granted)
        place = f"{request.scope.get('root_path', '')}/policies/exemptions/{facts['id']}"
        return JSONResponse(facts, 201, headers={"location": place})

    async def exemption(self, request: Request, _: Identity) -> Response:
        """One exemption that is granted."""
        number = request.path_params["number"]
        for one in await run_in_threadpool(self._grants.current):
            if one.id == number:
                return JSONResponse(exemption_facts(one))
        raise NotFoundError(f"there is no exemption {number}; it may have been withdrawn or replaced")

    async def withdraw(self, request: Request, identity: Identity) -> Response:
        """End an exemption that was granted; why stands in the query, or in a body."""
        actor = _actor(identity)
        given = {**(await _body(request, optional=True)), **request.query_params}
        reason = given.pop("reason", "")
        if given or not isinstance(reason, str):
            raise UsageError("withdrawing takes a reason, as text, and nothing else")
        ended = await run_in_threadpool(self._grants.withdraw, request.path_params["number"], reason, actor)
        return JSONResponse(exemption_facts(ended))

    def _all(self, product: str | None) -> dict[str, Any]:
        policies = load_policies(self._settings)
        known = {one.id: one for one in self._products}
        if product is not None and product not in known:
            raise NotFoundError(f"there is no product {product}; {suggestion(product, known, 'products')}")
        chosen = known.values() if product is None else [known[product]]
        return {
            "policies": [policy_facts(one) for one in policies.policies],
            "exemptions": [
                exemption_facts(one)
                for one in (*policies.exemptions, *self._grants.current(product))
                if product in {None, one.product}
            ],
            "products": [report_facts(check_product(one, policies=policies)) for one in chosen],
        }

    def _one(self, name: str) -> dict[str, Any]:
        found = self._all(None)
        for policy in found["policies"]:
            if policy["policy"] == name:
                return {
                    **policy,
                    "exemptions": [one for one in found["exemptions"] if one["policy"] == name],
                    "products": [
                        {
                            "product_id": product["product_id"],
                            "results": [one for one in product["results"] if one["policy"] == name],
                        }
                        for product in found["products"]
                    ],
                }
        known = [policy["policy"] for policy in found["policies"]]
        raise NotFoundError(f"there is no policy {name}; {suggestion(name, known, 'policies')}")


def _actor(identity: Identity) -> str:
    """Who a change is put down to.

    Raises:
        AccessDeniedError: nobody knows who they are.
    """
    if identity.method == "none":
        raise AccessDeniedError(
            "this control port asks nobody who they are, so that nobody could answer for a change; "
            "set control.auth to api_key or OAuth2"
        )
    return f"user:{identity.subject}"


async def _body(request: Request, *, optional: bool = False) -> Mapping[str, Any]:
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > _MOST_BYTES:
            raise UsageError(f"the body is larger than {_MOST_BYTES:,} bytes")
    if optional and not text:
        return {}
    # A form of another site cannot send this type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UsageError("the body must be JSON; send content-type: application/json")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError("the body is no JSON") from None
    if not isinstance(given, dict):
        raise UsageError("the body must be a JSON object of policy, product, part, reason and expires")
    return given
