from __future__ import annotations

import pytest

from fuzz.boot.images import BzImage
from tests.unit.boot.ram import Ram, boot
from wardian.base.errors import CallerError
from wardian.base.units import GIB, MIB
from wardian.boot.memory_map import CMDLINE, INFO_PAGE, RSDP

ZERO_PAGE = INFO_PAGE


def code_of(kernel: bytes, **arguments: object) -> str:
    with pytest.raises(CallerError) as raised:
        boot(kernel, **arguments)  # type: ignore[arg-type]
    return raised.value.code


def test_kernel_is_at_its_preferred_address_and_entered_64_bit() -> None:
    image = BzImage()
    plan = boot(image.build())
    assert Ram(plan).read(0x100_0000, len(image.payload)) == image.payload
    assert plan.state["rip"] == 0x100_0200
    assert plan.state["gpr"][6] == ZERO_PAGE
    assert plan.description == "Linux bzImage (boot protocol 2.15) at 0x1000000"


def test_zero_page_holds_the_header_and_the_loader_fields() -> None:
    initrd = b"cpio" * 2000
    ram = Ram(boot(BzImage().build(), initrd, "console=ttyS0 quiet"))
    assert ram.read(ZERO_PAGE + 0x202, 4) == b"HdrS"
    assert ram.unpack("<H", ZERO_PAGE + 0x1FE) == (0xAA55,)
    assert ram.u32(ZERO_PAGE + 0x260) == 0x20_0000
    assert ram.read(ZERO_PAGE + 0x210, 1) == b"\xff"
    assert ram.u32(ZERO_PAGE + 0x214) == 0x100_0000
    assert ram.u32(ZERO_PAGE + 0x228) == CMDLINE
    assert ram.string(CMDLINE) == b"console=ttyS0 quiet"
    base, size = ram.unpack("<II", ZERO_PAGE + 0x218)
    assert (base, size) == (64 * MIB - 8192, 8000)
    assert ram.read(base, size) == initrd
    assert ram.unpack("<III", ZERO_PAGE + 0x0C0) == (0, 0, 0)
    assert ram.unpack("<Q", ZERO_PAGE + 0x070) == (RSDP,)
    # zero-page.rst: a loader that fills the page itself leaves the sentinel 0.
    assert ram.read(ZERO_PAGE + 0x1EF, 1) == b"\0"


def test_e820_is_the_memory_map() -> None:
    ram = Ram(boot(BzImage().build(), memory=4 * GIB))
    assert ram.read(ZERO_PAGE + 0x1E8, 1) == b"\x05"
    rows = [ram.unpack("<QQI", ZERO_PAGE + 0x2D0 + 20 * i) for i in range(5)]
    assert rows[0] == (0, 0x9_FC00, 1)
    assert rows[2] == (0x10_0000, 0xB000_0000 - 0x10_0000, 1)
    assert rows[4] == (4 * GIB, 4 * GIB - 0xB000_0000, 1)
    assert ram.read(ZERO_PAGE + 0x2D0 + 100, 20) == bytes(20)


def test_without_initrd_there_is_none() -> None:
    for initrd in (None, b""):
        ram = Ram(boot(BzImage().build(), initrd))
        assert ram.unpack("<II", ZERO_PAGE + 0x218) == (0, 0)


def test_initrd_stays_below_what_the_kernel_allows() -> None:
    kernel = BzImage(initrd_addr_max=0x37FF_FFFF).build()
    ram = Ram(boot(kernel, b"x", memory=2 * GIB))
    assert ram.u32(ZERO_PAGE + 0x218) == 0x3800_0000 - 4096


def test_zero_setup_sectors_mean_four() -> None:
    image = BzImage(setup_sects=0)
    assert Ram(boot(image.build())).read(0x100_0000, 0x1000) == image.payload


@pytest.mark.parametrize(
    ("image", "load"),
    [
        (BzImage(pref_address=0), 0x20_0000),
        (BzImage(pref_address=0x100_1000), 0x120_0000),
        (BzImage(relocatable=0, pref_address=0x10_0000, kernel_alignment=0), 0x10_0000),
    ],
)
def test_load_address(image: BzImage, load: int) -> None:
    plan = boot(image.build())
    assert plan.state["rip"] == load + 0x200
    assert Ram(plan).read(load, 0x1000) == image.payload


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (BzImage(version=0x20B), "BOOT_KERNEL_UNSUPPORTED"),
        (BzImage(xloadflags=0x7E), "BOOT_KERNEL_UNSUPPORTED"),
        (BzImage(loadflags=0), "BOOT_KERNEL_UNSUPPORTED"),
        (BzImage(payload=bytes(0x200)), "BOOT_KERNEL_INVALID"),
        (BzImage(kernel_alignment=0), "BOOT_KERNEL_INVALID"),
        (BzImage(kernel_alignment=0x30_0000), "BOOT_KERNEL_INVALID"),
        (BzImage(kernel_alignment=0x8000_0000), "BOOT_KERNEL_INVALID"),
        (BzImage(relocatable=0, pref_address=0x7000), "BOOT_LOAD_OVERLAP"),
        (BzImage(pref_address=2**64 - 1), "BOOT_LOAD_ADDRESS"),
        (BzImage(pref_address=0xAFE0_0000, init_size=0xFFFF_FFFF), "BOOT_LOAD_ADDRESS"),
        (BzImage(init_size=0x301_0000), "BOOT_MEMORY_TOO_SMALL"),
        (BzImage(pref_address=0x4000_0000), "BOOT_MEMORY_TOO_SMALL"),
    ],
)
def test_headers_that_cannot_be_booted(image: BzImage, code: str) -> None:
    assert code_of(image.build()) == code


@pytest.mark.parametrize("length", [0x206, 0x210, 0x263, 0x1000, 0x19FF])
def test_truncated(length: int) -> None:
    assert code_of(BzImage().build()[:length]) == "BOOT_TRUNCATED"


def test_too_little_memory_names_what_is_needed() -> None:
    # The sizes of a Debian 12 cloud kernel: 16 MiB + 51.5 MiB do not fit into 64 MiB.
    kernel = BzImage(init_size=0x337_8000).build()
    with pytest.raises(CallerError) as raised:
        boot(kernel, bytes(4 * MIB))
    assert raised.value.code == "BOOT_MEMORY_TOO_SMALL"
    assert "needs at least 72 MiB of memory, and the machine has 64 MiB" in raised.value.message
    boot(kernel, bytes(4 * MIB), memory=72 * MIB)


def test_initrd_limit_of_the_kernel_is_no_matter_of_memory() -> None:
    kernel = BzImage(initrd_addr_max=0x13F_FFFF).build()
    assert code_of(kernel, initrd=bytes(3 * MIB)) == "BOOT_INITRD_TOO_BIG"


def test_command_line_limit_is_the_kernels() -> None:
    kernel = BzImage(cmdline_size=255).build()
    boot(kernel, cmdline="x" * 255)
    assert code_of(kernel, cmdline="x" * 256) == "BOOT_CMDLINE_TOO_LONG"
