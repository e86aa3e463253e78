"""tools/campaign/guest.py: a guest is followed to its end, whatever that is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.campaign import guest
from tools.campaign.guest import Ending, Guest


class Play(Guest):
    """A guest played by a Python program, which finds the nonce in its first argument."""

    def command(self, nonce: str) -> list[str]:
        return [sys.executable, "-c", str(self.kernel), nonce]


def play(program: str, limit_s: float, log: Path | None = None) -> tuple[Ending, bytes]:
    shown: list[bytes] = []
    player = Play(Path(program), Path(), 1, "1G")
    ending = guest.run(player, guest.Limit(limit_s), shown.append, log)
    return ending, b"".join(shown)


def test_the_console_is_shown_kept_and_logged(tmp_path: Path) -> None:
    program = 'import sys; print("hello\\n@wardian exit", sys.argv[1], "7\\nreboot: Power down")'
    log = tmp_path / "log"
    ending, shown = play(program, 60, log)
    assert shown == b"hello\nreboot: Power down\n" == log.read_bytes()
    assert ending.console == shown.decode()
    assert (ending.reported, ending.status, ending.problems()) == (7, 0, [])


def test_a_monitor_that_fails_is_told() -> None:
    ending, _ = play('import sys; sys.exit("it broke")', 60)
    assert ending.problems() == [
        "the monitor ended with status 1",
        "the guest did not report that its command ended",
        "the guest did not power off",
        "the monitor said: it broke",
    ]


def test_a_guest_that_does_not_end_is_ended() -> None:
    ending, _ = play("while True: pass", 0)
    assert (ending.status, ending.reported) == (None, None)
    assert ending.problems()[0].startswith("still running after")


@pytest.mark.parametrize(("monitor", "words"), [("wardian", "--engine"), ("qemu", "tcg")])
def test_both_monitors_get_the_same_guest(monitor: str, words: str) -> None:
    command = Guest(Path("kernel"), Path("initrd"), 3, "2G", monitor, "interpret").command("abc")
    assert {"3", "2G", "kernel", "initrd"} <= set(command)
    assert any("wardian.nonce=abc" in word for word in command)
    assert any(words in word for word in command)
