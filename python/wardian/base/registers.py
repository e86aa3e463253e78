"""Registers as data: a device declares them, and one place answers every width and alignment.

`Register` and `RegisterMap` say what exists; `RegisterBank` holds one device's values and runs its
hooks. The rules for an access that does not match one register exactly:

- It goes to each register it covers, in ascending order, as byte-wide buses split it.
- A read runs the hook of each covered register once and takes the bytes it asked for.
- A write changes only the bytes it names. The others keep their stored value, except in
  write-one-to-clear bits, where they count as zero.
- Bytes that belong to no register read as `RegisterMap.fill`, and writes to them are dropped.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from wardian.base.errors import BugError

ReadHook = Callable[[], int]
WriteHook = Callable[[int], None]


class Access(enum.Flag):
    """What the guest may do with a register."""

    READ_ONLY = enum.auto()
    WRITE_ONLY = enum.auto()
    READ_WRITE = READ_ONLY | WRITE_ONLY


@dataclass(slots=True, frozen=True)
class Register:
    """One register: `width` bytes, little-endian, at byte `offset` of its range.

    A read-only and a write-only register may share an offset, as a 16550's RBR and THR do.
    """

    name: str
    offset: int
    width: int
    access: Access = Access.READ_WRITE
    reset: int = 0
    """The value after power-on."""
    writable: int = -1
    """The bits that a write replaces; -1 is all of them."""
    clears: int = 0
    """The bits that a write of one clears and a write of zero leaves alone."""
    whole: bool = False
    """Reached only by accesses of exactly this offset and width; others see what lies beneath."""

    @property
    def mask(self) -> int:
        """All bits of the register."""
        return (1 << 8 * self.width) - 1


class RegisterMap:
    """The registers of one range of `length` bytes. Immutable; shared by all devices of a kind."""

    def __init__(self, length: int, registers: Iterable[Register], fill: int = 0xFF) -> None:
        """`fill` is how a byte of no register reads. Raises `BugError` when registers collide."""
        self.length = length
        self.registers = tuple(registers)
        self.fill = fill
        self.index = {register.name: at for at, register in enumerate(self.registers)}
        if len(self.index) != len(self.registers):
            raise BugError("REGISTER_MAP", "Two registers of one map have the same name.")
        for register in self.registers:
            inside = register.offset >= 0 and register.offset + register.width <= length
            if register.width < 1 or not inside or not 0 <= register.reset <= register.mask:
                raise BugError("REGISTER_MAP", f"Register {register.name} does not fit its map.")
        self.readers = self._owners(Access.READ_ONLY)
        self.writers = self._owners(Access.WRITE_ONLY)

    def _owners(self, access: Access) -> dict[int, int]:
        """Return, for each byte that `access` reaches, the index of the register it belongs to."""
        owners: dict[int, int] = {}
        for at, register in enumerate(self.registers):
            if register.whole or not register.access & access:
                continue
            for byte in range(register.offset, register.offset + register.width):
                if byte in owners:
                    raise BugError("REGISTER_MAP", f"Register {register.name} overlaps another.")
                owners[byte] = at
        return owners


class RegisterBank:
    """The values behind a `RegisterMap`, and the behaviour: hooks by register name.

    A read hook gives the value in place of the stored one. A write hook runs after the stored
    value has taken the write, and is given all the bits that the guest wrote.
    `bank["NAME"]` reads and sets a stored value without running hooks.
    """

    def __init__(
        self,
        registers: RegisterMap,
        on_read: Mapping[str, ReadHook] | None = None,
        on_write: Mapping[str, WriteHook] | None = None,
    ) -> None:
        """Start at the reset values. Raises `BugError` when a hook names no register."""
        self.map = registers
        self._values = [register.reset for register in registers.registers]
        reads, writes = dict(on_read or {}), dict(on_write or {})
        for name in (*reads, *writes):
            if name not in registers.index:
                raise BugError("REGISTER_MAP", f"A hook names {name}, which is no register.")
        self._getters: list[ReadHook] = []
        self._setters: list[WriteHook] = []
        # The exact matches, found in one step: console output costs two of these per character.
        self._exact_reads: dict[tuple[int, int], ReadHook] = {}
        self._exact_writes: dict[tuple[int, int], tuple[WriteHook, int]] = {}
        for at, register in enumerate(registers.registers):
            getter = reads.get(register.name) or partial(self._values.__getitem__, at)
            setter = self._setter(at, register, writes.get(register.name))
            self._getters.append(getter)
            self._setters.append(setter)
            if register.access & Access.READ_ONLY:
                self._exact_reads[register.offset, register.width] = getter
            if register.access & Access.WRITE_ONLY:
                self._exact_writes[register.offset, register.width] = (setter, register.mask)

    def _setter(self, at: int, register: Register, hook: WriteHook | None) -> WriteHook:
        """Return what takes a write of all the bytes of one register."""
        values = self._values
        clears = register.clears
        replaced = register.writable & register.mask & ~clears
        kept = register.mask & ~replaced
        if hook is not None and not replaced and not clears:
            return hook  # Nothing is stored, so the hook is the register.

        def store(value: int) -> None:
            values[at] = (values[at] & kept & ~(value & clears)) | (value & replaced)
            if hook is not None:
                hook(value)

        return store

    def __getitem__(self, name: str) -> int:
        return self._values[self.map.index[name]]

    def __setitem__(self, name: str, value: int) -> None:
        at = self.map.index[name]
        self._values[at] = value & self.map.registers[at].mask

    def reset(self) -> None:
        """Put every stored value back to its reset value. Hooks do not run."""
        self._values[:] = [register.reset for register in self.map.registers]

    def read(self, offset: int, size: int) -> int:
        """Answer a guest's read of `size` bytes, little-endian, at `offset`."""
        getter = self._exact_reads.get((offset, size))
        if getter is not None:
            return getter()
        result = 0
        at, end = offset, offset + size
        while at < end:
            owner = self.map.readers.get(at)
            if owner is None:
                value, taken = self.map.fill, 1
            else:
                register = self.map.registers[owner]
                skipped = at - register.offset
                taken = min(register.width - skipped, end - at)
                value = self._getters[owner]() >> 8 * skipped & _ones(taken)
            result |= value << 8 * (at - offset)
            at += taken
        return result

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a guest's write of `size` bytes, little-endian, at `offset`."""
        exact = self._exact_writes.get((offset, size))
        if exact is not None:
            setter, mask = exact
            setter(value & mask)
            return
        at, end = offset, offset + size
        while at < end:
            owner = self.map.writers.get(at)
            if owner is None:
                at += 1
                continue
            register = self.map.registers[owner]
            skipped = at - register.offset
            taken = min(register.width - skipped, end - at)
            named = _ones(taken) << 8 * skipped
            part = (value >> 8 * (at - offset) & _ones(taken)) << 8 * skipped
            self._setters[owner](self._values[owner] & ~named & ~register.clears | part)
            at += taken


def _ones(width: int) -> int:
    """Return `width` bytes of ones."""
    return (1 << 8 * width) - 1
