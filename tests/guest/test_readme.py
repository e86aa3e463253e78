"""The README's example is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import guest

README = Path(__file__).parents[2] / "README.md"

pytestmark = pytest.mark.guest


def test_the_example_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(README.parent)
    guest.make_guest()
    examples = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 1
    exec(compile(examples[0], str(README), "exec"), {})
    release, interrupts = capsys.readouterr().out.split()[-2:]
    assert "amd64" in release or "generic" in release
    assert int(interrupts) > 10
