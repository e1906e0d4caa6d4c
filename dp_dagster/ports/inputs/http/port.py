"""The kind HTTP of input ports."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from dp_dagster.errors import InputError
from dp_dagster.ports.base import Fault, InputContext, InputPort, KindConfig, Landing, Written
from dp_dagster.ports.credentials import without_login
from dp_dagster.ports.inputs.http.config import HttpConfig, HttpCredentials
from dp_dagster.ports.inputs.json_numbers import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import duckdb

    from dp_dagster.ports.inputs.http.client import Api
    from dp_dagster.ports.inputs.records import Records

_SAY_EVERY_SECONDS = 5.0
_WAYS = ("bearer", "api_key", "token_url", "user")
_PAGED_BY_A_MARK = frozenset({"cursor", "next_url"})


class HttpInput(InputPort[HttpConfig]):
    """Records of an HTTP API: pages of JSON, in full or what is new since the last time."""

    kind = "HTTP"
    summary = "an HTTP API that answers in JSON"
    extra = "http"
    Config: ClassVar[type[KindConfig]] = HttpConfig

    def check(self, config: HttpConfig, product_root: Path) -> Iterable[Fault]:
        """A URL without credentials, one way to authenticate, and options that go together."""
        yield from _url_faults(config)
        if config.cursor is not None and config.landing_mode == "replace":
            yield Fault("cursor", "says nothing with mode replace", "remove it, or set mode: append or merge")
        for name in ("cursor_param", "start", "overlap"):
            if getattr(config, name) is not None and config.cursor is None:
                yield Fault(name, "says nothing without a cursor", "add cursor, or remove it")
        if config.body is not None and config.method == "GET":
            yield Fault("body", "is sent with POST only", "set method: POST, or use params")
        if config.credentials is not None:
            yield from _credential_faults(config.credentials)
        paging = config.paging
        if paging is not None and paging.path is not None and paging.by not in _PAGED_BY_A_MARK:
            yield Fault("paging", f"path says nothing where pages go by {paging.by}", "remove it")
        if paging is not None and paging.in_body is not None and config.method != "POST":
            yield Fault("paging", "in_body is sent with POST only", "set method: POST, or use param")
        yield from config.faults()

    def location(self, config: HttpConfig) -> str:
        """The address as declared: what comes from the environment does not show, nor does the query."""
        return without_login(config.url)

    def landing(self, config: HttpConfig) -> Landing:
        """By the cursor, where there is one."""
        return config.landing(config.cursor)

    def identity(self, config: HttpConfig) -> str:
        """All but how records are fetched."""
        return config.identity()

    def fingerprint(self, config: HttpConfig, context: InputContext) -> str:
        """What ``watch`` answers; else a hash over all records, or over those from the cursor's value on."""
        with _api(config, context) as api:
            if config.watch is not None:
                return hashlib.sha256(api.text(config.watch)).hexdigest()[:32]
            last = (context.state or {}).get("cursor", config.start)
            seen = _Seen(config, context, last)
            for page in api.pages(seen.params(last)):
                seen.add(page)
            if config.cursor is None:
                return seen.digest()
            return self._position(api, seen)[0]

    def write(
        self,
        config: HttpConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
    ) -> Written:
        """Write all records, or those that are new since the state."""
        from dp_dagster.ports.inputs.records import Records

        last = (context.state or {}).get("cursor", config.start)
        seen = _Seen(config, context, last)
        with (
            _api(config, context) as api,
            tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", suffix=".ndjson", dir=destination.parent, prefix=".records-"
            ) as file,
        ):
            # Before the records: what comes in between is then read the next time.
            watched = hashlib.sha256(api.text(config.watch)).hexdigest()[:32] if config.watch else ""
            records = Records(context, config.types, file)
            self._read(api, seen, records, last)
            if config.cursor is None:
                fingerprint = watched or seen.digest()
            elif watched:
                fingerprint = watched
            else:
                fingerprint, late = self._position(api, seen)
                while late:
                    for record in late:
                        records.add(record)
                    seen.add(late)
                    fingerprint, late = self._position(api, seen)
            rejected = records.write(
                connection,
                destination,
                self.location(config),
                sets_aside=config.on_schema_change == "quarantine",
            )
        if config.cursor is None:
            return Written(fingerprint=fingerprint, rejected=rejected)
        state = {} if seen.highest is None else {"cursor": _at_most(seen.highest)}
        again = None if last is None or context.state is None else (config.cursor, seen.low(last))
        return Written(state, fingerprint, again, config.key, rejected)

    def _read(self, api: Api, seen: _Seen, records: Records, last: Any) -> None:
        said = time.monotonic()
        for page in api.pages(seen.params(last)):
            for record in page:
                records.add(record)
            seen.add(page)
            if time.monotonic() - said > _SAY_EVERY_SECONDS:
                said = time.monotonic()
                seen.context.say(f"{seen.context.what}: {records.count:,} records so far")

    def _position(self, api: Api, seen: _Seen) -> tuple[str, list[Any]]:
        """What the API answers from the highest value on, as a fingerprint, and what of it is not seen yet.

        Whether it answers with the record that has just this value, or only with those after it, is thus no matter.
        """
        answered = _Seen(seen.config, seen.context, seen.highest)
        late = []
        for page in api.pages(seen.params(seen.highest)):
            answered.add(page)
            late += [record for record in page if not seen.has(record)]
        return answered.digest(seen.highest), late


class _Seen:
    """The records of one reading: which they are, and the highest value of the cursor among them."""

    def __init__(self, config: HttpConfig, context: InputContext, last: Any) -> None:
        self.config = config
        self.context = context
        self.highest = last
        self._hashes: set[bytes] = set()
        self._sum = 0
        self._count = 0

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            hashed = _hash(record)
            self._count += 1
            self._sum += int.from_bytes(hashed, "big")
            if self.config.cursor is None:
                continue
            self._hashes.add(hashed)
            value = record.get(self.config.cursor)
            if value is None or isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
                raise InputError(
                    f"{self.context.what}: the cursor {self.config.cursor} is {dumps(value)[:60]} in a record, so "
                    "nobody can tell when that is new; choose a field that always has a number or a text"
                )
            if self.highest is None or self._is_later(value, self.highest):
                self.highest = value

    def has(self, record: Mapping[str, Any]) -> bool:
        return _hash(record) in self._hashes

    def digest(self, *more: Any) -> str:
        """A fingerprint of the records, whatever their order."""
        return hashlib.sha256(repr((self._count, self._sum, *more)).encode()).hexdigest()[:32]

    def params(self, last: Any) -> dict[str, Any]:
        """What to ask for."""
        if self.config.cursor_param is None or last is None:
            return {}
        return {self.config.cursor_param: self.low(last)}

    def low(self, value: Any) -> Any:
        """Where reading goes on from a value of the cursor."""
        overlap = self.config.overlap_value
        if overlap is None:
            return value
        try:
            if not isinstance(value, str):
                return value - overlap
            moment = datetime.fromisoformat(value) - overlap  # type: ignore[operator]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self.context.what}: overlap {self.config.overlap} cannot be subtracted from the cursor "
                f"{self.config.cursor}, whose values are like {value}"
            ) from error
        text = moment.isoformat()
        return text.replace("+00:00", "Z") if value.endswith("Z") else text

    def _is_later(self, value: Any, than: Any) -> bool:
        if isinstance(value, str) != isinstance(than, str):
            raise InputError(
                f"{self.context.what}: the cursor {self.config.cursor} is a number in one record and a text in another "
                f"({value}, {than})"
            )
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value) > datetime.fromisoformat(than)
            except (TypeError, ValueError):
                return value > str(than)
        return bool(value > than)


@contextmanager
def _api(config: HttpConfig, context: InputContext) -> Iterator[Api]:
    from dp_dagster.ports.inputs.http.client import Api

    # Whoever only watches is asked again soon enough.
    retries = 0 if context.run_id == "watch" else config.retries
    api = Api(config, context.what, context.say, retries)
    try:
        yield api
    finally:
        api.close()


def _hash(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _at_most(value: Any) -> Any:
    """A cursor's value as the state keeps it. One with more digits than a float is read once more; none is left out."""
    if not isinstance(value, Decimal):
        return value
    short = float(value)
    return short if Decimal(short) <= value else math.nextafter(short, -math.inf)


def _url_faults(config: HttpConfig) -> Iterable[Fault]:
    for field in ("url", "watch"):
        text = getattr(config, field)
        if text is None:
            continue
        try:
            parts = urlsplit(text)
            login, query = parts.netloc.rpartition("@")[0], parts.query
        except ValueError:
            yield Fault(field, "is no URL", "write https://host/path")
            continue
        if parts.scheme not in {"http", "https"} and "${" not in text:
            yield Fault(field, f"{without_login(text)} is no address", "write https://host/path")
        if login:
            yield Fault(
                field, "holds a login", "write credentials: {user: ${SHOP_USER}, password: ${SHOP_PASSWORD}}"
            )
        secret = [name for name, _ in parse_qsl(query) if any(word in name.lower() for word in _SECRETIVE)]
        if secret:
            yield Fault(
                field,
                f"holds {', '.join(secret)}, which may be a secret",
                "write credentials: {api_key: ${SHOP_KEY}, name: …, where: query}",
            )


_SECRETIVE = ("token", "key", "secret", "password", "signature")


def _credential_faults(given: HttpCredentials) -> Iterable[Fault]:
    ways = [name for name in _WAYS if getattr(given, name) is not None]
    if len(ways) != 1:
        yield Fault(
            "credentials", f"want one of {', '.join(_WAYS)}", "write bearer: ${SHOP_TOKEN}, for instance"
        )
    if given.token_url is not None and (given.client_id is None or given.client_secret is None):
        yield Fault("credentials", "token_url needs client_id and client_secret", "add them, as references")
