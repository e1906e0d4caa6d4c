"""Taking turns: commands are run one after the other, round by round, so that a slow minute hits all alike."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Seconds of one contender, in the order of the rounds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"median {self.median:8.3f} s   (min {min(self.seconds):.3f}, max {max(self.seconds):.3f})"


def take_turns(contenders: dict[str, list[str]], rounds: int, *, inside: bool = False) -> dict[str, Timing]:
    """Run each contender's command once a round; the first round warms up and is not counted.

    Args:
        contenders: Command by name.
        rounds: Counted rounds.
        inside: Take the seconds that the process prints as the last line (JSON: ``{"seconds": …}``) instead of
            the time of the whole process.
    """
    timings = {name: Timing() for name in contenders}
    # Installed packages are compiled; so is ours then, by the round that warms up.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for number in range(rounds + 1):
        for name, command in contenders.items():
            begun = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            seconds = time.perf_counter() - begun
            if done.returncode != 0:
                sys.exit(f"{name} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
            if inside:
                seconds = float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
            if number:
                timings[name].seconds.append(seconds)
    return timings


def report(title: str, timings: dict[str, Timing], ratio: tuple[str, str], target: float) -> bool:
    """Print figures and the ratio of two medians; returns whether the target was met."""
    print(title)
    for name, timing in timings.items():
        print(f"  {name:24} {timing}")
    above, below = (timings[name] for name in ratio)
    value = above.median / below.median
    pairs = [a / b for a, b in zip(above.seconds, below.seconds, strict=True)]
    met = value <= target
    print(
        f"  {ratio[0]} / {ratio[1]} = {value:.3f} (pair by pair {min(pairs):.3f} to {max(pairs):.3f}), "
        f"target {target}: {'met' if met else 'MISSED'}\n"
    )
    return met
