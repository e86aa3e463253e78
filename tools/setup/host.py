"""What the host itself must have, and how to get what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.errors import ToolError
from tools.setup.command import run


@dataclass(slots=True, frozen=True)
class Need:
    """Something the host must have, and the packages that bring it."""

    what: str
    packages: tuple[str, ...]
    is_present: Callable[[], bool]
    # What can be done without: its absence is told, and the work goes on.
    optional: bool = False


def has_command(name: str) -> Callable[[], bool]:
    """Return a test for whether the command `name` is on the search path."""
    return lambda: shutil.which(name) is not None


def _has_c_compiler() -> bool:
    return shutil.which("cc") is not None and Path("/usr/include/stdio.h").exists()


def _has_venv() -> bool:
    return importlib.util.find_spec("ensurepip") is not None


C_COMPILER = Need("a C compiler", ("gcc", "libc6-dev"), _has_c_compiler)
VENV = Need(
    "Python's venv",
    (f"python{sys.version_info.major}.{sys.version_info.minor}-venv",),
    _has_venv,
)
QEMU = Need("QEMU", ("qemu-system-x86",), has_command("qemu-system-x86_64"), optional=True)
UML = Need("User-Mode Linux", ("user-mode-linux",), has_command("linux.uml"), optional=True)


def require(needs: Sequence[Need]) -> None:
    """Make sure that the host has every one of `needs`, installing packages when we are root.

    Raises ToolError, naming the exact command, if something is missing and we are not root.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise ToolError(f"Wardian needs Linux on x86-64; this is {platform.platform(terse=True)}")
    install([need for need in needs if not need.optional and not need.is_present()])
    for need in needs:
        if need.optional and not need.is_present():
            try:
                install([need])
            except ToolError as error:
                print(f"going on without {need.what}: {error}", file=sys.stderr)


def install(missing: Sequence[Need]) -> None:
    """Install the packages of `missing`; see `require`."""
    if not missing:
        return
    what = " and ".join(need.what for need in missing)
    packages = [package for need in missing for package in need.packages]
    if shutil.which("apt-get") is None:
        raise ToolError(f"{what} missing: install the counterpart of {' '.join(packages)}")
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        line = " ".join(command)
        raise ToolError(f"{what} missing: run 'sudo {line}', then this command again")
    update_package_lists()
    run(f"installing {' '.join(packages)}", command, {"DEBIAN_FRONTEND": "noninteractive"})


def update_package_lists() -> None:
    """Fetch the distribution's package lists; needs root."""
    # A fresh container has none; elsewhere they may name versions long gone.
    run("updating the package lists", ["apt-get", "update"])
