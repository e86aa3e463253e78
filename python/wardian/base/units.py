"""Sizes as people write them: ``512M``, ``2G``, ``1.5GiB``."""

from __future__ import annotations

import re
from typing import Final

from wardian.base.errors import CallerError

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

_UNITS: Final = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SIZE: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))? ?([KMGT]?)(?:IB|B)?", re.ASCII)

# Beyond any x86-64 physical address (52 bits, Intel SDM vol. 3A, 4.1.4), so surely a mistake.
_LIMIT: Final = 1 << 52


def parse_size(text: str, what: str = "memory size") -> int:
    """Return the number of bytes that `text` names; K, M, G and T are powers of 1024.

    Accepted: digits, an optional decimal part, and a unit with or without ``B`` or ``iB``, in
    either case. A bare number is refused, because people read it as bytes and as MiB in equal
    measure. `what` names the value in the message. Raises `CallerError` ``MEM_SIZE`` for anything
    else, for sizes that are not positive, not whole bytes, or above 4 PiB.
    """
    cleaned = text.strip().upper()
    match = _SIZE.fullmatch(cleaned)
    if match is None:
        raise CallerError("MEM_SIZE", f"{_quoted(text)} is not a {what}: write it like 512M or 2G.")
    whole, decimals, unit = match[1], match[2] or "", match[3]
    if not unit and not cleaned.endswith("B"):
        raise CallerError(
            "MEM_SIZE", f"The {what} {_quoted(text)} has no unit: write {whole}M for {whole} MiB."
        )
    scale: int = 10 ** len(decimals)
    size, rest = divmod(int(whole + decimals) * _UNITS[unit], scale)
    if rest:
        raise CallerError("MEM_SIZE", f"The {what} {_quoted(text)} is not a whole number of bytes.")
    if not 0 < size <= _LIMIT:
        raise CallerError(
            "MEM_SIZE",
            f"The {what} {_quoted(text)} is out of range: it must be above 0, at most 4 PiB.",
        )
    return size


def format_size(size: int) -> str:
    """Return `size` bytes in the largest binary unit that leaves it exact: ``512 MiB``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def format_count(count: float) -> str:
    """Return `count` as people read it: exact below 100,000, then ``123 k``, ``4.56 M``."""
    if count < 100_000:
        return f"{count:,.0f}"
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        # From 999.5 on the three digits would be rounded up to four.
        if count >= 0.9995 * unit:
            return f"{_three_digits(count / unit)} {name}"
    raise AssertionError(count)


def format_bytes(size: int) -> str:
    """Return `size` in binary units with three digits, exact or not: ``1.50 MiB``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{_three_digits(size / unit)} {name}"
    return f"{size} bytes"


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _quoted(text: str) -> str:
    """Return `text` fit for an error message: printable, and short whatever the user passed."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
