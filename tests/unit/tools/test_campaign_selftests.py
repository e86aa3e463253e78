"""tools/campaign/selftests.py and its reader: results, reasons, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.assets.linux_source import LinuxSource
from tools.assets.selftests import Selftests
from tools.campaign import selftests
from tools.campaign.selftests import chosen, script, table
from tools.campaign.selftests_results import (
    Expected,
    Result,
    read_expected,
    read_results,
    surprises,
)
from tools.errors import ToolError

CONSOLE = """\
[    3.212349] Run /init as init process
@selftest begin fine_64\r
[RUN]\tsomething
[OK]\tit works
[SKIP]\tnot here

@selftest end fine_64 0\r
@selftest begin absent_32
Could not find it

@selftest end absent_32 4
@selftest begin broken_64
[RUN]\tfirst
[  133.414085] traps: broken_64[1] general protection fault error:0
[FAIL]\tReg 1 mismatch: requested 0x0; got 0x3
[FAIL]\tanother

@selftest end broken_64 1
@selftest begin slow_64
[OK]\tone

@selftest end slow_64 137
@selftest begin killed_64

@selftest end killed_64 139
@selftest begin last_64
[RUN]\tthe last word
"""
NAMES = ["fine_64", "absent_32", "broken_64", "slow_64", "killed_64", "last_64", "never_64"]


def test_each_test_has_a_result_and_a_reason() -> None:
    assert read_results(CONSOLE, NAMES) == [
        Result("fine_64", "ok", "[SKIP]\tnot here"),
        Result("absent_32", "skip", "exit status 4"),
        Result("broken_64", "fail", "[FAIL]\tReg 1 mismatch: requested 0x0; got 0x3"),
        Result("slow_64", "timeout", ""),
        Result("killed_64", "fail", "exit status 139"),
        Result("last_64", "lost", "[RUN]\tthe last word"),
        Result("never_64", "lost", ""),
    ]


def test_a_result_must_be_the_expected_one() -> None:
    results = [Result("a", "ok", ""), Result("b", "fail", "why"), Result("c", "ok", "")]
    expected = {"a": Expected("ok", ""), "b": Expected("fail", "known"), "gone": Expected("ok", "")}
    assert surprises(results, expected) == ["c: ok, and nothing is expected of it"]
    # What works against expectation is told too: the expectation is out of date then.
    expected |= {"b": Expected("ok", ""), "c": Expected("fail", "known")}
    assert surprises(results, expected) == ["b: fail, expected ok", "c: ok, expected fail"]


def test_the_expectations_have_reasons_for_all_that_is_not_ok() -> None:
    expected = read_expected(Path(selftests.__file__).parent / "selftests_expected.toml")
    assert {"fsgsbase_64", "sigreturn_64", "vdso_test_correctness_64"} <= expected.keys()
    for name, one in expected.items():
        assert one.result in ("ok", "skip", "fail"), name
        assert bool(one.reason) == (one.result != "ok"), name


def test_the_guest_runs_each_test_with_a_limit() -> None:
    command = script(["a_64", "b_32"], 120)
    assert "timeout -s KILL 120 /selftests/a_64" in command
    assert 'echo "@selftest end b_32 $status"' in command


def test_some_tests_can_be_chosen() -> None:
    source = LinuxSource(Path(), "linux-source", "1")
    tests = Selftests(("a_32", "a_64", "b_64"), {}, source)
    assert chosen(tests, None) == ["a_32", "a_64", "b_64"]
    assert chosen(tests, "_64") == ["a_64", "b_64"]
    with pytest.raises(ToolError, match="no test has 'c' in its name"):
        chosen(tests, "c")


def test_the_table_is_aligned() -> None:
    lines = table([Result("a", "ok", ""), Result("long_64", "timeout", "[OK] x")]).splitlines()
    assert lines == ["a        ok", "long_64  timeout  [OK] x"]
