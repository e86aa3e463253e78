"""Stress a guest with stress-ng, every result verified: `python -m tools.campaign.stress`.

The stock kernel boots with the distribution's stress-ng, which runs all its stressors at once.
The run is clean when stress-ng has no failure to report, the kernel none either, and the machine
switches itself off; the exit status is 0 then, else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tools.assets import busybox, initramfs, kernel
from tools.assets.stress_ng import stress_ng_files, stress_ng_version
from tools.campaign import guest
from tools.campaign.stress_report import Report, read_report
from tools.campaign.trouble import any_trouble
from tools.errors import ToolError
from tools.progress import Progress

STRESSORS = ("cpu", "vm", "matrix", "fork", "switch", "futex", "sock")
# Booting, and the last round of each stressor: on a slow engine one takes minutes.
_SLACK_S = 900
_SCRIPT = """
ifconfig lo 127.0.0.1 up
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
echo "root:x:0:0:root:/root:/bin/sh" > /etc/passwd
(
    while sleep 10; do
        read up idle < /proc/uptime
        read load < /proc/loadavg
        echo "stress: up $up s, load $load"
    done
) &
cd /tmp
stress-ng --verify --metrics --timeout {seconds}s --vm-bytes 64M {stressors}
status=$?
kill $!
exit $status
"""


def script(seconds: int, instances: int) -> str:
    """Return what the guest runs: `instances` of every stressor at once, for `seconds`."""
    stressors = " ".join(f"--{name} {instances}" for name in STRESSORS)
    return _SCRIPT.format(seconds=seconds, stressors=stressors)


def stress(options: argparse.Namespace) -> tuple[Report, guest.Ending]:
    """Run the guest as the command line says. Raises ToolError if it cannot be put together."""
    with Progress() as progress, tempfile.TemporaryDirectory() as scratch:
        progress.stage("getting the distribution's kernel and stress-ng")
        initrd = Path(scratch) / "initrd"
        command = script(options.seconds, options.cpus)
        files = stress_ng_files()
        initrd.write_bytes(initramfs.busybox_initrd(busybox.busybox(), command, files))
        machine = guest.Guest(
            kernel.debian_kernel().path,
            initrd,
            options.cpus,
            options.memory,
            options.under,
            options.engine,
        )
        progress.stage(f"stressing for {options.seconds} s")
        limit = guest.Limit(options.seconds + _SLACK_S)
        ending = guest.run(machine, limit, progress.output, options.log)
    return read_report(ending.console), ending


def problems(report: Report, ending: guest.Ending) -> list[str]:
    """Return everything that keeps the run from being clean."""
    found = [*ending.problems(), *report.failures]
    if ending.reported not in (0, None):
        found.append(f"stress-ng ended with status {ending.reported}")
    if not report.completed:
        found.append("stress-ng did not complete its run")
    idle = [name for name in STRESSORS if report.bogo_ops.get(name, 0) == 0]
    if idle:
        found.append(f"no work was done by {', '.join(idle)}")
    return found + any_trouble(ending.console)


def main() -> int:
    """Run the campaign; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.campaign.stress", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long (default: 600)")
    guest.add_options(parser, memory="1G")
    options = parser.parse_args()
    try:
        report, ending = stress(options)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = problems(report, ending)
    if options.json:
        facts = {"engine": options.engine, "under": options.under, "cpus": options.cpus}
        facts |= {"stress_ng": stress_ng_version(), "seconds": options.seconds}
        record = {**facts, **asdict(report), "problems": found}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nstress-ng {stress_ng_version()}, {ending.seconds:.0f} s in all")
    for name in STRESSORS:
        print(f"  {name:8} {report.bogo_ops.get(name, 0):12} bogo-ops")
    for problem in found:
        print(f"  PROBLEM: {problem}")
    print("clean" if not found else f"NOT CLEAN: {len(found)} problems")
    return 0 if not found else 1


if __name__ == "__main__":
    sys.exit(main())
