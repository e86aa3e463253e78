"""A script that ends while its machine runs ends in good order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wardian.testing import multiboot_kernel

pytestmark = pytest.mark.guest

_SCRIPT = """
import sys, wardian
machine = wardian.Machine(kernel=sys.argv[1], memory="8M", cpus=2)
machine.start()
machine.console.expect("xxx")
print("the script ends")
"""


def test_a_script_may_end_while_its_machine_runs(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    # mov $0x3f8, %dx; mov $'x', %al; 1: out %al, %dx; jmp 1b
    kernel.write_bytes(multiboot_kernel(b"\x66\xba\xf8\x03\xb0x\xee\xeb\xfd"))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(kernel)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the script ends\n", "")
