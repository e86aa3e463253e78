"""The Rust toolchain: recent enough, with the parts that the checks use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

from tools.cache import CHECKOUT
from tools.errors import ToolError
from tools.setup.host import Need, has_command, install, update_package_lists

_INSTALL = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
_FORMATTER = Need("rustfmt", ("rustfmt",), has_command("cargo-fmt"))
_LINTER = Need("clippy", ("rust-clippy",), has_command("cargo-clippy"))


def require_rust() -> None:
    """Make sure that a recent enough Rust toolchain is here.

    Raises ToolError, naming the exact command, if it is not.
    """
    needed = _needed_version()
    found = _cargo_version()
    if found is None and _distribution_version() >= needed:
        install([Need("Rust", ("cargo",), has_command("cargo"))])
        found = _cargo_version()
    wanted = ".".join(map(str, needed))
    if found is None:
        raise ToolError(f'Rust {wanted} or later missing: run "{_INSTALL}", then this again')
    if found < needed:
        have = ".".join(map(str, found))
        raise ToolError(f"Rust {wanted} or later needed, {have} found: run 'rustup update stable'")


def require_rust_checks() -> None:
    """Make sure that rustfmt and clippy belong to the toolchain that `require_rust` found.

    Raises ToolError, naming the exact command, if they do not.
    """
    missing = [need for need in (_FORMATTER, _LINTER) if not need.is_present()]
    if missing and shutil.which("rustup"):
        names = " ".join(need.what for need in missing)
        raise ToolError(f"the toolchain lacks {names}: run 'rustup component add {names}'")
    install(missing)


def _needed_version() -> tuple[int, int]:
    """Return the oldest Rust that the workspace says it builds with."""
    manifest = tomllib.loads((CHECKOUT / "Cargo.toml").read_text())
    major, minor, *_ = manifest["workspace"]["package"]["rust-version"].split(".")
    return (int(major), int(minor))


def _cargo_version() -> tuple[int, int] | None:
    """Return the version of cargo; None if there is none that runs."""
    if shutil.which("cargo") is None:
        return None
    shown = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=False)
    return _version_in(shown.stdout)


def _distribution_version() -> tuple[int, int]:
    """Return the version of cargo that apt would install; (0, 0) if none or we may not."""
    if os.geteuid() != 0 or shutil.which("apt-cache") is None:
        return (0, 0)
    update_package_lists()
    shown = subprocess.run(
        ["apt-cache", "policy", "cargo"], capture_output=True, text=True, check=False
    )
    candidate = re.search(r"Candidate: (\S+)", shown.stdout)
    return (_version_in(candidate[1]) if candidate else None) or (0, 0)


def _version_in(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
