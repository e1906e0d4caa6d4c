"""Configuration of an HTTP input port."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dp_dagster.ports.base import KindConfig
from dp_dagster.ports.credentials import Secret  # noqa: TC001 - pydantic reads annotations at run time
from dp_dagster.ports.inputs.incremental import CursorConfig


class HttpCredentials(KindConfig):
    """Who asks, by reference: a token, a key, a login, or a client of OAuth2."""

    bearer: Secret | None = Field(default=None, description="A token, sent as `Authorization: Bearer`.")
    api_key: Secret | None = Field(default=None, description="A key.")
    name: str = Field(default="X-Api-Key", min_length=1, description="What the key is sent as.")
    where: Literal["header", "query"] = Field(default="header", description="Where the key is sent.")
    user: Secret | None = Field(default=None, description="A name to log in with (HTTP Basic).")
    password: Secret | None = Field(default=None, description="Its password.")
    token_url: str | None = Field(
        default=None, min_length=1, description="Where OAuth2 gives tokens to clients (client credentials)."
    )
    client_id: Secret | None = Field(default=None, description="The client.")
    client_secret: Secret | None = Field(default=None, description="Its secret.")
    scope: str | None = Field(default=None, min_length=1, description="What the token is asked for.")


class Paging(KindConfig):
    """How one page leads to the next."""

    by: Literal["page", "offset", "cursor", "link_header", "next_url"] = Field(
        description="`page`: a number that counts up. `offset`: how many records to leave out. `cursor`: a mark in the "
        "answer. `link_header`: the header `Link` with `rel=next`. `next_url`: an address in the answer.",
    )
    param: str | None = Field(
        default=None,
        min_length=1,
        description="Parameter of the query that takes page, offset or cursor. By default of that name.",
    )
    in_body: str | None = Field(
        default=None, min_length=1, description="Path in the body that takes it, instead of a parameter."
    )
    first: int = Field(default=1, ge=0, description="`page`: number of the first one.")
    limit: int = Field(default=100, ge=1, description="`offset`: records on a page.")
    limit_param: str = Field(
        default="limit", min_length=1, description="`offset`: parameter that takes the limit."
    )
    path: str | None = Field(
        default=None, min_length=1, description="`cursor`, `next_url`: where the answer has it: `meta.next`."
    )
    total: str | None = Field(
        default=None,
        min_length=1,
        description="`page`, `offset`: where the answer has the number of pages or records. Without it, an empty "
        "page is the last.",
    )
    more: str | None = Field(
        default=None, min_length=1, description="Where the answer says whether there is more: `has_more`."
    )


class HttpConfig(CursorConfig):
    """Configuration of an HTTP input port."""

    url: str = Field(
        min_length=1,
        description="Address of the first page, without credentials. References (`${API}`) are read when the data is, "
        "and never shown.",
    )
    method: Literal["GET", "POST"] = Field(default="GET", description="How it is asked.")
    params: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Parameters of the query."
    )
    body: dict[str, Any] | None = Field(default=None, description="With `POST`, what is sent as JSON.")
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers; values may hold references (`${TENANT}`)."
    )
    credentials: HttpCredentials | None = Field(default=None, description="`{bearer: ${SHOP_TOKEN}}`.")
    records: str | None = Field(
        default=None,
        min_length=1,
        description="Where the answer has the list of records: `data.items`. By default the answer is that list.",
    )
    paging: Paging | None = Field(
        default=None, description="How one page leads to the next. By default there is one."
    )
    cursor: str | None = Field(
        default=None,
        min_length=1,
        description="A field that only grows: a number that counts up, or when a record was last changed.",
    )
    cursor_param: str | None = Field(
        default=None,
        min_length=1,
        description="Parameter of the query that takes the cursor's last value: `since`.",
    )
    start: str | int | None = Field(default=None, description="The cursor's value for the first time.")
    overlap: int | str | None = Field(
        default=None,
        description="How far behind the cursor to ask again (`PT5M`, or a number), for records that show up late. "
        "Records that are there already are not doubled.",
    )
    watch: str | None = Field(
        default=None,
        min_length=1,
        description="An address whose answer changes whenever the data does; by default the records themselves are "
        "looked at.",
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="Types by column, as contracts write them (`decimal(12,2)`), over those of the contract.",
    )
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds to wait for a connection, and for each answer."
    )
    longest_wait: float = Field(
        default=300.0, ge=0, le=86_400, description="Seconds that a server may ask to wait (`Retry-After`)."
    )
    per_minute: int | None = Field(default=None, ge=1, description="At most so many requests in a minute.")
