"""The rows of the table: what benches/guestbench.c prints, and what is measured around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROW = re.compile(r"([a-z0-9+-]+) (-?[0-9.]+(?:e[+-]?[0-9]+)?) (\S+)")

#: Rows of guestbench in its own order, with their units.
PROGRAM_ROWS = {
    "crc32": "MiB/s",
    "qsort": "Mkey/s",
    "fp-scalar": "Miter/s",
    "sgemm": "MFLOP/s",
    "chase": "ns",
    "memcpy": "GB/s",
    "syscall": "us",
    "pipe-pp": "us",
    "fork": "us",
    "fork+exec": "us",
    "pagefault": "us",
}
#: Rows that are integer computation only: what guest instructions per second are read from.
INTEGER_ROWS = ("crc32", "qsort")
#: These two enclose the others: how long the guest thinks that all of them took.
START = "start"
ELAPSED = "elapsed"
#: Seconds from the start of the process until /init reports.
BOOT = "boot to /init"

_SMALLER_IS_BETTER = {"ns", "us", "s"}


@dataclass(slots=True, frozen=True)
class Row:
    """One measured value."""

    name: str
    value: float
    unit: str


def parse_row(line: str) -> Row | None:
    """Return the row in a line that guestbench printed, None if the line is something else."""
    found = _ROW.fullmatch(line.strip())
    if found is None:
        return None
    name, value, unit = found.groups()
    if unit != {**PROGRAM_ROWS, START: "s", ELAPSED: "s"}.get(name):
        return None
    return Row(name, float(value), unit)


def slowdown(unit: str, value: float, reference: float) -> float:
    """Return how many times slower `value` is than `reference`, both in `unit`."""
    return value / reference if unit in _SMALLER_IS_BETTER else reference / value
