"""Making the accesses: a new board and a guest per case, and what must hold of both afterwards."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.bus import guest
from fuzz.bus.accesses import Access, draw
from wardian.boot.memory_map import MIN_RAM
from wardian.cpu.contract import FAIL, INTERRUPTED, MMIO_READ, PIO_READ, SHUTDOWN
from wardian.cpu.preflight import gather_host
from wardian.machine.board import Board
from wardian.machine.builder import build_board
from wardian.machine.bus import Bus
from wardian.machine.console import Console
from wardian.machine.engine import core_vm
from wardian.machine.exit import MachineExit
from wardian.machine.preparation import prepare
from wardian.machine.spec import MachineSpec
from wardian.testing import multiboot_kernel

#: Accesses a guest makes before its board is built anew.
ACCESSES = 2000
_LIMIT_S = 30.0


class MonitorFailed(AssertionError):
    """A device raised, an answer was too wide, or the engine went wrong."""


@dataclass(slots=True)
class Result:
    """How many accesses went where, by the engine's own counters, and how boards were ended."""

    seed: int
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        rows = [f"{number:12,}  {name}" for name, number in sorted(self.counts.items())]
        return "\n".join([*rows, f"{self.cases} cases of {ACCESSES} accesses, seed {self.seed}"])


def run(seed: int, cases: int) -> Result:
    """Runs `cases` guests of `ACCESSES` accesses each.

    Errors: `MonitorFailed`, with a note that names the case.
    """
    result = Result(seed)
    with TemporaryDirectory() as scratch:
        kernel = Path(scratch) / "kernel"
        kernel.write_bytes(multiboot_kernel())
        spec = MachineSpec(kernel=kernel, memory_bytes=2 * MIN_RAM, debug_exit=True)
        for number in range(cases):
            try:
                result.counts.update(_case(random.Random(f"{seed}/{number}"), spec))
            except BaseException as error:
                error.add_note(f"bus fuzz case {number} of seed {seed}")
                raise
            result.cases += 1
    return result


def _case(chance: random.Random, spec: MachineSpec) -> Counter[str]:
    ends: list[MachineExit] = []
    board = build_board(spec, prepare(spec, gather_host()), Console(), ends.append, core_vm)
    try:
        ranges = [claimed for device in board.bus.devices() for claimed in device.ranges]
        accesses = [draw(chance, ranges) for _ in range(ACCESSES)]
        board.vm.write_ram(guest.CODE, guest.program(accesses))
        vcpu = board.vcpus[0]
        vcpu.set_state(guest.state())
        made = _serve(board, chance)
        _check(board.bus, made, accesses)
        counters = vcpu.stats()
    finally:
        board.wiring.cut()
    counts = Counter({f"route {n}": c for n, c in counters.items() if "io_" in n})
    counts.update(f"ended by {end.reason}" for end in ends)
    return counts


def _serve(board: Board, chance: random.Random) -> int:
    """Runs the guest to its end; gives how many accesses Python answered."""
    vcpu, routes = board.vcpus[0], board.bus.routes
    done = len(routes)
    board.vm.claim_pio(guest.DONE_PORT, 4, done)
    limit = threading.Timer(_LIMIT_S, vcpu.kick)
    limit.start()
    made = 0
    try:
        while True:
            kind, token, offset, size, value = vcpu.run()
            if kind == INTERRUPTED:
                raise MonitorFailed(f"the guest still runs after {made} exits")
            if kind in (SHUTDOWN, FAIL):
                # INIT and NMI, which garbage to the interrupt controllers raises, end this guest.
                return made
            made += 1
            if kind in (PIO_READ, MMIO_READ):
                answer = (1 << 8 * size) - 1
                if token != done:
                    answer = routes[token].read(offset, size)
                if not 0 <= answer < 1 << 8 * size:
                    raise MonitorFailed(f"{kind} {offset:#x}, {size} bytes: {answer:#x}")
                vcpu.complete_read(answer)
            elif token != done:
                routes[token].write(offset, size, value)
            elif value == guest.DONE:
                return made
            if chance.random() < 0.01:
                board.type_in(chance.randbytes(chance.randrange(40)))
                board.press_power_button()
    finally:
        limit.cancel()


def _check(bus: Bus, made: int, accesses: list[Access]) -> None:
    raised = {row.range: row.errors for row in bus.counts() if row.errors}
    if raised:
        raise MonitorFailed(f"devices raised: {raised}")
    if made > 8 * len(accesses):
        raise MonitorFailed(f"{len(accesses)} accesses became {made} exits")
