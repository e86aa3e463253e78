"""`make bench`: runs guestbench natively and under each engine, and prints one table.

Runs are interleaved (every subject once, then every subject again), so that a host that slows
down in between slows down all of them; the table shows medians, and every raw value goes to a
JSON file under benches/results/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benches.record import host_facts, save
from benches.session import Session
from benches.subjects import QEMU, UML, WARDIAN
from benches.table import render, render_notes
from tools.errors import ToolError


def main() -> int:
    """Run the benchmark as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1, help="repetitions (1: the full table)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each subject")
    parser.add_argument("--limit", type=float, default=1800, help="seconds one run may take")
    options = parser.parse_args()
    if options.scale <= 0 or options.runs < 1:
        parser.error("--scale and --runs must be positive")
    try:
        with tempfile.TemporaryDirectory(prefix="wardian-bench-") as scratch:
            session = Session(Path(scratch), options.scale, options.limit)
            session.interleave([WARDIAN, QEMU, UML], options.runs)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print()
    print(render(session.runs, peer=QEMU.name, ours=WARDIAN.name))
    print(render_notes(session.runs, session.absences))
    facts = host_facts(session.kernel, options.scale, options.runs)
    print(f"raw rows: {save(facts, session.runs, session.absences)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
