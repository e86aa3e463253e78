"""From a guest-virtual to a guest-physical address, by the guest's own page tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

#: Copies (guest-physical address, length) out of RAM; b"" where there is no RAM.
ReadRam = Callable[[int, int], bytes]

_PRESENT: Final = 1 << 0
_LARGE: Final = 1 << 7
_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_CR4_LA57: Final = 1 << 12


def physical_address(state: Mapping[str, Any], virtual: int, read_ram: ReadRam) -> int | None:
    """Where a vCPU in 64-bit mode finds `virtual` (Intel SDM vol. 3A, 4.5); None if nowhere.

    `state` is what `Vcpu.get_state` gives.
    """
    table: int = state.get("cr3", 0) & _ADDRESS
    top = 4 if state.get("cr4", 0) & _CR4_LA57 else 3
    for level in range(top, -1, -1):
        index = virtual >> (12 + 9 * level) & 0x1FF
        entry = int.from_bytes(read_ram(table + 8 * index, 8), "little")
        if not entry & _PRESENT:
            return None
        if level in (1, 2) and entry & _LARGE:
            size = 1 << (12 + 9 * level)
            return entry & _ADDRESS & -size | virtual & (size - 1)
        table = entry & _ADDRESS
    return table | virtual & 0xFFF
