"""A machine's counters as text."""

from __future__ import annotations

from wardian.machine.stats import MachineStats


def describe_stats(stats: MachineStats) -> str:
    """The statistics of `--stats` and of the escape menu: one fact a line, no line end."""
    totals = dict(stats.totals)
    instructions = totals.pop("instructions", 0)
    # After a reset the counters are younger than the machine, so there is no rate to tell.
    rate = instructions / stats.uptime_s / 1e6 if stats.uptime_s and not stats.resets else None
    shown = "" if rate is None else f" ({rate:.1f} million a second)"
    since = f", resets: {stats.resets} (the counts are since the last)" if stats.resets else ""
    lines = [
        f"{'time':<18}{stats.uptime_s:.2f} s{since}",
        f"{'instructions':<18}{instructions:,}{shown}",
    ]
    if len(stats.vcpus) > 1:
        each = ", ".join(f"{vcpu.get('instructions', 0):,}" for vcpu in stats.vcpus)
        lines.append(f"{'  per vCPU':<18}{each}")
    counted = {**stats.vm, **totals}
    counted.pop("instructions", None)
    lines += [f"{name:<18}{count:,}" for name, count in sorted(counted.items()) if count]
    busy = [row for row in stats.ranges if row.reads or row.writes]
    if busy:
        lines.append("devices in Python (reads, writes, errors):")
    lines += [
        f"  {row.range:<16}{row.kind.value:<6}{row.reads:>12,}{row.writes:>12,}{row.errors:>8,}"
        for row in sorted(busy, key=lambda row: row.reads + row.writes, reverse=True)
    ]
    if stats.console_discarded:
        lines.append(f"{'console':<18}{stats.console_discarded:,} bytes lost unread")
    return "\n".join(lines)
