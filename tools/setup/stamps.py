"""Remembers which steps of the set-up were done, and with what input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tools import cache

VENV = cache.CHECKOUT / ".venv"


def once(name: str, key: str, step: Callable[[], None], *, intact: bool = True) -> None:
    """Do `step` unless it already succeeded with this `key` in this virtual environment.

    `intact` is false when what the step made is known to be gone; then it is done again.
    """
    stamp = VENV / "stamps" / name
    if intact and stamp.exists() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    step()
    cache.write(stamp, key.encode())


def files_key(paths: Iterable[Path]) -> str:
    """Return a key that changes with the name or content of any of the files."""
    parts: list[bytes | str] = []
    for path in sorted(paths):
        parts += [str(path.relative_to(cache.CHECKOUT)), path.read_bytes()]
    return cache.content_key(*parts)
