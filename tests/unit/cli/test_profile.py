"""The profile of a run: the table at the end, the view that refreshes, the list for perf."""

from __future__ import annotations

import re
import subprocess
import termios
from pathlib import Path

import pytest

from tests.unit.cli.terminal import LIMIT_S, Terminal, open_terminal
from wardian.cli.main import main
from wardian.testing import multiboot_kernel

ESC = b"\x1d"
#: What the view does to the terminal on its way in and out.
OTHER_SCREEN, FIRST_SCREEN = b"\x1b[?1049h", b"\x1b[?25h\x1b[?1049l"


def piped(command: list[str], guest: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*command, guest, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "left:" not in done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_table_at_the_end(command: list[str]) -> None:
    done = piped(command, "reset", "profile")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[0].startswith("profile: 100 samples at 50 Hz a vCPU, 60% of them asleep")
    assert lines[3].split() == ["75.0%", "30", "0", "translated", "0xffffffff81000040"]
    assert lines[4].split() == ["25.0%", "10", "3", "interpreted", "0x0000000000401000"]


def test_the_list_for_perf(command: list[str]) -> None:
    done = piped(command, "reset", "perf-map")
    found = re.search(r"2 translated blocks listed in (/tmp/perf-\d+\.map)\.", done.stderr)
    assert found, done.stderr
    listed = Path(found[1])
    assert listed.read_text().splitlines()[1] == "1040 10 guest:u:0x401000"
    listed.unlink()


def test_the_live_view_needs_a_terminal(command: list[str]) -> None:
    done = subprocess.run(
        [*command, "hang", "live"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert b"--profile-live needs a terminal" in done.stderr
    assert done.returncode != 0


def test_the_view_comes_and_goes_with_a_key(terminals: list[Terminal], command: list[str]) -> None:
    terminal = open_terminal(terminals, command, "talk", "live")
    terminal.expect(OTHER_SCREEN)
    terminal.expect(b"wardian top")
    terminal.expect(b"0xffffffff81000040")
    terminal.expect(b"0x0000000000401000")
    terminal.type(b"q")
    terminal.expect(FIRST_SCREEN)
    terminal.expect(b"ready\r\n")
    terminal.type(ESC + b"t")
    terminal.expect(OTHER_SCREEN)
    terminal.expect(b"wardian top")
    terminal.type(b"\x03")
    terminal.expect(FIRST_SCREEN)
    # Neither key was the guest's.
    terminal.type(b".")
    assert terminal.wait() == 0
    assert terminal.screen.startswith(b".")


def test_the_end_of_the_machine_ends_the_view(
    terminals: list[Terminal], command: list[str]
) -> None:
    terminal = open_terminal(terminals, command, "crash", "live")
    assert terminal.wait() == 1
    assert terminal.screen.count(OTHER_SCREEN) == terminal.screen.count(FIRST_SCREEN)
    assert b"going down" in terminal.screen.rpartition(FIRST_SCREEN)[2]


def test_a_signal_leaves_the_terminal_as_it_was(
    terminals: list[Terminal], command: list[str]
) -> None:
    terminal = open_terminal(terminals, command, "hang", "live")
    terminal.expect(b"wardian top")
    assert termios.tcgetattr(terminal.inside) != terminal.mode
    terminal.process.terminate()
    assert terminal.wait() == 143
    assert FIRST_SCREEN in terminal.screen


def test_the_view_follows_the_window(terminals: list[Terminal], command: list[str]) -> None:
    terminal = open_terminal(terminals, command, "hang")
    terminal.expect(b"ready\r\n")
    termios.tcsetwinsize(terminal.keyboard, (3, 12))
    terminal.type(ESC + b"t")
    terminal.expect(b"wardian top \x1b[0m")
    terminal.type(b"x")
    terminal.expect(FIRST_SCREEN)
    terminal.type(ESC + b"q")
    assert terminal.wait() == 0


# ---- what cannot be


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(multiboot_kernel())
    return path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--profile=0"], "PROFILE_RATE"),
        (["--profile=20000"], "PROFILE_RATE"),
        (["--profile=fast"], "CLI_NUMBER"),
        (["--symbols", "/nowhere/System.map"], "SPEC_FILE_MISSING"),
        (["--symbols", "/"], "SPEC_FILE_KIND"),
        (["--symbols", "/dev/null"], "SPEC_FILE_KIND"),
        (["--symbols", __file__], "PROFILE_SYMBOLS"),
        (["--profile-live"], "CLI_USAGE"),
    ],
)
def test_one_sentence_and_status_2(
    arguments: list[str], code: str, kernel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--kernel", str(kernel), *arguments]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"wardian: error[{code}]: "), printed.err
    assert printed.err.endswith(".\n")
    assert printed.err.count("\n") == 1
