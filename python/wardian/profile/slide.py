"""How far from its link address a kernel runs, found from where it sends system calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wardian.profile.symbols import Symbols

#: IA32_LSTAR, IA32_CSTAR and IA32_SYSENTER_EIP (Intel SDM vol. 4, 2.1): entries of system calls.
LSTAR: Final = 0xC000_0082
_CSTAR: Final = 0xC000_0083
_SYSENTER_EIP: Final = 0x176

#: What Linux points each register at (arch/x86/kernel/cpu/common.c): one of these, or nowhere.
_ENTRIES: Final = {
    LSTAR: ("entry_SYSCALL_64",),
    _CSTAR: ("entry_SYSCALL_compat", "entry_SYSCALL32_ignore", "ignore_sysret"),
    _SYSENTER_EIP: ("entry_SYSENTER_compat",),
}

#: Linux moves itself by multiples of CONFIG_PHYSICAL_ALIGN, on x86-64 at least 2 MiB.
_STEP: Final = 2 << 20


def is_linux(symbols: Symbols) -> bool:
    """Whether `symbols` are those of a 64-bit Linux kernel, which may have moved itself."""
    return symbols.address(_ENTRIES[LSTAR][0]) is not None


def find_slide(symbols: Symbols, msrs: Mapping[int, int]) -> int | None:
    """What to add to the addresses in `symbols` for the kernel whose registers are `msrs`.

    None if the symbols cannot be those of that kernel, or it has not set the registers yet: every
    register that it has set must give the same answer, a multiple of 2 MiB.
    """
    entry = symbols.address(_ENTRIES[LSTAR][0])
    if entry is None or not msrs.get(LSTAR):
        return None
    slide = msrs[LSTAR] - entry
    if slide % _STEP:
        return None
    for register, names in _ENTRIES.items():
        known = [a for a in map(symbols.address, names) if a is not None]
        target = msrs.get(register, 0)
        if target and known and target - slide not in known:
            return None
    return slide
