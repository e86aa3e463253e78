"""The CPU state in which a kernel gets control: 64-bit with paging, or flat 32-bit without.

Both use one GDT layout, the one that Linux prescribes: code at selector 0x10, data at 0x18
(Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"), a TSS at 0x20.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from wardian.boot.memory_map import GDT, PAGE, PAGE_TABLES, STACK_TOP

_CODE: Final = 0x10
_DATA: Final = 0x18
_TSS: Final = 0x20

# Segment attributes in the format of VMX access rights (Intel SDM vol. 3C, table 25-2).
_CODE64: Final = 0xA09B  # present, execute/read, accessed, L, 4 KiB granularity
_CODE32: Final = 0xC09B  # the same with D instead of L
_FLAT_DATA: Final = 0xC093  # present, read/write, accessed, B, 4 KiB granularity
_BUSY_TSS: Final = 0x008B
_UNUSABLE: Final = 0x1_0000

_FLAT: Final = 0xFFFF_FFFF
_TSS_LIMIT: Final = 0x67

_CR0_PE: Final = 1 << 0
_CR0_ET: Final = 1 << 4
_CR0_PG: Final = 1 << 31
_CR4_PAE: Final = 1 << 5
_EFER_LME_LMA: Final = (1 << 8) | (1 << 10)
_RFLAGS: Final = 2  # bit 1 is always set; interrupts are off

_PRESENT_WRITABLE: Final = 0x3
_LARGE: Final = 0x80
_GIB_IN_TABLES: Final = 4

# Register numbers in the "gpr" list of the vCPU state.
RAX: Final = 0
RBX: Final = 3
_RSP: Final = 4
RSI: Final = 6

#: A vCPU state as `Vcpu.set_state` takes it.
State = dict[str, Any]


def long_mode(entry: int, registers: dict[int, int]) -> tuple[State, list[tuple[int, bytes]]]:
    """64-bit mode with the first 4 GiB mapped to themselves, about to run at `entry`.

    `registers` sets general registers by number (`RAX` ...); the others are 0, but for RSP, which
    has a page below it. Returns the state and what has to be in memory for it.
    """
    state = _state(entry, registers, _CODE64)
    state["cr0"] = _CR0_PE | _CR0_ET | _CR0_PG
    state["cr3"] = PAGE_TABLES
    state["cr4"] = _CR4_PAE
    state["efer"] = _EFER_LME_LMA
    return state, [(GDT, _gdt(_CODE64)), (PAGE_TABLES, _identity_map())]


def flat_protected_mode(
    entry: int, registers: dict[int, int]
) -> tuple[State, list[tuple[int, bytes]]]:
    """32-bit protected mode, paging off, flat 4 GiB segments, about to run at `entry`.

    What Multiboot 0.6.96 (3.2, "Machine state") and the PVH boot protocol (Xen
    docs/misc/pvh.pandoc) ask for. Arguments and result are those of `long_mode`.
    """
    state = _state(entry, registers, _CODE32)
    state["cr0"] = _CR0_PE | _CR0_ET
    state["cr3"] = state["cr4"] = state["efer"] = 0
    return state, [(GDT, _gdt(_CODE32))]


def _state(entry: int, registers: dict[int, int], code: int) -> State:
    gpr = [0] * 16
    gpr[_RSP] = STACK_TOP
    for number, value in registers.items():
        gpr[number] = value
    data = (_DATA, 0, _FLAT, _FLAT_DATA)
    return {
        "gpr": gpr,
        "rip": entry,
        "rflags": _RFLAGS,
        "segments": {
            "cs": (_CODE, 0, _FLAT, code),
            **dict.fromkeys(("es", "ss", "ds", "fs", "gs"), data),
            "ldtr": (0, 0, 0, _UNUSABLE),
            "tr": (_TSS, 0, _TSS_LIMIT, _BUSY_TSS),
        },
        "gdtr": (GDT, len(_gdt(code)) - 1),
        "idtr": (0, 0),
        "activity": "running",
    }


def _gdt(code: int) -> bytes:
    null = 0
    # The last entry is the upper half of the TSS descriptor, which has 16 bytes in 64-bit mode
    # (Intel SDM vol. 3A, 8.2.3).
    entries = (
        null,
        null,
        _descriptor(0, _FLAT, code),
        _descriptor(0, _FLAT, _FLAT_DATA),
        _descriptor(0, _TSS_LIMIT, _BUSY_TSS),
        null,
    )
    return struct.pack(f"<{len(entries)}Q", *entries)


def _descriptor(base: int, limit: int, attributes: int) -> int:
    """A segment descriptor (Intel SDM vol. 3A, figure 3-8); `limit` is in bytes."""
    if attributes & 0x8000:
        limit >>= 12
    return (
        limit & 0xFFFF
        | (base & 0xFF_FFFF) << 16
        | (attributes & 0xFF) << 40
        | (limit >> 16 & 0xF) << 48
        | (attributes >> 12 & 0xF) << 52
        | (base >> 24) << 56
    )


def _identity_map() -> bytes:
    """Four-level page tables in 2 MiB pages, which every x86-64 CPU has.

    One page each of PML4 and page-directory pointers, then one page directory for each GiB
    (Intel SDM vol. 3A, figure 4-9).
    """
    pointers = PAGE_TABLES + PAGE
    directories = pointers + PAGE
    pml4 = struct.pack("<Q", pointers | _PRESENT_WRITABLE)
    pdpt = struct.pack(
        f"<{_GIB_IN_TABLES}Q",
        *(directories + PAGE * i | _PRESENT_WRITABLE for i in range(_GIB_IN_TABLES)),
    )
    pages = range(512 * _GIB_IN_TABLES)
    directory = struct.pack(
        f"<{len(pages)}Q", *(page << 21 | _LARGE | _PRESENT_WRITABLE for page in pages)
    )
    return pml4.ljust(PAGE, b"\0") + pdpt.ljust(PAGE, b"\0") + directory
