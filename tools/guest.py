"""`make guest`: the distribution's kernel and a small RAM disk with a shell, to try things with.

`python3 -m tools.guest` prepares the checkout, puts both under `.cache/guest` with names that
never change, and prints the command that boots them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools import cache
from tools.assets.busybox import busybox
from tools.assets.initramfs import busybox_initrd
from tools.assets.kernel import debian_kernel
from tools.errors import ToolError
from tools.setup.goals import prepare_build

# The shell gets a terminal of its own, so that Ctrl-C and job control work in it.
_SHELL = "setsid cttyhack sh"


def make_guest() -> tuple[Path, Path]:
    """Write the kernel and the RAM disk; return their paths. Raises ToolError."""
    place = cache.CACHE / "guest"
    place.mkdir(parents=True, exist_ok=True)
    kernel, initrd = place / "vmlinuz", place / "initrd.img"
    shutil.copyfile(debian_kernel().path, kernel)
    cache.write(initrd, busybox_initrd(busybox(), _SHELL))
    return kernel, initrd


def main() -> int:
    """Make the guest and say how to boot it."""
    try:
        prepare_build()
        kernel, initrd = make_guest()
    except ToolError as error:
        print(f"make guest: {error}", file=sys.stderr)
        return 1
    here = Path.cwd()
    shown = [p.relative_to(here) if p.is_relative_to(here) else p for p in (kernel, initrd)]
    print("boot it with:")
    print(f"  .venv/bin/wardian run --kernel {shown[0]} --initrd {shown[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
