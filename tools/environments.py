"""Make an environment of its own for a program that cannot live in ours, from a requirements file of its own.

``python tools/environments.py tests/counterparts/fakesnow/requirements.txt``. The file pins every package; nothing is
resolved. A stamp holds a hash of it, so that a second call takes milliseconds. Uses the standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from bootstrap import ROOT, BootstrapError, pip_install, pip_of, say, works


def environment_of(requirements: Path) -> Path:
    """Where the environment of a requirements file is: named after the file's folder."""
    return ROOT / ".dp" / "environments" / requirements.absolute().parent.name


def find(requirements: Path) -> Path | None:
    """The environment's Python, if the environment is what the file says."""
    environment = environment_of(requirements)
    interpreter, stamp = environment / "bin" / "python", environment / ".installed"
    current = stamp.exists() and stamp.read_text() == _stamp_text(requirements)
    return interpreter if current and works(interpreter) else None


def make(requirements: Path) -> Path:
    """Bring the environment to what the file says and give its Python.

    Raises:
        BootstrapError: It cannot be made, or a package cannot be installed.
    """
    if found := find(requirements):
        return found
    environment = environment_of(requirements)
    interpreter, stamp = environment / "bin" / "python", environment / ".installed"
    environment.parent.mkdir(parents=True, exist_ok=True)
    pip = pip_of(environment, interpreter)
    stamp.unlink(missing_ok=True)
    lines = [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]
    say(f"installing the {len(lines)} packages of {requirements.absolute().relative_to(ROOT)}")
    pip_install(pip, ["--no-deps", "--requirement", str(requirements.absolute())], len(lines))
    stamp.write_text(_stamp_text(requirements))
    return interpreter


def _stamp_text(requirements: Path) -> str:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    # As in bootstrap.py: the second line tells an environment that was moved, and so does not work.
    return f"{digest}\n{environment_of(requirements)}\n"


def main() -> int:
    """Entry point; the exit code is 3 where the machine is at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", type=Path)
    try:
        print(make(parser.parse_args().requirements))
    except BootstrapError as error:
        print(f"cannot install: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
