"""tools/campaign/stress.py and its reader: a run is clean only if everything in it was."""

from __future__ import annotations

import re
from dataclasses import replace

from tools.campaign.guest import Ending
from tools.campaign.stress import STRESSORS, problems, script
from tools.campaign.stress_report import read_report

CLEAN = """\
stress-ng: info:  [96] dispatching hogs: 2 cpu, 2 vm, 2 matrix, 2 fork, 2 switch, 2 futex, 2 sock
stress: up 13.47 s, load 2.68 0.58 0.19 19/80 247
stress-ng: metrc: [96] stressor       bogo ops real time  usr time  sys time   bogo ops/s
stress-ng: metrc: [96]                           (secs)    (secs)    (secs)   (real time)
stress-ng: metrc: [96] cpu                 138     20.52      3.74      1.14         6.73
stress-ng: metrc: [96] vm                  390     20.52      0.81      4.02        19.00
stress-ng: metrc: [96] matrix              398     20.09      3.35      0.97        19.81
stress-ng: metrc: [96] fork                275     20.04      0.66      4.69        13.72
stress-ng: metrc: [96] switch            27891     20.09      0.60      5.59      1388.37
stress-ng: metrc: [96] futex               990     20.04      0.73      7.80        49.41
stress-ng: metrc: [96] sock                 45     20.18      0.26      6.73         2.23
stress-ng: metrc: [96] matrix               199.38 add matrix ops per sec
stress-ng: info:  [96] successful run completed in 21.10s

[   24.986336] reboot: Power down
"""
ENDING = Ending(reported=0, status=0, console=CLEAN, errors="", seconds=26.0)


def found(ending: Ending) -> list[str]:
    return problems(read_report(ending.console), ending)


def test_a_clean_run_has_no_problem_and_its_work_is_counted() -> None:
    report = read_report(CLEAN)
    assert found(ENDING) == []
    assert set(report.bogo_ops) == set(STRESSORS)
    assert (report.bogo_ops["switch"], report.completed) == (27891, True)


def test_a_failed_verification_is_a_problem() -> None:
    said = "stress-ng: fail:  [99] vm: detected 1 bit errors while stressing memory\n"
    ending = replace(ENDING, console=CLEAN + said, reported=2)
    assert any("1 bit errors" in problem for problem in found(ending))
    assert "stress-ng ended with status 2" in found(ending)


def test_a_stressor_that_did_nothing_is_a_problem() -> None:
    without = re.sub(r".*sock   .*\n", "", CLEAN)
    assert found(replace(ENDING, console=without)) == ["no work was done by sock"]


def test_an_unfinished_run_is_a_problem() -> None:
    cut = CLEAN[: CLEAN.index("stress-ng: info:  [96] successful")]
    ending = Ending(reported=None, status=None, console=cut, errors="oh", seconds=900.0)
    assert found(ending) == [
        "still running after 900 s",
        "the guest did not report that its command ended",
        "the guest did not power off",
        "the monitor said: oh",
        "stress-ng did not complete its run",
    ]


def test_a_complaint_of_the_kernel_is_a_problem() -> None:
    line = "[   20.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [vm:1]"
    assert found(replace(ENDING, console=f"{CLEAN}{line}\n")) == [line]


def test_the_guest_is_told_to_verify_every_stressor() -> None:
    command = script(600, 3)
    assert "stress-ng --verify" in command
    assert "--timeout 600s" in command
    assert all(f"--{name} 3" in command for name in STRESSORS)
