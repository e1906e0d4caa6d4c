"""The gate before each port: who asks, whether they have had enough, and what is written down of it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from dp_dagster.access.authentication.authenticators import Authenticators
from dp_dagster.access.limits import Limiter
from dp_dagster.access.log import Access, AccessLog
from dp_dagster.access.view import Identity

if TYPE_CHECKING:
    from dp_dagster.access.authentication.base import Authenticator
    from dp_dagster.access.view import DatasetView
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.serving.shell import Served
    from dp_dagster.settings import Limits, Settings

UNKNOWN = Identity("unknown", method="unproven")
"""Stands in the access log for who did not prove who they are."""


class Gate:
    """The gate before one port.

    Attributes:
        limits: What each consumer may take.
        identify: From a request's headers to who asks; raises ``AuthenticationError``.
        admit: Raises ``LimitExceededError`` where they have had enough.
    """

    def __init__(
        self,
        product: ResolvedProduct,
        output: ResolvedOutput,
        dataset: ResolvedDataset,
        *,
        authenticator: Authenticator,
        limiter: Limiter,
        limits: Limits,
        log: AccessLog,
    ) -> None:
        self.limits = limits
        self._place = (product.id, output.label, dataset.label)
        self._policy = product.access
        self._label = dataset.label
        self.identify = authenticator.identify
        self.admit = limiter.admit
        self._log = log

    def view(self, identity: Identity) -> DatasetView | None:
        """What they see of the port's dataset; ``None`` for nothing."""
        return self._policy.view(self._label, identity)

    def finished(self, served: Served) -> None:
        """Write down what was answered."""
        exchange = served.exchange
        identity = UNKNOWN if exchange is None else exchange.identity
        self._log.record(
            Access(
                time.time() - served.milliseconds / 1000,
                *self._place,
                None if exchange is None else exchange.version,
                identity.subject,
                identity.client,
                identity.method,
                () if exchange is None else exchange.columns,
                0 if exchange is None else exchange.rows,
                served.status,
                served.milliseconds,
                served.size,
            )
        )


class Gates:
    """The gates of a process, and what they share.

    Args:
        settings: Of the platform.
        workers: How many processes serve; they share each limit.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        from dp_dagster.records import Records

        records = Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)
        self._settings = settings
        self._workers = workers
        self._authenticators = Authenticators(settings, records)
        days = settings.access_retention_days
        self._log = AccessLog(records, keep=timedelta(days=days) if isinstance(days, int) else None)

    def of(self, product: ResolvedProduct, output: ResolvedOutput, dataset: ResolvedDataset) -> Gate:
        """The gate before a port.

        Raises:
            SettingsError: the port cannot authenticate anybody.
        """
        limits = output.config.limits.over(self._settings.limits)
        return Gate(
            product,
            output,
            dataset,
            authenticator=self._authenticators.of(output.config.auth),
            limiter=Limiter(limits, product.id, output.label, self._log, workers=self._workers),
            limits=limits,
            log=self._log,
        )

    def start(self) -> None:
        """Begin to write down."""
        self._log.start()

    async def stop(self) -> None:
        """Write down the rest."""
        await self._authenticators.aclose()
        await asyncio.to_thread(self._log.close)
