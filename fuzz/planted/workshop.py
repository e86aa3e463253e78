"""A private copy of the sources, and what is built from it.

Nothing here touches the tree it was copied from, its target directory or its installed core. The
copy is built with little optimization and without link-time optimization: what counts is the time
from an edit of the translator to a core that runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_RUST = ("Cargo.toml", "Cargo.lock", "crates", "fuzz/cpu")
_PROFILE = {
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_DEBUG": "0",
    "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
}


class DoesNotBuild(Exception):
    """The compiler refuses what was made of the sources."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where the copy is (`source`) and where it is built (`built`)."""

    source: Path
    built: Path

    @classmethod
    def copy_of(cls, root: Path, scratch: Path) -> Workshop:
        """Copy the tree at `root` to `scratch`, which is kept between runs for what was built."""
        workshop = cls(scratch / "source", scratch / "build")
        for name in _RUST:
            _mirror(root / name, workshop.source / name)
        _mirror(root / "python", workshop.package)
        for core in (workshop.package / "wardian").glob("_core*.so"):
            core.unlink()
        return workshop

    @property
    def package(self) -> Path:
        """What PYTHONPATH must name for the copy's `wardian`."""
        return self.source / "python"

    def build_core(self) -> None:
        """Build `wardian._core` into the copy of the package."""
        self._cargo("build", "--release", "-p", "wardian-py", "--features", "extension-module")
        core = self.package / "wardian" / "_core.abi3.so"
        core.unlink(missing_ok=True)
        shutil.copy(self.built / "release" / "lib_core.so", core)

    def build_fuzzer(self) -> Path:
        """Build `fuzz-cpu`, and say where it is."""
        self._cargo("build", "--release", "-p", "wardian-fuzz-cpu")
        return self.built / "release" / "fuzz-cpu"

    def build_unit_tests(self) -> None:
        """Build the translator crate's own tests."""
        self._cargo("test", "--release", "-p", "wardian-translate", "--lib", "--no-run")

    def unit_tests(self, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run the translator crate's own tests."""
        return subprocess.run(
            ["cargo", "test", "--release", "--quiet", "-p", "wardian-translate", "--lib"],
            cwd=self.source,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        target = {"CARGO_TARGET_DIR": str(self.built), "PYO3_PYTHON": sys.executable}
        return os.environ | _PROFILE | target

    def _cargo(self, *arguments: str) -> None:
        done = subprocess.run(
            ["cargo", *arguments, "--quiet"],
            cwd=self.source,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DoesNotBuild(f"cargo {' '.join(arguments)}:\n{done.stderr[-3000:]}")


def _mirror(original: Path, copy: Path) -> None:
    """Make `copy` what `original` is. Files that are the same keep their times, for cargo."""
    if original.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file() or copy.read_bytes() != original.read_bytes():
            shutil.copyfile(original, copy)
        return
    copy.mkdir(parents=True, exist_ok=True)
    wanted = {entry.name for entry in original.iterdir() if entry.name != "__pycache__"}
    for entry in copy.iterdir():
        if entry.name not in wanted:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for name in sorted(wanted):
        _mirror(original / name, copy / name)
