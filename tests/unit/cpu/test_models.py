from __future__ import annotations

import pytest

from wardian.base.errors import CallerError
from wardian.cpu import models

V2 = frozenset(
    [
        "fpu",
        "mmx",
        "fxsr",
        "sse",
        "sse2",
        "pni",
        "ssse3",
        "cx16",
        "sse4_1",
        "sse4_2",
        "popcnt",
        "lahf_lm",
    ]
)
V3 = V2 | frozenset(
    [
        "pclmulqdq",
        "fma",
        "movbe",
        "aes",
        "xsave",
        "avx",
        "f16c",
        "rdrand",
        "bmi1",
        "avx2",
        "bmi2",
        "abm",
    ]
)


@pytest.mark.parametrize(
    ("flags", "model"),
    [
        (V2, "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V3 - {"avx2"}, "x86-64-v2"),
        (V3 | {"sha_ni"}, "x86-64-v3+sha"),
        (V3 | {"sha_ni", "adx", "rdseed", "avx512f"}, "x86-64-v3+adx+rdseed+sha"),
        (V2 | {"rdseed"}, "x86-64-v2+rdseed"),
    ],
)
def test_auto_takes_the_best_model(flags: frozenset[str], model: str) -> None:
    assert models.default_model(flags) == model
    assert models.resolve_model("auto", flags) == model


def test_a_model_needs_nothing_but_its_flags() -> None:
    assert models.missing_flags("x86-64-v2", V2) == ()
    assert models.missing_flags("x86-64-v3", V2 | {"avx"}) == tuple(sorted(V3 - V2 - {"avx"}))


def test_a_host_below_every_model() -> None:
    with pytest.raises(CallerError) as raised:
        models.resolve_model("auto", V2 - {"sse4_2"})
    assert raised.value.code == "CPU_MODEL_UNSUPPORTED"
    assert "x86-64-v2: its CPU lacks sse4_2" in raised.value.message


def test_a_named_model_that_the_host_cannot_run() -> None:
    assert models.resolve_model("x86-64-v2", V3) == "x86-64-v2"
    with pytest.raises(CallerError) as raised:
        models.resolve_model("x86-64-v3+sha", V3)
    assert raised.value.code == "CPU_MODEL_UNSUPPORTED"
    assert "sha_ni" in raised.value.message


@pytest.mark.parametrize("name", ["auto", "x86-64-v2", "x86-64-v3", "x86-64-v2+adx+sha"])
def test_names(name: str) -> None:
    models.check_model(name)


@pytest.mark.parametrize(
    "name",
    ["", "x86-64-v4", "+sha", "x86-64-v3+", "x86-64-v3+sha+adx", "x86-64-v3+sha+sha", "auto+sha"],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(CallerError) as raised:
        models.check_model(name)
    assert raised.value.code == "CPU_MODEL_UNKNOWN"


def test_auto_has_to_be_resolved_first() -> None:
    with pytest.raises(CallerError):
        models.cpuid_entries("auto", 1, 10**9)
