"""benches/quiet.py: how much of the host's CPU time went to somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches.quiet import Moment, disturbance, read_moment, render_disturbance


def test_what_was_not_ours_was_others() -> None:
    start = Moment(at_s=10, busy_s=100, stolen_s=1, own_s=50)
    end = Moment(at_s=20, busy_s=112, stolen_s=2, own_s=60)
    assert disturbance(start, end, cpus=2) == pytest.approx({"others": 0.1, "stolen": 0.05})


def test_times_are_read_without_idle_and_guests(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 200 300 9999 9999 10 20 50 7 7\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    moment = read_moment(stat)
    assert moment.busy_s / moment.stolen_s == pytest.approx(630 / 50)


def test_a_sentence_says_whether_the_host_was_quiet() -> None:
    assert render_disturbance({"others": 0.02, "stolen": 0.0}).endswith("quiet enough")
    assert "doubtful" in render_disturbance({"others": 0.02, "stolen": 0.3})
