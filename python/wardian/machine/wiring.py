"""What the wires of the devices lead to, outside the board.

Devices refer to themselves in cycles (registers to their device and back), which only Python's
cycle collector finds, whenever it runs. Guest memory must be free when a machine has ended. So
devices never hold the virtual machine: they hold this, and it is cut at the end of a life.
"""

from __future__ import annotations

from collections.abc import Callable

from wardian.cpu.contract import Vm
from wardian.machine.exit import ExitReason, MachineExit

#: Ends the life of the board, for the reason given. The first reason counts.
End = Callable[[MachineExit], None]


class Wiring:
    """The lines of one board. Called on vCPU threads, inside device accesses; never waits."""

    def __init__(self, vm: Vm, end: End) -> None:
        self._vm: Vm | None = vm
        self._end: End | None = end

    def cut(self) -> None:
        """Lets go of the virtual machine; lines that are driven from now on lead nowhere."""
        self._vm = self._end = None

    def line(self, gsi: int) -> Callable[[bool], None]:
        """The interrupt line of global system interrupt `gsi`, to be driven with its level."""

        def drive(level: bool) -> None:
            vm = self._vm
            if vm is not None:
                vm.set_irq(gsi, level)

        return drive

    def power_off(self) -> None:
        """The guest entered S5 (ACPI 6.5 section 16.1.4)."""
        self._report(MachineExit(ExitReason.POWER_OFF))

    def reset(self) -> None:
        """The guest asked for a reset by any of the ways a PC has."""
        self._report(MachineExit(ExitReason.RESET))

    def debug_exit(self, status: int) -> None:
        """The guest wrote to the debug-exit port; `status` is 0 to 255."""
        self._report(MachineExit(ExitReason.DEBUG_EXIT, f"status {status}", status))

    def _report(self, exit: MachineExit) -> None:
        end = self._end
        if end is not None:
            end(exit)
