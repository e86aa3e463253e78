from __future__ import annotations

import pytest

from wardian.boot import aml


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (2, "0a02"),
        (0xFF, "0aff"),
        (0x100, "0b0001"),
        (0x1_0000, "0c00000100"),
        (0xFFFF_FFFF, "0cffffffff"),
        (1 << 32, "0e0000000001000000"),
    ],
)
def test_integers_are_as_short_as_can_be(value: int, encoded: str) -> None:
    assert aml.integer(value).hex() == encoded


def test_names() -> None:
    assert aml.path("\\_SB") == b"\\_SB_"
    assert aml.name("A", aml.integer(2)) == b"\x08A___\x0a\x02"
    # ACPI 6.5, 19.3.4 works this one out: PNP0A03 is 0x030AD041.
    assert aml.eisa_id("PNP0A03") == b"\x0c\x41\xd0\x0a\x03"


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (57, "3f"),  # 1 + 5 + 57 = 63, the most that one byte holds
        (58, "4104"),  # 65 = 0x041
        (0xFFF - 7, "4fff"),
        (0xFFF - 6, "810001"),  # 0x1001: a third byte of length
        (0xF_FFFF - 7, "c1000001"),
    ],
)
def test_package_length_counts_itself(body: int, length: str) -> None:
    built = aml.scope("\\ABCD", bytes(body))
    prefix = bytes.fromhex(length)
    assert built[0] == 0x10
    assert built[1 : 1 + len(prefix)] == prefix
    low, *high = prefix
    total = low & 0xF | int.from_bytes(bytes(high), "little") << 4 if high else low
    assert total == len(built) - 1


def test_resources_end_with_a_tag() -> None:
    template = aml.resources(aml.io(0x3F8, 8), aml.irq(4))
    assert template.hex() == "1110" + "0a0d" + "4701f803f8030108" + "221000" + "7900"


def test_windows() -> None:
    assert aml.io_window(0xD00, 0xFFFF).hex() == "880d00" + "010c03" + "0000000dffff000000f3"
    assert aml.bus_range(0, 255).hex() == "880d00" + "020c00" + "00000000ff0000000001"
    memory = aml.memory_window(0xC000_0000, 0xFEBF_FFFF)
    numbers = "00000000" + "000000c0" + "ffffbffe" + "00000000" + "0000c03e"
    assert memory.hex() == "871700" + "000c01" + numbers
    assert aml.memory32(0xB000_0000, 0x1000_0000).hex() == "86090001" + "000000b0" + "00000010"
