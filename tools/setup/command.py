"""Runs one command of the set-up: quiet when it works, complete when it does not."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence

from tools.cache import CHECKOUT
from tools.errors import ToolError
from tools.progress import Progress

_LINES_KEPT = 200


def run(title: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `command` in the checkout, showing `title` and its latest line while it works.

    Raises ToolError if it fails, after its last lines have been printed.
    """
    lines: deque[bytes] = deque(maxlen=_LINES_KEPT)
    with Progress() as progress:
        progress.stage(title)
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            progress.detail(line.decode("utf-8", "replace").strip())
        status = process.wait()
        if status != 0:
            progress.output(b"".join(lines))
    if status != 0:
        raise ToolError(f"{title} failed: '{' '.join(command)}' ended with status {status}")
