"""Runs one subject once and reads what it prints."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benches.processes import cpu_seconds, resident_beyond_ram
from benches.rows import ELAPSED, Row, parse_row
from tools.assets.reports import Report
from tools.errors import ToolError
from tools.guest_console import ConsoleSplitter

_LINES_SHOWN = 15


@dataclass(slots=True)
class Run:
    """What one run of one subject gave. Times are seconds on the host's monotonic clock."""

    rows: dict[str, float] = field(default_factory=dict)
    # When each row was printed, since the start of the process.
    printed_s: dict[str, float] = field(default_factory=dict)
    boot_s: float | None = None
    resident_bytes: int | None = None
    # CPU time that the started process had used by then.
    cpu_s: dict[str, float] = field(default_factory=dict)
    # For each row the "seconds" since the one before, and what the engine counted in them.
    intervals: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(slots=True)
class _Watch:
    """Collects a run while its console is read."""

    process_id: int
    ram_bytes: int | None
    started: float
    on_row: Callable[[Row], None]
    run: Run = field(default_factory=Run)
    status: int | None = None
    text: bytes = b""

    def take(self, event: bytes | Report) -> None:
        now_s = time.monotonic() - self.started
        if isinstance(event, bytes):
            *lines, rest = (self.text + event).split(b"\n")
            self.text = rest
            for line in lines:
                row = parse_row(line.decode("utf-8", "replace"))
                if row is not None:
                    self.run.rows[row.name] = row.value
                    self.run.printed_s[row.name] = now_s
                    self.run.cpu_s[row.name] = cpu_seconds(self.process_id)
                    self.on_row(row)
        elif event.word == "ready":
            self.run.boot_s = now_s
        else:
            self.status = event.value
            if self.ram_bytes is not None:
                self.run.resident_bytes = resident_beyond_ram(self.process_id, self.ram_bytes)


def measure(
    command: list[str],
    nonce: str,
    *,
    ram_bytes: int | None,
    limit_s: float,
    on_row: Callable[[Row], None],
) -> Run:
    """Run `command`, a program that prints rows or a guest that does, and return what it measured.

    `ram_bytes` is the guest's RAM if the started process alone holds it, else None and its
    resident memory is not read. `on_row` sees each row when it arrives. Raises ToolError if they
    did not all arrive in `limit_s` seconds, with the last lines of the console.
    """
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="wardian-bench-") as home,
        subprocess.Popen(
            command,
            # User-Mode Linux keeps a directory for each running kernel in HOME.
            env={**os.environ, "HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(Path(home) / "errors").open("wb"),
        ) as process,
    ):
        watch = _Watch(process.pid, ram_bytes, started, on_row)
        try:
            shown = _read_console(process, ConsoleSplitter(nonce), watch, started + limit_s)
        finally:
            process.kill()
        shown += (Path(home) / "errors").read_bytes()
    if ELAPSED not in watch.run.rows:
        last = b"\n".join(shown.splitlines()[-_LINES_SHOWN:]).decode("utf-8", "replace")
        raise ToolError(f"the benchmark did not finish; its last lines:\n{last}")
    return watch.run


def _read_console(
    process: subprocess.Popen[bytes], splitter: ConsoleSplitter, watch: _Watch, deadline: float
) -> bytes:
    """Feed the console to `watch` until it ends or the deadline passes; return all of it."""
    assert process.stdout is not None
    console = process.stdout.fileno()
    shown = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([console], [], [], left)[0]:
            break
        data = os.read(console, 65536)
        if not data:
            process.wait()
            break
        shown += data
        for event in splitter.feed(data):
            watch.take(event)
    return shown
