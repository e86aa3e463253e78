from __future__ import annotations

import pytest

from fuzz.boot.images import BzImage, build_elf, build_multiboot_flat, build_pvh
from tests.unit.boot.ram import Ram, boot
from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.boot import RSDP, RamLayout, plan_boot
from wardian.boot.plan import CHUNK, PROTOCOLS


@pytest.mark.parametrize("kernel", [BzImage().build(), build_pvh(), build_multiboot_flat()])
def test_bios_data_area_is_there_for_every_protocol(kernel: bytes) -> None:
    ram = Ram(boot(kernel))
    assert ram.unpack("<H", 0x400) == (0x3F8,)
    assert ram.unpack("<H", 0x40E) == (0x9FC0,)
    assert ram.unpack("<H", 0x413) == (639,)


def test_large_files_are_written_in_chunks_as_often_as_asked() -> None:
    initrd = bytes(range(256)) * (3 * CHUNK // 256 + 1)
    plan = boot(BzImage().build(), initrd)
    first, second = list(plan.writes), list(plan.writes)
    assert first == second
    assert all(type(data) is bytes and 0 < len(data) <= CHUNK for _, data in first)
    base = Ram(plan).u32(0x7000 + 0x218)
    assert b"".join(data for at, data in first if at >= base) == initrd


def test_files_may_be_views() -> None:
    kernel, initrd = bytearray(BzImage().build()), bytearray(b"initrd")
    ram = RamLayout.for_size(64 * MIB)
    plan = plan_boot(memoryview(kernel), memoryview(initrd), "", ram, RSDP)
    assert Ram(plan).read(64 * MIB - 4096, 6) == b"initrd"


def test_without_acpi_the_kernel_gets_no_rsdp() -> None:
    plan = plan_boot(BzImage().build(), None, "", RamLayout.for_size(64 * MIB), None)
    assert Ram(plan).unpack("<Q", 0x7070) == (0,)


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (b"", "is empty"),
        (b"#!/bin/sh\n", "is neither a Linux bzImage"),
        (b"\x1f\x8b\x08" + bytes(600), "gzip: decompress it first"),
        (b"\xfd7zXZ\0" + bytes(600), "xz: decompress it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "zstd: decompress it first"),
        (build_elf(64, 0, []) + bytes(600), "no program headers"),
    ],
)
def test_files_that_are_no_kernel(kernel: bytes, says: str) -> None:
    with pytest.raises(CallerError) as raised:
        boot(kernel)
    assert raised.value.code in ("BOOT_NOT_A_KERNEL", "BOOT_KERNEL_INVALID")
    assert says in raised.value.message


def test_one_protocol_recognises_each_kind() -> None:
    from wardian.boot.fields import Fields

    for index, kernel in enumerate((BzImage().build(), build_pvh(), build_multiboot_flat())):
        file = Fields(kernel, "The kernel file")
        assert [p.recognise(file) for p in PROTOCOLS] == [n == index for n in range(3)]
