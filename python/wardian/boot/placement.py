"""Who occupies which part of low RAM while a boot is planned."""

from __future__ import annotations

from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.boot.memory_map import (
    BOOT_AREAS,
    CMDLINE,
    CMDLINE_ROOM,
    LOW_RAM_LIMIT,
    ONE_MIB,
    PAGE,
    RamLayout,
)

Bytes = bytes | memoryview


def align_down(value: int, alignment: int) -> int:
    """The greatest multiple of `alignment` that is not above `value`."""
    return value - value % alignment


def align_up(value: int, alignment: int) -> int:
    """The least multiple of `alignment` that is not below `value`."""
    return align_down(value + alignment - 1, alignment)


class Placement:
    """Claims disjoint ranges of low RAM and collects what is written to them.

    The kernel file says where it wants to be, so every claim is checked: a file can neither
    reach outside RAM, nor over the boot areas, nor over itself.
    """

    def __init__(self, ram: RamLayout, initrd_size: int = 0) -> None:
        """Start with nothing placed; an initial RAM disk of `initrd_size` bytes is to follow."""
        self._low = ram.low
        self._initrd_room = align_up(initrd_size, PAGE)
        self._taken: list[tuple[int, int, str]] = [
            (base, end, "the boot data") for base, end in BOOT_AREAS
        ]
        #: (guest-physical address, data), in no particular order, disjoint.
        self.pieces: list[tuple[int, Bytes]] = []

    def write(self, base: int, data: Bytes) -> None:
        """Write into a range that is claimed already or belongs to the boot areas."""
        if len(data):
            self.pieces.append((base, data))

    def require(self, end: int, what: str) -> None:
        """Raise `CallerError` unless RAM reaches to `end`; `what` needs it.

        BOOT_MEMORY_TOO_SMALL where more memory would help (the message counts the RAM disk in),
        BOOT_LOAD_ADDRESS where none would.
        """
        if end <= self._low:
            return
        if end <= LOW_RAM_LIMIT:
            raise self._too_small(end + self._initrd_room, what)
        raise CallerError(
            "BOOT_LOAD_ADDRESS",
            f"{what} would end at guest-physical address {end:#x}, but RAM below 4 GiB ends at "
            f"{LOW_RAM_LIMIT:#x} at the latest.",
        )

    def claim(self, base: int, length: int, what: str) -> None:
        """Take [base, base + length) for `what`, as in "The kernel".

        Raises what `require` raises, and `CallerError` BOOT_LOAD_OVERLAP for a range that
        somebody has.
        """
        end = base + length
        self.require(end, what)
        for taken, taken_end, owner in self._taken:
            if base < taken_end and taken < end:
                raise CallerError(
                    "BOOT_LOAD_OVERLAP",
                    f"{what} would be at guest-physical {base:#x} to {end:#x}, over {owner} at "
                    f"{taken:#x} to {taken_end:#x}.",
                )
        if length:
            self._taken.append((base, end, what.lower()))

    def kernel_end(self) -> int:
        """The first page behind everything claimed so far, at least 1 MiB."""
        return align_up(max(ONE_MIB, *(end for _, end, _ in self._taken)), PAGE)

    def add_initrd(self, initrd: Bytes, limit: int) -> int:
        """Put the initial RAM disk as high as RAM and `limit` allow; return its address.

        High, because kernels unpack and grow upwards from where they are. It is page-aligned, and
        its last byte is below `limit`. Raises `CallerError`: BOOT_MEMORY_TOO_SMALL, with the size
        that is needed, where more memory would help, else BOOT_INITRD_TOO_BIG.
        """
        floor = self.kernel_end()
        size = align_up(len(initrd), PAGE)
        if floor + size > align_down(min(limit, LOW_RAM_LIMIT), PAGE):
            raise CallerError(
                "BOOT_INITRD_TOO_BIG",
                f"The initial RAM disk of {len(initrd)} bytes does not fit between the kernel, "
                f"which ends at {floor:#x}, and {min(limit, LOW_RAM_LIMIT):#x}, the highest "
                "address it may have.",
            )
        if floor + size > self._low:
            raise self._too_small(floor + size, "The kernel")
        base = align_down(min(limit, self._low), PAGE) - size
        self.claim(base, size, "The initial RAM disk")
        self.write(base, initrd)
        return base

    def _too_small(self, needed: int, what: str) -> CallerError:
        initrd = " with its initial RAM disk" if self._initrd_room else ""
        return CallerError(
            "BOOT_MEMORY_TOO_SMALL",
            f"{what}{initrd} needs at least {-(-needed // MIB)} MiB of memory, and the machine "
            f"has {self._low // MIB} MiB.",
        )

    def add_cmdline(self, cmdline: str, room: int = CMDLINE_ROOM) -> int:
        """Put the NUL-terminated command line in its place; return its address.

        `room` is what the kernel takes, in bytes with the NUL. Raises `CallerError`
        BOOT_CMDLINE_TOO_LONG or, for a NUL inside, BOOT_CMDLINE_INVALID.
        """
        room = min(room, CMDLINE_ROOM)
        # Bytes of the shell's command line that are no UTF-8 arrive as surrogates; hand them on.
        try:
            encoded = cmdline.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            encoded = b"\0"
        if b"\0" in encoded:
            raise CallerError(
                "BOOT_CMDLINE_INVALID",
                "The kernel command line has a NUL or a character that is not Unicode in it.",
            )
        if len(encoded) >= room:
            raise CallerError(
                "BOOT_CMDLINE_TOO_LONG",
                f"The kernel command line has {len(encoded)} bytes, and this kernel takes at most "
                f"{max(room - 1, 0)}.",
            )
        self.write(CMDLINE, encoded + b"\0")
        return CMDLINE
