"""Reads what stress-ng prints: work done by each stressor, and what it found wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LINE = re.compile(r"stress-ng: (\w+): +\[\d+\] (.*)")
# The first columns of --metrics: the stressor's name, its bogo operations, real time.
_METRICS = re.compile(r"([a-z][\w-]*) +(\d+) +\d+\.\d+ .*")
_FAILED = re.compile(r"failed: +[1-9].*|skipped: +[1-9].*|metrics untrustworthy: +[1-9].*")


@dataclass(slots=True)
class Report:
    """What one run of stress-ng told."""

    bogo_ops: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    completed: bool = False


def read_report(console: str) -> Report:
    """Return the report in a guest's console output.

    Failures are stress-ng's own messages of the kinds "fail" and "error", and stressors that it
    counts as failed or skipped.
    """
    report = Report()
    for kind, text in _LINE.findall(console):
        if kind in ("fail", "error") or _FAILED.match(text):
            report.failures.append(f"stress-ng: {text.strip()}")
        elif kind == "metrc" and (found := _METRICS.match(text)):
            report.bogo_ops[found[1]] = int(found[2])
        elif text.startswith("successful run completed"):
            report.completed = True
    return report
