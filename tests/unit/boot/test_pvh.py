from __future__ import annotations

import pytest

from fuzz.boot.images import CODE, ElfSegment, build_elf, build_pvh, pvh_note
from tests.unit.boot.ram import Ram, boot
from wardian.base.errors import CallerError
from wardian.base.units import GIB
from wardian.boot.memory_map import INFO_PAGE, RSDP


@pytest.mark.parametrize("bits", [32, 64])
def test_start_info_is_version_1(bits: int) -> None:
    initrd = b"module" * 1000
    plan = boot(build_pvh(bits), initrd, "loglevel=7", memory=4 * GIB)
    ram = Ram(plan)
    assert plan.state["rip"] == 0x10_0000
    assert plan.state["gpr"][3] == INFO_PAGE
    assert plan.state["cr0"] == 0x11
    assert ram.read(0x10_0000, 3) == CODE
    magic, version, flags, modules = ram.unpack("<4I", INFO_PAGE)
    assert (magic, version, flags, modules) == (0x336E_C578, 1, 0, 1)
    modlist, cmdline, rsdp, memory_map = ram.unpack("<4Q", INFO_PAGE + 16)
    assert rsdp == RSDP
    assert ram.string(cmdline) == b"loglevel=7"
    assert ram.unpack("<II", INFO_PAGE + 48) == (5, 0)
    base, size, name, reserved = ram.unpack("<4Q", modlist)
    assert (size, name, reserved) == (6000, 0, 0)
    assert base % 4096 == 0
    assert ram.read(base, size) == initrd
    assert ram.unpack("<QQII", memory_map) == (0, 0x9_FC00, 1, 0)
    assert ram.unpack("<QQII", memory_map + 4 * 24) == (4 * GIB, 4 * GIB - 0xB000_0000, 1, 0)
    assert plan.description == f"ELF{bits} kernel through PVH, entry 0x100000"


def test_without_initrd_there_is_no_module() -> None:
    ram = Ram(boot(build_pvh()))
    assert ram.u32(INFO_PAGE + 12) == 0
    assert ram.unpack("<Q", INFO_PAGE + 16) == (0,)


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (pvh_note(0x10_2000), "BOOT_KERNEL_INVALID"),
        (pvh_note(2**64 - 1, 8), "BOOT_KERNEL_INVALID"),
        (pvh_note(0x10_0000, 3) + b"\0", "BOOT_KERNEL_INVALID"),
        (pvh_note(0, 0), "BOOT_KERNEL_INVALID"),
        (pvh_note(0x10_0000)[:-1], "BOOT_TRUNCATED"),
        (pvh_note(0x10_0000).replace(b"Xen", b"Yen"), "BOOT_NOT_A_KERNEL"),
    ],
)
def test_entry_notes_that_lead_nowhere(note: bytes, code: str) -> None:
    load = ElfSegment(kind=1, data=CODE, physical=0x10_0000, memory_size=0x2000)
    kernel = build_elf(64, 0, [load, ElfSegment(kind=4, data=note)])
    with pytest.raises(CallerError) as raised:
        boot(kernel)
    assert raised.value.code == code
