"""What has to be in memory and in vCPU 0 for a kernel to start, and who plans it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wardian.base.errors import CallerError
from wardian.boot import bzimage, multiboot, pvh
from wardian.boot.board import COM1_PORT
from wardian.boot.entry import State
from wardian.boot.fields import Fields
from wardian.boot.memory_map import BDA, EBDA, RamLayout
from wardian.boot.placement import Bytes, Placement

#: How much of a large file is copied at a time on its way into guest RAM.
CHUNK = 1 << 20

#: In the order of trial. A kernel that can be booted in several ways takes the first.
PROTOCOLS = (bzimage, pvh, multiboot)


class Writes:
    """The contents of guest RAM at power-on, as (guest-physical address, at most 1 MiB of bytes).

    Iterate as often as the machine boots. The files stay one read-only view until then. RAM that
    nothing is written to must be zero, because that is where kernels expect their .bss.
    """

    def __init__(self, pieces: Iterable[tuple[int, Bytes]]) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece[0])

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for base, data in self._pieces:
            view = memoryview(data)
            for offset in range(0, len(view), CHUNK):
                yield base + offset, bytes(view[offset : offset + CHUNK])


@dataclass(frozen=True, slots=True)
class BootPlan:
    """How to start a kernel: fill RAM with `writes`, give `state` to vCPU 0's `set_state`."""

    writes: Iterable[tuple[int, bytes]]
    state: State
    #: One line for people: protocol and addresses.
    description: str


def plan_boot(
    kernel: bytes | memoryview,
    initrd: bytes | memoryview | None,
    cmdline: str,
    ram: RamLayout,
    acpi_rsdp: int | None,
) -> BootPlan:
    """Plan the start of the kernel file `kernel` by the protocol it is made for.

    The files may be views of mapped files, so that nothing is copied before it is needed;
    `acpi_rsdp` is the guest-physical address of the RSDP, for protocols that pass it on. An empty
    `initrd` is none. Raises `CallerError`, whatever the files hold:

    - BOOT_NOT_A_KERNEL, BOOT_KERNEL_UNSUPPORTED: nothing Wardian can boot;
    - BOOT_TRUNCATED, BOOT_KERNEL_INVALID: the file contradicts itself;
    - BOOT_MEMORY_TOO_SMALL: with more memory it would boot; the message says with how much;
    - BOOT_LOAD_ADDRESS, BOOT_LOAD_OVERLAP: it wants to be where it cannot be;
    - BOOT_INITRD_TOO_BIG, BOOT_CMDLINE_TOO_LONG, BOOT_CMDLINE_INVALID.
    """
    file = Fields(kernel, "The kernel file")
    for protocol in PROTOCOLS:
        if protocol.recognise(file):
            break
    else:
        raise CallerError("BOOT_NOT_A_KERNEL", f"The kernel file {_verdict(file)}.")
    placement = Placement(ram, len(initrd) if initrd else 0)
    placement.write(BDA, _bios_data_area())
    initrd_view = memoryview(initrd).toreadonly().cast("B") if initrd else None
    state, description = protocol.plan(file, initrd_view, cmdline, ram, placement, acpi_rsdp)
    return BootPlan(Writes(placement.pieces), state, description)


def _bios_data_area() -> bytes:
    """What boot loaders leave for kernels that look for COM1 and for the end of usable memory."""
    area = bytearray(0x16)
    area[0x00:0x02] = COM1_PORT.to_bytes(2, "little")  # first serial port
    area[0x0E:0x10] = (EBDA >> 4).to_bytes(2, "little")  # segment of the extended BDA
    area[0x13:0x15] = (EBDA >> 10).to_bytes(2, "little")  # KiB of conventional memory
    return bytes(area)


def _verdict(file: Fields) -> str:
    """Why a file that no protocol recognises is not a kernel; it ends "The kernel file ..."."""
    start = bytes(file.view[:6])
    if not start:
        return "is empty"
    if start.startswith(b"\x7fELF"):
        return "is an ELF file, but has neither a PVH entry note nor a Multiboot header"
    compressions = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    for magic, name in compressions.items():
        if start.startswith(magic):
            return f"is compressed with {name}: decompress it first"
    return "is neither a Linux bzImage, nor an ELF file for PVH, nor a Multiboot kernel"
