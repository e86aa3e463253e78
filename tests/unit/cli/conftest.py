"""The program `fake_run`, and terminals to run it in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.terminal import Terminal
from wardian.testing import multiboot_kernel


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The program, up to the name of its guest."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(multiboot_kernel())
    return [sys.executable, "-m", "tests.unit.cli.fake_run", str(kernel)]


@pytest.fixture
def terminals(command: list[str]) -> Iterator[list[Terminal]]:
    """Terminals that are closed after the test."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()
