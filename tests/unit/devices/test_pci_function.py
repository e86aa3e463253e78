"""Configuration space: identity, masks, and base address registers that can be sized."""

from __future__ import annotations

import pytest

from wardian.base.errors import BugError
from wardian.base.registers import Access, Register
from wardian.devices.pci_function import (
    COMMAND_IO,
    COMMAND_MEMORY,
    Bar,
    BarKind,
    PciFunction,
    PciIdentity,
)

IDENTITY = PciIdentity(0x1AF4, 0x1042, 0x018000, 1, 0x1AF4, 0x0002)
BARS = [
    Bar(0, BarKind.IO, 64),
    Bar(1, BarKind.MEMORY_32, 4096),
    Bar(2, BarKind.MEMORY_64_PREFETCHABLE, 8 << 30),
    Bar(4, BarKind.MEMORY_64, 16384),
]


@pytest.fixture
def function() -> PciFunction:
    return PciFunction(IDENTITY, BARS, interrupt_pin=1)


def test_the_header_says_what_the_function_is(function: PciFunction) -> None:
    assert function.config_read(0x00, 4) == 0x10421AF4
    assert function.config_read(0x08, 4) == 0x01800001
    assert function.config_read(0x0E, 1) == 0
    assert function.config_read(0x2C, 4) == 0x00021AF4
    assert function.config_read(0x3D, 1) == 1


@pytest.mark.parametrize("offset", [0x00, 0x08, 0x2C, 0x34])
def test_identity_cannot_be_written(function: PciFunction, offset: int) -> None:
    before = function.config_read(offset, 4)
    function.config_write(offset, 4, ~before & 0xFFFFFFFF)
    assert function.config_read(offset, 4) == before


def test_command_keeps_its_defined_bits(function: PciFunction) -> None:
    function.config_write(0x04, 2, 0xFFFF)
    assert function.config_read(0x04, 2) == 0x0547


def test_a_byte_write_to_command_does_not_touch_status(function: PciFunction) -> None:
    function.config["STATUS"] = 0x8000
    function.config_write(0x04, 1, 0x07)
    assert function.config_read(0x04, 4) == 0x8000_0007
    function.config_write(0x04, 4, 0x8000_0000)
    assert function.config_read(0x04, 4) == 0


@pytest.mark.parametrize(
    ("offset", "sized"),
    [
        (0x10, 0xFFFFFFC1), (0x14, 0xFFFFF000), (0x18, 0x0000000C), (0x1C, 0xFFFFFFFE),
        (0x20, 0xFFFFC004), (0x24, 0xFFFFFFFF), (0x30, 0x00000000),
    ],
)  # fmt: skip
def test_writing_ones_to_a_bar_tells_its_size(
    function: PciFunction, offset: int, sized: int
) -> None:
    function.config_write(offset, 4, 0xFFFFFFFF)
    assert function.config_read(offset, 4) == sized


def test_bars_decode_when_their_space_is_enabled(function: PciFunction) -> None:
    function.config_write(0x10, 4, 0xC041)
    function.config_write(0x14, 4, 0xC000_1234)
    function.config_write(0x18, 8, 0x12_0000_0000)
    assert function.decoded_bars() == {}
    function.config_write(0x04, 2, COMMAND_MEMORY)
    assert function.decoded_bars() == {1: 0xC000_1000, 2: 0x12_0000_0000, 4: 0}
    function.config_write(0x04, 2, COMMAND_IO)
    assert function.decoded_bars() == {0: 0xC040}


def test_reset_forgets_addresses(function: PciFunction) -> None:
    function.config_write(0x14, 4, 0xC000_1000)
    function.config_write(0x04, 2, COMMAND_MEMORY)
    function.reset()
    assert function.decoded_bars() == {}
    assert function.config_read(0x14, 4) == 0


def test_capabilities_slide_in_as_registers_with_hooks() -> None:
    written: list[int] = []
    function = PciFunction(
        IDENTITY,
        first_capability=0x40,
        registers=[
            Register("CAP_ID", 0x40, 1, Access.READ_ONLY, reset=0x09),
            Register("CAP_DATA", 0x42, 2),
        ],
        on_write={"CAP_DATA": written.append},
    )
    assert function.config_read(0x06, 2) & 0x10
    assert function.config_read(0x34, 1) == 0x40
    function.config_write(0x40, 4, 0xABCD_0000)
    assert function.config_read(0x40, 4) == 0xABCD_0009
    assert written == [0xABCD]


def test_multifunction_shows_in_the_header_type() -> None:
    assert PciFunction(IDENTITY, multifunction=True).config_read(0x0E, 1) == 0x80


def test_extended_space_is_empty(function: PciFunction) -> None:
    assert function.config_read(0x100, 4) == 0
    assert function.config_read(0xFFE, 4) == 0


@pytest.mark.parametrize(
    "bar",
    [
        Bar(6, BarKind.IO, 64),
        Bar(5, BarKind.MEMORY_64, 4096),
        Bar(-1, BarKind.IO, 64),
        Bar(0, BarKind.IO, 2),
        Bar(0, BarKind.MEMORY_32, 8),
        Bar(0, BarKind.MEMORY_32, 4097),
    ],
)
def test_an_impossible_bar_is_a_bug(bar: Bar) -> None:
    with pytest.raises(BugError) as caught:
        PciFunction(IDENTITY, [bar])
    assert caught.value.code == "PCI_BAR"


def test_overlapping_bars_are_a_bug() -> None:
    with pytest.raises(BugError):
        PciFunction(IDENTITY, [Bar(0, BarKind.MEMORY_64, 4096), Bar(1, BarKind.MEMORY_32, 4096)])
