"""Separates a guest's console output from the reports that /init prints in between."""

from __future__ import annotations

import re

from tools.assets.reports import PREFIX, Report, parse

_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_LONGEST_REPORT = 100


class ConsoleSplitter:
    """Takes console output in pieces of any size; gives back text and reports in their order.

    Text is given back at once, so that a half-finished line shows; only the beginning of a line
    that may still turn out to be a report is held until it is decided.
    """

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._held = b""
        self._is_mid_line = False

    def feed(self, data: bytes) -> list[bytes | Report]:
        """Take the next piece; return what is decided, neighbouring text joined."""
        decided: list[bytes | Report] = []
        text = b""
        for piece in _LINES.findall(data):
            if self._is_mid_line:
                text += piece
                self._is_mid_line = not piece.endswith(b"\n")
                continue
            line = self._held + piece
            self._held = b""
            if line.endswith(b"\n"):
                report = parse(line.rstrip(b"\r\n"), self._nonce)
                if report is None:
                    text += line
                else:
                    decided += [text, report] if text else [report]
                    text = b""
            elif _may_become_report(line):
                self._held = line
            else:
                text += line
                self._is_mid_line = True
        return [*decided, text] if text else decided

    def rest(self) -> bytes:
        """Return what was held when the output ended."""
        return self._held


def _may_become_report(line: bytes) -> bool:
    return PREFIX.startswith(line) or (line.startswith(PREFIX) and len(line) < _LONGEST_REPORT)
