"""Random code from random vCPU states, in every mode, against the engine itself.

A guest of `run.py` builds up a kernel's world and stays in 64-bit and compatibility mode. Here each
case starts from a state of its own: real mode, virtual-8086 mode, protected mode of both widths,
with paging of each kind or none, at either end of privilege. Most cases end in a triple fault after
a few instructions, which is an end like any other.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fuzz.streams.generate import stream
from wardian.cpu.contract import FAIL, INTERRUPTED, MMIO_READ, PIO_READ, SHUTDOWN, Vcpu, Vm
from wardian.cpu.models import DEFAULT_MODEL, cpuid_entries, resolve_model
from wardian.cpu.preflight import gather_host
from wardian.machine.engine import core_vm, engine_errors

_RAM = 2 << 20
_CODE = 0x1000
_CODE_BYTES = 0x8000
_TABLES = 0x10_0000
_MMIO, _MMIO_LENGTH = 0x4000_0000, 0x1_0000
#: Exits after which a case has gone on for long enough.
_EXITS = 64
_KICK_S = 0.002

_POINTERS = (
    *(0, 1, 0x7FF, 0x1000, 0x8FFF, 0xFFFF, 0x1F_FFFC, 0x20_0000, _TABLES, _MMIO, _MMIO + 0xFFC),
    *(0xFEC0_0000, 0xFEE0_0300, 0xFFFF_FFFF, 1 << 47, (1 << 64) - 8),
)

_PE, _NE, _WP, _PG = 1, 0x20, 1 << 16, 1 << 31
_PAE, _OSFXSR, _OSXSAVE = 0x20, 0x600, 1 << 18
_LME, _LMA, _NXE, _SCE = 0x100, 0x400, 0x800, 1


def run(seed: int, cases: int) -> Counter[str]:
    """Runs `cases` cases one after the other on one vCPU; counts by mode and by how they ended.

    Errors: whatever the engine raises, with a note that names the case.
    """
    outcomes: Counter[str] = Counter()
    vm, vcpu = _vcpu()
    with _kicks(vcpu):
        for number in range(cases):
            try:
                outcomes.update(_case(random.Random(f"{seed}/{number}"), vm, vcpu))
            except BaseException as error:
                error.add_note(f"state fuzz case {number} of seed {seed}")
                raise
    return outcomes


def _vcpu() -> tuple[Vm, Vcpu]:
    model = resolve_model(DEFAULT_MODEL, gather_host().cpu_flags)
    vm = core_vm("interpret", 1)
    vm.map_ram(0, _RAM)
    vm.set_cpuid(cpuid_entries(model, 1, vm.tsc_hz()))
    vm.claim_mmio(_MMIO, _MMIO_LENGTH, 0)
    vm.claim_pio(0x100, 0x100, 1)
    return vm, vm.vcpu(0)


@contextmanager
def _kicks(vcpu: Vcpu) -> Iterator[None]:
    """Kicks the vCPU at intervals, for code that loops."""
    over = threading.Event()

    def kick() -> None:
        while not over.wait(_KICK_S):
            vcpu.kick()

    thread = threading.Thread(target=kick, name="kicks")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _case(chance: random.Random, vm: Vm, vcpu: Vcpu) -> list[str]:
    mode = chance.choice(tuple(_MODES))
    vm.write_ram(0, bytes(0x800))
    _write_tables(vm, mode)
    vm.write_ram(_CODE, stream(chance.getrandbits(32), 4))
    with engine_errors():
        vcpu.set_state(_state(chance, mode))
        end = _serve(chance, vcpu)
        # Whatever the code did, what it left is a state.
        vcpu.set_state(vcpu.get_state())
    return [f"mode {mode}", f"ended by {end}"]


def _serve(chance: random.Random, vcpu: Vcpu) -> str:
    for _ in range(_EXITS):
        kind, _, _, size, _ = vcpu.run()
        if kind in (SHUTDOWN, FAIL, INTERRUPTED):
            return kind
        if kind in (PIO_READ, MMIO_READ):
            vcpu.complete_read(chance.getrandbits(8 * size))
    return "devices"


#: Name: CR0, CR4, EFER, RFLAGS, attributes of CS.
_MODES: dict[str, tuple[int, int, int, int, int]] = {
    "real": (_NE, _OSFXSR, 0, 2, 0x9B),
    "virtual-8086": (_PE | _NE, _OSFXSR, 0, 2 | 1 << 17, 0xF3),
    "protected 16": (_PE | _NE, _OSFXSR, 0, 2, 0x809B),
    "protected 32": (_PE | _NE, _OSFXSR, 0, 2, 0xC09B),
    "protected 32, ring 3": (_PE | _NE, _OSFXSR, 0, 0x3002, 0xC0FB),
    "32-bit paging": (_PE | _NE | _PG, _OSFXSR | 0x10, 0, 2, 0xC09B),
    "PAE paging": (_PE | _NE | _PG | _WP, _OSFXSR | _PAE, _NXE, 2, 0xC09B),
    "compatibility": (_PE | _NE | _PG, _OSFXSR | _PAE, _LME | _LMA, 2, 0xC09B),
    "64-bit": (_PE | _NE | _PG, _OSFXSR | _PAE | _OSXSAVE, _LME | _LMA | _SCE | _NXE, 2, 0xA09B),
    "64-bit, ring 3": (_PE | _NE | _PG, _OSFXSR | _PAE, _LME | _LMA | _SCE, 2, 0xA0FB),
}


def _state(chance: random.Random, mode: str) -> dict[str, Any]:
    cr0, cr4, efer, rflags, code = _MODES[mode]
    wide = mode not in ("real", "virtual-8086")
    limit = 0xFFFF_FFFF if wide and code & 0x8000 and mode != "protected 16" else 0xFFFF
    ring = code >> 5 & 3
    data = code & ~0x200F & 0xD0FF | 3 | (0x4000 if wide else 0)
    segment = (0 if not wide else 0x10 | ring, 0, limit, data)
    registers = [
        chance.getrandbits(64) if chance.random() < 0.3 else chance.choice(_POINTERS)
        for _ in range(16)
    ]
    if efer & _LMA == 0:
        registers = [value & 0xFFFF_FFFF for value in registers]
    registers[4] = chance.choice((0x800, 0xFFF8, 0, registers[4]))
    return {
        "gpr": registers,
        "rip": _CODE,
        "rflags": rflags | chance.getrandbits(12) & 0xCD5,
        "cr0": cr0,
        "cr2": 0,
        "cr3": _TABLES,
        "cr4": cr4,
        "cr8": 0,
        "efer": efer,
        "xcr0": 7,
        "segments": {
            **dict.fromkeys(("es", "ss", "ds", "fs", "gs"), segment),
            "cs": (0 if not wide else 8 | ring, 0, limit, code),
            "ldtr": (0, 0, 0xFFFF, 0x1_0082),
            "tr": (0, 0, 0xFFFF, 0x8B),
        },
        "gdtr": (0, 0x7FF),
        "idtr": (0, 0x3FF if not wide else chance.choice((0, 0x7FF))),
        "dr": [0, 0, 0, 0, 0xFFFF_0FF0, 0x400],
        "activity": "running",
    }


def _write_tables(vm: Vm, mode: str) -> None:
    """Identity maps of the lowest gigabytes in large pages, in the form of the mode."""
    low = [(at << 22 | 0xE7).to_bytes(4, "little") for at in range(1024)]
    large = [(at << 21 | 0xE7).to_bytes(8, "little") for at in range(512)]
    if mode == "32-bit paging":
        vm.write_ram(_TABLES, b"".join(low))
        return
    top = _TABLES + 0x1000
    directory = top + 0x1000
    if mode == "PAE paging":
        vm.write_ram(_TABLES, (directory | 1).to_bytes(8, "little") + bytes(24))
    else:
        vm.write_ram(_TABLES, (top | 7).to_bytes(8, "little") + bytes(4088))
        vm.write_ram(top, (directory | 7).to_bytes(8, "little") + bytes(4088))
    vm.write_ram(directory, b"".join(large))
