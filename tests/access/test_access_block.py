"""``access`` in product.yaml: what is active, and what is refused with line, field, value and fix."""

# ruff: noqa: E501, ISC004 - messages stand in one line, as people read them

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from access_helpers import HEAD, WITH_LOGINS

from dp_dagster.access.view import ANONYMOUS, DatasetView, Identity
from dp_dagster.descriptor.json_schema import json_schema
from dp_dagster.predicates.model import Condition
from dp_dagster.registry import Registry

if TYPE_CHECKING:
    from access_helpers import People


def having(*roles: str) -> Identity:
    return Identity("ada", roles=frozenset(roles), method="oauth2", claims=(("region", "EU"),))


def test_grants_are_compiled_against_the_contract(people: People) -> None:
    product = people.resolve(
        HEAD
        + """\
access:
  - {role: analyst}
  - {role: [hr, audit], unmask: [name, salary], note: They pay.}
  - role: manager
    columns: [id, name, region]
    rows: region = {claim.region}
    masks: {name: partial}
  - {subject: bob, masks: {salary: null, region: hash}}
"""
    )
    everything = ("id", "name", "salary", "region")
    see = product.access.view
    assert see("people", ANONYMOUS) is None
    assert see("people", having("analyst")) == DatasetView(
        "people", everything, {"name": "redact", "salary": "null"}
    )
    assert see("people", having("audit")) == DatasetView("people", everything)
    assert see("people", having("manager")) == DatasetView(
        "people", ("id", "name", "region"), {"name": "partial"}, Condition("region", "eq", "EU")
    )
    bob = see("people", Identity("bob", method="api_key"))
    assert bob == DatasetView("people", everything, {"name": "redact", "salary": "null", "region": "hash"})
    assert {line.state for line in product.lines if line.path.startswith("access")} == {"active"}
    assert see("people", having("analyst")) is see("people", having("analyst"))


def test_default_masks_come_from_the_dataset_then_from_the_settings(people: People) -> None:
    def name_of(dataset: str, **settings: Any) -> str:
        text = HEAD.replace('People"}', f'People"{dataset}}}')
        view = people.resolve(text + "access: [{anyone: true}]\n", **settings).access.view(
            "people", ANONYMOUS
        )
        assert view is not None
        return view.masks["name"]

    assert name_of("", masks={"pii": "hash"}) == "hash"
    assert name_of("", masks={"default": "partial", "restricted": "hash"}) == "partial"
    assert name_of(", masks: {pii: null}", masks={"pii": "hash"}) == "null"
    assert name_of(", masks: {default: partial}", masks={"pii": "hash"}) == "partial"


@pytest.mark.parametrize(
    ("grants", "problem"),
    [
        ("[{}]", "6: access[0]: {} is for nobody; write subject, client, role or scope; or `anyone: true`"),
        ("[{anyone: false}]", "6: access[0]: is for nobody; write subject, client, role or scope; or `anyone: true`"),
        ("[{anyone: true, role: x}]", "6: access[0]: is for anyone and for somebody; leave `anyone` out, or the others"),
        ("[{role: x, colums: [id]}]", "6: access[0].colums: unknown key; did you mean columns?"),
        ("[{role: x, datasets: peple}]", "6: access[0].datasets[0]: peple is no dataset of the product; did you mean people?"),
        ("[{role: x, datasets: people@1}]", "6: access[0].datasets[0]: people@1 is no version that is live; choices: people@2"),
        ("[{role: x, columns: [id, nam]}]", "6: access[0].columns[1]: nam is no column of people; did you mean name?"),
        ("[{role: x, unmask: [region]}]", "6: access[0].unmask[0]: region is not classified; it is seen in clear; remove it, or classify it in contracts/people.py:People"),
        ("[{role: x, unmask: [name], masks: {name: hash}}]", "6: access[0].masks.name: name stands in unmask, too; take it out of one of them"),
        ("[{role: x, columns: [id], unmask: [name]}]", "6: access[0].unmask[0]: name is not among the columns; add it there, or remove it here"),
        ("[{role: x, masks: {salary: hash}}]", "6: access[0].masks.salary: hash is for texts, and salary has type int64; write null"),
        ("[{role: x, masks: {name: rot13}}]", "6: access[0].masks.name: rot13 is no choice here; choices: hash, null, partial, redact"),
        ("[{role: x, masks: {id: null}}]", "6: access[0].masks.id: a key is not masked: id is a key of people, by which rows are found and paged; remove it, or give the dataset another key"),
        ("[{role: x, columns: [name]}]", "6: access[0].columns: leaves id out: id is a key of people, by which rows are found and paged; add id"),
        ("[{role: x, rows: regon = 'EU'}]", "6: access[0].rows: people: regon is no column; did you mean region?"),
        ("[{role: x, rows: 'salary > many'}]", "6: access[0].rows: people: salary > many compares two columns; compare one column with a value; texts stand in single quotes"),
        ("{role: x}", "6: access: wants a list, not a mapping; write each item after `- `"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place_and_fix(people: People, grants: str, problem: str) -> None:
    assert people.problems(f"{HEAD}access: {grants}\n") == [problem]


def test_a_classified_key_must_be_seen_in_clear(people: People) -> None:
    assert people.problems(WITH_LOGINS + "access: [{role: x}]\n") == [
        "7: access[0]: email is a key of logins, by which rows are found and paged, and it is classified as pii; "
        "add `unmask: email`, or give the dataset another key"
    ]
    people.resolve(WITH_LOGINS + "access: [{role: x, datasets: logins, unmask: email}]\n")


def test_masks_of_a_dataset_name_its_classifications(people: People) -> None:
    assert people.problems(HEAD.replace('People"}', 'People", masks: {pi: hash}}')) == [
        "5: datasets[0].masks.pi: no column of people is classified as pi; did you mean pii?"
    ]


@pytest.mark.parametrize(
    ("auth", "problem"),
    [
        ("", "8: output_ports[0].auth: is missing: ASKED ports are served, and must say who may ask; add `auth: OAuth2`, "
         "`auth: api_key` or, for everybody on this machine, `auth: none`"),
        ("auth: basic", "8: output_ports[0].auth: basic is no way to authenticate; write one of none, api_key, OAuth2"),
        ("auth: {type: api-key, issuer: x}", "8: output_ports[0].auth.issuer: x is for OAuth2 alone; remove it, or write "
         "type: OAuth2 instead of api_key"),
        ("auth: {type: oauth2, issuer: 'http://example.com', audience: x}", "8: output_ports[0].auth.issuer: "
         "http://example.com is no address that can be trusted; write https://…; http:// is for loopback"),
        ("auth: {type: OAuth2, issuer: 'https://example.com'}", "8: output_ports[0].auth: names no audience, and neither do "
         "the platform's settings; add `audience: …` here, or set oauth2_audience"),
        ("auth: none", "8: output_ports[0].auth: asks nobody who they are, and no grant gives people to anyone; ask with "
         "api_key or OAuth2, or grant it to `anyone: true`"),
        ("auth: api_key, readers: {role: x}", "8: output_ports[0].readers: is for ports that hand out files; ASKED ports "
         "ask who reads them; remove it: access decides"),
        ("auth: api_key, limits: {page_size: 0}", "8: output_ports[0].limits.page_size: 0 is no amount; write a whole "
         "number from 1 on, or unlimited"),
    ],
)  # fmt: skip
def test_mistakes_of_served_ports(people: People, auth: str, problem: str) -> None:
    text = f"{HEAD}access: [{{role: x}}]\noutput_ports:\n  - {{name: a, type: ASKED, {auth}}}\n"
    assert people.problems(text)[0] == problem


def test_a_port_that_nobody_may_ask_is_refused(people: People) -> None:
    text = HEAD + "output_ports: [{name: a, type: ASKED, auth: api_key}]\n"
    assert people.problems(text) == [
        "6: output_ports[0]: nobody may see anything of people: no grant gives it; add one under access, such as "
        "`- {role: analyst}` or `- {anyone: true}`"
    ]


def test_short_forms_take_the_platform_s_issuer(people: People) -> None:
    text = HEAD + "access: [{role: x}]\noutput_ports: [{name: a, type: ASKED, auth: OAuth2}]\n"
    assert len(people.problems(text)) == 2
    product = people.resolve(text, oauth2_issuer="https://id.example.com", oauth2_audience="people")
    assert product.ports[0].config.auth.type == "OAuth2"
    assert people.problems(text, oauth2_issuer="http://id.example.com", oauth2_audience="people")


FILE_PORTS = HEAD + "output_ports: [{name: vw, type: SQL%s}]\n%s"


def test_files_of_guarded_datasets_need_a_decision(people: People) -> None:
    assert people.resolve(FILE_PORTS % ("", "")).ports[0].view is None, "storage permissions decide, as ever"
    assert people.problems(FILE_PORTS % ("", "access: [{role: analyst}]\n")) == [
        "6: output_ports[0]: hands out the files of people, which not everybody may see whole; say whom its readers are "
        "taken for, `readers: {role: analyst}`: they get what access gives these, in a copy; or remove the port"
    ]
    grants = "access: [{role: analyst}, {role: hr, unmask: [name, salary]}]\n"
    masked = people.resolve(FILE_PORTS % (", readers: {role: analyst}", grants)).ports[0]
    assert masked.view is not None
    assert masked.view.masks == {"name": "redact", "salary": "null"}
    assert people.resolve(FILE_PORTS % (", readers: {role: hr}", grants)).ports[0].view is None, "whole"
    assert people.problems(FILE_PORTS % (", readers: {role: clerk}", grants)) == [
        "6: output_ports[0].readers: no grant gives them anything of people; add one under access, or name others"
    ]


def test_the_table_itself_cannot_be_masked(people: People) -> None:
    text = FILE_PORTS.replace("SQL", "FILES, format: delta") % (
        ", readers: {role: analyst}",
        "access: [{role: analyst}]\n",
    )
    assert people.problems(text) == [
        "6: output_ports[0].format: delta hands out the table itself, and its readers may not see all of it; "
        "write parquet, csv or arrow, or give an endpoint, all of which are copies"
    ]


def test_editors_know_the_block() -> None:
    schema = json.loads(json.dumps(json_schema(Registry.load())))
    good = {
        "product_id": "a",
        "version": "1.0.0",
        "access": [{"role": "x", "unmask": ["name"], "masks": {"a": None}}],
    }
    jsonschema.validate(good, schema)
    for bad in ({"role": "x", "rol": "y"}, {"masks": {"a": "rot13"}}, "x"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, "access": [bad]}, schema)
