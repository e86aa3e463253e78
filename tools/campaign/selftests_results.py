"""What a guest's console tells of each selftest, and how that compares with what is expected."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: The lines between which the guest prints a test's output, with their words in front.
BEGIN = "@selftest begin"
END = "@selftest end"

# The statuses of tools/testing/selftests/kselftest.h.
_RESULTS = {0: "ok", 4: "skip"}
_KILLED = 128 + 9
_STAMP = re.compile(r"^\[ *\d+\.\d{6}\] ")
_REASONS = {
    "ok": re.compile(r"\[SKIP\]|\[WARN\]|# SKIP"),
    "skip": re.compile(r"\[SKIP\]|# SKIP|skip", re.IGNORECASE),
    "fail": re.compile(r"\[FAIL\]|^not ok|fail|error|expected", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class Result:
    """How one test went: `result` is ok, skip, fail, timeout, or lost when the guest ended first.

    `why` is the first line of its output that gives a reason; it may be empty.
    """

    name: str
    result: str
    why: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a test is expected to give, and the reason if that is not ok."""

    result: str
    reason: str


def read_results(console: str, names: Sequence[str]) -> list[Result]:
    """Return the results of the tests `names` in that order."""
    output: dict[str, list[str]] = {}
    ended: dict[str, int] = {}
    current = None
    for line in console.splitlines():
        if line.startswith(BEGIN):
            current = line.split()[-1]
            output[current] = []
        elif line.startswith(END) and current is not None:
            ended[current] = int(line.split()[-1])
            current = None
        elif current is not None and not _STAMP.match(line):
            output[current].append(line.strip())
    return [_result(name, ended.get(name), output.get(name, [])) for name in names]


def _result(name: str, status: int | None, lines: Sequence[str]) -> Result:
    if status is None:
        return Result(name, "lost", lines[-1] if lines else "")
    if status == _KILLED:
        return Result(name, "timeout", lines[-1] if lines else "")
    result = _RESULTS.get(status, "fail")
    why = next((line for line in lines if _REASONS[result].search(line)), "")
    if not why and result != "ok":
        why = f"exit status {status}"
    return Result(name, result, why)


def read_expected(path: Path) -> dict[str, Expected]:
    """Return the expectations in the file at `path` by the test's name.

    The file has a list `ok` of names, and under `other` a table for each test that gives
    something else, with its `result` and the `reason`.
    """
    content = tomllib.loads(path.read_text())
    found = {name: Expected("ok", "") for name in content["ok"]}
    for name, other in content["other"].items():
        found[name] = Expected(other["result"], other["reason"])
    return found


def surprises(results: Sequence[Result], expected: Mapping[str, Expected]) -> list[str]:
    """Return a line for each test whose result is not the expected one, or that nobody expects."""
    found = []
    for result in results:
        wanted = expected.get(result.name)
        if wanted is None:
            found.append(f"{result.name}: {result.result}, and nothing is expected of it")
        elif wanted.result != result.result:
            found.append(f"{result.name}: {result.result}, expected {wanted.result}")
    return found
