"""A machine from outside: start it, talk to it, wait for its end."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from wardian.base.errors import BugError, CallerError, HostError, WardianError
from wardian.base.units import parse_size
from wardian.cpu.models import DEFAULT_MODEL
from wardian.cpu.preflight import HostFacts, gather_host
from wardian.machine.at_exit import stop_at_exit
from wardian.machine.builder import build_board
from wardian.machine.console import Console
from wardian.machine.engine import CreateVm, core_vm, engine_errors
from wardian.machine.exit import ExitReason, MachineExit, MachineTimeout
from wardian.machine.life import Life
from wardian.machine.preparation import prepare
from wardian.machine.profiling import Profiling
from wardian.machine.spec import (
    DEFAULT_APPEND,
    DEFAULT_MEMORY,
    MachineSpec,
    OnReset,
    parse_on_reset,
)
from wardian.machine.stats import LifeStats, MachineStats

log = logging.getLogger(__name__)

#: A vCPU leaves the guest within microseconds of a kick; one that does not by now never will.
_STOP_LIMIT_S = 30.0


class Machine:
    """One virtual machine, in this process.

        with Machine(kernel="vmlinuz", initrd="initrd.img", memory="1G", cpus=2) as machine:
            machine.console.expect("login: ", timeout=120)
            machine.console.write("root\\n")
            machine.press_power_button()
            print(machine.wait(timeout=60))

    Entering the context starts the machine, and leaving it stops it: no thread and no guest
    memory is left. Every method may be called from any thread. A machine runs once.

    Errors of the constructor: see `MachineSpec`. Errors of `start`: `CallerError` SPEC_FILE_...
    (the files), SPEC_MEMORY_HOST (memory the host has not got), BOOT_... (not a kernel, does not
    fit), or why an engine that was asked for cannot run; `HostError` HOST_NO_ENGINE,
    HOST_THREADS (no thread for a vCPU), or what the engine could not get from the host.
    """

    def __init__(
        self,
        *,
        kernel: str | os.PathLike[str],
        initrd: str | os.PathLike[str] | None = None,
        append: str = DEFAULT_APPEND,
        memory: str | int = DEFAULT_MEMORY,
        cpus: int = 1,
        engine: str = "auto",
        cpu_model: str = DEFAULT_MODEL,
        on_reset: str = OnReset.REBOOT,
        debug_exit: bool = False,
        console: Console | None = None,
    ) -> None:
        spec = MachineSpec(
            kernel=Path(kernel),
            initrd=None if initrd is None else Path(initrd),
            append=append,
            memory_bytes=parse_size(memory) if isinstance(memory, str) else memory,
            cpus=cpus,
            engine=engine,
            cpu_model=cpu_model,
            on_reset=parse_on_reset(on_reset),
            debug_exit=debug_exit,
        )
        self._set_up(spec, console, core_vm, gather_host)

    @classmethod
    def from_spec(
        cls,
        spec: MachineSpec,
        *,
        console: Console | None = None,
        create_vm: CreateVm = core_vm,
        gather_host: Callable[[], HostFacts] = gather_host,
    ) -> Self:
        """A machine of a spec that was made elsewhere, with another engine or host for tests."""
        machine = cls.__new__(cls)
        machine._set_up(spec, console, create_vm, gather_host)
        return machine

    def _set_up(
        self,
        spec: MachineSpec,
        console: Console | None,
        create_vm: CreateVm,
        gather_host: Callable[[], HostFacts],
    ) -> None:
        self.spec = spec
        #: What the guest prints on its first serial port, and what it reads there.
        self.console = console or Console()
        #: Where the guest spends its time, when that is asked for.
        self.profiling = Profiling(spec)
        self._create_vm = create_vm
        self._gather_host = gather_host
        self._lock = threading.RLock()
        self._life: Life | None = None
        self._supervisor: threading.Thread | None = None
        self._stopping = False
        self._done = threading.Event()
        self._exit: MachineExit | None = None
        self._resets = 0
        self._started_s = 0.0
        self._ended_s = 0.0
        self._last_stats = LifeStats()
        self._last_states: tuple[dict[str, Any], ...] = ()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- life cycle

    def start(self) -> None:
        """Powers the machine on; it runs when this returns. Does nothing if it runs already.

        Errors: see the class; the machine is then as if `start` had not been called.
        `CallerError` MACHINE_ENDED for one that has run before.
        """
        with self._lock:
            if self._done.is_set():
                raise CallerError("MACHINE_ENDED", "A machine runs once; make a new one.")
            if self._life:
                return
            supervisor = threading.Thread(target=self._supervise, name="machine", daemon=True)
            self._life = self._new_life()
            try:
                self._life.start(supervisor)
            except HostError:
                self._life = None
                self.profiling.abandon()
                raise
            self._supervisor, self._started_s = supervisor, time.monotonic()
            stop_at_exit(self)

    def wait(self, timeout: float | None = None) -> MachineExit:
        """Waits until the machine has ended, and returns why.

        Errors: `MachineTimeout` when that takes longer than `timeout` seconds (None: no limit);
        `CallerError` MACHINE_NOT_STARTED.
        """
        if not self._supervisor and not self._done.is_set():
            raise CallerError("MACHINE_NOT_STARTED", "The machine has not been started.")
        if not self._done.wait(timeout):
            raise MachineTimeout("MACHINE_TIMEOUT", f"The machine still runs after {timeout:g} s.")
        assert self._exit is not None
        return self._exit

    def stop(self) -> None:
        """Ends the machine at once, as if its power were cut. Does nothing if it has ended.

        After the call no thread of the machine runs and its memory is free.
        """
        with self._lock:
            self._stopping = True
            if self._life:
                self._life.end(MachineExit(ExitReason.STOPPED))
            elif not self._supervisor:
                self._finish(MachineExit(ExitReason.STOPPED))
        if not self._done.wait(_STOP_LIMIT_S):
            raise BugError("MACHINE_STUCK", "A vCPU of the machine does not leave the guest.")
        # The supervisor itself comes here when `Console.notify` calls something that stops.
        if self._supervisor and self._supervisor is not threading.current_thread():
            self._supervisor.join()

    def press_power_button(self) -> None:
        """Asks the guest to switch itself off; whether it does is the guest's choice."""
        self._running().board.press_power_button()

    # ---- observation

    @property
    def running(self) -> bool:
        """Whether the machine has been started and has not ended."""
        return self._supervisor is not None and not self._done.is_set()

    @property
    def exit(self) -> MachineExit | None:
        """Why the machine ended; None before that."""
        return self._exit

    @property
    def description(self) -> str:
        """One line on the engine and the boot of a running machine; "" for any other."""
        life = self._life
        return life.board.description if life else ""

    def stats(self) -> MachineStats:
        """What the machine has done until now or its end. Errors: `HostError` MACHINE_BUSY."""
        with self._lock:
            life, stats = self._life, self._last_stats
        if life:
            stats = life.stats()
        now = self._ended_s or time.monotonic()
        return MachineStats(
            uptime_s=now - self._started_s if self._started_s else 0.0,
            resets=self._resets,
            console_discarded=self.console.discarded,
            vcpus=stats.vcpus,
            vm=stats.vm,
            ranges=stats.ranges,
        )

    def vcpu_states(self) -> tuple[dict[str, Any], ...]:
        """The registers of every vCPU, for debugging; after the end, the last they had.

        The keys are those of `wardian._core.Vcpu.get_state`. vCPUs are not stopped together:
        each state is consistent, the set of them need not be. Errors: those of `stats`.
        """
        with self._lock:
            life, states = self._life, self._last_states
        return life.vcpu_states() if life else states

    # ---- inside

    def _running(self) -> Life:
        with self._lock:
            if not self._life:
                raise CallerError("MACHINE_NOT_RUNNING", "The machine is not running.")
            return self._life

    def _new_life(self) -> Life:
        preparation = prepare(self.spec, self._gather_host())
        with engine_errors():
            life = Life(
                lambda end: build_board(self.spec, preparation, self.console, end, self._create_vm),
                self.console,
            )
        self.profiling.attach(life)
        return life

    def _supervise(self) -> None:
        """Runs one life after the other until one is the last."""
        while True:
            life = self._life
            assert life is not None
            exit = life.wait()
            self._remember(life)
            with self._lock:
                self._life = None
                if self._stopping and self._reboots_after(exit):
                    exit = MachineExit(ExitReason.STOPPED)
            # The old board's memory is free before the next board takes its own.
            del life
            if not self._reboots_after(exit):
                self._finish(exit)
                return
            try:
                following = self._new_life()
                with self._lock:
                    self._life = following
                    self._resets += 1
                    if self._stopping:
                        following.end(MachineExit(ExitReason.STOPPED))
                following.start()
                del following
            except BaseException as error:
                if not isinstance(error, WardianError):
                    log.exception("the machine could not be built again")
                self._finish(MachineExit(ExitReason.ENGINE_FAILURE, f"cannot reboot: {error}"))
                return

    def _reboots_after(self, exit: MachineExit) -> bool:
        return exit.reason is ExitReason.RESET and self.spec.on_reset is OnReset.REBOOT

    def _remember(self, life: Life) -> None:
        """Keeps the numbers and registers of a life whose memory is about to be freed."""
        try:
            self._last_stats, self._last_states = life.stats(), life.vcpu_states()
            self.profiling.detach()
        except Exception:
            log.exception("the last state of the machine cannot be read")

    def _finish(self, exit: MachineExit) -> None:
        self._life = None
        self._exit = exit
        self._ended_s = time.monotonic()
        self.profiling.close()
        self._done.set()
        self.console.close()
