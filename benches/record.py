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

from benches.measure import Run
from tools.assets.kernel import Kernel
from tools.cache import CHECKOUT, write

_RESULTS = CHECKOUT / "benches" / "results"


def host_facts(kernel: Kernel, scale: float, runs: int) -> dict[str, Any]:
    """Return what a reader needs to know to judge the numbers."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "host_kernel": platform.release(),
        "guest_kernel": f"{kernel.package} {kernel.version}",
        "scale": scale,
        "runs": runs,
    }


def save(
    facts: Mapping[str, Any], runs: Mapping[str, Sequence[Run]], absences: Mapping[str, str]
) -> Path:
    """Write one session to a new file under benches/results/; return its path."""
    name = str(facts["date"]).replace(":", "").replace("+0000", "Z")
    path = _RESULTS / f"{name}.json"
    session = {
        **facts,
        "subjects": {subject: [asdict(run) for run in some] for subject, some in runs.items()},
        "absent": dict(absences),
    }
    write(path, json.dumps(session, indent=1).encode() + b"\n")
    return path.relative_to(CHECKOUT)


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
