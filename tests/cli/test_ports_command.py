"""``dp ports``: everything that a consumer needs before the first read, ready to be copied."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dp_dagster.cli import main
from dp_dagster.storage.manifest import PortEntry, update_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import TestProject


@pytest.fixture
def dp(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """Runs ``dp`` in the project; gives exit code, output and complaints."""
    monkeypatch.chdir(project.root)

    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return ended.value.code, captured.out, captured.err

    return run


def publish(project: TestProject) -> None:
    entry = PortEntry(
        kind="SQL",
        dataset="totals",
        area="v1/dataset/totals",
        version=7,
        published_at="2026-01-02T03:04:05+00:00",
        projected_at="2026-01-02T03:04:06+00:00",
        rows=1234,
    )
    update_manifest(str(project.storage), "shops", lambda manifest: manifest.with_port(1, "vw_totals", entry))


def test_before_the_first_version(dp: Callable[..., tuple[object, str, str]]) -> None:
    code, out, _ = dp("ports", "shops")
    assert code == 0
    assert out.splitlines()[:4] == [
        "vw_totals  SQL  totals",
        "  address  shops.v1.vw_totals",
        "  version  none yet: run the product",
        "  access   No sign-in: whoever may read the storage may read this port.",
    ]
    assert '  shell    dp sql "from shops.v1.vw_totals"' in out


def test_the_version_on_show(project: TestProject, dp: Callable[..., tuple[object, str, str]]) -> None:
    publish(project)
    _, out, _ = dp("ports", "shops")
    assert "  version  7, 1,234 rows, published 2026-01-02 03:04 UTC" in out


def test_lines_to_copy_are_whole(project: TestProject, dp: Callable[..., tuple[object, str, str]]) -> None:
    """However narrow the terminal."""
    _, out, _ = dp("ports", "shops")
    python = out.partition("  python   ")[2]
    code = "\n".join(line.removeprefix(" " * 11) for line in python.splitlines())
    compile(code, "example", "exec")
    assert str(project.storage) in code


def test_as_json(project: TestProject, dp: Callable[..., tuple[object, str, str]]) -> None:
    publish(project)
    _, out, _ = dp("ports", "shops", "--json")
    (port,) = json.loads(out)
    assert port["port"] == "vw_totals"
    assert (port["version"], port["rows"], port["state"]) == (7, 1234, "active")
    assert {example["language"] for example in port["examples"]} == {"shell", "python"}


def test_a_port_that_is_declared_only(
    project: TestProject, dp: Callable[..., tuple[object, str, str]]
) -> None:
    descriptor = project.root / "products/shops/product.yaml"
    descriptor.write_text(descriptor.read_text() + "  - {name: later, type: DECLARED, dataset: totals}\n")
    code, out, _ = dp("ports", "shops")
    assert code == 0
    assert "later  DECLARED  totals\n  not evaluated: declared only: nothing says how it is reached" in out


def test_an_unknown_product(dp: Callable[..., tuple[object, str, str]]) -> None:
    code, _, err = dp("ports", "shps")
    assert code == 2
    assert "shops" in err
