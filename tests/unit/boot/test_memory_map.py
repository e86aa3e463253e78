from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.base.errors import CallerError
from wardian.base.units import GIB, MIB
from wardian.boot import memory_map as m
from wardian.boot.memory_map import RamLayout, RegionKind


def test_small_machine_has_only_low_ram() -> None:
    layout = RamLayout.for_size(512 * MIB)
    assert layout.ranges == ((0, 512 * MIB),)
    assert layout.low + layout.high == 512 * MIB


def test_ram_continues_at_4_gib_behind_ecam() -> None:
    layout = RamLayout.for_size(4 * GIB)
    assert layout.ranges == ((0, 0xB000_0000), (4 * GIB, 4 * GIB - 0xB000_0000))
    assert layout.low + layout.high == 4 * GIB


def test_ram_ends_where_ecam_starts() -> None:
    assert m.LOW_RAM_LIMIT == m.ECAM_BASE
    assert m.ECAM_BASE + m.ECAM_LENGTH == m.PCI_MMIO_BASE
    assert m.PCI_MMIO_END == m.IOAPIC_BASE
    assert RamLayout.for_size(m.LOW_RAM_LIMIT).high == 0
    assert RamLayout.for_size(m.LOW_RAM_LIMIT + m.PAGE).high == m.PAGE


def test_guest_sees_these_regions() -> None:
    rows = [(r.base, r.end, int(r.kind)) for r in RamLayout.for_size(4 * GIB).regions()]
    assert rows == [
        (0, 0x9_FC00, 1),
        (0x9_FC00, 0x10_0000, 2),
        (0x10_0000, 0xB000_0000, 1),
        (0xB000_0000, 0xC000_0000, 2),
        (0x1_0000_0000, 0x1_5000_0000, 1),
    ]


@given(st.integers(m.MIN_RAM // m.PAGE, m.MAX_RAM // m.PAGE))
def test_regions_ascend_and_ram_is_backed(pages: int) -> None:
    layout = RamLayout.for_size(pages * m.PAGE)
    regions = layout.regions()
    assert all(a.end <= b.base for a, b in pairwise(regions))
    for region in regions:
        if region.kind is RegionKind.RAM:
            assert any(b <= region.base and region.end <= b + n for b, n in layout.ranges)


@pytest.mark.parametrize(
    ("size", "code"),
    [
        (0, "BOOT_MEMORY_TOO_SMALL"),
        (2 * MIB - 4096, "BOOT_MEMORY_TOO_SMALL"),
        (2 * MIB + 1, "BOOT_MEMORY_SIZE"),
        (512 * GIB + 4096, "BOOT_MEMORY_SIZE"),
    ],
)
def test_sizes_that_no_machine_has(size: int, code: str) -> None:
    with pytest.raises(CallerError) as raised:
        RamLayout.for_size(size)
    assert raised.value.code == code


def test_boot_areas_hold_what_is_put_there() -> None:
    for address in (m.BDA, m.GDT, m.INFO_PAGE, m.PAGE_TABLES, m.CMDLINE, m.EBDA, m.RSDP):
        assert any(base <= address < end for base, end in m.BOOT_AREAS), hex(address)
    assert all(a[1] <= b[0] for a, b in pairwise(m.BOOT_AREAS))
