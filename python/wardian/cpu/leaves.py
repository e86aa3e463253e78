"""The CPUID leaves of a model: identity, caches, topology, clocks, address widths.

Source: Intel SDM vol. 2A, CPUID; for leaves 0x40000000 and up Linux
Documentation/virt/kvm/x86/cpuid.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from wardian.base.errors import BugError
from wardian.cpu.contract import MAX_VCPUS, CpuidEntry
from wardian.cpu.features import Feature

PHYSICAL_ADDRESS_BITS: Final = 40
_VIRTUAL_ADDRESS_BITS: Final = 48

#: The local APIC's timer counts at this rate, which leaf 0x15 gives as the crystal's.
APIC_TIMER_HZ: Final = 1_000_000_000

_MAX_BASIC: Final = 0x16
_MAX_EXTENDED: Final = 0x8000_0008
#: Structured extended features: EAX of subleaf 0 gives the last subleaf.
_STRUCTURED: Final = 7
_KVM: Final = 0x4000_0000
_MAX_KVM: Final = 0x4000_0001

#: GenuineIntel in the order EBX, EDX, ECX.
_VENDOR: Final = b"GenuineIntel"
#: Family 6, model 0x60, stepping 1: a model number no product has, so that no kernel applies one
#: product's errata, event lists or microcode checks to us.
_SIGNATURE: Final = 0x0006_0601
_CLFLUSH_UNITS: Final = 8  # of 8 bytes
_HTT: Final = 1 << 28

# KVM's paravirtual features (cpuid.rst, "KVM CPUID bits").
_NOP_IO_DELAY: Final = 1 << 1
_CLOCKSOURCE2: Final = 1 << 3
_CLOCKSOURCE_STABLE: Final = 1 << 24

_LINE: Final = 64
#: (type, level, ways, sets, shared by all CPUs); type 1 is data, 2 instructions, 3 both.
_CACHES: Final = (
    (1, 1, 8, 64, False),  # 32 KiB
    (2, 1, 8, 64, False),  # 32 KiB
    (3, 2, 16, 1024, False),  # 1 MiB
    (3, 3, 16, 16384, True),  # 16 MiB
)

#: Offset and size of the AVX component, and of x87 + SSE + header before it, in standard format
#: (SDM vol. 1, 13.4).
_AVX_OFFSET: Final = 576
_AVX_SIZE: Final = 256
_XSAVE_X87_SSE_AVX: Final = 0b111
_XSAVEOPT: Final = 1 << 0

_Row = tuple[int, int, int, int]


def build(model: str, features: Sequence[Feature], cpus: int, tsc_hz: int) -> list[CpuidEntry]:
    """All rows for `features`, sorted by leaf and subleaf; `model` is what the brand says.

    Raises `BugError` for a number of CPUs or a clock rate that machines never have.
    """
    if not 1 <= cpus <= MAX_VCPUS or not 10**8 <= tsc_hz < 4 * 10**10:
        raise BugError("CPUID_ARGUMENTS", f"No CPUID for {cpus} CPUs at {tsc_hz} Hz.")
    rows: dict[tuple[int, int], _Row] = {
        (0x0, 0): _vendor(_MAX_BASIC),
        (0x1, 0): _processor(cpus),
        (0x2, 0): (0x00_00_FF_01, 0, 0, 0),  # descriptor 0xFF: caches are in leaf 4
        **{(0x4, index): _cache(index, cpus) for index in range(len(_CACHES))},
        (0xB, 0): (0, 1, 1 << 8 | 0, 0),  # level type 1: threads, of which a core has one
        (0xB, 1): (_bits(cpus), cpus, 2 << 8 | 1, 0),  # level type 2: cores
        (0xB, 2): (0, 0, 2, 0),
        (0x15, 0): _tsc_ratio(tsc_hz),
        (0x16, 0): (round(tsc_hz / 10**6), round(tsc_hz / 10**6), 100, 0),
        (_KVM, 0): (_MAX_KVM, *struct.unpack("<3I", b"KVMKVMKVM\0\0\0")),
        (_KVM + 1, 0): (_NOP_IO_DELAY | _CLOCKSOURCE2 | _CLOCKSOURCE_STABLE, 0, 0, 0),
        (0x8000_0000, 0): _vendor(_MAX_EXTENDED),
        **_brand(model),
        (0x8000_0006, 0): (0, 0, 1024 << 16 | 8 << 12 | _LINE, 0),  # 1 MiB L2, code 8: 16 ways
        (0x8000_0008, 0): (PHYSICAL_ADDRESS_BITS | _VIRTUAL_ADDRESS_BITS << 8, 0, 0, 0),
    }
    if any(feature.name == "xsave" for feature in features):
        size = _AVX_OFFSET + _AVX_SIZE
        rows[0xD, 0] = (_XSAVE_X87_SSE_AVX, size, size, 0)
        rows[0xD, 1] = (_XSAVEOPT, 0, 0, 0)
        rows[0xD, 2] = (_AVX_SIZE, _AVX_OFFSET, 0, 0)
    for feature in features:
        key = (feature.leaf, feature.subleaf)
        row = list(rows.get(key, (0, 0, 0, 0)))
        row[feature.register.value] |= 1 << feature.bit
        rows[key] = (row[0], row[1], row[2], row[3])
    structured = [subleaf for leaf, subleaf in rows if leaf == _STRUCTURED]
    if structured:
        rows[_STRUCTURED, 0] = (max(structured), *rows.get((_STRUCTURED, 0), (0, 0, 0, 0))[1:])
    return [(leaf, subleaf, *row) for (leaf, subleaf), row in sorted(rows.items())]


def _vendor(highest: int) -> _Row:
    ebx, edx, ecx = struct.unpack("<3I", _VENDOR)
    return highest, ebx, ecx, edx


def _processor(cpus: int) -> _Row:
    """Leaf 1 without its feature bits: HTT says that EBX holds a count of logical processors."""
    shared = 1 << _bits(cpus)
    htt = _HTT if cpus > 1 else 0
    return _SIGNATURE, shared << 16 | _CLFLUSH_UNITS << 8, 0, htt


def _cache(index: int, cpus: int) -> _Row:
    kind, level, ways, sets, shared = _CACHES[index]
    ids = (1 << _bits(cpus)) - 1
    self_initialising = 1 << 8
    eax = kind | level << 5 | self_initialising | (ids if shared else 0) << 14 | ids << 26
    return eax, (ways - 1) << 22 | (_LINE - 1), sets - 1, 0


def _bits(cpus: int) -> int:
    """How many bits of an APIC ID tell `cpus` CPUs apart."""
    return (cpus - 1).bit_length()


def _tsc_ratio(tsc_hz: int) -> _Row:
    """Leaf 0x15: the TSC's rate is crystal * EBX / EAX.

    Linux multiplies EBX by the crystal's kHz in 32 bits, so EBX stays small enough for that. The
    best such fraction is mostly right to some parts in a million; near a multiple of the crystal's
    rate it can be off by 120 of them. A guest that uses kvmclock learns the exact rate there.
    """
    highest = (2**32 - 1) // (APIC_TIMER_HZ // 1000)
    ratio = Fraction(APIC_TIMER_HZ, tsc_hz).limit_denominator(highest)
    return ratio.numerator, ratio.denominator, APIC_TIMER_HZ, 0


def _brand(model: str) -> dict[tuple[int, int], _Row]:
    """Leaves 0x80000002 to 0x80000004: 48 bytes of text."""
    text = f"Wardian virtual CPU, {model}".encode("ascii")[:47].ljust(48, b"\0")
    rows: dict[tuple[int, int], _Row] = {}
    for index in range(3):
        eax, ebx, ecx, edx = struct.unpack_from("<4I", text, 16 * index)
        rows[0x8000_0002 + index, 0] = (eax, ebx, ecx, edx)
    return rows
