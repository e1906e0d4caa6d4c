"""Asking an API page by page: dlt's client for paging, authentication, retries and ``Retry-After``.

What is ours: where credentials may go, how long anybody waits, and what an error says.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dp_dagster.errors import InputError, NotInstalledError, RetryableError, SettingsError, StoreError
from dp_dagster.ports.credentials import Secrets, without_login
from dp_dagster.ports.inputs.json_numbers import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from dp_dagster.ports.inputs.http.config import HttpConfig

_AGAIN = frozenset({429, *range(500, 600)})
_NOT_LET_IN = frozenset({401, 403, 407})
_SHOWN = 200


class Api:
    """One API, as an input port names it.

    Args:
        config: The port's configuration.
        what: The port, for messages.
        say: Tells whoever watches the run.
        retries: How often to try again.

    Raises:
        NotInstalledError: the extra is missing.
        SettingsError: a variable is not set, or the URL is none.
    """

    def __init__(self, config: HttpConfig, what: str, say: Callable[[str], None], retries: int) -> None:
        self.config = config
        self.what = what
        self.say = say
        self.retries = retries
        self.secrets = Secrets(what)
        self.url = self.secrets.value(config.url)
        try:
            parts = urlsplit(self.url)
            self.origin = (parts.scheme, parts.hostname, parts.port)
        except ValueError:
            self.origin = ("", None, None)
        if self.origin[0] not in {"http", "https"} or not self.origin[1]:
            raise SettingsError(f"{what}: url {self.place} is no address; write https://host/path")
        self._last = 0.0
        self._tried = 0
        self._client = self._make_client()

    @property
    def place(self) -> str:
        """The address, as it may be shown."""
        return without_login(self.config.url)

    def pages(self, params: dict[str, Any]) -> Iterator[list[Any]]:
        """The records of all pages, page by page.

        Args:
            params: Parameters of the query beside those that are configured.

        Raises:
            InputError: an answer is not what is expected of it.
            StoreError: the API cannot be reached, or does not let us in.
            RetryableError: it wants to be left alone for longer than we wait.
        """
        import requests

        config = self.config
        # What it adds to the request must not stay in the configuration.
        body = None if config.body is None else dict(config.body)
        pages = self._client.paginate(
            self.url,
            method=config.method,
            params={**config.params, **params},
            json=body,
            paginator=self._paginator(),
            data_selector=config.records or "$",
            hooks={"response": [self._look_at]},
            allow_redirects=False,
        )
        try:
            for page in pages:
                records = list(page)
                if not records and config.records is not None:
                    self._check_empty(page.response)
                for record in records:
                    if not isinstance(record, dict):
                        raise InputError(
                            f"{self.what}: {self.place}: {config.records or 'the answer'} holds "
                            f"{type(record).__name__}, not records; say under records where they are"
                        )
                yield records
        except (requests.RequestException, ValueError) as error:
            raise self._explained(error) from None

    def text(self, url: str) -> bytes:
        """What an address answers.

        Raises:
            StoreError: as for :meth:`pages`.
        """
        import requests

        try:
            answer = self._client.get(self.secrets.value(url), allow_redirects=False)
            self._look_at(answer)
            found: bytes = answer.content
        except (requests.RequestException, ValueError) as error:
            raise self._explained(error) from None
        return found

    def close(self) -> None:
        """Let go of all connections."""
        self._client.session.close()

    # -- inside --------------------------------------------------------------------------------------------

    def _make_client(self) -> Any:
        try:
            from dlt.common.configuration.specs import RuntimeConfiguration
            from dlt.sources.helpers.requests.retry import Client
            from dlt.sources.helpers.rest_client.client import RESTClient
        except ImportError as error:
            raise NotInstalledError(
                f"{self.what}: HTTP input ports need the extra http: pip install 'dp_dagster[http]'"
            ) from error
        session = Client(
            raise_for_status=False,
            request_timeout=self.config.timeout,
            request_max_attempts=self.retries + 1,
            request_max_retry_delay=max(self.config.longest_wait, 1.0),
            # All of it is decided, and told, in one place.
            status_codes=(),
            exceptions=(),
            retry_condition=self._is_tried_again,
        ).session
        # Neither proxies nor logins of the account's own files: what is sent stands in the descriptor.
        session.trust_env = False
        headers = {name: self.secrets.value(value) for name, value in self.config.headers.items()}
        # With settings of its own it looks for no files of dlt's.
        return RESTClient(
            self.url,
            headers={"Accept": "application/json", "User-Agent": "dp_dagster", **headers},
            auth=self._auth(session),
            session=session,
            config=RuntimeConfiguration(),
        )

    def _auth(self, session: Any) -> Any:
        from dlt.sources.helpers.rest_client import auth

        given = self.config.credentials
        inner: Any = None
        if given is None:
            pass
        elif given.bearer is not None:
            inner = auth.BearerTokenAuth(self.secrets.value(given.bearer))
        elif given.api_key is not None:
            inner = auth.APIKeyAuth(given.name, self.secrets.value(given.api_key), given.where)
        elif given.token_url is not None:
            inner = auth.OAuth2ClientCredentials(
                access_token_url=self.secrets.value(given.token_url),
                client_id=self.secrets.value(given.client_id or ""),
                client_secret=self.secrets.value(given.client_secret or ""),
                access_token_request_data={"scope": given.scope} if given.scope else {},
                session=session,
            )
        elif given.user is not None:
            inner = auth.HttpBasicAuth(
                self.secrets.value(given.user), self.secrets.value(given.password) if given.password else ""
            )

        def authorise(request: Any) -> Any:
            parts = urlsplit(request.url)
            if (parts.scheme, parts.hostname, parts.port) != self.origin:
                raise InputError(
                    f"{self.what}: {self.place}: a page leads to {parts.scheme}://{parts.hostname}, and nothing "
                    "is asked of other hosts"
                )
            self._keep_pace()
            return request if inner is None else inner(request)

        return authorise

    def _keep_pace(self) -> None:
        if self.config.per_minute is not None:
            wait = self._last + 60 / self.config.per_minute - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._last = time.monotonic()

    def _paginator(self) -> Any:
        from dlt.sources.helpers.rest_client import paginators

        paging = self.config.paging
        if paging is None:
            return paginators.SinglePagePaginator()
        if paging.by == "link_header":
            return paginators.HeaderLinkPaginator()
        if paging.by == "next_url":
            return paginators.JSONLinkPaginator(paging.path or "next")
        name = None if paging.in_body else paging.param or paging.by
        if paging.by == "cursor":
            return paginators.JSONResponseCursorPaginator(
                paging.path or "next",
                cursor_param=name,
                cursor_body_path=paging.in_body,
                has_more_path=paging.more,
            )
        if paging.by == "page":
            return paginators.PageNumberPaginator(
                base_page=paging.first,
                page_param=name,
                page_body_path=paging.in_body,
                total_path=paging.total,
                has_more_path=paging.more,
            )
        return paginators.OffsetPaginator(
            paging.limit,
            offset_param=name,
            offset_body_path=paging.in_body,
            limit_param=paging.limit_param,
            total_path=paging.total,
            has_more_path=paging.more,
        )

    def _look_at(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Called with each answer, before anybody reads it or tries again."""
        import requests

        status = response.status_code
        if status >= 300:
            # Read to its end, so that the line can be used again.
            bytes(response.content)
        if 300 <= status < 400:
            target = without_login(self.secrets.hide(response.headers.get("Location", "")))
            raise InputError(f"{self.what}: {self.place}: leads to {target} ({status}); write that address")
        if status in _AGAIN:
            wait = _retry_after(response)
            if wait is not None and wait > self.config.longest_wait:
                raise RetryableError(
                    f"{self.what}: {self.place}: {status}: wants to be left alone for {wait:.0f} s, longer than "
                    f"longest_wait ({self.config.longest_wait:.0f} s)"
                )
        if status >= 400:
            raise requests.HTTPError(response=response)
        # Whoever reads the answer, here or in dlt, reads numbers with all their digits.
        response.json = partial(response.json, parse_float=number)  # type: ignore[method-assign]

    def _is_tried_again(self, response: requests.Response | None, error: BaseException | None) -> bool:
        """Whether a request is tried again; says why."""
        import requests

        failed = response if response is not None else getattr(error, "response", None)
        is_tried_again = (failed is not None and failed.status_code in _AGAIN) or isinstance(
            error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
        )
        if not is_tried_again:
            self._tried = 0
            return False
        self._tried += 1
        if self._tried <= self.retries:
            wait = None if failed is None else _retry_after(failed)
            when = "trying again" if wait is None else f"trying again in {wait:.0f} s, as it asks"
            why = self._status(failed) if failed is not None else self._cause(error)
            self.say(f"{self.what}: {self.place}: {why}; {when} ({self._tried} of {self.retries})")
        return True

    def _check_empty(self, response: requests.Response) -> None:
        """An answer without the list is not one with an empty list."""
        from dlt.common import jsonpath

        answer = response.json()
        if not jsonpath.find_values(self.config.records or "$", answer):
            there = ", ".join(answer) if isinstance(answer, dict) else type(answer).__name__
            raise InputError(
                f"{self.what}: {self.place}: the answer has no {self.config.records}; it has "
                f"{there[:_SHOWN] or 'nothing'}"
            )

    def _explained(self, error: Exception) -> Exception:
        import requests

        where = f"{self.what}: {self.place}: "
        response = getattr(error, "response", None)
        if isinstance(error, requests.HTTPError) and response is not None:
            body = self.secrets.hide(response.text)[:_SHOWN]
            said = f"{self._status(response)}{f': {body}' if body else ''}"
            lasting = response.status_code not in _AGAIN | _NOT_LET_IN
            return InputError(f"{where}{said}") if lasting else StoreError(f"{where}{said}")
        if isinstance(error, requests.JSONDecodeError):
            return InputError(f"{where}the answer is no JSON: {self.secrets.hide(error.doc)[:_SHOWN]}")
        if isinstance(error, requests.RequestException):
            return StoreError(f"{where}{self._cause(error)}")
        return InputError(f"{where}{self.secrets.hide(str(error))[:_SHOWN]}")

    def _status(self, response: requests.Response) -> str:
        return f"{response.status_code} {response.reason}".strip()

    def _cause(self, error: BaseException | None) -> str:
        """The innermost reason: libraries wrap it in their own, with the whole address."""
        import requests

        if isinstance(error, requests.Timeout):
            return f"no answer in {self.config.timeout:g} s"
        causes = [error]
        while causes[-1] is not None:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        texts = [str(cause) for cause in causes if isinstance(cause, OSError) and cause.strerror]
        found = texts[-1] if texts else type(error).__name__
        return self.secrets.hide(found)[:_SHOWN]


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
