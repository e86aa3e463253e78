"""A status line below streamed output: what is being done, and for how long already."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import BinaryIO, TextIO

_ERASE_LINE = "\r\x1b[2K"
_TICK_S = 0.5


class Progress:
    """Shows the current stage while output streams past. Use it as a context manager.

    On a terminal the stage and the seconds since the start stay in the last line. Elsewhere
    each stage is printed once, on a line of its own, so that a log stays readable. `output` and
    `stage` may be called from any thread.
    """

    def __init__(self, output: BinaryIO | None = None, status: TextIO | None = None) -> None:
        self._output = output or sys.stdout.buffer
        self._status = status or sys.stderr
        self._live = self._status.isatty()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._stage = ""
        self._detail = ""
        self._printed = ""
        self._at_line_start = True
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._live:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        if self._live:
            self._ticker.join()
            with self._lock:
                self._erase()

    @property
    def elapsed_s(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._started

    def stage(self, text: str) -> None:
        """Say what is being done from now on."""
        with self._lock:
            self._stage = text
            self._detail = ""
            self._draw()

    def detail(self, text: str) -> None:
        """Say how far the stage is. It shows on a terminal only, at the next redrawing."""
        with self._lock:
            self._detail = text

    def output(self, data: bytes) -> None:
        """Pass `data` on to the output, above the status line."""
        if not data:
            return
        with self._lock:
            self._erase()
            self._output.write(data)
            self._output.flush()
            self._at_line_start = data.endswith(b"\n")
            self._draw()

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_S):
            with self._lock:
                self._draw()

    def _erase(self) -> None:
        if self._live and self._at_line_start:
            self._status.write(_ERASE_LINE)
            self._status.flush()

    def _draw(self) -> None:
        # In the middle of a line of output there is no room; the next newline makes some.
        if not self._at_line_start or not self._stage:
            return
        line = f"[{self.elapsed_s:6.1f} s] {self._stage}"
        if self._live:
            if self._detail:
                line += f": {self._detail}"
            width = shutil.get_terminal_size().columns
            self._status.write(_ERASE_LINE + line[: width - 1])
            self._status.flush()
        elif self._stage != self._printed:
            self._status.write(line + "\n")
            self._status.flush()
            self._printed = self._stage
