"""Exemptions that are granted while the platform runs. The audit log is where they are kept: a grant is its record.

So there is no second place that could say something else, nobody can grant anything without leaving who and why, and
whoever edits a grant afterwards is found by ``dp audit verify``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dp_dagster.descriptor.problems import suggestion
from dp_dagster.errors import NotFoundError, UsageError
from dp_dagster.policies.exemptions import Exemption, GrantedExemption
from dp_dagster.policies.places import parts_of
from dp_dagster.records import Records, append_within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.policies.configuration import PolicySet
    from dp_dagster.records import Record
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings

_SQLITE = "sqlite:///"


class Grants:
    """The exemptions of a platform that were granted and not withdrawn.

    Example:
        >>> grants = Grants(settings)
        >>> granted = grants.grant(Exemption(policy="naming", product="flights", …), policies, "user:ada")
        >>> grants.withdraw(granted.id, "it was renamed", "user:ada")
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def current(self, product: str | None = None) -> list[GrantedExemption]:
        """What is granted now, the expired ones too, oldest first.

        Args:
            product: Only of this product.

        Raises:
            StoreError: the records cannot be read.
        """
        if self._nothing_recorded():
            return []
        records = self._records()
        withdrawn = {
            one.payload["granted"] for one in records.query(product=product, kind="exemption_withdrawn")
        }
        found: dict[tuple[str, str, str | None], GrantedExemption] = {}
        for record in records.query(product=product, kind="exemption_granted", oldest_first=True):
            granted = _of(record)
            # A later grant of the same stands for the one before.
            place = (granted.product, granted.policy, granted.part)
            found.pop(place, None)
            if record.id not in withdrawn:
                found[place] = granted
        return list(found.values())

    def grant(self, exemption: Exemption, policies: PolicySet, actor: str) -> GrantedExemption:
        """Grant an exemption; one of the same policy, product and part that was granted before is replaced.

        Args:
            exemption: What is allowed, why, and until when.
            policies: Those that hold.
            actor: Who grants it.

        Raises:
            UsageError: there is no such policy, it is a gate, or the last day is past.
            StoreError: the records cannot be written.
        """
        known = {one.id: one for one in policies.policies}
        if exemption.policy not in known:
            raise UsageError(
                f"policy: there is no policy {exemption.policy}; {suggestion(exemption.policy, known, 'policies')}"
            )
        policy = known[exemption.policy].policy
        if policy is not None and policy.is_gate:
            raise UsageError(f"policy: {exemption.policy} is a gate without exemptions; {policy.why}")
        if exemption.has_expired:
            raise UsageError(f"expires: {exemption.expires.isoformat()} is past; name a day to come")
        facts = exemption.model_dump(mode="json", include={"part", "reason", "expires"})
        record = self._records().append(
            "exemption_granted",
            exemption.product,
            f"policies/{exemption.policy}",
            actor,
            "",
            {**facts, "policy": exemption.policy, "environment": self._settings.environment},
        )
        return _of(record)

    def withdraw(self, number: int, reason: str, actor: str) -> GrantedExemption:
        """End an exemption that was granted.

        Args:
            number: Its id.
            reason: Why.
            actor: Who withdraws it.

        Raises:
            NotFoundError: there is none of that number, or it has ended before.
            UsageError: there is no reason.
            StoreError: the records cannot be read or written.
        """
        reason = reason.strip()
        if not reason:
            raise UsageError("reason: is empty; say why the exemption ends")
        if self._nothing_recorded():
            raise _none_of(number)
        database = self._records().database()
        # Who holds the transaction is the only one who writes: nobody withdraws it in between.
        with database.writing() as connection:
            granted = next((one for one in self.current() if one.id == number), None)
            if granted is None:
                raise _none_of(number)
            append_within(
                database,
                connection,
                "exemption_withdrawn",
                granted.product,
                f"policies/{granted.policy}",
                actor,
                "",
                {
                    "granted": granted.id,
                    "policy": granted.policy,
                    "part": granted.part,
                    "reason": reason,
                    "environment": self._settings.environment,
                },
            )
        return granted

    def _records(self) -> Records:
        return Records(self._settings.resolved_records_url, lock_timeout=self._settings.lock_timeout)

    def _nothing_recorded(self) -> bool:
        """Whether there is no database yet. Looking must not make one: checking a product leaves nothing behind."""
        url = self._settings.resolved_records_url
        return url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE).partition("?")[0]).exists()


def exemption_of(given: Any, products: Iterable[ResolvedProduct]) -> Exemption:
    """An exemption as somebody asks for it: policy, product, part, reason, expires.

    Args:
        given: What was asked for.
        products: Those that there are; one that is misspelt would never be exempted, and nobody would notice.

    Raises:
        UsageError: a value is missing or wrong, or there is no such product or part.
    """
    try:
        exemption = Exemption.model_validate(given)
    except ValidationError as error:
        raise UsageError(
            "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg'][:1].lower()}{one['msg'][1:]}"
                for one in error.errors(include_url=False, include_context=False, include_input=False)
            )
        ) from None
    known = {product.id: product for product in products}
    if exemption.product not in known:
        raise UsageError(
            f"product: there is no product {exemption.product}; {suggestion(exemption.product, known, 'products')}"
        )
    parts = parts_of(known[exemption.product])
    if exemption.part is not None and exemption.part not in parts:
        raise UsageError(
            f"part: {exemption.product} has no part {exemption.part}; {suggestion(exemption.part, parts, 'parts')}"
        )
    return exemption


def _of(record: Record) -> GrantedExemption:
    facts = record.payload
    return GrantedExemption(
        policy=facts["policy"],
        product=record.product,
        part=facts["part"],
        reason=facts["reason"],
        expires=facts["expires"],
        id=record.id,
        by=record.actor,
        at=record.at,
    )


def _none_of(number: int) -> NotFoundError:
    return NotFoundError(f"there is no exemption {number}; it may have been withdrawn or replaced")
