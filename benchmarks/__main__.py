"""Run the benchmarks: ``python -m benchmarks [NAME …]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAMES = (
    "assets",
    "refresh",
    "commit",
    "loading",
    "contracts",
    "audit",
    "serving",
    "watching",
    "alerts",
    "graphql",
    "events",
)


def main() -> None:
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in wanted:
        print(f"== {name}", flush=True)
        subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], check=True, cwd=Path(__file__).parent.parent
        )


if __name__ == "__main__":
    main()
