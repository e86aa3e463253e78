"""Wardian: boot and hold whole x86-64 machines, with hardware virtualization or without.

import wardian

with wardian.Machine(kernel="vmlinuz", initrd="initrd.img", memory="512M", cpus=2) as machine:
    for text in machine.console:
        print(text, end="")
    print(machine.wait())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardian.base.errors import BugError, CallerError, GuestError, HostError, WardianError
from wardian.machine.console import Console, ConsoleClosed, ConsoleTimeout
from wardian.machine.exit import ExitReason, MachineExit
from wardian.machine.machine import Machine, MachineTimeout
from wardian.machine.spec import MachineSpec, OnReset
from wardian.machine.stats import MachineStats

__all__ = [
    "BugError",
    "CallerError",
    "Console",
    "ConsoleClosed",
    "ConsoleTimeout",
    "ExitReason",
    "GuestError",
    "HostError",
    "Machine",
    "MachineExit",
    "MachineSpec",
    "MachineStats",
    "MachineTimeout",
    "OnReset",
    "WardianError",
    "__version__",
]

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    # On demand: reading the version takes as long as importing everything else here.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version("wardian")
    except metadata.PackageNotFoundError:
        return "unknown"
