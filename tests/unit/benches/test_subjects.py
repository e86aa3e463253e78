"""benches/subjects.py: who is compared, with which command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benches.subjects import PEERS, TCG, Boot, Subject, chosen, wardian

BOOT = Boot(Path("/kernel"), Path("/initrd"), "abc", Path("/counters"), cpus=2)


def test_names_give_subjects_each_once() -> None:
    names = [subject.name for subject in chosen(["interpret", "tcg", "interpret", "uml"])]
    assert names == ["Wardian interpret", "QEMU TCG", "UML"]


def test_wardian_is_the_engine_that_auto_takes() -> None:
    (subject,) = chosen(["wardian"])
    assert subject.is_ours and not subject.is_tcg
    assert subject.name.startswith("Wardian ")


def test_an_engine_that_cannot_run_says_why() -> None:
    reason = wardian("warp").absence()
    assert reason is not None and "'warp'" in reason


@pytest.mark.parametrize("subject", [wardian("interpret"), *PEERS.values()])
def test_every_guest_gets_the_same_memory_initrd_and_nonce(subject: Subject) -> None:
    command = " ".join(subject.command(BOOT))
    assert "512" in command and "/initrd" in command and "wardian.nonce=abc" in command


@pytest.mark.parametrize("subject", [wardian("interpret"), TCG])
def test_every_machine_gets_its_kernel_and_its_cpus(subject: Subject) -> None:
    command = " ".join(subject.command(BOOT))
    assert "/kernel" in command
    assert "--cpus=2" in command or "-smp 2" in command


def test_a_version_is_the_first_line_that_a_command_prints() -> None:
    asked = (sys.executable, "-c", "print('one\\ntwo')")
    assert Subject("A", lambda boot: [], lambda: None, asked).version() == "one"
    assert Subject("A", lambda boot: [], lambda: None, ("/no/such/program",)).version() == ""
