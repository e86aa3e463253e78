"""Keeps every raw value of a benchmark session as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benches.session import Results
from benches.subjects import Subject
from tools.assets.kernel import Kernel
from tools.cache import CHECKOUT, write

_RESULTS = CHECKOUT / "benches" / "results"


def session_facts(kernel: Kernel, subjects: Sequence[Subject], scale: float) -> dict[str, Any]:
    """Return what a reader needs to know to judge the numbers."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "host_kernel": platform.release(),
        "guest_kernel": f"{kernel.package} {kernel.version}",
        "versions": {subject.name: subject.version() for subject in subjects},
        "scale": scale,
    }


def save(facts: Mapping[str, Any], results: Results) -> Path:
    """Write one session to a new file under benches/results/; return its path."""
    name = str(facts["date"]).replace(":", "").replace("+0000", "Z")
    path = _RESULTS / f"{name}.json"
    subjects = {
        subject: [{scenario: asdict(run) for scenario, run in turn.items()} for turn in turns]
        for subject, turns in results.turns.items()
    }
    session = {**facts, "subjects": subjects, "absent": results.absences}
    write(path, json.dumps(session, indent=1).encode() + b"\n")
    return path.relative_to(CHECKOUT)


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
