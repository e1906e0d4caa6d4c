"""Kinds: found, known before they exist, registered once."""

from __future__ import annotations

import pytest

from dp_dagster.errors import OperatorError
from dp_dagster.ports.base import KindConfig
from dp_dagster.registry import FAMILIES, Entry, Registry
from dp_dagster.resolve import resolve


class Fake:
    kind = "FAKE"
    summary = "nothing"
    extra = None
    Config = KindConfig

    def check(self, *_):
        return ()

    def missing(self, *_):
        return None


def entry(name, load, origin="somewhere:Fake"):
    return Entry(name, origin, load)


def test_the_installed_kinds_are_found_in_any_case():
    registry = Registry.load()
    for family, names in {
        "input_ports": {"FILES", "PRODUCT"},
        "output_ports": {"SQL", "FILES"},
        "transforms": {"SQL", "PYTHON", "DBT"},
    }.items():
        installed = {kind.name for kind in registry.kinds(family) if kind.state == "installed"}
        assert names <= installed
        for name in names:
            assert registry.find(family, name.lower()).implementation.kind == name
    assert registry.find("output_ports", "rest-api").name == "REST_API"
    assert registry.find("output_ports", "nothing") is None


def test_every_kind_that_is_reserved_names_its_extra():
    reserved = [kind for family in FAMILIES for kind in Registry({}).kinds(family)]
    assert {"WEBHOOK", "NATS", "DELTA"} <= {k.name for k in reserved}
    for kind in reserved:
        if kind.name == "DECLARED":  # the word for having no kind
            assert (kind.state, kind.implementation, kind.extra) == ("declared only", None, None)
            continue
        assert (kind.state, kind.implementation) == ("not installed", None)
        assert repr(kind.extra) in kind.reason


def test_two_registrations_of_one_kind_are_refused_and_named():
    with pytest.raises(OperatorError, match="kind FAKE is registered twice, by a:A and by b:B"):
        Registry({"transforms": [entry("FAKE", lambda: Fake, "a:A"), entry("fake", lambda: Fake, "b:B")]})
    Registry({"transforms": [entry("FAKE", lambda: Fake, "a:A"), entry("FAKE", lambda: Fake, "a:A")]})
    Registry({"transforms": [entry("FAKE", lambda: Fake)], "input_ports": [entry("FAKE", lambda: Fake)]})


def test_an_installed_kind_takes_the_place_of_a_reserved_one():
    class Nats(Fake):
        kind = "NATS"

    assert Registry.of({"output_ports": [Nats]}).find("output_ports", "nats").implementation is Nats


def test_nothing_is_imported_before_it_is_asked_for():
    imported = []

    def load():
        imported.append("FAKE")
        return Fake

    registry = Registry({"transforms": [entry("FAKE", load)]})
    assert imported == []
    assert registry.find("transforms", "fake").state == "installed"
    assert registry.find("transforms", "FAKE").summary == "nothing"
    assert imported == ["FAKE"]


def raises(error):
    def load():
        raise error

    return load


@pytest.mark.parametrize(
    ("load", "state", "reason"),
    [
        (
            raises(ImportError("no", name="confluent_kafka")),
            "not installed",
            "somewhere:Fake needs confluent_kafka, not installed here",
        ),
        (raises(RuntimeError("boom")), "broken", "somewhere:Fake does not import: RuntimeError: boom"),
        (lambda: object, "broken", "somewhere:Fake calls itself nothing, not OTHER"),
        (lambda: Fake, "broken", "somewhere:Fake calls itself FAKE, not OTHER"),
    ],
)
def test_a_plugin_that_does_not_import_is_reported(load, state, reason, folder, head):
    registry = Registry({"output_ports": [entry("OTHER", load)]})
    kind = registry.find("output_ports", "OTHER")
    assert (kind.state, kind.reason) == (state, reason)
    path = folder.write(head + "output_ports:\n  - {type: other, name: a, anything: 1}\n")
    product = resolve(path, folder.settings, registry)
    assert product.ports[0].state == "not installed"
    assert {line.reason for line in product.lines if line.path.startswith("output")} == {reason}


def test_what_a_kind_raises_is_a_problem_of_its_part(folder, head):
    class Failing(Fake):
        kind = "FAILING"

        def check(self, *_):
            raise RuntimeError("boom")

    path = folder.write(head + "output_ports:\n  - {type: failing, name: a}\nnmae: x\n")
    from dp_dagster.errors import DescriptorError

    with pytest.raises(DescriptorError) as caught:
        resolve(path, folder.settings, Registry.of({"output_ports": [Failing]}))
    assert str(caught.value).splitlines() == [
        "product.yaml:4: output_ports[0]: its kind failed: RuntimeError: boom; see that the kind is up to date",
        "product.yaml:5: nmae: unknown key; did you mean name?",
    ]
