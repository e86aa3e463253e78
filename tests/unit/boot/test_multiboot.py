from __future__ import annotations

import struct

import pytest

from fuzz.boot.images import (
    CODE,
    ElfSegment,
    build_elf,
    build_multiboot_elf,
    build_multiboot_flat,
    multiboot_header,
)
from tests.unit.boot.ram import Ram, boot
from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.boot.memory_map import INFO_PAGE


@pytest.mark.parametrize(("bits", "virtual"), [(32, 0x10_0000), (64, 0x10_0000), (32, 0xC010_0000)])
def test_elf_is_loaded_and_entered_at_its_physical_address(bits: int, virtual: int) -> None:
    plan = boot(build_multiboot_elf(bits, virtual))
    assert plan.state["rip"] == 0x10_000C
    assert plan.state["gpr"][0] == 0x2BAD_B002
    assert plan.state["gpr"][3] == INFO_PAGE
    assert plan.state["cr0"] == 0x11
    assert Ram(plan).read(0x10_000C, 3) == CODE


def test_flat_image_is_loaded_by_its_addresses() -> None:
    plan = boot(build_multiboot_flat(0x20_0000))
    assert plan.state["rip"] == 0x20_0030
    assert Ram(plan).read(0x20_0030, 3) == CODE
    assert Ram(plan).u32(0x20_0010) == 0x1BAD_B002


def test_flat_image_to_the_end_of_the_file() -> None:
    header = multiboot_header(1 << 16, (0x10_0000, 0x10_0000, 0, 0, 0x10_0020))
    plan = boot(header + CODE)
    assert Ram(plan).read(0x10_0020, 3) == CODE


def test_information() -> None:
    plan = boot(build_multiboot_elf(), b"env" * 100, "smp=2")
    ram = Ram(plan)
    flags, lower, upper, device, cmdline, modules, module = ram.unpack("<7I", INFO_PAGE)
    assert flags == 0b10_0100_1101
    assert (lower, upper, device) == (639, 63 * 1024, 0)
    assert ram.string(cmdline) == b"kernel smp=2"
    assert modules == 1
    start, end, name, reserved = ram.unpack("<4I", module)
    assert ram.read(start, end - start) == b"env" * 100
    assert start % 4096 == 0
    assert (ram.string(name), reserved) == (b"", 0)
    length, at = ram.unpack("<2I", INFO_PAGE + 44)
    assert length == 4 * 24
    assert ram.unpack("<IQQI", at) == (20, 0, 0x9_FC00, 1)
    assert ram.unpack("<IQQI", at + 48) == (20, 0x10_0000, 63 * MIB, 1)
    assert ram.string(ram.u32(INFO_PAGE + 64)) == b"Wardian"


def test_without_options_the_command_line_is_the_kernels_name() -> None:
    ram = Ram(boot(build_multiboot_elf()))
    assert ram.string(ram.u32(INFO_PAGE + 16)) == b"kernel"
    assert ram.u32(INFO_PAGE + 20) == 0


def test_header_is_found_up_to_8_kib_and_only_on_words() -> None:
    def with_header_at(offset: int) -> bytes:
        addresses = (0x10_0000 + offset, 0x10_0000, 0, 0, 0x10_0000)
        return bytes(offset) + multiboot_header(1 << 16, addresses)

    boot(with_header_at(8192 - 12))
    for offset in (2, 8192 - 8, 8192):
        with pytest.raises(CallerError) as raised:
            boot(with_header_at(offset))
        assert raised.value.code == "BOOT_NOT_A_KERNEL"


def test_a_wrong_checksum_is_no_header() -> None:
    kernel = bytearray(build_multiboot_flat())
    kernel[16 + 8] ^= 1
    with pytest.raises(CallerError) as raised:
        boot(bytes(kernel))
    assert raised.value.code == "BOOT_NOT_A_KERNEL"


@pytest.mark.parametrize("bit", range(3, 16))
def test_unknown_requirements_are_refused(bit: int) -> None:
    load = ElfSegment(kind=1, data=multiboot_header(1 << bit), physical=0x10_0000)
    with pytest.raises(CallerError) as raised:
        boot(build_elf(32, 0x10_0000, [load]))
    assert raised.value.code == "BOOT_KERNEL_UNSUPPORTED"


@pytest.mark.parametrize("bits", [0, 1, 2, 17, 31])
def test_wishes_and_unknown_options_are_not(bits: int) -> None:
    load = ElfSegment(kind=1, data=multiboot_header(1 << bits), physical=0x10_0000)
    boot(build_elf(32, 0x10_0000, [load]))


def test_header_without_addresses_in_no_elf() -> None:
    with pytest.raises(CallerError) as raised:
        boot(multiboot_header(3) + bytes(100))
    assert raised.value.code == "BOOT_KERNEL_UNSUPPORTED"


def test_elf_entry_outside_the_image() -> None:
    load = ElfSegment(kind=1, data=multiboot_header(), physical=0x10_0000)
    with pytest.raises(CallerError) as raised:
        boot(build_elf(32, 0x10_0010, [load]))
    assert raised.value.code == "BOOT_KERNEL_INVALID"


@pytest.mark.parametrize(
    ("addresses", "code"),
    [
        ((0x10_0000, 0x10_0004, 0, 0, 0x10_0010), "BOOT_KERNEL_INVALID"),
        ((0x20_0000, 0x10_0000, 0, 0, 0x10_0010), "BOOT_KERNEL_INVALID"),
        ((0x10_0000, 0x10_0000, 0x0F_0000, 0, 0x10_0010), "BOOT_KERNEL_INVALID"),
        ((0x10_0000, 0x10_0000, 0x10_0000, 0, 0x10_0000), "BOOT_KERNEL_INVALID"),
        ((0x10_0000, 0x10_0000, 0, 0, 0x0F_FFFF), "BOOT_KERNEL_INVALID"),
        ((0x10_0000, 0x10_0000, 0, 0, 0x20_0000), "BOOT_KERNEL_INVALID"),
        ((0x10_0000, 0x10_0000, 0xFFFF_FFFF, 0, 0x10_0010), "BOOT_LOAD_ADDRESS"),
        ((0x10_0000, 0x10_0000, 0x20_0000, 0, 0x10_0010), "BOOT_TRUNCATED"),
        ((0x10_0000, 0x10_0000, 0, 0xFFFF_FFFF, 0x10_0010), "BOOT_LOAD_ADDRESS"),
        ((0x10_0000, 0x10_0000, 0, 0x800_0000, 0x10_0010), "BOOT_MEMORY_TOO_SMALL"),
        ((0x7000, 0x7000, 0, 0, 0x7010), "BOOT_LOAD_OVERLAP"),
        ((0xFFFF_FFF0, 0xFFFF_FFF0, 0, 0, 0xFFFF_FFF0), "BOOT_LOAD_ADDRESS"),
    ],
)
def test_address_fields_that_lead_nowhere(addresses: tuple[int, ...], code: str) -> None:
    kernel = multiboot_header(1 << 16, addresses) + struct.pack("<8I", *range(8))
    with pytest.raises(CallerError) as raised:
        boot(kernel)
    assert raised.value.code == code
