"""Limits: each consumer's own, refilled with time."""

from __future__ import annotations

import pytest

from dp_dagster.access.limits import Limiter
from dp_dagster.access.view import ANONYMOUS, Identity
from dp_dagster.errors import LimitExceededError
from dp_dagster.settings import DEFAULT_LIMITS, Limits

ADA, BOB = Identity("ada", method="oauth2"), Identity("bob", method="oauth2")


class Usage:
    rows = 0

    def rows_today(self, product: str, port: str, consumer: str) -> int:
        return self.rows if (product, port, consumer) == ("people", "rest", "oauth2:ada") else 0


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def limiter(time: Time, usage: Usage | None = None, workers: int = 1, **limits: int | str) -> Limiter:
    return Limiter(
        Limits.model_validate(limits),
        "people",
        "rest",
        usage or Usage(),
        workers=workers,
        clock=time,
        wall=lambda: 86_400 * 10 + 3600,
    )


def test_a_minute_s_worth_at_once_then_as_time_goes() -> None:
    time = Time()
    limit = limiter(time, requests_per_minute=60)
    for _ in range(60):
        limit.admit(ADA)
    with pytest.raises(LimitExceededError, match="60 requests a minute are the limit") as caught:
        limit.admit(ADA)
    assert caught.value.retry_after == 1
    limit.admit(BOB)
    limit.admit(Identity("ada", method="api_key"))
    time.now += 2
    limit.admit(ADA)
    limit.admit(ADA)
    with pytest.raises(LimitExceededError):
        limit.admit(ADA)


def test_workers_share_a_limit() -> None:
    limit = limiter(Time(), workers=4, requests_per_minute=8)
    limit.admit(ADA)
    limit.admit(ADA)
    with pytest.raises(LimitExceededError) as caught:
        limit.admit(ADA)
    assert caught.value.retry_after == 30


def test_rows_of_a_day() -> None:
    usage = Usage()
    limit = limiter(Time(), usage, rows_per_day=1000)
    usage.rows = 999
    limit.admit(ADA)
    usage.rows = 1000
    with pytest.raises(LimitExceededError, match="1,000 rows a day are the limit") as caught:
        limit.admit(ADA)
    assert caught.value.retry_after == 23 * 3600
    limit.admit(BOB)


def test_unlimited() -> None:
    limit = limiter(Time(), requests_per_minute="unlimited")
    for _ in range(1000):
        limit.admit(ANONYMOUS)


def test_a_port_s_limits_stand_before_the_platform_s() -> None:
    merged = (
        Limits(page_size=5, rows_per_day=7)
        .over(Limits(page_size=9, query_seconds="unlimited"))
        .over(DEFAULT_LIMITS)
    )
    assert (merged.page_size, merged.rows_per_day, merged.query_seconds) == (5, 7, "unlimited")
    assert (merged.requests_per_minute, merged.response_bytes) == (6000, "unlimited")
