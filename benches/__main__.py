"""`make bench`: runs the guest programs natively and under each engine, and prints tables.

Runs are interleaved (every subject once, then every subject again), so that a host that slows
down in between slows down all of them; the tables show medians, and every raw value goes to a
JSON file under benches/results/.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benches.counters import render_by_row, render_totals
from benches.cpu_time import render_cpu_times
from benches.figures import figures, medians_by_subject
from benches.notes import render_notes
from benches.options import Options, parse_options
from benches.quiet import disturbance, read_moment, render_disturbance
from benches.record import save, session_facts
from benches.scenarios import scenarios
from benches.session import NATIVE, Results, Session, build_guest
from benches.subjects import Subject, chosen
from benches.table import render, render_targets
from benches.targets import judge
from tools.assets.kernel import debian_kernel
from tools.errors import ToolError


def main() -> int:
    """Run the benchmark as the command line says; return the exit status."""
    options = parse_options()
    subjects = chosen(options.subjects)
    try:
        with tempfile.TemporaryDirectory(prefix="wardian-bench-") as scratch:
            folder = Path(scratch)
            kernel = debian_kernel()
            wanted = scenarios(options.rows, options.scale)
            guests = [build_guest(scenario, folder) for scenario in wanted]
            session = Session(kernel.path, guests, folder, options.limit_s)
            facts = session_facts(kernel, subjects, options.scale)
            start = read_moment()
            try:
                session.interleave(subjects, options.runs, options.budget_s)
            except KeyboardInterrupt:
                print("interrupted: what follows is what there was", file=sys.stderr)
            facts["disturbance"] = disturbance(start, read_moment(), os.cpu_count() or 1)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print()
    print_report(session.results, subjects, options)
    print(render_disturbance(facts["disturbance"]))
    print(f"raw rows: {save(facts, session.results)}")
    return 0


def print_report(results: Results, subjects: Sequence[Subject], options: Options) -> None:
    """Print what was measured, how it compares, and how far the targets are."""
    ours = [subject.name for subject in subjects if subject.is_ours]
    peers = [subject.name for subject in subjects if subject.is_tcg]
    parts = [render(medians_by_subject(results.turns), ours, peers)]
    turns = {name: [figures(turn) for turn in some] for name, some in results.turns.items()}
    for name in ours[:1]:
        others = [turns[peer] for peer in peers if peer in turns]
        verdicts = judge(turns.get(name, []), others, turns.get(NATIVE, []))
        if not options.is_complete:
            verdicts = [verdict for verdict in verdicts if verdict.measured is not None]
        if verdicts:
            parts.append(f"{name} against QEMU TCG:\n{render_targets(verdicts)}")
    if options.cpu_times:
        parts.append(render_cpu_times(results.turns, ours, peers))
    parts.append(render_by_row(results) if options.counters else render_totals(results))
    parts.append(render_notes(results))
    print("\n\n".join(part for part in parts if part))


if __name__ == "__main__":
    sys.exit(main())
