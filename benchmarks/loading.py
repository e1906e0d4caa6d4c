"""Loading code locations: ten datasets against plain Dagster with as many assets and checks; 100 products.

Whole processes: import, definitions, and the repository that Dagster builds of them. Contracts are compiled
beforehand, as they are in every load but the first.

    python -m benchmarks.loading [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import report, take_turns

ROOT = Path(__file__).resolve().parent.parent
DATASETS = 10
PRODUCTS = 100
TARGET = 1.3
TARGET_MANY = 10.0

CONTRACT = """\
import pandera.polars as pa


class Rows(pa.DataFrameModel):
    \"\"\"Rows.\"\"\"

    id: int = pa.Field(unique=True, description="The row.")
    name: str = pa.Field(str_matches="^[a-z]+$", description="Its name.")
    amount: float = pa.Field(ge=0, le=1000, nullable=True, description="Its amount.")
    state: str = pa.Field(isin=["new", "paid", "sent"], description="Its state.")
"""


def make_product(folder: Path, product_id: str, datasets: int) -> None:
    for part in ("contracts", "transforms"):
        (folder / part).mkdir(parents=True)
    (folder / "contracts" / "rows.py").write_text(CONTRACT)
    lines = [f"product_id: {product_id}", "version: 1.0.0", "owner: {team: data}", "refresh_rate: daily"]
    lines += ["input_ports:", "  - {name: source, type: FILES, path: source.csv}", "transforms:"]
    for number in range(datasets):
        (folder / "transforms" / f"t{number}.sql").write_text("select * from source\n")
        lines.append(f"  - {{name: t{number}, type: SQL, path: transforms/t{number}.sql}}")
    lines.append("datasets:")
    lines += [
        f'  - {{name: d{number}, from: t{number}, contract: "contracts/rows.py:Rows", key: [id]}}'
        for number in range(datasets)
    ]
    lines.append("output_ports:")
    lines += [f"  - {{name: p{number}, type: SQL, dataset: d{number}}}" for number in range(datasets)]
    (folder / "product.yaml").write_text("\n".join(lines) + "\n")


def load_product_in(folder: Path) -> None:
    from dp_dagster import load_product

    load_product(folder).get_repository_def()


def load_products_in(folder: Path) -> None:
    from dp_dagster import load_products

    load_products(folder).get_repository_def()


def load_plain(folder: Path) -> None:
    """As many assets, checks, a job and a schedule, with metadata of the same kind, written out for Dagster."""
    import datetime as dt

    import dagster as dg

    rules = [*(f"rule_{number}" for number in range(CHECKS_OF_A_DATASET - 1)), "contract"]
    schema = dg.TableSchema(
        columns=[dg.TableColumn(name, "string", "what it is") for name in ("id", "name", "amount", "state")]
    )
    common = {"group_name": "plain", "owners": ["team:data"], "tags": {"domain": "data"}}

    def made(
        key: list[str], deps: list[list[str]], checks: list[str], **extra: object
    ) -> dg.AssetsDefinition:
        spec = dg.AssetSpec(
            key,
            deps=[dg.AssetKey(dep) for dep in deps],
            description="what it is",
            skippable=True,
            kinds={"sql"},
            metadata={"dagster/column_schema": schema},
            **common,
            **extra,  # type: ignore[arg-type]  # as it came
        )
        beside = dg.AssetSpec([*key, "q"], skippable=True, **common)  # type: ignore[arg-type]  # the same
        quarantine = [beside] if checks else []

        @dg.multi_asset(
            name="__".join(key),
            specs=[spec, *quarantine],
            check_specs=[dg.AssetCheckSpec(name, asset=spec.key, description="a rule") for name in checks]
            or None,
        )
        def compute(): ...

        return compute

    window = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=36))
    assets = [made(["plain", "input"], [], [])]
    for number in range(DATASETS):
        assets.append(made(["plain", f"t{number}"], [["plain", "input"]], []))
        assets.append(made(["plain", f"d{number}"], [["plain", f"t{number}"]], rules))
        assets.append(made(["plain", f"p{number}"], [["plain", f"d{number}"]], [], freshness_policy=window))
    job = dg.define_asset_job("refresh", selection=dg.AssetSelection.groups("plain"))
    schedule = dg.ScheduleDefinition(job=job, cron_schedule="0 0 * * *")
    dg.Definitions(
        assets=assets, jobs=[job], schedules=[schedule], executor=dg.in_process_executor
    ).get_repository_def()
    del folder


# What dp_dagster makes of the contract above: a rule for each line of it, and the verdict.
CHECKS_OF_A_DATASET = 0


def count_checks(folder: Path) -> int:
    from dp_dagster.resolve import resolve
    from dp_dagster.settings import Settings

    return len(resolve(folder, Settings.load(folder)).datasets[0].contract.rules) + 1


def main(arguments: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--child", choices=["product", "plain", "one", "many"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--checks", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.child:
        globals()["CHECKS_OF_A_DATASET"] = options.checks
        loaders = {
            "product": load_product_in,
            "plain": load_plain,
            "one": load_product_in,
            "many": load_products_in,
        }
        loaders[options.child](options.folder)
        return True
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory(prefix="loading-benchmark-") as name:
        root = Path(name)
        (root / "dp_dagster.toml").write_text('storage = "data"\n')
        make_product(root / "ten", "ten", DATASETS)
        for number in range(PRODUCTS):
            make_product(root / "many" / f"product_{number}", f"product_{number}", 1)
        checks = str(count_checks(root / "ten"))
        child = [sys.executable, str(Path(__file__)), "--checks", checks, "--child"]
        ten = take_turns(
            {
                "product": [*child, "product", "--folder", str(root / "ten")],
                "plain Dagster": [*child, "plain", "--folder", str(root)],
            },
            options.rounds,
        )
        one = str(root / "many" / "product_0")
        many = take_turns(
            {
                f"{PRODUCTS} products": [*child, "many", "--folder", str(root / "many")],
                "one product": [*child, "one", "--folder", one],
            },
            options.rounds,
        )
    title = f"a location of {DATASETS} datasets with {checks} checks each"
    met = report(title, ten, ("product", "plain Dagster"), TARGET)
    return (
        report("many products in one process", many, (f"{PRODUCTS} products", "one product"), TARGET_MANY)
        and met
    )


if __name__ == "__main__":
    main()
