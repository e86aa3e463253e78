"""The walk through a guest's page tables."""

from __future__ import annotations

import pytest

from tests.unit.profile.page_tables import TABLE, mapped
from wardian.profile.paging import physical_address

KERNEL = 0xFFFF_FFFF_8D20_0080
LA57 = 1 << 12


@pytest.mark.parametrize(("levels", "cr4"), [(4, 0x6F0), (5, 0x6F0 | LA57)])
@pytest.mark.parametrize("page_bits", [12, 21, 30])
def test_pages_of_every_size(levels: int, cr4: int, page_bits: int) -> None:
    inside = KERNEL & (1 << page_bits) - 1
    read = mapped(KERNEL, 0x4000_0000, levels=levels, page_bits=page_bits)
    # The low bits of CR3 are a process's number (PCID).
    state = {"cr3": TABLE | 0x801, "cr4": cr4}
    assert physical_address(state, KERNEL, read) == 0x4000_0000 | inside
    assert physical_address(state, KERNEL + (1 << page_bits), read) is None


def test_tables_that_are_not_in_ram() -> None:
    assert physical_address({}, KERNEL, lambda gpa, length: b"") is None
    assert physical_address({"cr3": 1 << 40}, KERNEL, lambda gpa, length: b"") is None
    assert physical_address({"cr3": 0}, KERNEL, lambda gpa, length: bytes(length)) is None
