"""Make the virtual environment that the lock file describes, and do nothing when it is there already.

Run by ``make`` with any Python that the project supports; uses the standard library only. What is installed
is exactly ``requirements.lock`` (nothing is resolved again) and this package, editable. A stamp in the
environment holds a hash of what was installed, so that a second call takes milliseconds.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
OLDEST, FIRST_UNSUPPORTED = (3, 11), (3, 14)
#: Lines of pip's output that are shown when it fails.
SHOWN_ON_FAILURE = 40


class BootstrapError(Exception):
    """The environment cannot be made; the message says what to do."""


def stamp_text(environment: Path) -> str:
    """What the environment must have been made from, and where: a moved environment does not work."""
    digest = hashlib.sha256()
    for file in (LOCK, PROJECT):
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()}\n{environment}\n"


def works(interpreter: Path) -> bool:
    """Whether the environment's Python still starts and is of a supported version."""
    if not interpreter.exists():
        return False
    program = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] < {FIRST_UNSUPPORTED})"
    return subprocess.run([interpreter, "-c", program], check=False, capture_output=True).returncode == 0


def create(environment: Path, interpreter: Path) -> list[str]:
    """Make an empty environment and return the command that is pip for it.

    Debian's ``python3`` without ``python3-venv`` cannot put pip into an environment; the pip outside is used
    for it then.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"making {environment.name} with Python {version}")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", environment], check=False, capture_output=True, text=True
    )
    if made.returncode == 0:
        return [str(interpreter), "-m", "pip"]
    bare = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", environment],
        check=False,
        capture_output=True,
        text=True,
    )
    if bare.returncode != 0:
        raise BootstrapError(f"{sys.executable} cannot make an environment: {bare.stderr or made.stdout}")
    return outside_pip(interpreter)


def outside_pip(interpreter: Path) -> list[str]:
    """The pip of the Python that runs this, made to install into the environment."""
    command = [sys.executable, "-m", "pip", "--python", str(interpreter)]
    probe = subprocess.run([*command, "--version"], check=False, capture_output=True, text=True)
    if probe.returncode != 0:
        raise BootstrapError(f"{sys.executable} has no pip of version 22.3 or newer; install python3-pip")
    return command


def pip_of(environment: Path, interpreter: Path) -> list[str]:
    """The command that is pip for an environment that is there already, or for a new one."""
    stamp = environment / ".installed"
    moved = stamp.exists() and stamp.read_text().splitlines()[1:] != [str(environment)]
    if moved or not works(interpreter):
        return create(environment, interpreter)
    probe = subprocess.run([interpreter, "-m", "pip", "--version"], check=False, capture_output=True)
    return [str(interpreter), "-m", "pip"] if probe.returncode == 0 else outside_pip(interpreter)


def pip_install(pip: list[str], arguments: list[str], expected: int) -> None:
    """Run ``pip install`` and show how far it is: a line that counts on a terminal, else every 25th package."""
    command = [*pip, "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    terminal = sys.stdout.isatty()
    lines: list[str] = []
    seen = 0
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            word, _, rest = line.partition(" ")
            if word in {"Collecting", "Requirement"} and expected:
                seen += 1
                name = rest.removeprefix("already satisfied: ").split(" ")[0].strip()
                if terminal:
                    print(f"\r\033[K  {seen} packages of {expected} at most: {name}", end="", flush=True)
                elif seen % 25 == 0:
                    say(f"{seen} packages of {expected} at most: {name}")
            elif line.startswith("Installing collected"):
                if terminal:
                    print("\r\033[K", end="")
                say("unpacking")
    if terminal:
        print("\r\033[K", end="")
    if process.returncode != 0:
        raise BootstrapError("pip failed:\n" + "".join(lines[-SHOWN_ON_FAILURE:]))


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


def install(environment: Path) -> None:
    """Bring the environment to what the lock says."""
    interpreter = environment / "bin" / "python"
    stamp = environment / ".installed"
    wanted = stamp_text(environment)
    if stamp.exists() and stamp.read_text() == wanted and works(interpreter):
        return
    start = time.monotonic()
    pip = pip_of(environment, interpreter)
    stamp.unlink(missing_ok=True)
    packages = sum(1 for line in LOCK.read_text().splitlines() if line and not line.startswith(("#", " ")))
    say(f"installing what {LOCK.name} pins")
    pip_install(pip, ["--no-deps", "--requirement", str(LOCK)], packages)
    pip_install(pip, ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)], 0)
    stamp.write_text(wanted)
    say(f"{environment.name} is ready after {time.monotonic() - start:.0f} s")


def main() -> int:
    """Entry point; the exit code is 3 where the machine is at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv")
    environment: Path = parser.parse_args().environment.absolute()
    if not OLDEST <= sys.version_info[:2] < FIRST_UNSUPPORTED:
        print(
            f"Python {sys.version.split()[0]} is not supported: 3.11, 3.12 or 3.13 is needed", file=sys.stderr
        )
        return 3
    try:
        install(environment)
    except BootstrapError as error:
        print(f"cannot install: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
