"""`wardian run --check`: how a divergence is told."""

from __future__ import annotations

import pytest

from wardian.base.errors import BugError
from wardian.cli.main import main
from wardian.cli.parser import run_parser
from wardian.cli.run import report
from wardian.machine.exit import ExitReason, MachineExit


def test_a_divergence_is_a_bug_with_its_own_code() -> None:
    with pytest.raises(BugError) as caught:
        report(MachineExit(ExitReason.DIVERGED, "vCPU 0: translated code is wrong"))
    assert caught.value.code == "ENGINE_DIVERGED"
    assert caught.value.message == "vCPU 0: translated code is wrong"


def test_only_translated_code_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--kernel", "k", "--engine", "interpret", "--check"]) == 2
    error = capsys.readouterr().err
    assert "SPEC_ENGINE" in error
    assert "Only the translate engine can be checked" in error


def test_nothing_is_checked_unless_asked_for() -> None:
    assert not run_parser().parse(["--kernel", "k"]).check
    assert run_parser().parse(["--kernel", "k", "--check"]).check
