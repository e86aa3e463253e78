"""Boots a guest with the SDK, passes its console on, and counts guest instructions on the way.

`wardian run` tells its counts at the end only, so the benchmark starts this instead; the machine
is the same. When the machine has ended it writes one JSON object to the file named by --counts:
for each row of guestbench, [seconds, instructions retired] when its line arrived.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benches.rows import parse_row
from wardian import Machine


def main() -> None:
    """Boot as the arguments say and stay until the machine has ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kernel", "initrd", "append", "memory", "counts"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    counts: dict[str, tuple[float, int]] = {}
    rest = b""
    with Machine(
        kernel=options.kernel,
        initrd=options.initrd,
        append=options.append,
        memory=options.memory,
        on_reset="exit",
    ) as machine:
        while data := machine.console.read_bytes():
            now = (time.monotonic(), machine.stats().totals.get("instructions", 0))
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if row := parse_row(line.decode("utf-8", "replace")):
                    counts[row.name] = now
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        machine.wait()
    Path(options.counts).write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
