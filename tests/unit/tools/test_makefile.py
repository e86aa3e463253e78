"""The Makefile: it explains itself, and hands the demo's command on as it was typed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools.cache import CHECKOUT

TARGETS = {"demo", "build", "test", "lint", "format", "typecheck", "bench", "fuzz-cpu"}
TARGETS |= {"fuzz-boot", "fuzz-bus", "fuzz-streams", "boots", "clean", "help"}


def make(*arguments: str, **environment: str) -> str:
    # The make that runs these tests must not hand its own settings down.
    inherited = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=CHECKOUT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_make_alone_lists_the_targets() -> None:
    listed = {line.split()[0] for line in make().splitlines()}
    assert listed >= TARGETS
    assert make() == make("help")


@pytest.mark.parametrize(
    "command",
    [
        "cat /proc/cpuinfo",
        "echo $HOME $(uname -r) $? $$",
        "printf '%s\\n' \"it's\" `id` # not a comment",
        "echo ${unclosed $(",
        "echo one\necho two",
        "",
    ],
)
def test_the_demo_gets_its_command_as_typed(command: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf %s "$WARDIAN_DEMO_COMMAND"\n')
    python.chmod(0o755)
    assert make("demo", f"PYTHON={python}", f"CMD={command}") == command
    assert make("demo", f"PYTHON={python}", CMD=command) == command
