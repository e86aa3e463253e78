"""benches/session.py: the order of runs, and subjects that are absent or fail, with scripts."""

from __future__ import annotations

import sys
from pathlib import Path

from benches.measure import Run
from benches.scenarios import Scenario
from benches.session import Guest, Session
from benches.subjects import Boot, Subject

ROWS = "print('start 0 s\\ncrc32 {} MiB/s\\nelapsed 1 s')"


def script(text: str) -> list[str]:
    return [sys.executable, "-uc", text]


def a_guest(folder: Path, name: str = "rows", cpus: int = 1) -> Guest:
    scenario = Scenario(name, Path("program.c"), (), cpus)
    return Guest(scenario, script(ROWS.format(7)), folder / f"{name}.img")


def a_subject(name: str, text: str, *, absence: str | None = None, max_cpus: int = 2) -> Subject:
    def command(boot: Boot) -> list[str]:
        return script(text.format(counters=boot.counters, cpus=boot.cpus, initrd=boot.initrd))

    return Subject(name, command, lambda: absence, ("true",), max_cpus=max_cpus)


def a_session(folder: Path, *guests: Guest) -> Session:
    return Session(Path("/kernel"), guests, folder, 60)


def values(turns: list[dict[str, Run]], scenario: str = "rows") -> list[float | None]:
    return [turn[scenario].rows["crc32"] if scenario in turn else None for turn in turns]


def test_every_round_runs_the_host_and_each_subject(tmp_path: Path) -> None:
    session = a_session(tmp_path, a_guest(tmp_path))
    session.interleave([a_subject("A", ROWS.format(3))], 2, float("inf"))
    assert list(session.results.turns) == ["native", "A"]
    assert values(session.results.turns["native"]) == [7, 7]
    assert values(session.results.turns["A"]) == [3, 3]
    assert session.results.absences == {}


def test_an_absent_subject_never_runs(tmp_path: Path) -> None:
    session = a_session(tmp_path, a_guest(tmp_path))
    session.interleave([a_subject("A", "", absence="not here")], 1, float("inf"))
    assert "A" not in session.results.turns
    assert session.results.absences == {"A": "not here"}


def test_a_scenario_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    failing = (
        "import sys; sys.exit('no second CPU') if {cpus} == 2 else "
        "print('start 0 s\\ncrc32 3 MiB/s\\nelapsed 1 s')"
    )
    guests = a_guest(tmp_path), a_guest(tmp_path, "two-vcpus", cpus=2)
    session = a_session(tmp_path, *guests)
    session.interleave([a_subject("A", failing)], 2, float("inf"))
    assert values(session.results.turns["A"]) == [3, 3]
    assert values(session.results.turns["A"], "two-vcpus") == [None, None]
    assert "no second CPU" in session.results.absences["A, two-vcpus"]


def test_a_subject_with_one_cpu_is_not_asked_for_two(tmp_path: Path) -> None:
    session = a_session(tmp_path, a_guest(tmp_path, "two-vcpus", cpus=2))
    session.interleave([a_subject("A", "", max_cpus=1)], 1, float("inf"))
    assert session.results.turns["A"] == [{}]
    assert session.results.absences == {}


def test_counters_that_a_monitor_wrote_are_kept_with_the_run(tmp_path: Path) -> None:
    text = (
        "print('start 0 s\\ncrc32 3 MiB/s\\nelapsed 1 s');"
        "open('{counters}', 'w').write('{{\"crc32\": {{\"seconds\": 2.5}}}}')"
    )
    session = a_session(tmp_path, a_guest(tmp_path))
    session.interleave([a_subject("A", text), a_subject("B", ROWS.format(1))], 1, float("inf"))
    assert session.results.turns["A"][0]["rows"].intervals == {"crc32": {"seconds": 2.5}}
    assert session.results.turns["B"][0]["rows"].intervals == {}


def test_no_round_begins_that_would_end_after_the_budget(tmp_path: Path) -> None:
    session = a_session(tmp_path, a_guest(tmp_path))
    session.interleave([], 5, budget_s=0)
    assert len(session.results.turns["native"]) == 1
