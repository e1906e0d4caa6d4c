"""Make the input files of customer_360 once: the jaffle shops' customers, orders and the rest.

`jafgen` simulates the shops and knows no seed, so each run of it gives other data. What is there is therefore
kept; remove the folder `data/jaffle_shop` to get new data. The files are made in a folder of their own and put
in place by one rename, so an interrupted run leaves nothing half-written behind.

    python products/customer_360/generate_inputs.py [--years 1] [--folder data/jaffle_shop]
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

ENTITIES = ("customers", "items", "orders", "products", "stores", "supplies", "tweets")
DEFAULT_FOLDER = Path(__file__).resolve().parent / "data" / "jaffle_shop"
# Where jafgen writes, below the folder that it is started in.
_WRITTEN_TO = "jaffle-data"


class GenerationError(Exception):
    """The files cannot be made; the message says what to do. ``exit_code`` as for ``dp``."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def missing_files(folder: Path) -> list[str]:
    """Names of the input files that a folder lacks."""
    names = (f"raw_{entity}.csv" for entity in ENTITIES)
    return [name for name in names if not (folder / name).is_file()]


def generate(folder: Path, years: int) -> bool:
    """Make the files in ``folder`` unless they are there.

    Args:
        folder: Where the files belong; appears as a whole.
        years: Years to simulate, from 1 September 2018 on.

    Returns:
        Whether files were made.

    Raises:
        GenerationError: jafgen is not installed, fails, or the folder holds only some of the files.
    """
    if folder.exists():
        _refuse_if_incomplete(folder)
        return False
    if importlib.util.find_spec("jafgen") is None:
        raise GenerationError(
            "jafgen, which makes the inputs of customer_360, is not installed: pip install 'dp_dagster[demo]'",
            3,
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".jaffle_shop-", dir=folder.parent) as workspace:
        made = _run_jafgen(Path(workspace), years)
        try:
            made.rename(folder)
        except OSError:
            # Somebody else was faster; theirs is as good, if it is whole.
            if not folder.is_dir():
                raise
            _refuse_if_incomplete(folder)
            return False
    return True


def _refuse_if_incomplete(folder: Path) -> None:
    missing = missing_files(folder)
    if missing:
        raise GenerationError(
            f"{folder} lacks {', '.join(missing)}; remove the folder and run this again for new data", 1
        )


def _run_jafgen(workspace: Path, years: int) -> Path:
    # jafgen has no option for where it writes, hence a process of its own with its own current folder.
    command = [sys.executable, "-c", "from jafgen.cli import app; app()", str(years)]
    finished = subprocess.run(command, cwd=workspace, stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - no shell, fixed words
    if finished.returncode:
        raise GenerationError(f"jafgen ended with exit code {finished.returncode}", 3)
    missing = missing_files(workspace / _WRITTEN_TO)
    if missing:
        raise GenerationError(f"jafgen did not write {', '.join(missing)}", 3)
    return workspace / _WRITTEN_TO


def _years(text: str) -> int:
    years = int(text)
    if not 1 <= years <= 10:
        raise argparse.ArgumentTypeError("simulate one to ten years")
    return years


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives its exit code."""
    parser = argparse.ArgumentParser(description="Make the input files of customer_360 once.")
    parser.add_argument("--years", type=_years, default=1, help="years to simulate (default: 1)")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="default: data/jaffle_shop here")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    try:
        made = generate(folder, options.years)
    except GenerationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    what = "made" if made else "kept; remove the folder for new data"
    sys.stdout.write(f"inputs of customer_360 in {folder}: {what}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
