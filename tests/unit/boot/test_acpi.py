from __future__ import annotations

import struct

import pytest

from wardian.base.errors import CallerError
from wardian.boot import RSDP, acpi_tables
from wardian.boot.memory_map import ACPI_TABLES, ACPI_TABLES_END


class Tables:
    def __init__(self, cpus: int) -> None:
        self.writes = acpi_tables(cpus)
        self.at = dict(self.writes)
        self.named = {data[:4]: data for _, data in self.writes}

    def u(self, table: bytes, form: str, offset: int) -> int:
        (value,) = struct.unpack_from("<" + form, self.named[table], offset)
        return int(value)


def test_rsdp_is_first_and_sums_up() -> None:
    tables = Tables(1)
    base, rsdp = tables.writes[0]
    assert base == RSDP == 0xE_0000
    assert rsdp[:8] == b"RSD PTR "
    assert (rsdp[15], len(rsdp)) == (2, 36)
    assert sum(rsdp[:20]) % 256 == 0
    assert sum(rsdp) % 256 == 0
    (rsdt, length, xsdt) = struct.unpack_from("<IIQ", rsdp, 16)
    assert length == 36
    assert tables.at[rsdt][:4] == b"RSDT"
    assert tables.at[xsdt][:4] == b"XSDT"


@pytest.mark.parametrize("cpus", [1, 2, 64, 255])
def test_tables_sum_up_fit_and_do_not_overlap(cpus: int) -> None:
    tables = Tables(cpus)
    end = ACPI_TABLES
    for base, data in sorted(tables.writes):
        assert base >= end
        end = base + len(data)
        if data[:4] not in (b"RSD ", b"FACS"):
            assert sum(data) % 256 == 0
            assert struct.unpack_from("<I", data, 4) == (len(data),)
    assert end <= ACPI_TABLES_END


def test_both_roots_list_the_same_tables() -> None:
    tables = Tables(2)
    xsdt = struct.unpack_from("<3Q", tables.named[b"XSDT"], 36)
    rsdt = struct.unpack_from("<3I", tables.named[b"RSDT"], 36)
    assert xsdt == rsdt
    assert [tables.at[address][:4] for address in xsdt] == [b"FACP", b"APIC", b"MCFG"]


def test_fadt() -> None:
    tables = Tables(1)
    fadt = b"FACP"
    assert len(tables.named[fadt]) == 276
    assert (tables.named[fadt][8], tables.named[fadt][131]) == (6, 5)
    facs = tables.u(fadt, "I", 36)
    assert facs % 64 == 0
    assert tables.at[facs][:8] == b"FACS\x40\0\0\0"
    assert tables.at[tables.u(fadt, "Q", 140)][:4] == b"DSDT"
    assert tables.u(fadt, "I", 40) == tables.u(fadt, "Q", 140)
    assert tables.u(fadt, "H", 46) == 9
    assert tables.u(fadt, "I", 48) == 0  # SMI_CMD
    assert [tables.u(fadt, "I", at) for at in (56, 64, 76)] == [0x600, 0x604, 0x608]
    assert list(tables.named[fadt][88:92]) == [4, 2, 0, 4]
    assert tables.u(fadt, "H", 109) == 0b1_0101  # ISA, no 8042 keyboard, no VGA, no ASPM
    flags = tables.u(fadt, "I", 112)
    assert flags & 1 << 10, "reset register"
    assert not flags & 1 << 4, "fixed power button"
    assert not flags & 1 << 8, "24-bit PM timer"
    assert not flags & 1 << 20, "not hardware-reduced"
    assert struct.unpack_from("<BBBBQB", tables.named[fadt], 116) == (1, 8, 0, 1, 0xCF9, 6)
    for offset, port, bits in ((148, 0x600, 32), (172, 0x604, 16), (208, 0x608, 32)):
        space, width, _, _, address = struct.unpack_from("<BBBBQ", tables.named[fadt], offset)
        assert (space, width, address) == (1, bits, port)


def test_madt_of_two_cpus() -> None:
    madt = Tables(2).named[b"APIC"]
    assert struct.unpack_from("<II", madt, 36) == (0xFEE0_0000, 1)
    entries = []
    at = 44
    while at < len(madt):
        entries.append(madt[at : at + madt[at + 1]].hex())
        at += madt[at + 1]
    assert entries == [
        "0008000001000000",
        "0008010101000000",
        "010c02000000c0fe00000000",
        "020a0000020000000000",
        "020a0009090000000d00",
        "0406ff000001",
    ]


def test_mcfg() -> None:
    mcfg = Tables(1).named[b"MCFG"]
    assert struct.unpack_from("<QHBB", mcfg, 44) == (0xB000_0000, 0, 0, 255)
    assert len(mcfg) == 60


@pytest.mark.parametrize("cpus", [0, 256, 10_000])
def test_too_many_cpus(cpus: int) -> None:
    with pytest.raises(CallerError) as raised:
        acpi_tables(cpus)
    assert raised.value.code == "BOOT_CPUS"
