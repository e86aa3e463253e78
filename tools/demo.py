"""`make demo`: boots the distribution's own kernel under Wardian and runs commands in it.

`python3 -m tools.demo [COMMAND]` prepares the checkout, boots, runs `uname -a`, `nproc`,
`free -m` and then COMMAND (a line of shell) in the guest, and exits with the status COMMAND had
there; with 125 if the guest never reported one. COMMAND may also come in the environment
variable WARDIAN_DEMO_COMMAND, which is how the Makefile passes it unharmed by its own quoting.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.assets import reports
from tools.assets.busybox import busybox
from tools.assets.initramfs import GuestFile, busybox_initrd
from tools.assets.kernel import debian_kernel
from tools.errors import ToolError
from tools.guest_console import ConsoleSplitter
from tools.progress import Progress
from tools.setup.goals import prepare_build
from tools.setup.stamps import VENV

NO_REPORT = 125
_MEMORY = "512M"
_CPUS = 2
_USER_COMMAND = "/wardian/user-command"
_SCRIPT = f"""
for shown in "uname -a" nproc "free -m"; do
    echo "# $shown"
    $shown
done
if [ -e {_USER_COMMAND} ]; then
    printf '# '
    cat {_USER_COMMAND}
    sh {_USER_COMMAND}
fi
"""


def run_demo(command: str) -> int:
    """Boot a guest that runs `command`; return the status to exit with.

    Raises ToolError if the checkout cannot be prepared.
    """
    prepare_build()
    with Progress() as progress:
        progress.stage("getting the distribution's kernel and busybox")
        kernel = debian_kernel()
        user = {_USER_COMMAND: GuestFile(command.encode() + b"\n")} if command else {}
        initrd = busybox_initrd(busybox(), _SCRIPT, user)
        with tempfile.TemporaryDirectory(prefix="wardian-demo-") as scratch:
            image = Path(scratch) / "initrd.img"
            image.write_bytes(initrd)
            return _boot(kernel.path, image, progress)


def _boot(kernel: Path, initrd: Path, progress: Progress) -> int:
    nonce = reports.new_nonce()
    append = f"console=ttyS0 earlycon=uart8250,io,0x3f8 panic=-1 wardian.nonce={nonce}"
    arguments = ["run", f"--kernel={kernel}", f"--initrd={initrd}", f"--append={append}"]
    # A guest that panics resets itself (panic=-1): that ends the demo too.
    arguments += [f"--memory={_MEMORY}", f"--cpus={_CPUS}", "--on-reset=exit"]
    progress.stage("booting")
    with subprocess.Popen(
        [VENV / "bin" / "wardian", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as machine:
        assert machine.stdout is not None
        try:
            report = _follow(machine.stdout.fileno(), ConsoleSplitter(nonce), progress)
            ended = machine.wait()
        finally:
            machine.kill()
    if report is None:
        raise ToolError(f"the guest ended without a report; the monitor's exit status is {ended}")
    return report


def _follow(console: int, splitter: ConsoleSplitter, progress: Progress) -> int | None:
    """Show the console until it ends; return the status the guest reported, if it did."""
    status = None
    while data := os.read(console, 65536):
        for event in splitter.feed(data):
            if isinstance(event, bytes):
                progress.output(event)
                if b"Linux version" in event:
                    progress.stage("the kernel is booting")
            elif event.word == "ready":
                progress.stage("running commands")
            else:
                progress.stage("powering off")
                status = event.value
    progress.output(splitter.rest())
    return status


def main(arguments: list[str]) -> int:
    """Run the demo with the command in `arguments`; return the exit status."""
    command = " ".join(arguments) or os.environ.get("WARDIAN_DEMO_COMMAND", "")
    try:
        return run_demo(command)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_REPORT
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Nobody reads any more; Python's own flush at exit must not fail over it once again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
