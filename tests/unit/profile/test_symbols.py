"""What an address is called."""

from __future__ import annotations

import pytest

from wardian.profile.symbols import Naming, Symbol, Symbols

TABLE = Symbols(
    [
        Symbol(0x3000, "B", "data"),
        Symbol(0x1000, "t", "local"),
        Symbol(0x1000, "T", "start"),
        Symbol(0x1000, "D", "marker"),
        Symbol(0x1100, "t", "middle"),
        Symbol(0x9000, "W", "weak"),
    ]
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFF, ""),
        (0x1000, "start"),
        (0x10FF, "start+0xff"),
        (0x1100, "middle"),
        (0x2FFF, "middle+0x1eff"),
        (0x3000, ""),
        (0x8FFF, ""),
        (0x9000, "weak"),
        (0x9000 + (1 << 20) - 1, "weak+0xfffff"),
        (0x9000 + (1 << 20), ""),
        ((1 << 64) - 1, ""),
    ],
)
def test_a_name_reaches_to_the_next_symbol_and_data_has_none(address: int, name: str) -> None:
    assert TABLE.name(address) == name


def test_addresses_by_name() -> None:
    assert TABLE.address("middle") == 0x1100
    assert TABLE.address("local") == 0x1000
    assert TABLE.address("nothing") is None
    assert len(TABLE) == 4


def test_no_symbols() -> None:
    assert Symbols([]).name(0x1000) == ""
    assert Naming().name(0x1000, user=False) == ""


def test_the_slide_is_taken_off_and_user_addresses_are_not_the_kernels() -> None:
    naming = Naming(TABLE, 0x20_0000)
    assert naming.name(0x20_1100, user=False) == "middle"
    assert naming.name(0x20_1100, user=True) == ""
    assert Naming(TABLE, -0x1000).name(0x100, user=False) == "middle"
