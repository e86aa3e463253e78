"""RAM in which one virtual address is mapped."""

from __future__ import annotations

import struct
from collections.abc import Callable

TABLE = 0x1000


def mapped(
    virtual: int, physical: int, *, levels: int, page_bits: int
) -> Callable[[int, int], bytes]:
    """What reads RAM whose tables, from `TABLE` on, map one page of 2**`page_bits` bytes."""
    ram: dict[int, int] = {}
    table = TABLE
    level = levels - 1
    while True:
        at = table + 8 * (virtual >> (12 + 9 * level) & 0x1FF)
        if 12 + 9 * level == page_bits:
            # Present, and large where it is not the last level; the top bit forbids execution.
            ram[at] = physical | 1 | (0x80 if level else 0) | 1 << 63
            break
        table += 0x1000
        ram[at] = table | 0x67
        level -= 1

    def read(gpa: int, length: int) -> bytes:
        assert length == 8
        return struct.pack("<Q", ram.get(gpa, 0)) if gpa < 0x10_0000 else b""

    return read
