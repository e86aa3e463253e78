from __future__ import annotations

from fuzz.boot.mutate import run


def test_a_bounded_slice_of_the_fuzzer() -> None:
    result = run(seed=2026, count=3000)
    assert result.cases == 3000
    # The mutator reaches behind the headers, and into every way of refusing a file.
    assert result.outcomes["planned"] > 300
    for code in ("NOT_A_KERNEL", "TRUNCATED", "KERNEL_INVALID", "KERNEL_UNSUPPORTED"):
        assert result.outcomes[f"BOOT_{code}"] > 20


def test_a_seed_brings_its_cases_back() -> None:
    assert run(seed=7, count=200).outcomes == run(seed=7, count=200).outcomes
