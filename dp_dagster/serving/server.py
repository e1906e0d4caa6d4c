"""Running the shell: a socket, worker processes, and an end that lets answers finish."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import OperatorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import uvicorn

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.serving.options import ServeOptions
    from dp_dagster.serving.protocol import Application
    from dp_dagster.settings import Settings

_DRAIN_SECONDS = 30
_KEEP_ALIVE_SECONDS = 30
_WAITING_CONNECTIONS = 2048


def refuse_open_ports(products: Sequence[ResolvedProduct], host: str) -> None:
    """What asks nobody who they are is for this machine alone, unless its author wrote that it is not.

    Raises:
        UsageError: names each such port, and what to write.
    """
    from dp_dagster.access.authentication.config import is_loopback
    from dp_dagster.serving.products import served_ports

    if is_loopback(host):
        return
    found = [
        f"{product.id}.{port.label}"
        for product in products
        for port in served_ports(product)
        if port.config.auth.type == "none" and not port.config.auth.beyond_loopback
    ]
    if any(_opens_control(product.settings) for product in products[:1]):
        found.append("control")
    if found:
        raise UsageError(
            f"{', '.join(found)}: auth: none answers everybody, and --host {host} can be reached from other "
            "machines; authenticate (auth: api_key or OAuth2), or say that it is meant: "
            "auth: {type: none, beyond_loopback: true}"
        )


def _opens_control(settings: Settings) -> bool:
    """Whether the control port, which products of one server share, asks nobody who they are."""
    from dp_dagster.control.config import control_config
    from dp_dagster.serving.service_levels import authentication_of

    config = control_config(settings)
    if config is None:
        return False
    demanded = authentication_of(config)
    return demanded.type == "none" and not demanded.beyond_loopback


def run(options: ServeOptions, *, host: str, port: int, when_bound: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; then answer what has begun, and end.

    Args:
        options: What is served.
        host: Address of this machine.
        port: TCP port there.
        when_bound: Called once the address is taken, before anything is answered.

    Raises:
        OperatorError: the address is taken, or is none of this machine.
    """
    import uvicorn

    listening = _bound(host, port)
    when_bound()
    options.to_environment()
    config = configuration("dp_dagster.serving.app:create", factory=True, workers=options.workers)
    if options.workers > 1:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(config, sockets=[listening]).run()
    else:
        # When it has ended in good order, the server raises the signal that it ended for once more; to end by that
        # would look like a crash.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listening])


def configuration(
    application: Application | str, *, factory: bool = False, workers: int = 1
) -> uvicorn.Config:
    """How uvicorn serves the shell; the socket is given to it."""
    import uvicorn

    from dp_dagster.serving.connections import PatientProtocol

    return uvicorn.Config(
        application,
        factory=factory,
        workers=workers,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=_logging(),
        access_log=False,
        server_header=False,
        # Who asks is known by what they prove, never by what a header says of their address.
        proxy_headers=False,
        backlog=_WAITING_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except OSError:
            found.close()
            raise
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host or --port"
        ) from error
    found.set_inheritable(True)
    return found


def _logging() -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "plain",
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {
            "dp_dagster": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }
