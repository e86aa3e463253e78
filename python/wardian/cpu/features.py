"""Every CPUID feature bit that a Wardian CPU can have: one table.

Source: Intel SDM vol. 2A, CPUID, tables 3-8 to 3-11 and 3-17 onwards. A bit that is not here is
clear. The engine sets one bit more by itself: OSXSAVE (leaf 1 ECX 27) mirrors CR4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Tier(Enum):
    """From which CPU model on a feature is there."""

    #: In every model: the architecture's base, x86-64-v2 (x86-64 psABI 1.0, 3.1.1), and what
    #: engines emulate whatever the host has.
    V2 = "x86-64-v2"
    V3 = "x86-64-v3"
    #: In no model by itself; a name such as ``x86-64-v3+sha`` adds it.
    EXTRA = "extra"


class Register(Enum):
    """The register of a CPUID answer that holds a bit; the value is its place in a row."""

    EAX = 0
    EBX = 1
    ECX = 2
    EDX = 3


@dataclass(frozen=True, slots=True)
class Feature:
    """One bit.

    `host` is the host's flag, as /proc/cpuinfo spells it, without which no engine has the feature,
    because its instructions run on the host's own units; "" marks what engines do themselves.
    """

    name: str
    leaf: int
    register: Register
    bit: int
    tier: Tier = Tier.V2
    host: str = ""
    subleaf: int = 0


_A, _B, _C, _D = Register.EAX, Register.EBX, Register.ECX, Register.EDX
_EXTENDED: Final = 0x8000_0001

FEATURES: Final = (
    Feature("fpu", 1, _D, 0, host="fpu"),
    Feature("de", 1, _D, 2),
    Feature("pse", 1, _D, 3),
    Feature("tsc", 1, _D, 4),
    Feature("msr", 1, _D, 5),
    Feature("pae", 1, _D, 6),
    Feature("mce", 1, _D, 7),
    Feature("cx8", 1, _D, 8),
    Feature("apic", 1, _D, 9),
    Feature("sep", 1, _D, 11),
    Feature("mtrr", 1, _D, 12),
    Feature("pge", 1, _D, 13),
    Feature("mca", 1, _D, 14),
    Feature("cmov", 1, _D, 15),
    Feature("pat", 1, _D, 16),
    Feature("pse36", 1, _D, 17),
    Feature("clflush", 1, _D, 19),
    Feature("mmx", 1, _D, 23, host="mmx"),
    Feature("fxsr", 1, _D, 24, host="fxsr"),
    Feature("sse", 1, _D, 25, host="sse"),
    Feature("sse2", 1, _D, 26, host="sse2"),
    Feature("sse3", 1, _C, 0, host="pni"),
    Feature("pclmulqdq", 1, _C, 1, Tier.V3, "pclmulqdq"),
    Feature("ssse3", 1, _C, 9, host="ssse3"),
    Feature("fma", 1, _C, 12, Tier.V3, "fma"),
    Feature("cx16", 1, _C, 13, host="cx16"),
    Feature("pcid", 1, _C, 17),
    Feature("sse4_1", 1, _C, 19, host="sse4_1"),
    Feature("sse4_2", 1, _C, 20, host="sse4_2"),
    Feature("x2apic", 1, _C, 21),
    Feature("movbe", 1, _C, 22, Tier.V3, "movbe"),
    Feature("popcnt", 1, _C, 23, host="popcnt"),
    Feature("tsc_deadline", 1, _C, 24),
    Feature("aes", 1, _C, 25, Tier.V3, "aes"),
    Feature("xsave", 1, _C, 26, Tier.V3, "xsave"),
    Feature("avx", 1, _C, 28, Tier.V3, "avx"),
    Feature("f16c", 1, _C, 29, Tier.V3, "f16c"),
    Feature("rdrand", 1, _C, 30, Tier.V3, "rdrand"),
    Feature("hypervisor", 1, _C, 31),
    # The local APIC timer runs in every idle state.
    Feature("arat", 6, _A, 2),
    Feature("fsgsbase", 7, _B, 0),
    Feature("bmi1", 7, _B, 3, Tier.V3, "bmi1"),
    Feature("avx2", 7, _B, 5, Tier.V3, "avx2"),
    Feature("smep", 7, _B, 7),
    Feature("bmi2", 7, _B, 8, Tier.V3, "bmi2"),
    # String moves are single steps for our engines, so the fastest way to copy: say so.
    Feature("erms", 7, _B, 9),
    Feature("invpcid", 7, _B, 10),
    Feature("rdseed", 7, _B, 18, Tier.EXTRA, "rdseed"),
    Feature("adx", 7, _B, 19, Tier.EXTRA, "adx"),
    Feature("smap", 7, _B, 20),
    Feature("clflushopt", 7, _B, 23),
    Feature("sha", 7, _B, 29, Tier.EXTRA, "sha_ni"),
    Feature("umip", 7, _C, 2),
    Feature("rdpid", 7, _C, 22),
    Feature("fsrm", 7, _D, 4),
    # IBRS and IBPB, without which Linux does not believe the "not vulnerable" bits (see msrs.py).
    Feature("spec_ctrl", 7, _D, 26),
    Feature("arch_capabilities", 7, _D, 29),
    # The switch that keeps kernels since 6.1 from clearing the branch history at each system call.
    Feature("bhi_ctrl", 7, _D, 4, subleaf=2),
    Feature("lahf_lm", _EXTENDED, _C, 0),
    Feature("lzcnt", _EXTENDED, _C, 5, Tier.V3, "abm"),
    Feature("prefetchw", _EXTENDED, _C, 8),
    Feature("syscall", _EXTENDED, _D, 11),
    Feature("nx", _EXTENDED, _D, 20),
    Feature("page1gb", _EXTENDED, _D, 26),
    Feature("rdtscp", _EXTENDED, _D, 27),
    Feature("lm", _EXTENDED, _D, 29),
    Feature("invariant_tsc", 0x8000_0007, _D, 8),
)
