"""Machines that still run when the interpreter exits are stopped before it takes itself apart.

A vCPU that comes out of the guest later finds no interpreter, and CPython before 3.14 then ends its
thread in a way that the core's frames cannot pass: the process would abort.
"""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class Stoppable(Protocol):
    """What can be stopped, more than once."""

    def stop(self) -> None:
        """Ends it."""


_started: WeakSet[Stoppable] = WeakSet()
# Threads do not survive a fork, so in the child there is nothing to stop.
os.register_at_fork(after_in_child=_started.clear)


def stop_at_exit(machine: Stoppable) -> None:
    """Stops `machine` at the interpreter's exit, if it still exists and runs then."""
    _started.add(machine)


@atexit.register
def stop_all() -> None:
    """Stops every machine that was started."""
    for machine in list(_started):
        machine.stop()
