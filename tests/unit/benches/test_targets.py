"""benches/targets.py: the bounds of the targets, and what a session says about them."""

from __future__ import annotations

import pytest

from benches.figures import RATE, Figures
from benches.rows import PROGRAM_ROWS, TABLE_ROWS, speedup
from benches.targets import TARGETS, Target, Verdict, fastest, judge


def subject(**values: float) -> Figures:
    """Figures that are 100 in every row but for `values`, whose names have no hyphens."""
    named = {name.replace("_", "-").replace("-exec", "+exec"): n for name, n in values.items()}
    return {**dict.fromkeys(TABLE_ROWS, 100.0), "two-vcpus": 2.0, RATE: 1.5, **named}


def verdicts(
    ours: Figures, peer: Figures | None = None, native: Figures | None = None
) -> dict[str, Verdict]:
    found = judge([ours], [[peer or subject()]], [native or subject()])
    return {verdict.target.what: verdict for verdict in found}


def test_the_targets_are_those_of_the_specification() -> None:
    bounds = {target.names: target.bound for target in TARGETS}
    assert bounds[(*PROGRAM_ROWS, "boot")] == 1
    assert bounds["crc32", "qsort", "fp-scalar", "sgemm", "chase", "memcpy"] == 3
    single = {names[0]: bound for names, bound in bounds.items() if len(names) == 1}
    assert single == {
        "fp-scalar": 5,
        "sgemm": 20,
        "memcpy": 3,
        "qsort": 2,
        "boot": 1.3,
        "syscall": 0.8,
        "fork+exec": 0.8,
        "two-vcpus": 1.8,
        RATE: 1,
    }


@pytest.mark.parametrize(
    ("what", "met", "short"),
    [
        ("sgemm", {"sgemm": 2000.0}, {"sgemm": 1999.0}),
        ("boot", {"boot": 76.0}, {"boot": 77.0}),
        ("syscall", {"syscall": 80.0}, {"syscall": 81.0}),
        ("fork+exec", {"fork_exec": 80.0}, {"fork_exec": 81.0}),
        ("translated: MB of guest code a second", {RATE: 1.0}, {RATE: 0.9}),
    ],
)
def test_bounds(what: str, met: dict[str, float], short: dict[str, float]) -> None:
    assert verdicts(subject(**met))[what].word == "met"
    assert verdicts(subject(**short))[what].word == "short"


def test_the_slowest_row_decides_and_every_row_behind_is_named() -> None:
    assert verdicts(subject())["every row and boot: the slowest"].word == "met"
    verdict = verdicts(subject(chase=125.0, crc32=50.0))["every row and boot: the slowest"]
    assert verdict.measured == pytest.approx(0.5)
    assert verdict.word == "short: crc32, chase"


def test_the_mean_is_geometric() -> None:
    faster = subject(crc32=400.0, qsort=400.0, sgemm=400.0, memcpy=25.0, fp_scalar=400.0)
    found = verdicts(faster)["compute rows: geometric mean"]
    assert found.measured == pytest.approx(4**0.5)
    assert found.word == "short"


def test_two_vcpus_are_not_judged_on_a_host_that_has_not_two_free_cpus() -> None:
    what = "two vCPUs: loops done, against one"
    behind = subject(two_vcpus=1.7)
    assert verdicts(behind)[what].word == "short"
    assert verdicts(behind, native=subject(two_vcpus=1.2))[what].word.startswith("open")
    assert verdicts(subject(two_vcpus=1.8), native=subject(two_vcpus=1.2))[what].word == "met"


def test_what_is_missing_was_not_measured() -> None:
    words = {verdict.word for verdict in judge([{"crc32": 1.0}], [[]], [])}
    assert words == {"not measured"}


def test_a_verdict_tells_medians_rounds_and_the_ratio_to_native() -> None:
    ours = [subject(qsort=n) for n in (100.0, 300.0, 200.0)]
    found = judge(ours, [[subject()] * 3], [subject(qsort=400.0)] * 3)
    qsort = next(verdict for verdict in found if verdict.target.what == "qsort")
    assert (qsort.measured, qsort.least, qsort.greatest) == (2, 1, 3)
    assert qsort.to_native == 0.5
    assert qsort.word == "met"


def test_of_several_peers_the_fastest_counts_row_by_row() -> None:
    assert fastest([{"crc32": 5.0, "chase": 9.0}, {"crc32": 7.0, "chase": 10.0, RATE: 2.0}]) == {
        "crc32": 7.0,
        "chase": 9.0,
    }
    found = judge([subject()], [[subject(qsort=10.0)], [subject(qsort=50.0)]], [subject()])
    qsort = next(verdict for verdict in found if verdict.target.what == "qsort")
    assert qsort.measured == speedup("qsort", 100, 50)


def test_a_target_of_one_figure_reads_it() -> None:
    target: Target = TARGETS[-1]
    assert target.read({RATE: 3.0}, {}) == 3.0
    assert target.read({}, {RATE: 3.0}) is None
