"""Reads the reports that the guest's /init prints on the console (see guest/init)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

PREFIX = b"@wardian "


@dataclass(slots=True, frozen=True)
class Report:
    """One report: `word` is "ready" or "exit"; `value` is the exit status of the command."""

    word: str
    value: int | None


def new_nonce() -> str:
    """Return a word that the guest's own output will not contain by accident."""
    return secrets.token_hex(8)


def parse(line: bytes, nonce: str) -> Report | None:
    """Return the report in a console line, or None if the line is ordinary output.

    A report with another nonce, a malformed one, and a status outside 0..255 are ordinary
    output too: the guest may print whatever it likes.
    """
    if not line.startswith(PREFIX):
        return None
    match line.decode("ascii", "replace").split():
        case [_, "ready", found] if found == nonce:
            return Report("ready", None)
        case [_, "exit", found, value] if found == nonce and value.isdecimal():
            return Report("exit", int(value)) if int(value) <= 255 else None
    return None
