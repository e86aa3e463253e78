"""Register maps: exact, wide, narrow and misaligned accesses; write masks; hooks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.base.errors import BugError
from wardian.base.registers import Access, Register, RegisterBank, RegisterMap

LAYOUT = RegisterMap(
    16,
    [
        Register("WORD", 0, 4, reset=0x44332211),
        Register("LOW", 4, 2, writable=0x0FF0, reset=0x8001),
        Register("STATUS", 6, 2, writable=0x000F, clears=0xF0F0),
        Register("READ_SIDE", 8, 1, Access.READ_ONLY, reset=0xAA),
        Register("WRITE_SIDE", 8, 1, Access.WRITE_ONLY),
        # Bytes 9 to 11 belong to nothing.
        Register("LAST", 12, 4),
    ],
)


def test_an_exact_access_reads_and_writes_the_register() -> None:
    bank = RegisterBank(LAYOUT)
    assert bank.read(0, 4) == 0x44332211
    bank.write(0, 4, 0xDEADBEEF)
    assert bank.read(0, 4) == bank["WORD"] == 0xDEADBEEF


def test_excess_bits_of_a_write_are_ignored() -> None:
    bank = RegisterBank(LAYOUT)
    bank.write(0, 4, 0xFFFF_FFFF_0000_0001)
    bank.write(4, 1, 0xFFFF)
    assert bank.read(0, 8) == 0x0000_80F1_0000_0001


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(0, 1, 0x11), (1, 1, 0x22), (1, 2, 0x3322), (2, 4, 0x8001_4433), (3, 2, 0x0144)],
)
def test_narrow_and_misaligned_reads_take_the_bytes_they_name(
    offset: int, size: int, expected: int
) -> None:
    assert RegisterBank(LAYOUT).read(offset, size) == expected


def test_a_narrow_write_keeps_the_other_bytes() -> None:
    bank = RegisterBank(LAYOUT)
    bank.write(1, 2, 0xBBAA)
    assert bank["WORD"] == 0x44BBAA11


def test_a_write_across_registers_reaches_each() -> None:
    bank = RegisterBank(LAYOUT)
    bank.write(2, 4, 0xFFFF_0000)
    assert bank["WORD"] == 0x0000_2211
    assert bank["LOW"] == 0x8FF1


def test_a_write_replaces_only_writable_bits() -> None:
    bank = RegisterBank(LAYOUT)
    bank.write(4, 2, 0xFFFF)
    assert bank["LOW"] == 0x8FF1
    bank.write(4, 2, 0)
    assert bank["LOW"] == 0x8001


def test_ones_clear_and_zeros_keep() -> None:
    bank = RegisterBank(LAYOUT)
    bank["STATUS"] = 0xFFF0
    bank.write(6, 2, 0x8010)
    assert bank["STATUS"] == 0x7FE0


def test_a_narrow_write_clears_nothing_in_the_bytes_it_does_not_name() -> None:
    bank = RegisterBank(LAYOUT)
    bank["STATUS"] = 0xF0F5
    bank.write(6, 1, 0x10)
    assert bank["STATUS"] == 0xF0E0


def test_one_offset_can_hold_a_register_to_read_and_one_to_write() -> None:
    bank = RegisterBank(LAYOUT)
    bank.write(8, 1, 0x55)
    assert bank.read(8, 1) == 0xAA
    assert bank["WRITE_SIDE"] == 0x55


def test_bytes_of_no_register_read_as_fill_and_drop_writes() -> None:
    bank = RegisterBank(LAYOUT)
    bank.write(9, 2, 0x1234)
    assert bank.read(8, 4) == 0xFFFFFFAA
    assert bank.read(14, 4) == 0xFFFF0000
    assert bank.read(100, 8) == (1 << 64) - 1
    bank.write(100, 8, 1)
    assert RegisterBank(RegisterMap(4, [], fill=0)).read(0, 4) == 0


def test_hooks_run_once_for_each_register_an_access_covers() -> None:
    reads: list[str] = []
    writes: list[tuple[str, int]] = []

    def note_read() -> int:
        reads.append("WORD")
        return 0x01020304

    bank = RegisterBank(
        LAYOUT,
        on_read={"WORD": note_read},
        on_write={"WORD": lambda value: writes.append(("WORD", value))},
    )
    assert bank.read(0, 8) & 0xFFFFFFFF == 0x01020304
    assert bank.read(2, 1) == 0x02
    assert reads == ["WORD", "WORD"]
    bank.write(0, 4, 5)
    bank.write(3, 1, 0xFF)
    assert writes == [("WORD", 5), ("WORD", 0xFF000005)]
    assert bank["WORD"] == 0xFF000005


def test_a_write_hook_sees_the_value_already_stored_and_all_written_bits() -> None:
    seen: list[tuple[int, int]] = []
    bank = RegisterBank(LAYOUT, on_write={"LOW": lambda value: seen.append((bank["LOW"], value))})
    bank.write(4, 2, 0xFFFF)
    assert seen == [(0x8FF1, 0xFFFF)]


def test_a_whole_register_answers_only_its_own_width() -> None:
    layout = RegisterMap(
        4, [Register("WIDE", 0, 4, whole=True), Register("NARROW", 1, 1, reset=0x77)]
    )
    bank = RegisterBank(layout)
    bank.write(0, 4, 0x11111111)
    bank.write(0, 1, 0x22)
    bank.write(1, 1, 0x33)
    assert bank.read(0, 4) == 0x11111111
    assert bank.read(0, 2) == 0x33FF


def test_reset_restores_declared_values_without_hooks() -> None:
    calls: list[int] = []
    bank = RegisterBank(LAYOUT, on_write={"WORD": calls.append})
    bank["WORD"] = 0
    bank["LOW"] = 0
    bank.reset()
    assert (bank["WORD"], bank["LOW"], calls) == (0x44332211, 0x8001, [])


@pytest.mark.parametrize(
    "registers",
    [
        [Register("A", 0, 2), Register("B", 1, 1)],
        [Register("A", 0, 1), Register("A", 1, 1)],
        [Register("A", 3, 2)],
        [Register("A", -1, 1)],
        [Register("A", 0, 0)],
        [Register("A", 0, 1, reset=0x100)],
    ],
)
def test_a_map_that_contradicts_itself_is_a_bug(registers: list[Register]) -> None:
    with pytest.raises(BugError) as caught:
        RegisterMap(4, registers)
    assert caught.value.code == "REGISTER_MAP"


def test_a_hook_without_a_register_is_a_bug() -> None:
    with pytest.raises(BugError):
        RegisterBank(LAYOUT, on_read={"NO_SUCH": lambda: 0})


@given(st.integers(0, 20), st.integers(1, 16), st.integers(0, (1 << 128) - 1))
def test_a_wide_access_equals_its_bytes_in_ascending_order(
    offset: int, size: int, value: int
) -> None:
    wide, narrow = RegisterBank(LAYOUT), RegisterBank(LAYOUT)
    wide["STATUS"] = narrow["STATUS"] = 0xF0F0
    wide.write(offset, size, value)
    for at in range(size):
        narrow.write(offset + at, 1, value >> 8 * at)
    for register in LAYOUT.registers:
        assert wide[register.name] == narrow[register.name]
    joined = sum(narrow.read(offset + at, 1) << 8 * at for at in range(size))
    assert wide.read(offset, size) == joined
