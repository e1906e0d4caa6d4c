"""A product that has published, and its control port on loopback."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from support import PRODUCT_YAML, TestProject

from dp_dagster.access.view import Identity
from dp_dagster.control.config import ControlConfig
from dp_dagster.control.web import application
from dp_dagster.errors import AccessDeniedError, AuthenticationError, NotFoundError, UsageError
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.evaluator import evaluator_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dp_dagster.resolve import ResolvedProduct

SLA = "sla: {availability: 99.9%, retention: 90d, completeness: 99%, latency: {p95: 200ms}}\n"
ROLES = {"metrics": ["watcher"], "audit": ["auditor"]}


@dataclass
class Shop:
    """The small product, and a way to publish it."""

    product: ResolvedProduct
    publish: Callable[[], Any]

    @property
    def settings(self) -> Settings:
        return self.product.settings


def published(project: Any) -> Shop:
    """The small product of the tests, published once."""
    numbers = iter(range(1000))

    def publish(sales: str | None = None) -> Any:
        folder = project.root / "products/shops"
        if sales is not None:
            (folder / "inputs/sales.csv").write_text(sales)
        product = resolve(folder, Settings.load(project.root))
        shop.product = product
        session = Session(product, f"run-{next(numbers)}", actor="user:ada")
        land_input(session, "sales")
        run_transform(session, "totals")
        outcome = publish_dataset(session, "totals")
        project_port(session, "vw_totals")
        return outcome

    shop = Shop(resolve(project.root / "products/shops", Settings.load(project.root)), publish)
    shop.publish()
    return shop


async def identify(headers: Mapping[str, str]) -> Identity:
    """Who asks, by a header of the tests' own; how it is really found out is tested with the served ports."""
    roles = headers.get("authorization", "")
    if not roles.startswith("Bearer "):
        raise AuthenticationError("say who you are", status=401, challenge="Bearer")
    return Identity("somebody", roles=frozenset(roles.removeprefix("Bearer ").split(",")))


async def _answer(_: Any, error: Exception) -> JSONResponse:
    status = {AuthenticationError: 401, AccessDeniedError: 403, NotFoundError: 404}.get(type(error), 400)
    return JSONResponse({"detail": str(error)}, status)


@pytest.fixture
def shop(project) -> Shop:
    """The small product, published once."""
    return published(project)


@contextmanager
def serving(shop: Shop) -> Iterator[httpx.Client]:
    """The control port of a product, on loopback, and a client of it."""
    router = application(shop.settings, [shop.product], ControlConfig(auth="none", roles=ROLES), identify)
    made = Starlette(routes=[Mount("/", app=router)], exception_handlers={UsageError: _answer})
    server = uvicorn.Server(uvicorn.Config(made, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        headers = {"authorization": "Bearer reader"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def control(shop) -> Iterator[httpx.Client]:
    """A client of the control port of a product of the test's own."""
    with serving(shop) as client:
        yield client


@pytest.fixture(scope="session")
def standing_shop(tmp_path_factory) -> Shop:
    """A product that was published once and whose objectives were evaluated, for tests that only read."""
    root = tmp_path_factory.mktemp("standing")
    (root / "dp_dagster.toml").touch()
    project = TestProject(root)
    project.add_product(descriptor=PRODUCT_YAML.format(product_id="shops") + SLA)
    shop = published(project)
    evaluator_for(shop.settings).evaluate([shop.product])
    return shop


@pytest.fixture(scope="session")
def standing(standing_shop) -> Iterator[httpx.Client]:
    """A client of its control port."""
    with serving(standing_shop) as client:
        yield client
