"""Garbage to every port and register of a whole board: no device raises, no answer is too wide."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from wardian.machine.board import Board
from wardian.machine.builder import build_board
from wardian.machine.console import Console
from wardian.machine.exit import MachineExit
from wardian.machine.preparation import prepare
from wardian.machine.spec import MachineSpec
from wardian.testing import FakeVm, fake_host

ACCESSES = 30_000
VALUES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 64) - 1)


@pytest.fixture
def ends() -> list[MachineExit]:
    """The reasons for which the guest ended the machine."""
    return []


@pytest.fixture
def board(kernel: Path, ends: list[MachineExit]) -> Board:
    spec = MachineSpec(kernel=kernel, memory_bytes=4 << 20, debug_exit=True)
    return build_board(spec, prepare(spec, fake_host()), Console(), ends.append, FakeVm)


def value_of(chance: random.Random, size: int) -> int:
    value = chance.choice(VALUES) if chance.random() < 0.5 else chance.getrandbits(64)
    return value & (1 << 8 * size) - 1


@pytest.mark.parametrize("seed", range(4))
def test_garbage_is_answered(board: Board, ends: list[MachineExit], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ACCESSES):
        route = chance.choice(board.bus.routes)
        near = min(route.length, 0x200)
        offset = chance.randrange(near if chance.random() < 0.8 else route.length)
        size = chance.choice((1, 2, 4) if route.kind.value == "pio" else (1, 2, 4, 8))
        if chance.random() < 0.5:
            assert 0 <= route.read(offset, size) < 1 << 8 * size
        else:
            route.write(offset, size, value_of(chance, size))
        if chance.random() < 0.01:
            board.type_in(chance.randbytes(chance.randrange(40)))
            board.press_power_button()
    assert {row.range: row.errors for row in board.bus.counts() if row.errors} == {}
    assert ends, "garbage hits the reset and power-off registers too"


def test_lines_that_are_cut_lead_nowhere(board: Board, ends: list[MachineExit]) -> None:
    board.wiring.cut()
    board.wiring.reset()
    board.wiring.line(4)(True)
    assert ends == []
    assert isinstance(board.vm, FakeVm)
    assert (4, True) not in board.vm.irqs
