"""The rows of the table: what the guest programs print, and what is measured around them."""

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
#: Rows that compute, and hardly enter the guest's kernel.
COMPUTE_ROWS = ("crc32", "qsort", "fp-scalar", "sgemm", "chase", "memcpy")
#: Rows that are integer computation only: what guest instructions per second are read from.
INTEGER_ROWS = ("crc32", "qsort")
#: Rows of twoloops: the throughput of one loop alone, and of two at the same time.
ONE_LOOP = "one-loop"
TWO_LOOPS = "two-loops"
#: These two enclose a program's rows: how long the guest thinks that all of them took.
START = "start"
ELAPSED = "elapsed"

#: From the start of the process until /init reports.
BOOT = "boot"
#: The throughput of two loops on two CPUs, in multiples of that of one loop.
TWO_VCPUS = "two-vcpus"
#: Every row of the table, with its unit.
TABLE_ROWS = {**PROGRAM_ROWS, BOOT: "s", TWO_VCPUS: "x"}

_PRINTED = {**PROGRAM_ROWS, ONE_LOOP: "Mstep/s", TWO_LOOPS: "Mstep/s", START: "s", ELAPSED: "s"}
_SMALLER_IS_BETTER = {"ns", "us", "s"}


@dataclass(slots=True, frozen=True)
class Row:
    """One measured value."""

    name: str
    value: float
    unit: str


def parse_row(line: str) -> Row | None:
    """Return the row in a line that a guest program printed, None for any other line."""
    found = _ROW.fullmatch(line.strip())
    if found is None:
        return None
    name, value, unit = found.groups()
    return Row(name, float(value), unit) if _PRINTED.get(name) == unit else None


def slowdown(row: str, value: float, reference: float) -> float:
    """Return how many times slower `value` is than `reference`, both of the table's `row`."""
    smaller_is_better = TABLE_ROWS[row] in _SMALLER_IS_BETTER
    return value / reference if smaller_is_better else reference / value


def speedup(row: str, value: float, reference: float) -> float:
    """Return how many times faster `value` is than `reference`, both of the table's `row`."""
    return 1 / slowdown(row, value, reference)
