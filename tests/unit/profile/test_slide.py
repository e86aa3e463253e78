"""The distance by which a kernel has moved itself, and symbols of another kernel."""

from __future__ import annotations

import pytest

from wardian.profile.slide import LSTAR, find_slide, is_linux
from wardian.profile.symbols import Symbol, Symbols

CSTAR, SYSENTER_EIP = 0xC000_0083, 0x176
LINK = 0xFFFF_FFFF_8200_0000
MIB_2 = 2 << 20

LINUX = Symbols(
    [
        Symbol(LINK + 0x80, "T", "entry_SYSCALL_64"),
        Symbol(LINK + 0x17B0, "T", "entry_SYSENTER_compat"),
        Symbol(LINK + 0x1900, "T", "entry_SYSCALL_compat"),
        Symbol(LINK + 0x1A00, "T", "entry_SYSCALL32_ignore"),
    ]
)


@pytest.mark.parametrize("slide", [0, MIB_2, 0x1C00_0000, -4 * MIB_2])
def test_the_slide_is_what_all_registers_agree_on(slide: int) -> None:
    msrs = {LSTAR: LINK + slide + 0x80}
    assert find_slide(LINUX, msrs) == slide
    assert find_slide(LINUX, {**msrs, SYSENTER_EIP: 0, CSTAR: 0}) == slide
    assert find_slide(LINUX, {**msrs, SYSENTER_EIP: LINK + slide + 0x17B0}) == slide
    assert find_slide(LINUX, {**msrs, CSTAR: LINK + slide + 0x1A00}) == slide


@pytest.mark.parametrize(
    "msrs",
    [
        {},
        {LSTAR: 0},
        {LSTAR: LINK + 0x1000},
        {LSTAR: LINK + 0x80 + 0x1000},
        {LSTAR: LINK + 0x80, SYSENTER_EIP: LINK + 0x17A0},
        {LSTAR: LINK + 0x80 + MIB_2, SYSENTER_EIP: LINK + 0x17B0},
        {LSTAR: LINK + 0x80, CSTAR: LINK},
    ],
    ids=["none", "not-yet", "elsewhere", "not-a-step", "sysenter", "only-one-moved", "cstar"],
)
def test_symbols_that_are_not_confirmed_are_not_used(msrs: dict[int, int]) -> None:
    assert find_slide(LINUX, msrs) is None


def test_a_kernel_that_is_no_linux() -> None:
    other = Symbols([Symbol(0x10_0000, "T", "start")])
    assert is_linux(LINUX)
    assert not is_linux(other)
    assert find_slide(other, {LSTAR: 0x10_0000}) is None
