"""The symbol table in a kernel's own memory: every layout, and memory that is none or hostile."""

from __future__ import annotations

import random

import pytest

from tests.unit.profile.kallsyms_image import kallsyms_image, symbols
from wardian.profile import kallsyms
from wardian.profile.kallsyms import read_kallsyms
from wardian.profile.symbols import Symbol

BASE = 0xFFFF_FFFF_9D00_0000
ENTRY = BASE + 0x2_0080
NAME = "entry_SYSCALL_64"


@pytest.mark.parametrize("absolute_percpu", [False, True])
@pytest.mark.parametrize("since_6_4", [False, True])
def test_every_layout_and_encoding(since_6_4: bool, absolute_percpu: bool) -> None:
    made = symbols(3000, BASE, ENTRY)
    image = kallsyms_image(made, since_6_4=since_6_4, absolute_percpu=absolute_percpu)
    found = read_kallsyms(image, NAME, ENTRY)
    assert found is not None
    assert len(found) == len(made)
    assert found.address(NAME) == ENTRY
    assert found.name(ENTRY + 3) == f"{NAME}+0x3"
    functions = [symbol for symbol in made if symbol.kind in "tT"]
    assert all(found.name(symbol.address) == symbol.name for symbol in functions)


def test_a_table_that_does_not_confirm_the_address_is_not_believed() -> None:
    image = kallsyms_image(symbols(3000, BASE, ENTRY), since_6_4=False, absolute_percpu=True)
    assert read_kallsyms(image, NAME, ENTRY + 0x1000) is None
    assert read_kallsyms(image, "another_entry", ENTRY) is None


def test_memory_without_a_table() -> None:
    assert read_kallsyms(b"", NAME, ENTRY) is None
    assert read_kallsyms(bytes(1 << 20), NAME, ENTRY) is None
    assert read_kallsyms(random.Random(2).randbytes(1 << 20), NAME, ENTRY) is None


def test_a_table_that_is_cut_or_damaged_does_not_raise() -> None:
    image = kallsyms_image(symbols(2000, BASE, ENTRY), since_6_4=True, absolute_percpu=False)
    chance = random.Random(3)
    for _ in range(10):
        cut = image[: chance.randrange(len(image))]
        read_kallsyms(cut, NAME, ENTRY)
        damaged = bytearray(image)
        for _ in range(3):
            damaged[chance.randrange(len(image))] = chance.randrange(256)
        read_kallsyms(bytes(damaged), NAME, ENTRY)


def test_a_name_is_never_what_a_terminal_would_obey() -> None:
    made = [*symbols(2000, BASE, ENTRY), Symbol(BASE + 0x100_0000, "T", "ring\x07bell")]
    # The builder spells this character as a token of its own.
    image = kallsyms_image(made, since_6_4=False, absolute_percpu=True)
    image = image.replace(b"sym\0", b"\x1b[m\0")
    assert read_kallsyms(image, NAME, ENTRY) is None


def test_the_work_a_hostile_guest_can_cause_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = kallsyms_image(symbols(2000, BASE, ENTRY), since_6_4=False, absolute_percpu=True)
    monkeypatch.setattr(kallsyms, "_MAX_NAMES", 1999)
    assert read_kallsyms(image, NAME, ENTRY) is None
