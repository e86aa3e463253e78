"""Guest RAM as a boot plan leaves it, for tests to read."""

from __future__ import annotations

import struct

from wardian.base.units import MIB
from wardian.boot import RSDP, BootPlan, RamLayout, plan_boot


def boot(
    kernel: bytes, initrd: bytes | None = None, cmdline: str = "", memory: int = 64 * MIB
) -> BootPlan:
    """`plan_boot` on a machine with `memory` bytes."""
    return plan_boot(kernel, initrd, cmdline, RamLayout.for_size(memory), RSDP)


class Ram:
    """What a plan writes; the rest reads as zeros."""

    def __init__(self, plan: BootPlan) -> None:
        self._writes = list(plan.writes)

    def read(self, base: int, length: int) -> bytes:
        out = bytearray(length)
        for at, data in self._writes:
            low, high = max(at, base), min(at + len(data), base + length)
            if low < high:
                out[low - base : high - base] = data[low - at : high - at]
        return bytes(out)

    def unpack(self, form: str, base: int) -> tuple[int, ...]:
        return struct.unpack(form, self.read(base, struct.calcsize(form)))

    def u32(self, base: int) -> int:
        return self.unpack("<I", base)[0]

    def string(self, base: int) -> bytes:
        return self.read(base, 4096).partition(b"\0")[0]
