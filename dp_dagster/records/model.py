"""What a record is, and the text that its hash is taken of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal[
    # what a run does
    "audited",  # a candidate was judged by its contract
    "published",
    "held",  # a candidate was not published
    "quarantined",  # rows were set aside
    "projected",  # a port shows another version
    "delivered",  # a port sent what it has to tell to where its readers find it
    "cleaned",  # files of runs that never published were removed
    "rolled_back",
    # what changes, and what is agreed to or refused
    "changed",  # a contract, or a version of the product, that was never seen before
    "acknowledged",  # consumers agreed to a change that breaks them
    "refused",  # a gate or a policy stopped a publication or a load
    "exempted",  # a policy was not kept, and an exemption allows it
    "exemption_granted",  # somebody allowed what a policy forbids
    "exemption_withdrawn",
    "checked",  # policies came to another result than the time before
    # who may read, and who did
    "key_created",
    "key_revoked",
    "read",  # a sealed batch of the access log: one record for many requests
    # what people are told
    "alert_opened",
    "alert_sent",
    "alert_acknowledged",
    "alert_muted",
    "alert_recovered",
    "sla_breached",
    "sla_recovered",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

GENESIS = "0" * 64
"""What the first record follows."""


@dataclass(frozen=True)
class Record:
    """One thing that happened.

    Attributes:
        id: Position in the chain, from 1 without gaps.
        at: When it was recorded, UTC, ISO 8601.
        kind: What happened; one of :data:`KINDS`.
        product: Id of the product; empty where it concerns the whole platform.
        subject: What it happened to (``v1/dataset/flights``).
        actor: Who did it: a person (``user:ada``), or what ran by itself (``schedule:flights_daily``).
        run_id: The run in which it happened.
        payload: The facts, as JSON.
        previous_hash: Hash of the record before; zeros for the first.
        hash: SHA-256 over all of the above.
    """

    id: int
    at: str
    kind: str
    product: str
    subject: str
    actor: str
    run_id: str
    payload: dict[str, Any]
    previous_hash: str
    hash: str


def canonical(content: Mapping[str, Any]) -> str:
    """The one spelling of some facts as JSON.

    Raises:
        TypeError: they are no JSON.
        ValueError: they hold a number that is none.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(  # noqa: PLR0917 the fields of a record, in their order
    number: int,
    at: str,
    kind: str,
    product: str,
    subject: str,
    actor: str,
    run_id: str,
    payload: str,
    previous_hash: str,
) -> str:
    """The hash of a record, its payload as text.

    It is taken of the record's canonical JSON, put together here from its parts: the payload is already in its one
    spelling, and a million records are verified in seconds. No two records have one text: what is left and what
    is right of the payload are strings whose quotes are escaped.

    Raises:
        TypeError: a value is not of its type, as somebody may have left it in the database.
    """
    text = (
        f'{{"actor":{encode_basestring(actor)},"at":{encode_basestring(at)},"id":{number:d},'
        f'"kind":{encode_basestring(kind)},"payload":{payload},'
        f'"previous_hash":{encode_basestring(previous_hash)},"product":{encode_basestring(product)},'
        f'"run_id":{encode_basestring(run_id)},"subject":{encode_basestring(subject)}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()
