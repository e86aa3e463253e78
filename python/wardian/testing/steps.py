"""What a scripted guest may do. A guest is a generator that yields these, one per instruction:

    def hello(cpu: int) -> Guest:
        for letter in b"hi":
            yield Out(0x3F8, letter)
        status = yield In(0x3FD)
        yield Halt()

A read's value is what `yield` gives back; every other step gives back 0. A guest that returns
halts for ever.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class In:
    """Reads `size` bytes (1, 2 or 4) from a port."""

    port: int
    size: int = 1


@dataclass(frozen=True, slots=True)
class Out:
    """Writes `size` bytes (1, 2 or 4) to a port."""

    port: int
    value: int
    size: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """Reads `size` bytes (1 to 8) from guest-physical memory, RAM or not."""

    gpa: int
    size: int = 4


@dataclass(frozen=True, slots=True)
class Store:
    """Writes `size` bytes (1 to 8) to guest-physical memory, RAM or not."""

    gpa: int
    value: int
    size: int = 4


@dataclass(frozen=True, slots=True)
class Halt:
    """Sleeps until an interrupt line rises."""


@dataclass(frozen=True, slots=True)
class Spin:
    """Executes instructions that concern nobody, until the vCPU is kicked."""


@dataclass(frozen=True, slots=True)
class TripleFault:
    """Faults beyond repair."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Makes the engine give up with a message, or find out that it is wrong (value 2)."""

    message: str
    value: int = 1


@dataclass(frozen=True, slots=True)
class Raise:
    """Makes the engine itself raise, as a bug in it would."""

    error: BaseException


Step = In | Out | Load | Store | Halt | Spin | TripleFault | Fail | Raise
Guest = Generator[Step, int, None]
