"""A served port without a server around it, which reads what was published."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dp_dagster.access.view import ANONYMOUS
from dp_dagster.ports.base import OutputContext
from dp_dagster.settings import Settings
from dp_dagster.testing.asgi import Client
from dp_dagster.testing.published import CONTRACT, DATASET
from dp_dagster.testing.served_stand import Question

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.ports.served import ServedPort
    from dp_dagster.rows.shelf import Shelf
    from dp_dagster.testing.served_stand import ServedSample


def read_published(
    kind: type[ServedPort[Any]],
    sample: ServedSample,
    project_root: Path,
    address: str,
    metadata: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """The rows of :func:`~dp_dagster.testing.published.publish_version` as a consumer of a served port sees them.

    What :class:`~dp_dagster.testing.output_ports.OutputSample` wants for ``read``, once the first three arguments are
    given. ``metadata`` must hold the port's ``path``.
    """
    from dp_dagster.access.view import DatasetView
    from dp_dagster.ports.served import EXCHANGE, Exchange
    from dp_dagster.serving.hosts import Host
    from dp_dagster.storage.manifest import read_manifest

    settings = Settings(project_root=project_root)
    path: str = metadata["path"]
    product_id, major = _place(path)
    manifest = read_manifest(settings.storage, product_id)
    assert manifest is not None
    entries = manifest.ports[f"v{major}"]
    host = Host(
        address,
        _shelf(project_root, product_id, major),
        lambda _: max(entry.version for entry in entries.values()),
        lambda *_: None,
    )
    host.follow(manifest)
    context = OutputContext(
        product_id,
        project_root,
        major,
        path.rpartition("/")[2],
        DATASET,
        CONTRACT,
        "",
        settings,
        key=CONTRACT.key,
    )
    config = kind.Config.model_validate({"auth": "none", **sample.options})
    application = kind().application(config, context, host)
    names = tuple(column.name for column in CONTRACT.columns)
    exchange = Exchange(ANONYMOUS, DatasetView(DATASET, names))

    async def shell(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        scope[EXCHANGE] = exchange
        await application(scope, receive, send)

    with Client(shell) as client:
        reply = sample.ask(client, path, Question(names))
    assert reply.rows is not None, reply
    return [tuple(row[name] for name in names) for row in reply.rows]


@lru_cache(maxsize=4)
def _shelf(project_root: Path, product_id: str, major: int) -> Shelf:
    """The dataset's versions, as a server has them."""
    from concurrent.futures import ThreadPoolExecutor

    from dp_dagster.access.masks import Masks
    from dp_dagster.rows.builder import StoreBuilder
    from dp_dagster.rows.export import Exports
    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.shelf import Desk, Kept, Shelf
    from dp_dagster.rows.version import Limits
    from dp_dagster.storage import dataset_table

    settings = Settings(project_root=project_root)
    folder = settings.state_directory
    engine = FilesEngine(memory="256MB", spill=folder / "spill")
    desk = Desk(
        state_directory=folder,
        engine=engine,
        exports=Exports(engine, folder / "exports", room=1 << 20, largest=1 << 30, seconds=60.0),
        builder=StoreBuilder(retention=0),
        workers=ThreadPoolExecutor(1),
        limits=Limits(),
        masks=Masks(None),
    )
    return Shelf(
        desk, dataset_table(settings.storage, product_id, major, DATASET), Kept(CONTRACT, CONTRACT.key)
    )


def _place(path: str) -> tuple[str, int]:
    """Product and major version of ``/product/v1/…``."""
    _, product_id, major, *_ = path.split("/")
    return product_id, int(major.removeprefix("v"))
