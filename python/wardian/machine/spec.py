"""What a user may say about a machine, and the checks that need no host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.boot.memory_map import RamLayout
from wardian.cpu.choice import AUTO, check_engine_name
from wardian.cpu.contract import MAX_VCPUS
from wardian.cpu.models import DEFAULT_MODEL, check_model

DEFAULT_MEMORY = 512 * MIB
#: Linux on x86 takes a command line of up to 2047 characters (COMMAND_LINE_SIZE 2048).
MAX_APPEND = 2047
#: The command line of a machine whose user gave none: Linux then talks on the serial console.
DEFAULT_APPEND = "console=ttyS0"


class OnReset(StrEnum):
    """What a machine does when its guest resets it."""

    #: Boot again, as a PC does.
    REBOOT = "reboot"
    #: End with the reason `reset`.
    EXIT = "exit"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """One machine as its user describes it. A value of this type has passed the checks below.

    Errors: `CallerError` with the code SPEC_CPUS, SPEC_APPEND, SPEC_ENGINE, or the memory map's or
    the CPU models' own. What depends on the host (files, free memory, engines
    that can run) is checked when the machine starts.
    """

    kernel: Path
    initrd: Path | None = None
    append: str = DEFAULT_APPEND
    memory_bytes: int = DEFAULT_MEMORY
    cpus: int = 1
    engine: str = AUTO
    cpu_model: str = DEFAULT_MODEL
    on_reset: OnReset = OnReset.REBOOT
    #: Whether the debug-exit port (0xF4) exists, by which a guest ends the machine with a status.
    debug_exit: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= MAX_VCPUS:
            raise CallerError("SPEC_CPUS", f"A machine has 1 to {MAX_VCPUS} CPUs, not {self.cpus}.")
        RamLayout.for_size(self.memory_bytes)
        # In this order: text that is not printable may not be encodable either.
        if not self.append.isprintable() or len(self.append.encode()) > MAX_APPEND:
            raise CallerError(
                "SPEC_APPEND",
                f"A kernel command line is one line of up to {MAX_APPEND} bytes of printable text.",
            )
        check_engine_name(self.engine)
        check_model(self.cpu_model)


def parse_on_reset(text: str) -> OnReset:
    """Reads `reboot` or `exit`; raises `CallerError` SPEC_ON_RESET for anything else."""
    try:
        return OnReset(text)
    except ValueError:
        raise CallerError(
            "SPEC_ON_RESET", f"On a reset a machine can reboot or exit, not {text!r}."
        ) from None
