"""Fetches packages of the Debian or Ubuntu this host runs, without root and without installing.

apt verifies what it downloads against the distribution's signing keys. Where the host's package
lists are missing (a fresh container) or out of date, lists of our own are fetched into the
cache; the host's are never touched.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.cache import CACHE
from tools.errors import ToolError

_OWN_LISTS = CACHE / "apt"
_OWN_OPTIONS = [
    f"-oDir::State::Lists={_OWN_LISTS}/lists",
    f"-oDir::Cache={_OWN_LISTS}/cache",
    # The host's lock files and its download user have no business with our directories.
    "-oDebug::NoLocking=1",
    "-oAPT::Sandbox::User=root",
]


def is_ubuntu() -> bool:
    """Tell whether this host is Ubuntu or derived from it, by /etc/os-release."""
    release = Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    return any(
        line.startswith(("ID=", "ID_LIKE=")) and "ubuntu" in line for line in text.splitlines()
    )


def version(name: str) -> str:
    """Return the newest version the distribution has of package `name`.

    Raises ToolError if it has none or cannot be reached.
    """
    for options in _package_lists():
        for line in _apt("apt-cache", *options, "show", "--no-all-versions", name):
            if line.startswith("Version: "):
                return line.removeprefix("Version: ")
    raise ToolError(f"this distribution has no package {name}")


def dependencies(name: str) -> list[str]:
    """Return the names of the packages that package `name` depends on, in its own order."""
    for options in _package_lists():
        lines = _apt("apt-cache", *options, "depends", "--important", name)
        found = [line.split()[-1] for line in lines if line.strip().startswith("Depends: ")]
        if found:
            return found
    return []


def unpack_package(name: str, into: Path) -> None:
    """Download the newest version of package `name` and unpack its files under `into`.

    Raises ToolError if the distribution does not have it or cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="wardian-deb-") as scratch:
        for options in _package_lists():
            _apt("apt-get", *options, "download", name, cwd=scratch)
            for package in Path(scratch).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, into], check=True)
                return
    raise ToolError(
        f"the package {name} could not be downloaded: is the distribution's archive reachable?"
    )


def _package_lists() -> Iterator[list[str]]:
    """Yield the apt options that select the host's package lists, then those for our own."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ToolError("the guest's kernel and busybox come from Debian or Ubuntu; no apt here")
    yield []
    _update_own_lists()
    yield _OWN_OPTIONS


@functools.cache
def _update_own_lists() -> None:
    for directory in ("lists/partial", "cache/archives/partial"):
        (_OWN_LISTS / directory).mkdir(parents=True, exist_ok=True)
    _apt("apt-get", *_OWN_OPTIONS, "update")


def _apt(*command: str, cwd: str | None = None) -> list[str]:
    """Run an apt command and return its output; its failure shows as missing output."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()
