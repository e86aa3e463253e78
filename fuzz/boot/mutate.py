"""Damaging kernel files at random, with a seed that brings every case back."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from fuzz.boot.images import (
    BzImage,
    build_multiboot_elf,
    build_multiboot_flat,
    build_pvh,
)
from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.boot import RSDP, RamLayout, plan_boot

#: What goes wrong at: borders of widths and signs, and plain sizes.
_EDGES = (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0x1000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
_WIDE_EDGES = (*_EDGES, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 0x1000)

_MEMORY = (2 * MIB, 16 * MIB, 64 * MIB, 512 * MIB, 4096 * MIB)


@dataclass(slots=True)
class Result:
    """How many cases ended how: by the error's code, or "planned"."""

    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def cases(self) -> int:
        """All cases."""
        return self.outcomes.total()


def run(seed: int, count: int) -> Result:
    """Plan `count` boots of damaged kernels.

    Raises whatever a boot loader raises that is not `CallerError`, and `AssertionError` for a plan
    that writes outside RAM or twice to one place; both carry the case's number as a note.
    """
    result = Result(seed)
    bases = _base_images()
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        try:
            result.outcomes[_case(rng, bases)] += 1
        except Exception as error:
            error.add_note(f"boot fuzz case {number} of seed {seed}")
            raise
    return result


def _base_images() -> tuple[bytes, ...]:
    return (
        BzImage().build(),
        BzImage(relocatable=0, pref_address=0x10_0000).build(),
        build_pvh(64),
        build_pvh(32),
        build_multiboot_elf(32),
        build_multiboot_elf(64, virtual=0xC010_0000),
        build_multiboot_flat(),
    )


def _case(rng: random.Random, bases: tuple[bytes, ...]) -> str:
    kernel = _damage(rng, rng.choice(bases))
    initrd = bytes(rng.choice((0, 1, 4096, 3 * MIB))) if rng.random() < 0.5 else None
    cmdline = "x" * rng.choice((0, 10, 2046, 2047, 2048, 0xFFFF, 0x10000))
    ram = RamLayout.for_size(rng.choice(_MEMORY))
    try:
        plan = plan_boot(kernel, initrd, cmdline, ram, RSDP)
    except CallerError as error:
        assert error.code.startswith("BOOT_"), error.code
        assert error.message.endswith("."), error.message
        return error.code
    end = 0
    for base, data in plan.writes:
        assert end <= base, f"two writes meet at {base:#x}"
        end = base + len(data)
    assert end <= ram.low, f"a write ends at {end:#x}"
    return "planned"


def _damage(rng: random.Random, image: bytes) -> bytes:
    damaged = bytearray(image)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not damaged:
            break
        match rng.randrange(8):
            case 0:
                del damaged[rng.randrange(len(damaged)) :]
            case 1:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            case 2:
                at = rng.randrange(len(damaged))
                damaged[at:at] = rng.randbytes(rng.choice((1, 4, 512)))
            case _:
                _overwrite_field(rng, damaged)
    return bytes(damaged)


def _overwrite_field(rng: random.Random, image: bytearray) -> None:
    """Put an edge value, or one near the field's own, into an aligned field of the headers."""
    width = rng.choice((1, 2, 4, 4, 8, 8))
    headers = (0, min(len(image), 256)) if rng.random() < 0.6 else (0x1F0, min(len(image), 0x270))
    slots = range(headers[0] - headers[0] % width, headers[1] - width + 1, width)
    if not slots:
        return
    at = rng.choice(slots)
    old = int.from_bytes(image[at : at + width], "little")
    near = old + rng.choice((-1, 1, 16, -16, 0x1000, 0x10_0000))
    value = rng.choice((near, rng.choice(_WIDE_EDGES), rng.getrandbits(8 * width)))
    image[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
