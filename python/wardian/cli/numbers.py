"""A machine's counters as text."""

from __future__ import annotations

from wardian.base.units import format_count
from wardian.cli.counters import describe_counters
from wardian.machine.stats import MachineStats


def describe_stats(stats: MachineStats) -> str:
    """The statistics of `--stats` and of the escape menu, in groups; no line end."""
    since = f", resets: {stats.resets} (the counts are since the last)" if stats.resets else ""
    # After a reset the counters are younger than the machine, so there is no rate to tell.
    seconds = None if stats.resets else stats.uptime_s
    after = {}
    if len(stats.vcpus) > 1:
        each = ", ".join(format_count(vcpu.get("instructions", 0)) for vcpu in stats.vcpus)
        after["instructions"] = f"    of each: {each}"
    lines = [f"time {stats.uptime_s:.2f} s{since}"]
    lines += describe_counters({**stats.vm, **stats.totals}, seconds, after)
    busy = [row for row in stats.ranges if row.reads or row.writes]
    if busy:
        lines.append("devices in Python (reads, writes, errors)")
    lines += [
        f"  {row.range:<16}{row.kind.value:<6}{row.reads:>12,}{row.writes:>12,}{row.errors:>8,}"
        for row in sorted(busy, key=lambda row: row.reads + row.writes, reverse=True)
    ]
    if stats.console_discarded:
        lines.append(f"console: {stats.console_discarded:,} bytes lost unread")
    return "\n".join(lines)
