"""The command line from outside: help, mistakes, statuses. No machine runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wardian
from wardian.cli.main import main
from wardian.testing import multiboot_kernel


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line on standard error with which a command ends with status 2."""
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("wardian: error[")
    assert printed.err.endswith(".\n")
    assert printed.err.count("\n") == 1
    return printed.err


def test_without_arguments_it_says_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "wardian run" in shown
    assert "wardian doctor" in shown
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wardian ")


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: wardian {command}")
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_help_names_the_escape_key_and_the_exit_statuses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "-h"])
    shown = capsys.readouterr().out
    assert "Ctrl-]" in shown
    assert "exit status" in shown


def test_mistyped_words_get_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'run'" in refused(capsys, "rnu")
    assert "did you mean 'doctor'" in refused(capsys, "docter")
    assert "did you mean '--memory'" in refused(capsys, "run", "--kernel=k", "--memroy", "1G")
    assert "did you mean" not in refused(capsys, "xyzzy")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run"], "CLI_USAGE"),
        (["run", "--kernel"], "CLI_USAGE"),
        (["run", "--kernel", "k", "extra"], "CLI_USAGE"),
        (["run", "--kernel", "k", "--mem", "1G"], "CLI_USAGE"),
        (["run", "--kernel", "k", "--cpus", "two"], "CLI_NUMBER"),
        (["run", "--kernel", "k", "--cpus", "0"], "SPEC_CPUS"),
        (["run", "--kernel", "k", "--cpus", "10000"], "SPEC_CPUS"),
        (["run", "--kernel", "k", "--cpus", "9" * 5000], "CLI_NUMBER"),
        (["run", "--kernel", "k", "--memory", "lots"], "MEM_SIZE"),
        (["run", "--kernel", "k", "--memory", "1M"], "BOOT_MEMORY_TOO_SMALL"),
        (["run", "--kernel", "k", "--engine", "warp"], "SPEC_ENGINE"),
        (["run", "--kernel", "k", "--cpu", "z80"], "CPU_MODEL_UNKNOWN"),
        (["run", "--kernel", "k", "--on-reset", "explode"], "SPEC_ON_RESET"),
        (["run", "--kernel", "k", "--engine", "kvm"], "KVM_"),
        (["doctor", "--format", "xml"], "CLI_USAGE"),
        (["doctor", "now"], "CLI_USAGE"),
    ],
)
def test_bad_input_is_one_sentence_with_a_code(
    arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error[{code}" in refused(capsys, *arguments)


def test_a_word_instead_of_an_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "vmlinuz" in refused(capsys, "run", "vmlinuz")


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wardian", "run", "--kernel", str(tmp_path), "--memory=0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["doctor", "--format=json"], ["run", "--help"]])
def test_output_that_nobody_reads_is_no_error(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "wardian", *arguments],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("closed", "arguments", "status"),
    [(1, "--version", 0), (1, "doctor", 0), (1, "run", 2), (2, "run", 2), (2, "--version", 0)],
)
def test_closed_descriptors_are_no_error(closed: int, arguments: str, status: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m wardian {arguments} {closed}>&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    if closed == 2:
        assert "error" not in done.stdout


def test_output_that_cannot_be_written_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wardian", "doctor"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    expected = "wardian: error[HOST_OUTPUT]: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_every_public_name_is_there() -> None:
    assert all(getattr(wardian, name) is not None for name in wardian.__all__)
    assert set(wardian.__all__) <= set(dir(wardian))
    with pytest.raises(AttributeError, match="Machin"):
        wardian.Machin  # type: ignore[attr-defined]  # noqa: B018


def test_importing_wardian_stays_light() -> None:
    heavy = ["wardian._core", "wardian.machine", "wardian.devices", "argparse", "json"]
    program = f"import sys, wardian; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_kernel_is_not_needed_to_be_told_that_it_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(multiboot_kernel())
    error = refused(capsys, "run", "--kernel", str(kernel) + "x", "--engine", "warp")
    assert "SPEC_ENGINE" in error
