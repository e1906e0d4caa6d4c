"""Loading: the cache, the author's local modules, and the author's mistakes."""

from __future__ import annotations

import json
import multiprocessing
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from contract_helpers import HEADER, compiled, write_source

from dp_dagster.contracts.load import load_contract
from dp_dagster.errors import ContractError

SOURCE = 'Made = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.ge(1))})\n'
WITH_LOW = "Made = pa.DataFrameSchema({'a': pa.Column(int, pa.Check.ge(LOW))})\n"
REFERENCE = "contracts/made.py:Made"

LOAD = """
import sys, time
from pathlib import Path
from dp_dagster.contracts.load import load_contract
started = time.process_time()
contract = load_contract("contracts/made.py:Made", product_root=Path(sys.argv[1]), cache_directory=Path(sys.argv[2]))
seconds = time.process_time() - started
heavy = {"pandera", "polars", "pyarrow", "dagster", "pandas", "numpy"} & set(sys.modules)
print(contract.hash, seconds, sorted(heavy))
"""


def load_in_a_process(root, cache):
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(root), str(cache)], capture_output=True, text=True, check=True
    )
    found, seconds, heavy = done.stdout.split(" ", 2)
    return found, float(seconds), heavy.strip()


def test_a_hit_imports_nothing_heavy_and_is_quick(tmp_path):
    write_source(tmp_path / "p", SOURCE)
    first, _, heavy = load_in_a_process(tmp_path / "p", tmp_path / "cache")
    assert "pandera" in heavy
    again, seconds, heavy = load_in_a_process(tmp_path / "p", tmp_path / "cache")
    assert (again, heavy) == (first, "[]")
    assert seconds < 0.1  # about 0.005 on an idle machine


def test_the_cache_gives_what_was_compiled(tmp_path):
    write_source(tmp_path / "p", SOURCE)
    options = {"product_root": tmp_path / "p", "cache_directory": tmp_path / "cache"}
    made = load_contract(REFERENCE, **options)
    assert load_contract(REFERENCE, **options) == made
    assert load_contract(REFERENCE, product_root=tmp_path / "p") == made


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fingerprint": "x"}', b"\xff", b"null"])
def test_a_broken_cache_file_is_made_anew(tmp_path, content):
    write_source(tmp_path / "p", SOURCE)
    options = {"product_root": tmp_path / "p", "cache_directory": tmp_path / "cache"}
    made = load_contract(REFERENCE, **options)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(content)
    assert load_contract(REFERENCE, **options) == made
    assert json.loads(kept.read_bytes())["contract"]["hash"] == made.hash
    data = json.loads(kept.read_bytes())
    del data["contract"]["rules"]
    kept.write_text(json.dumps(data))
    assert load_contract(REFERENCE, **options) == made


def _load(root, cache):
    return load_contract(REFERENCE, product_root=root, cache_directory=cache).hash


def test_writers_at_the_same_time_do_no_harm(tmp_path):
    write_source(tmp_path / "p", SOURCE)
    # Not a Pool: that one waits for ever for a process that died.
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        hashes = list(pool.map(_load, [tmp_path / "p"] * 6, [tmp_path / "cache"] * 6))
    assert len(set(hashes)) == 1
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".json"]


def test_a_change_in_an_imported_module_is_noticed_at_once(tmp_path):
    write_source(
        tmp_path,
        "from contracts.limits import LOW\nMade = pa.DataFrameSchema({'a': pa.Column(int, pa.Check.ge(LOW))})\n",
    )
    write_source(tmp_path, "from ..shared import LOW\n", "contracts/limits.py", header=False)
    options = {"product_root": tmp_path, "cache_directory": tmp_path / "cache"}
    for low in (1, 2, 3):  # same size, same second
        write_source(tmp_path, f"LOW = {low}\n", "shared.py", header=False)
        assert load_contract(REFERENCE, **options).rule("minimum_a").params["value"] == low
    write_source(tmp_path, "OTHER = 1\n", "unrelated.py", header=False)
    kept = len(list((tmp_path / "cache").iterdir()))
    load_contract(REFERENCE, **options)
    assert len(list((tmp_path / "cache").iterdir())) == kept == 3


@pytest.mark.parametrize(
    "line",
    [
        "from .limits import LOW",
        "from contracts.limits import LOW",
        "from limits import LOW",
        "import limits; LOW = limits.LOW",
        "import contracts.limits; LOW = contracts.limits.LOW",
        "from contracts import limits; LOW = limits.LOW",
        "from . import limits; LOW = limits.LOW",
        "from package import limits; LOW = limits.LOW",
        "from package.limits import LOW",
    ],
)
def test_products_with_files_of_the_same_name_do_not_meet(tmp_path, line):
    for low, product in enumerate(("one", "two")):
        root = tmp_path / product
        write_source(root, f"{line}\n{WITH_LOW}")
        write_source(root, f"LOW = {low}\n", "contracts/limits.py", header=False)
        write_source(root, "", "package/__init__.py", header=False)
        write_source(root, f"LOW = {low}\n", "package/limits.py", header=False)
    before = set(sys.modules)
    for low, product in enumerate(("one", "two")):
        contract = load_contract(REFERENCE, product_root=tmp_path / product, module_prefix=product)
        assert contract.rule("minimum_a").params["value"] == low
    assert {"contracts", "limits", "package", "made"}.isdisjoint(set(sys.modules) - before)
    assert not list(tmp_path.rglob("__pycache__"))


def test_no_module_of_the_same_name_is_used_from_elsewhere(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    write_source(elsewhere, "LOW = 99\n", "limits.py", header=False)
    monkeypatch.syspath_prepend(str(elsewhere))
    write_source(
        tmp_path / "p",
        "import limits\nMade = pa.DataFrameSchema({'a': pa.Column(int, pa.Check.ge(limits.LOW))})\n",
    )
    write_source(tmp_path / "p", "LOW = 1\n", "contracts/limits.py", header=False)
    contract = load_contract(REFERENCE, product_root=tmp_path / "p")
    assert contract.rule("minimum_a").params["value"] == 1


MISTAKES = [
    ("1 / 0\n", "contracts/made.py:{1}: ZeroDivisionError: division by zero"),
    ("def broken(:\n", "contracts/made.py:{1}: SyntaxError: "),
    (
        "import nothing_like_this\n",
        "contracts/made.py:{1}: ModuleNotFoundError: No module named 'nothing_like_this'",
    ),
    ("raise SystemExit(3)\n", "contracts/made.py:{1}: SystemExit: 3"),
    ("\nfrom contracts.helper import x\n", "contracts/helper.py:2: ValueError: no"),
    (
        "Other = pa.DataFrameSchema({'a': pa.Column(int)})\n",
        "contracts/made.py: there is no Made; it defines Other",
    ),
    (
        "Made = 3\n",
        "contracts/made.py:{1}: Made: is of type int; a pandera DataFrameModel or DataFrameSchema",
    ),
    (
        "class Made(pa.DataFrameModel):\n    a: object\n",
        "contracts/made.py:{2}: Made.a: type object cannot be",
    ),
    (
        "class Made(pa.DataFrameModel):\n    a: 'Nope'\n",
        "contracts/made.py:{1}: Made: pandera refuses the model: ",
    ),
    ("Made = pa.DataFrameSchema({})\n", "contracts/made.py:{1}: Made: declares no columns"),
]


@pytest.mark.parametrize(("source", "message"), MISTAKES, ids=[case[0] for case in MISTAKES])
def test_mistakes_of_the_author_have_a_place(tmp_path, source, message):
    write_source(tmp_path, "\nraise ValueError('no')\n", "contracts/helper.py", header=False)
    offset = HEADER.count("\n")
    wanted = re.sub(r"\{(\d)\}", lambda found: str(offset + int(found[1])), message)
    with pytest.raises(ContractError) as caught:
        compiled(tmp_path, source)
    assert str(caught.value).startswith(wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("contracts/made.py", "is not understood"),
        ("contracts/made.yaml:Made", "is not understood"),
        ("../outside.py:Made", "lies outside the product's folder"),
        ("contracts/none.py:Made", "there is no such file"),
    ],
)
def test_references_that_lead_nowhere(tmp_path, reference, message):
    write_source(tmp_path / "p", SOURCE)
    write_source(tmp_path, SOURCE, "outside.py")
    with pytest.raises(ContractError, match=message):
        load_contract(reference, product_root=tmp_path / "p")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside = write_source(tmp_path, SOURCE, "outside.py")
    (tmp_path / "p" / "contracts").mkdir(parents=True)
    (tmp_path / "p" / "contracts" / "made.py").symlink_to(outside)
    with pytest.raises(ContractError, match="lies outside"):
        load_contract(REFERENCE, product_root=tmp_path / "p")


def test_a_hundred_hits_take_less_than_a_second(tmp_path):
    write_source(tmp_path / "p", SOURCE)
    options = {"product_root": tmp_path / "p", "cache_directory": tmp_path / "cache"}
    load_contract(REFERENCE, **options)
    started = time.process_time()
    for _ in range(100):
        load_contract(REFERENCE, **options)
    assert time.process_time() - started < 1
