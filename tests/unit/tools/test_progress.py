"""tools/progress.py: readable in a log, out of the way on a terminal."""

from __future__ import annotations

import io
import re

from tools.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_each_stage_once_and_never_in_the_middle_of_a_line() -> None:
    output, status = io.BytesIO(), io.StringIO()
    with Progress(output, status) as progress:
        progress.stage("one")
        progress.stage("one")
        progress.detail("not for a log")
        progress.output(b"half a ")
        progress.stage("two")
        assert "two" not in status.getvalue()
        progress.output(b"line\n")
    assert output.getvalue() == b"half a line\n"
    assert re.sub(r"[0-9.]+ s", "T", status.getvalue()) == "[   T] one\n[   T] two\n"


def test_a_terminal_is_clean_in_the_end() -> None:
    output, status = io.BytesIO(), Terminal()
    with Progress(output, status) as progress:
        progress.stage("working")
        progress.output(b"text\n")
    assert "working" in status.getvalue()
    assert status.getvalue().endswith("\r\x1b[2K")
    assert output.getvalue() == b"text\n"


def test_a_terminal_line_with_output_is_never_erased() -> None:
    status = Terminal()
    with Progress(io.BytesIO(), status) as progress:
        progress.output(b"login: ")
        before = status.getvalue()
        progress.stage("waiting")
        progress.output(b"root")
        assert status.getvalue() == before
