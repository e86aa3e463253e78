"""What the host itself must have, and how to get what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.errors import ToolError
from tools.setup.command import run

_RUST_VERSION = (1, 85)
_INSTALL_RUST = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"


@dataclass(slots=True, frozen=True)
class Need:
    """Something the host must have, and the packages that bring it."""

    what: str
    packages: tuple[str, ...]
    is_present: Callable[[], bool]
    # What can be done without: its absence is told, and the work goes on.
    optional: bool = False


def _has_command(name: str) -> Callable[[], bool]:
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
QEMU = Need("QEMU", ("qemu-system-x86",), _has_command("qemu-system-x86_64"), optional=True)
UML = Need("User-Mode Linux", ("user-mode-linux",), _has_command("linux.uml"), optional=True)


def require(needs: Iterable[Need]) -> None:
    """Make sure that the host has every one of `needs`, installing packages when we are root.

    Raises ToolError, naming the exact command, if something is missing and we are not root.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise ToolError(f"Wardian needs Linux on x86-64; this is {platform.platform(terse=True)}")
    _install([need for need in needs if not need.optional and not need.is_present()])
    for need in needs:
        if need.optional and not need.is_present():
            try:
                _install([need])
            except ToolError as error:
                print(f"going on without {need.what}: {error}", file=sys.stderr)


def _install(missing: list[Need]) -> None:
    if not missing:
        return
    what = " and ".join(need.what for need in missing)
    packages = [package for need in missing for package in need.packages]
    if shutil.which("apt-get") is None:
        raise ToolError(f"{what} missing: install the counterpart of {' '.join(packages)}")
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        command = " ".join(install)
        raise ToolError(f"{what} missing: run 'sudo {command}', then this command again")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    # A fresh container has no package lists; elsewhere they may name versions long gone.
    run("updating the package lists", ["apt-get", "update"], environment)
    run(f"installing {' '.join(packages)}", install, environment)


def require_rust(components: Iterable[str] = ()) -> None:
    """Make sure that a recent enough Rust toolchain with cargo's `components` is here.

    Raises ToolError, naming the exact command, if it is not.
    """
    found = _cargo_version()
    if found is None and _candidate_version("cargo") >= _RUST_VERSION:
        _install([Need("Rust", ("cargo",), _has_command("cargo"))])
        found = _cargo_version()
    wanted = ".".join(map(str, _RUST_VERSION))
    if found is None:
        raise ToolError(f"Rust {wanted} or later missing: run '{_INSTALL_RUST}'")
    if found < _RUST_VERSION:
        have = ".".join(map(str, found))
        raise ToolError(f"Rust {wanted} or later needed, {have} found: run 'rustup update stable'")
    absent = [name for name in components if shutil.which(f"cargo-{name}") is None]
    if absent:
        names = " ".join("rustfmt" if name == "fmt" else name for name in absent)
        raise ToolError(f"cargo lacks {names}: run 'rustup component add {names}'")


def _cargo_version() -> tuple[int, ...] | None:
    if shutil.which("cargo") is None:
        return None
    shown = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=False)
    return _version_in(shown.stdout)


def _candidate_version(package: str) -> tuple[int, ...]:
    """Return the version apt would install of `package`; () if it knows none."""
    if shutil.which("apt-cache") is None:
        return ()
    shown = subprocess.run(
        ["apt-cache", "policy", package], capture_output=True, text=True, check=False
    )
    candidate = re.search(r"Candidate: (\S+)", shown.stdout)
    return (_version_in(candidate[1]) or ()) if candidate else ()


def _version_in(text: str) -> tuple[int, ...] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
