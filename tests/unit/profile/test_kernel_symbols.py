"""Which symbols are taken for a running kernel, and which are not."""

from __future__ import annotations

from typing import Any

from tests.unit.profile.kallsyms_image import kallsyms_image, symbols
from tests.unit.profile.page_tables import TABLE, mapped
from wardian.profile.kernel_symbols import SymbolSource, find_naming
from wardian.profile.slide import LSTAR
from wardian.profile.symbols import Symbol, Symbols

BASE = 0xFFFF_FFFF_9D00_0000
ENTRY = BASE + 0x2_0080
IMAGE_AT = 0x20_0000

LINUX = Symbols([Symbol(ENTRY - (2 << 20), "T", "entry_SYSCALL_64")])
OTHER_LINUX = Symbols([Symbol(ENTRY - 0x1000, "T", "entry_SYSCALL_64")])
NO_LINUX = Symbols([Symbol(0x10_0000, "T", "start")])

RUNNING: dict[str, Any] = {"cr3": TABLE, "cr4": 0, "msrs": {LSTAR: ENTRY}}
STARTING: dict[str, Any] = {"cr3": TABLE, "cr4": 0, "msrs": {LSTAR: 0}}


def source(name: str, found: Symbols | None) -> SymbolSource:
    return SymbolSource(name, lambda: found)


def no_ram(gpa: int, length: int) -> bytes:
    return b""


def linux_ram(gpa: int, length: int) -> bytes:
    """RAM in which the kernel's entry is mapped and the kernel has its own table behind it."""
    if length == 8:
        return mapped(ENTRY, IMAGE_AT, levels=4, page_bits=12)(gpa, length)
    assert gpa == IMAGE_AT
    made = symbols(2000, BASE, ENTRY)
    return bytes(0x100) + kallsyms_image(made, since_6_4=False, absolute_percpu=True)


def test_the_kernels_own_table_comes_first() -> None:
    naming = find_naming([RUNNING], linux_ram, None, [source("file", LINUX)])
    assert naming
    assert naming.name(ENTRY + 8, user=False) == "entry_SYSCALL_64+0x8"
    assert naming.origin == "the table in the guest kernel's memory"


def test_without_one_a_file_that_the_registers_confirm() -> None:
    candidates = [source("none", None), source("other", OTHER_LINUX), source("right", LINUX)]
    naming = find_naming([RUNNING], no_ram, None, candidates)
    assert naming
    assert naming.name(ENTRY, user=False) == "entry_SYSCALL_64"
    assert naming.origin == "right, moved by 0x200000"


def test_the_users_own_file_is_taken_or_nothing() -> None:
    naming = find_naming([RUNNING], linux_ram, source("mine", LINUX), [])
    assert naming
    assert naming.origin == "mine, moved by 0x200000"
    naming = find_naming([RUNNING], linux_ram, source("mine", OTHER_LINUX), [])
    assert naming
    assert naming.symbols is None
    assert "mine is of another kernel" in naming.origin


def test_no_symbols_anywhere() -> None:
    naming = find_naming([RUNNING], no_ram, None, [source("other", OTHER_LINUX)])
    assert naming
    assert naming.symbols is None
    assert "--symbols" in naming.origin


def test_it_may_be_too_early_to_say() -> None:
    assert find_naming([STARTING], linux_ram, None, [source("file", LINUX)]) is None
    assert find_naming([{}], linux_ram, source("mine", LINUX), []) is None
    assert find_naming([], linux_ram, None, []) is None


def test_a_kernel_that_is_no_linux_runs_where_its_file_says() -> None:
    for given, candidates in [(source("k", NO_LINUX), []), (None, [source("k", NO_LINUX)])]:
        naming = find_naming([STARTING], no_ram, given, candidates)
        assert naming
        assert naming.name(0x10_0004, user=False) == "start+0x4"
        assert naming.origin == "k"
