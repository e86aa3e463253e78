"""Boots a guest with the SDK, passes its console on, and reads the engine's counters on the way.

`wardian run` tells its counters at the end only, so the benchmark starts this instead; the machine
is the same. When the machine has ended it writes one JSON object to the file named by --counters:
for each row, the seconds since the row before (for the first: since the start of the machine), and
by how much each counter has grown in them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benches.rows import parse_row
from wardian import Machine


def main() -> None:
    """Boot as the arguments say and stay until the machine has ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("engine", "cpus", "kernel", "initrd", "append", "memory", "counters"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    machine = Machine(
        kernel=options.kernel,
        initrd=options.initrd,
        append=options.append,
        memory=options.memory,
        cpus=int(options.cpus),
        engine=options.engine,
        on_reset="exit",
    )
    intervals = Intervals()
    rest = b""
    with machine:
        while data := machine.console.read_bytes():
            *lines, rest = (rest + data).split(b"\n")
            rows = [row for line in lines if (row := parse_row(line.decode("utf-8", "replace")))]
            if rows:
                counters = machine.stats().totals
                for row in rows:
                    intervals.end(row.name, time.monotonic(), counters)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        machine.wait()
    Path(options.counters).write_text(json.dumps(intervals.by_row))


class Intervals:
    """Turns readings of a clock and of counters into what happened between two rows."""

    def __init__(self) -> None:
        self.by_row: dict[str, dict[str, float]] = {}
        self._since_s = time.monotonic()
        self._counters: Mapping[str, int] = {}

    def end(self, row: str, now_s: float, counters: Mapping[str, int]) -> None:
        """Keep what has changed since the row before; counters that stood still are left out."""
        grown = {name: value - self._counters.get(name, 0) for name, value in counters.items()}
        self.by_row[row] = {
            "seconds": now_s - self._since_s,
            **{name: growth for name, growth in grown.items() if growth},
        }
        self._since_s, self._counters = now_s, counters


if __name__ == "__main__":
    main()
