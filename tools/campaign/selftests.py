"""Run Linux's own x86 selftests in a guest: `python -m tools.campaign.selftests`.

The tests come from the distribution's kernel source and run one after the other in the stock
kernel. The exit status is 0 if each gives what selftests_expected.toml says, the kernel has
nothing to complain of, and the machine switches itself off; else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tools.assets import busybox, initramfs, kernel
from tools.assets.selftests import Selftests, has_32_bit_compiler, x86_selftests
from tools.campaign import guest
from tools.campaign.selftests_results import (
    BEGIN,
    END,
    Result,
    read_expected,
    read_results,
    surprises,
)
from tools.campaign.trouble import kernel_trouble
from tools.errors import ToolError
from tools.progress import Progress
from tools.setup import host

_EXPECTED = Path(__file__).parent / "selftests_expected.toml"
# For booting, and for ending a test that the guest itself should have ended long ago.
_SLACK_S = 300
_MULTILIB = host.Need("a 32-bit C library", ("gcc-multilib",), has_32_bit_compiler, optional=True)
# Information from the kernel could tear the lines around a test apart; its warnings still come.
_QUIET = "dmesg -n 5\n"
_ONE = """
echo "{begin} {name}"
timeout -s KILL {limit_s} {program} </dev/null 2>&1
status=$?
echo
echo "{end} {name} $status"
"""


def script(tests: Sequence[str], limit_s: int) -> str:
    """Return what the guest runs: every test, each for at most `limit_s` seconds."""
    return _QUIET + "".join(
        _ONE.format(
            begin=BEGIN, end=END, name=name, limit_s=limit_s, program=Selftests.program(name)
        )
        for name in tests
    )


def chosen(tests: Selftests, only: str | None) -> list[str]:
    """Return the tests whose names contain `only`, all without it. Raises ToolError for none."""
    names = [name for name in tests.names if only is None or only in name]
    if not names:
        raise ToolError(f"no test has {only!r} in its name; there are {', '.join(tests.names)}")
    return names


class _Follower:
    """Tells on the progress line which test is running, and gives the guest time for it."""

    def __init__(self, progress: Progress, count: int, limit: guest.Limit, limit_s: int) -> None:
        self._progress = progress
        self._count = count
        self._limit = limit
        self._limit_s = limit_s
        self._number = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(BEGIN.encode()):
                self._number += 1
                name = line.decode(errors="replace").split()[-1]
                self._progress.stage(f"test {self._number} of {self._count}: {name}")
                self._limit.restart(self._limit_s + _SLACK_S)


def run_selftests(
    tests: Selftests, names: Sequence[str], options: argparse.Namespace, progress: Progress
) -> guest.Ending:
    """Run the tests `names` in one guest, as the command line says."""
    command = script(names, options.limit)
    with tempfile.TemporaryDirectory() as scratch:
        initrd = Path(scratch) / "initrd"
        initrd.write_bytes(initramfs.busybox_initrd(busybox.busybox(), command, tests.files))
        machine = guest.Guest(
            kernel.debian_kernel().path,
            initrd,
            options.cpus,
            options.memory,
            options.under,
            options.engine,
        )
        progress.stage("booting")
        limit = guest.Limit(_SLACK_S)
        follower = _Follower(progress, len(names), limit, options.limit)
        return guest.run(machine, limit, follower.feed, options.log)


def table(results: Sequence[Result]) -> str:
    """Return the results as lines: the test, its result, and why."""
    width = max(len(result.name) for result in results)
    return "\n".join(
        f"{result.name:{width}}  {result.result:7}  {result.why}".rstrip() for result in results
    )


def main() -> int:
    """Run the campaign; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.campaign.selftests", description=__doc__)
    parser.add_argument("--limit", type=int, default=900, help="seconds for each test")
    parser.add_argument("--only", help="only tests with this in their names")
    guest.add_options(parser, memory="1G")
    options = parser.parse_args()
    try:
        host.require([_MULTILIB])
        with Progress() as progress:
            progress.stage("getting the selftests from the distribution's kernel source")
            tests = x86_selftests(kernel.debian_kernel())
            names = chosen(tests, options.only)
            ending = run_selftests(tests, names, options, progress)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = read_results(ending.console, names)
    problems = surprises(results, read_expected(_EXPECTED))
    problems += ending.problems() + kernel_trouble(ending.console)
    if options.json:
        facts = {"engine": options.engine, "under": options.under, "cpus": options.cpus}
        facts |= {"source": f"{tests.source.package} {tests.source.version}"}
        record = {**facts, "results": [asdict(result) for result in results], "problems": problems}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(table(results))
    counts = Counter(result.result for result in results)
    told = ", ".join(f"{count} {result}" for result, count in counts.most_common())
    print(f"{tests.source.package} {tests.source.version}, {len(results)} tests: {told}")
    if not has_32_bit_compiler():
        print("64-bit programs only: the host's compiler makes no 32-bit ones (gcc-multilib)")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 0 if not problems else 1


if __name__ == "__main__":
    sys.exit(main())
