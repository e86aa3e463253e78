from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wardian.base.errors import BugError
from wardian.cpu.models import cpuid_entries

TSC_HZ = 2_445_430_000


def rows(model: str = "x86-64-v3", cpus: int = 2) -> dict[tuple[int, int], tuple[int, ...]]:
    return {(e[0], e[1]): e[2:] for e in cpuid_entries(model, cpus, TSC_HZ)}


def test_rows_are_sorted_unique_and_32_bits_wide() -> None:
    entries = cpuid_entries("x86-64-v3+sha", 64, TSC_HZ)
    keys = [entry[:2] for entry in entries]
    assert keys == sorted(set(keys))
    assert all(0 <= number < 2**32 for entry in entries for number in entry)


def test_vendor_and_signature() -> None:
    highest, ebx, ecx, edx = rows()[0, 0]
    assert highest == 0x16
    assert struct.pack("<III", ebx, edx, ecx) == b"GenuineIntel"
    eax = rows()[1, 0][0]
    family = eax >> 8 & 0xF
    model = (eax >> 12 & 0xF0) | (eax >> 4 & 0xF)
    assert (family, model, eax & 0xF) == (6, 0x60, 1)
    brand = b"".join(struct.pack("<4I", *rows()[0x8000_0002 + i, 0]) for i in range(3))
    assert brand.rstrip(b"\0") == b"Wardian virtual CPU, x86-64-v3"


def test_features_land_in_their_registers() -> None:
    _, _, ecx, edx = rows()[1, 0]
    assert ecx >> 31 & 1, "hypervisor"
    assert ecx >> 21 & 1, "x2APIC"
    assert ecx >> 28 & 1, "AVX"
    assert not ecx >> 27 & 1, "OSXSAVE is the engine's"
    assert not ecx >> 5 & 1, "no VMX"
    assert edx >> 9 & 1, "APIC"
    assert rows()[7, 0] == (2, 0x0090_07A9, 0x0040_0004, 0x2400_0010)
    assert rows()[7, 2] == (0, 0, 0, 0x10), "BHI_CTRL"
    assert rows("x86-64-v3+adx+sha")[7, 0][1] == 0x2098_07A9
    assert rows()[0x8000_0001, 0] == (0, 0, 0x121, 0x2C10_0800)
    assert rows()[0x8000_0007, 0] == (0, 0, 0, 0x100)
    assert rows()[6, 0] == (4, 0, 0, 0)


def test_v2_has_no_avx_state() -> None:
    assert not rows("x86-64-v2")[1, 0][2] & (1 << 26 | 1 << 28)
    assert (0xD, 0) not in rows("x86-64-v2")
    assert rows("x86-64-v2")[7, 0][1] & (1 << 3 | 1 << 5 | 1 << 8) == 0


def test_xsave_is_the_standard_format_with_avx() -> None:
    assert rows()[0xD, 0] == (7, 0x340, 0x340, 0)
    assert rows()[0xD, 1] == (1, 0, 0, 0)
    assert rows()[0xD, 2] == (256, 576, 0, 0)


@pytest.mark.parametrize(("cpus", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6)])
def test_topology_is_one_core_for_each_cpu(cpus: int, bits: int) -> None:
    leaves = rows(cpus=cpus)
    assert leaves[0xB, 0] == (0, 1, 0x100, 0)
    assert leaves[0xB, 1] == (bits, cpus, 0x201, 0)
    assert leaves[0xB, 2] == (0, 0, 2, 0)
    _, ebx, _, edx = leaves[1, 0]
    assert ebx >> 16 & 0xFF == 1 << bits
    assert edx >> 28 & 1 == (cpus > 1)
    assert ebx >> 24 == 0, "the APIC ID is the engine's"
    assert {leaves[4, i][0] >> 26 for i in range(4)} == {(1 << bits) - 1}
    shared = [leaves[4, i][0] >> 14 & 0xFFF for i in range(4)]
    assert shared == [0, 0, 0, (1 << bits) - 1]


def test_cache_sizes() -> None:
    def size(index: int) -> int:
        _, ebx, sets, _ = rows()[4, index]
        return ((ebx >> 22) + 1) * ((ebx & 0xFFF) + 1) * (sets + 1)

    assert [size(i) for i in range(4)] == [32 << 10, 32 << 10, 1 << 20, 16 << 20]
    assert rows()[0x8000_0006, 0][2] >> 16 == 1024


def test_kvm_clock_is_offered() -> None:
    highest, *signature = rows()[0x4000_0000, 0]
    assert highest == 0x4000_0001
    assert struct.pack("<III", *signature) == b"KVMKVMKVM\0\0\0"
    assert rows()[0x4000_0001, 0] == (1 << 1 | 1 << 3 | 1 << 24, 0, 0, 0)


@given(st.integers(10**8, 2**32 - 1))
@example(1_285_684_320)
@example(1_000_120_000)
def test_tsc_rate_as_linux_computes_it(tsc_hz: int) -> None:
    """Linux native_calibrate_tsc: crystal kHz * EBX / EAX in unsigned 32-bit numbers."""
    leaves = {entry[:2]: entry[2:] for entry in cpuid_entries("x86-64-v2", 1, tsc_hz)}
    eax, ebx, crystal, _ = leaves[0x15, 0]
    assert crystal == 10**9
    assert crystal // 1000 * ebx < 2**32
    error = abs(crystal * ebx / eax - tsc_hz)
    assert error <= tsc_hz * 120e-6
    # No fraction that Linux can use is nearer (to the last digits of a float).
    candidates = ((ebx, max(1, round(crystal * ebx / tsc_hz))) for ebx in range(1, 4295))
    best = min(abs(crystal * ebx / eax - tsc_hz) for ebx, eax in candidates)
    assert error <= best * 1.001 + 1


def test_address_widths() -> None:
    assert rows()[0x8000_0008, 0] == (48 << 8 | 40, 0, 0, 0)


@pytest.mark.parametrize(("cpus", "hz"), [(0, 10**9), (65, 10**9), (1, 0), (1, 10**12)])
def test_machines_that_are_none(cpus: int, hz: int) -> None:
    with pytest.raises(BugError):
        cpuid_entries("x86-64-v2", cpus, hz)
