"""Running streams in whole machines, each in a process of its own, and judging how those ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fuzz.streams.generate import stream
from tests.guest.micro import runner

CHUNKS = 8192
#: A guest may lock itself up; then the monitor must still end when it is told to.
LIMIT_S = 5.0
_STOP_LIMIT_S = 20.0
_TERMINATED = 128 + signal.SIGTERM
#: The ends of `wardian run` that a guest can bring about.
_ORDERLY = {0: "power-off, reset or done", 1: "reported as the guest's end", _TERMINATED: "endless"}
_BUG_SIGNS = (b"Traceback", b"panicked", b"PanicException", b"raised in a", b"BUG", b"Error:")


class MonitorFailed(AssertionError):
    """The monitor crashed, hung or reported a bug of its own."""


def outcomes(seeds: Iterator[int] | range) -> Iterator[tuple[int, str]]:
    """Runs one stream per seed; yields the seed and how its machine ended.

    Errors: `MonitorFailed` with the seed.
    """
    image = runner.build(runner.read_guest(runner.HERE / "hostile" / "stream.c"))
    with tempfile.TemporaryDirectory() as scratch:
        module = Path(scratch) / "stream"
        for seed in seeds:
            module.write_bytes(stream(seed, CHUNKS))
            yield seed, _outcome(seed, image, module)


def counted(seeds: range) -> Counter[str]:
    """How many streams of `seeds` ended how."""
    return Counter(outcome for _, outcome in outcomes(seeds))


def _outcome(seed: int, image: Path, module: Path) -> str:
    # A debug exit has an odd status: status 1 is both the stream's end and a reported failure.
    command = [
        *(sys.executable, "-m", "wardian", "run", "--kernel", str(image), "--initrd", str(module)),
        *("--memory", "64M", "--cpus", "1", "--on-reset", "exit", "--debug-exit"),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            with suppress(subprocess.TimeoutExpired):
                _, errors = process.communicate(timeout=LIMIT_S)
                return _judge(seed, process.returncode, errors)
            process.terminate()
            _, errors = process.communicate(timeout=_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise MonitorFailed(f"stream {seed}: the monitor does not end") from None
        finally:
            process.kill()
        return _judge(seed, process.returncode, errors)


def _judge(seed: int, status: int, errors: bytes) -> str:
    # The guest chooses its own debug-exit status, which is always odd.
    orderly = status in _ORDERLY or (status > 0 and status % 2 == 1)
    if not orderly or any(sign in errors for sign in _BUG_SIGNS):
        text = errors.decode(errors="replace")
        raise MonitorFailed(f"stream {seed}: exit status {status}\n{text}")
    return _ORDERLY.get(status, "debug exit")
