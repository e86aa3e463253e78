"""Why a machine ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wardian.base.errors import GuestError


class ExitReason(StrEnum):
    """Every way a machine ends."""

    #: The guest switched the machine off (ACPI S5).
    POWER_OFF = "power-off"
    #: The guest reset the machine, and its spec says that a reset ends it.
    RESET = "reset"
    #: The guest faulted while its double-fault handler could not be called (Intel SDM 3A 6.15).
    TRIPLE_FAULT = "triple-fault"
    #: The guest wrote its exit status to the debug-exit port.
    DEBUG_EXIT = "debug-exit"
    #: `Machine.stop` was called.
    STOPPED = "stopped"
    #: The engine or the monitor could not go on.
    ENGINE_FAILURE = "engine-failure"
    #: An engine that checks itself found that it did something it should not have.
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class MachineExit:
    """The end of a machine, once and for all."""

    reason: ExitReason
    #: One line for people, or more for `diverged`; "" where the reason says everything.
    detail: str = ""
    #: The guest's status (0 to 255), for the reason `debug-exit` only.
    status: int | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class MachineTimeout(GuestError, TimeoutError):
    """The machine was still running when the time to wait was over."""
