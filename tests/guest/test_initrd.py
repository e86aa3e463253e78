"""The initial RAM disk of the demo, on the stock kernel: commands, files, exit statuses.

Every test runs under Wardian and, where it is installed, under QEMU, so that what the test
expects is checked against a second implementation.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import MakeInitrd
from tools.assets.initramfs import GuestFile
from tools.assets.reports import Report, new_nonce
from tools.guest_console import ConsoleSplitter

pytestmark = pytest.mark.guest

_LIMIT_S = 500


def _wardian(kernel: Path, initrd: Path, append: str) -> list[str]:
    files = [f"--kernel={kernel}", f"--initrd={initrd}", f"--append={append}"]
    return [sys.executable, "-m", "wardian", "run", "--memory=256M", "--on-reset=exit", *files]


def _qemu(kernel: Path, initrd: Path, append: str) -> list[str]:
    files = ["-kernel", str(kernel), "-initrd", str(initrd), "-append", append]
    machine = ["-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config"]
    console = ["-display", "none", "-serial", "stdio", "-no-reboot"]
    return ["qemu-system-x86_64", *machine, *console, *files]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a guest printed beside its reports, and its reports."""

    text: str
    reports: list[Report]


@pytest.fixture(params=["wardian", "qemu"])
def monitor(request: pytest.FixtureRequest) -> str:
    """The monitor to test with; skips the test if it is QEMU and not installed."""
    if request.param == "qemu" and shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed (package qemu-system-x86)")
    return str(request.param)


def boot(monitor: str, kernel: Path, initrd: Path) -> Outcome:
    nonce = new_nonce()
    command = {"wardian": _wardian, "qemu": _qemu}[monitor]
    append = f"console=ttyS0 quiet panic=-1 wardian.nonce={nonce}"
    done = subprocess.run(
        command(kernel, initrd, append),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LIMIT_S,
        check=False,
    )
    splitter = ConsoleSplitter(nonce)
    events = splitter.feed(done.stdout)
    text = b"".join(event for event in events if isinstance(event, bytes)) + splitter.rest()
    reports = [event for event in events if isinstance(event, Report)]
    assert done.returncode == 0, done.stderr.decode(errors="replace") + text.decode(
        errors="replace"
    )
    return Outcome(text.decode(errors="replace").replace("\r\n", "\n"), reports)


def test_a_command_of_any_quoting_runs_and_its_status_is_reported(
    monitor: str, debian_kernel: Path, busybox_initrd: MakeInitrd
) -> None:
    command = """
echo 'single "double" $HOME `id`' "and $(echo nested)"
echo "@wardian exit spoof 0"
cat /opt/data/note - <<'END'
here: $document
END
test "$(stat -c %a /opt/data/note)" = 644 || echo wrong mode
printf 'no newline in the end'
exit 42
"""
    files = {"/opt/data/note": GuestFile(b"from a file\n")}
    outcome = boot(monitor, debian_kernel, busybox_initrd(command, files))
    assert outcome.reports == [Report("ready", None), Report("exit", 42)]
    assert 'single "double" $HOME `id` and nested\n' in outcome.text
    assert "@wardian exit spoof 0\n" in outcome.text
    assert "from a file\n" in outcome.text
    assert "wrong mode" not in outcome.text
    assert "no newline in the end\n" in outcome.text


def test_a_static_i386_program_runs(
    monitor: str, debian_kernel: Path, busybox_initrd: MakeInitrd, hello_i386: GuestFile
) -> None:
    initrd = busybox_initrd("/bin/hello", {"/bin/hello": hello_i386})
    outcome = boot(monitor, debian_kernel, initrd)
    assert "hello from i386\n" in outcome.text
    assert outcome.reports[-1] == Report("exit", 42)
