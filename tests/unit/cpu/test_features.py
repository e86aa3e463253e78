from __future__ import annotations

from wardian.cpu.features import FEATURES, Tier


def test_no_name_and_no_bit_is_there_twice() -> None:
    assert len({f.name for f in FEATURES}) == len(FEATURES)
    assert len({(f.leaf, f.subleaf, f.register, f.bit) for f in FEATURES}) == len(FEATURES)


def test_the_psabi_levels_are_complete() -> None:
    """x86-64 psABI 1.0, table 3.1."""
    names = {tier: {f.name for f in FEATURES if f.tier is tier} for tier in Tier}
    base = {"cmov", "cx8", "fpu", "fxsr", "mmx", "syscall", "sse", "sse2"}
    v2 = {"cx16", "lahf_lm", "popcnt", "sse3", "sse4_1", "sse4_2", "ssse3"}
    v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
    assert base | v2 <= names[Tier.V2]
    assert v3 <= names[Tier.V3]


def test_what_a_tier_above_the_base_adds_runs_on_the_host() -> None:
    assert all(f.host for f in FEATURES if f.tier is not Tier.V2)


def test_what_stays_hidden() -> None:
    """Nested virtualization, MONITOR, debug store, XSAVES, transactions, AVX-512."""
    taken = {(f.leaf, f.register.name, f.bit) for f in FEATURES}
    for leaf, register, bit in (
        (1, "ECX", 3),
        (1, "ECX", 5),
        (1, "ECX", 27),
        (1, "EDX", 21),
        (7, "EBX", 4),
        (7, "EBX", 11),
        (7, "EBX", 16),
        (7, "ECX", 16),
    ):
        assert (leaf, register, bit) not in taken
