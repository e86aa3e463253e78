"""The virtual environment in .venv and what is installed into it."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from tools.cache import CHECKOUT, content_key
from tools.setup.command import run
from tools.setup.stamps import VENV, files_key, once

PYTHON = str(VENV / "bin" / "python")
_PYPROJECT = CHECKOUT / "pyproject.toml"
_PACKAGE = CHECKOUT / "python" / "wardian"


def make_venv() -> None:
    """Make .venv with the Python that runs this."""
    # Called again from inside .venv, the Python to build upon is the one below it.
    base = os.path.join(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    once(
        "venv",
        content_key(base, sys.version),
        lambda: run("making .venv", [base, "-m", "venv", "--clear", str(VENV)]),
        intact=Path(PYTHON).exists(),
    )


def install_group(group: str) -> None:
    """Install the packages of one dependency group of pyproject.toml (PEP 735) into .venv.

    The pip of older distributions does not know dependency groups, so we read them ourselves.
    """
    packages = tomllib.loads(_PYPROJECT.read_text())["dependency-groups"][group]
    once(
        f"group-{group}",
        content_key(*packages),
        lambda: run(
            f"installing Python packages ({group})",
            [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", *packages],
        ),
    )


def build_core() -> None:
    """Build wardian._core optimised and install the package into .venv, to be run in place."""
    inputs = [_PYPROJECT, CHECKOUT / "Cargo.toml", CHECKOUT / "Cargo.lock"]
    inputs += (CHECKOUT / "crates").rglob("*")
    once(
        "core",
        files_key(path for path in inputs if path.is_file()),
        lambda: run(
            "building the core (this takes minutes the first time)",
            [PYTHON, "-m", "maturin", "develop", "--release"],
            # The same Python for every cargo command: another one would rebuild PyO3.
            {"VIRTUAL_ENV": str(VENV), "PYO3_PYTHON": PYTHON},
        ),
        intact=any(_PACKAGE.glob("_core*.so")),
    )
