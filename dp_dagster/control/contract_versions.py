"""Every contract version of every dataset that was ever published, numbered for good.

What was published stands in the records; which number it has stands in two tables of ours in the same database, which
follow the records and never change a number that they have given. Reading costs what is new since the last time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, UniqueConstraint

from dp_dagster.contracts.row_schema import DIALECT, row_schema
from dp_dagster.errors import StoreError, UsageError
from dp_dagster.records import Records
from dp_dagster.records_database import RecordsDatabase
from dp_dagster.storage.contracts import kept_contract

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dp_dagster.contracts.model import Contract
    from dp_dagster.settings import Settings

_PAGE = 500


@dataclass(frozen=True)
class ContractVersion:
    """One version of a dataset's contract.

    Attributes:
        subject: ``flights.v1.flights``.
        version: From 1, in the order of publication.
        schema_id: Number of the schema, the same wherever the same contract is published.
        product: Id of the product.
        contract_hash: The contract.
    """

    subject: str
    version: int
    schema_id: int
    product: str
    contract_hash: str


class ContractVersions:
    """The contract versions behind a settings' records and storage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records = Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)
        self._database = RecordsDatabase.open(settings.resolved_records_url, settings.lock_timeout)
        metadata = MetaData()
        self._schemas = Table(
            "dp_schemas",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=True),
            Column("contract_hash", String(128), nullable=False, unique=True),
        )
        self._versions = Table(
            "dp_schema_versions",
            metadata,
            Column("subject", Text, nullable=False, primary_key=True),
            Column("version", Integer, nullable=False, primary_key=True, autoincrement=False),
            Column("schema_id", Integer, nullable=False, index=True),
            Column("product", Text, nullable=False),
            Column("record", Integer, nullable=False, index=True),
            UniqueConstraint("subject", "schema_id"),
        )
        self._read = Table(
            "dp_schemas_read", metadata, Column("record", Integer, primary_key=True, autoincrement=False)
        )
        self._database.make(metadata)
        self._seen = -1

    def all(self, subject: str | None = None) -> list[ContractVersion]:
        """All versions, by subject and number; those of one subject where it is given.

        Raises:
            StoreError: the records cannot be read.
        """
        return self._select(self._versions.c.subject == subject if subject is not None else None)

    def of_schema(self, schema_id: int) -> list[ContractVersion]:
        """The versions that are one schema."""
        return self._select(self._versions.c.schema_id == schema_id)

    def contract(self, version: ContractVersion) -> Contract:
        """The contract of a version.

        Raises:
            StoreError: it is not kept at the storage root any more.
        """
        found = _kept(self._settings.storage, version.product, version.contract_hash)
        if found is None:
            raise StoreError(
                f"contract {version.contract_hash[:12]} of {version.subject} is not kept at the storage any more; "
                "publish the dataset again"
            )
        return found

    def _select(self, condition: Any) -> list[ContractVersion]:
        self._follow()
        versions, schemas = self._versions, self._schemas
        statement = (
            sqlalchemy.select(versions, schemas.c.contract_hash)
            .join(schemas, schemas.c.id == versions.c.schema_id)
            .order_by(versions.c.subject, versions.c.version)
        )
        if condition is not None:
            statement = statement.where(condition)
        with self._database.reading() as connection:
            return [
                ContractVersion(row.subject, row.version, row.schema_id, row.product, row.contract_hash)
                for row in connection.execute(statement)
            ]

    def _follow(self) -> None:
        """Number what was published since the last time."""
        newest = self._records.query(kind="published", limit=1)
        if not newest or newest[0].id == self._seen:
            return
        with self._database.reading() as connection:
            done = connection.execute(sqlalchemy.select(self._read.c.record)).scalar() or 0
        while done < newest[0].id:
            page = self._records.query(kind="published", after=done, oldest_first=True, limit=_PAGE)
            if not page:
                break
            with self._database.writing() as connection:
                known = connection.execute(sqlalchemy.select(self._read.c.record)).scalar()
                for record in page:
                    # Another server may have been quicker.
                    if record.id > (known or 0) and "/dataset/" in record.subject:
                        self._number(connection, record.id, record.product, record.subject, record.payload)
                done = max(page[-1].id, known or 0)
                if known is None:
                    connection.execute(self._read.insert().values(record=done))
                else:
                    connection.execute(self._read.update().values(record=done))
        self._seen = newest[0].id

    def _number(
        self, connection: Connection, record: int, product: str, area: str, payload: dict[str, Any]
    ) -> None:
        contract_hash = payload.get("commit", {}).get("dp.contract_hash")
        if not contract_hash:
            return
        schemas, versions = self._schemas, self._versions
        schema_id = connection.execute(
            sqlalchemy.select(schemas.c.id).where(schemas.c.contract_hash == contract_hash)
        ).scalar()
        if schema_id is None:
            made = connection.execute(schemas.insert().values(contract_hash=contract_hash))
            schema_id = made.inserted_primary_key[0] if made.inserted_primary_key else None
        major, _, name = area.partition("/dataset/")
        subject = f"{product}.{major}.{name}"
        of_subject = versions.c.subject == subject
        if connection.execute(
            sqlalchemy.select(versions.c.version).where(of_subject & (versions.c.schema_id == schema_id))
        ).first():
            return
        last = connection.execute(
            sqlalchemy.select(sqlalchemy.func.max(versions.c.version)).where(of_subject)
        ).scalar()
        connection.execute(
            versions.insert().values(
                subject=subject,
                version=(last or 0) + 1,
                schema_id=schema_id,
                product=product,
                record=record,
            )
        )


@lru_cache(maxsize=256)
def _kept(storage: str, product: str, contract_hash: str) -> Contract | None:
    # A contract of one hash never changes.
    return kept_contract(storage, product, contract_hash)


def schema_text(contract: Contract) -> str:
    """A contract as the JSON Schema that the registry hands out; the same text for the same contract."""
    schema, _ = row_schema(contract)
    about = {"description": contract.description} if contract.description else {}
    return json.dumps({"$schema": DIALECT, "title": contract.name, **about, **schema}, separators=(",", ":"))


def parse_subject(subject: str) -> tuple[str, int, str]:
    """Product, major version and dataset of a subject.

    Raises:
        UsageError: it is none.
    """
    parts = subject.split(".")
    if len(parts) != 3 or not parts[1].startswith("v") or not parts[1][1:].isdecimal():
        raise UsageError(f"{subject} is no subject; write PRODUCT.v1.DATASET")
    return parts[0], int(parts[1][1:]), parts[2]
