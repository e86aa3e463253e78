from __future__ import annotations

import struct

from wardian.boot.entry import RAX, RBX, RSI, flat_protected_mode, long_mode
from wardian.boot.memory_map import GDT, PAGE_TABLES


def test_long_mode_is_the_linux_64_bit_entry() -> None:
    state, memory = long_mode(0x100_0200, {RSI: 0x7000})
    assert state["rip"] == 0x100_0200
    assert state["gpr"][6] == 0x7000
    assert state["rflags"] == 2
    assert state["cr0"] == 0x8000_0011
    assert state["cr3"] == PAGE_TABLES
    assert state["cr4"] == 0x20
    assert state["efer"] == 0x500
    assert state["segments"]["cs"] == (0x10, 0, 0xFFFF_FFFF, 0xA09B)
    for name in ("ds", "es", "ss"):
        assert state["segments"][name] == (0x18, 0, 0xFFFF_FFFF, 0xC093)
    assert [base for base, _ in memory] == [GDT, PAGE_TABLES]


def test_gdt_agrees_with_the_loaded_segments() -> None:
    codes = {long_mode: 0x00AF_9B00_0000_FFFF, flat_protected_mode: 0x00CF_9B00_0000_FFFF}
    for build, code in codes.items():
        state, memory = build(0x10_0000, {})
        gdt = dict(memory)[GDT]
        assert state["gdtr"] == (GDT, len(gdt) - 1)
        entries = struct.unpack(f"<{len(gdt) // 8}Q", gdt)
        assert entries == (0, 0, code, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067, 0)
        assert state["segments"]["tr"] == (0x20, 0, 0x67, 0x8B)


def test_page_tables_map_the_first_4_gib_to_themselves() -> None:
    _, memory = long_mode(0x10_0000, {})
    tables = dict(memory)[PAGE_TABLES]

    def entry(table: int, index: int) -> int:
        (value,) = struct.unpack_from("<Q", tables, table - PAGE_TABLES + 8 * index)
        return int(value)

    def walk(address: int) -> int:
        pointers = entry(PAGE_TABLES, address >> 39 & 511)
        directory = entry(pointers & ~0xFFF, address >> 30 & 511)
        page = entry(directory & ~0xFFF, address >> 21 & 511)
        assert pointers & directory & page & 3 == 3
        assert page & 0x80
        return page & ~0x1F_FFFF | address & 0x1F_FFFF

    for address in (0, 0x7000, 0x1F_FFFF, 0x20_0000, 0xB000_0123, 0xFFFF_FFFF):
        assert walk(address) == address
    assert entry(PAGE_TABLES, 1) == 0
    assert len(tables) == 6 * 4096


def test_flat_protected_mode_is_that_of_multiboot_and_pvh() -> None:
    state, memory = flat_protected_mode(0x10_000C, {RAX: 0x2BAD_B002, RBX: 0x7000})
    assert state["rip"] == 0x10_000C
    assert state["gpr"][0] == 0x2BAD_B002
    assert state["gpr"][3] == 0x7000
    assert state["cr0"] == 0x11
    assert state["cr3"] == state["cr4"] == state["efer"] == 0
    assert state["rflags"] == 2
    assert state["segments"]["cs"] == (0x10, 0, 0xFFFF_FFFF, 0xC09B)
    assert state["segments"]["tr"] == (0x20, 0, 0x67, 0x8B)
    assert [base for base, _ in memory] == [GDT]
