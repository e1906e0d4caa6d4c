"""What the tests need beyond the environment that they run in: what brings it, whether it is there, and why if not.

As a program, ``--install`` fetches what is missing and keeps the reason where it cannot; the tests that need it are
then named at the end of the run. Debian packages come with apt-get where that is allowed (root, or sudo without a
password), programs in Python that do not get along with ours in an environment of their own.
Uses the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where the reasons of the last ``--install`` are kept; beside the packages that it could install.
REASONS = Path(sys.prefix) / "system-packages.json"
FAKESNOW = Path(__file__).resolve().parent / "counterparts" / "fakesnow"


def find_chromium() -> Path | None:
    """Chromium's or Chrome's executable."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return None


def find_postgresql() -> Path | None:
    """The folder that holds PostgreSQL's server programs, newest version first."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
    )
    on_path = shutil.which("initdb")
    for folder in (*debian, *([Path(on_path).parent] if on_path else [])):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def find_prometheus() -> Path | None:
    """Prometheus' server; promtool comes with it."""
    found = shutil.which("prometheus")
    return Path(found) if found and shutil.which("promtool") else None


def find_fakesnow() -> Path | None:
    """The Python of fakesnow's own environment."""
    import environments

    return environments.find(FAKESNOW / "requirements.txt")


@dataclass(frozen=True)
class SystemPackage:
    """Something that a test may need: the name used in ``@pytest.mark.needs``, and what brings it.

    That is a Debian package, or a requirements file for an environment of its own.
    """

    name: str
    debian: str
    find: Callable[[], Path | None]
    requirements: Path | None = None

    @property
    def source(self) -> str:
        """What brings it, in words."""
        if self.requirements is None:
            return f"Debian package {self.debian}"
        return f"environment of {'/'.join(self.requirements.parts[-4:])}"

    def path(self) -> Path:
        """Where it is.

        Raises:
            LookupError: it isn't on this machine.
        """
        found = self.find()
        if found is None:
            raise LookupError(why_missing(self.name))
        return found


PACKAGES = {
    package.name: package
    for package in (
        SystemPackage("chromium", "chromium", find_chromium),
        SystemPackage("postgresql", "postgresql", find_postgresql),
        SystemPackage("prometheus", "prometheus", find_prometheus),
        SystemPackage("fakesnow", "", find_fakesnow, FAKESNOW / "requirements.txt"),
    )
}


def why_missing(name: str) -> str:
    """Why a package isn't there, as far as is known."""
    known = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    return str(known.get(name) or f"{name} is not installed ({PACKAGES[name].source})")


def privileged(command: list[str]) -> list[str] | None:
    """The command as root would run it, or ``None`` where that is not allowed without asking."""
    if os.geteuid() == 0:
        return command
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], check=False, capture_output=True).returncode == 0:
        return [sudo, "-n", "env", "DEBIAN_FRONTEND=noninteractive", *command]
    return None


def install(packages: list[SystemPackage]) -> str | None:
    """Install with apt-get; gives the reason where that did not work."""
    names = [package.debian for package in packages]
    apt = shutil.which("apt-get")
    if apt is None:
        return "there is no apt-get on this machine"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *names]):
        command = privileged([apt, *arguments])
        if command is None:
            return "apt-get needs root, or sudo without a password"
        print(f"  {' '.join(command)}", flush=True)
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            return f"{' '.join(command)} failed: {''.join(last)}"
    return None


def make_environment(requirements: Path) -> str | None:
    """Make a program's own environment; gives the reason where that did not work."""
    import environments
    from bootstrap import BootstrapError

    try:
        environments.make(requirements)
    except (BootstrapError, OSError) as error:
        return " ".join(str(error).split())[-200:]
    return None


def main() -> None:
    """Say what is there; with ``--install``, fetch what is missing. Never fails: the tests report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="install what is missing, where it is allowed")
    wanted = parser.parse_args().install
    missing = [package for package in PACKAGES.values() if package.find() is None]
    debian = [package for package in missing if package.requirements is None]
    reason = install(debian) if wanted and debian else None
    causes = dict.fromkeys((package.name for package in debian), reason)
    for package in missing if wanted else ():
        if package.requirements is not None:
            causes[package.name] = make_environment(package.requirements)
    reasons: dict[str, str] = {}
    for package in PACKAGES.values():
        found = package.find()
        if found is None:
            cause = causes.get(package.name)
            suffix = f", and it could not be installed: {cause}" if cause else ""
            reasons[package.name] = f"{package.name} is not installed ({package.source}){suffix}"
            print(f"  {reasons[package.name]}", flush=True)
        elif not wanted:
            print(f"  {package.name}: {found}", flush=True)
    REASONS.write_text(json.dumps(reasons))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
    main()
