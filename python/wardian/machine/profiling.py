"""The profile of a machine: sampled life after life, named by its kernel's symbols."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, cached_property, partial
from pathlib import Path

from wardian.base.errors import CallerError, HostError
from wardian.boot.memory_map import RamLayout
from wardian.machine.engine import engine_errors
from wardian.machine.life import Life
from wardian.machine.media import MAX_KERNEL, read_file
from wardian.machine.spec import MachineSpec
from wardian.profile.kernel_symbols import SymbolSource, find_naming
from wardian.profile.perf_map import PerfMapFile
from wardian.profile.profile import DEFAULT_HZ, MAX_HZ, Profile
from wardian.profile.symbol_file import read_symbols
from wardian.profile.symbols import Naming, Symbols

log = logging.getLogger(__name__)


class Profiling:
    """Where a machine's guest spends its time. Every method may be called from any thread.

    machine.profiling.start()
    ...
    for block in machine.profiling.profile().hottest(10):
        print(block)
    """

    def __init__(
        self, spec: MachineSpec, create_perf_map: Callable[[], PerfMapFile] = PerfMapFile.create
    ) -> None:
        self._spec = spec
        self._create_perf_map = create_perf_map
        self._lock = threading.Lock()
        self._life: Life | None = None
        self._running = False
        #: The last rate that was asked for; 0 if nothing was ever sampled.
        self._hz = 0
        self._given: SymbolSource | None = None
        self._naming: Naming | None = None
        self._perf_map: PerfMapFile | None = None
        self._blocks_listed = 0
        self._last = Profile()

    def start(self, hz: int = DEFAULT_HZ) -> None:
        """Samples every vCPU `hz` times a second from now on, or from the machine's start on.

        Errors: `CallerError` PROFILE_RATE for less than 1 or more than 10,000; `HostError` when
        the host refuses a thread.
        """
        if not 1 <= hz <= MAX_HZ:
            raise CallerError(
                "PROFILE_RATE", f"A profile takes 1 to {MAX_HZ:,} samples a second, not {hz}."
            )
        with self._lock:
            self._hz, self._running = hz, True
            if self._life:
                self._sample(self._life)

    def stop(self) -> None:
        """Ends the sampling; what it found can still be read."""
        with self._lock:
            self._running = False
            if self._life:
                self._life.board.vm.profile_stop()

    @property
    def running(self) -> bool:
        """Whether vCPUs are sampled, or will be once the machine runs."""
        return self._running

    def use_symbols(self, path: Path) -> None:
        """Names kernel addresses by a System.map, a copy of /proc/kallsyms or an ELF vmlinux.

        Without it the table in the guest kernel's own memory is used, or the kernel's file, or a
        System.map beside it. Errors: `CallerError` SPEC_FILE_... or PROFILE_SYMBOLS.
        """
        data = read_file(path, "symbol file", MAX_KERNEL)
        symbols = read_symbols(data, f"The symbol file {str(path)!r}")
        with self._lock:
            self._given, self._naming = SymbolSource(str(path), lambda: symbols), None

    def write_perf_map(self) -> Path:
        """Lists every block that is translated from now on where Linux's `perf` looks for it.

        To have them all, call it before the machine starts. Kernel addresses become names when
        the machine ends or resets. Errors: `HostError` HOST_PERF_MAP.
        """
        with self._lock:
            if self._perf_map is None:
                self._perf_map = self._create_perf_map()
                if self._life:
                    self._life.board.vm.set_perf_map(self._perf_map.descriptor)
            return self._perf_map.path

    @property
    def blocks_listed(self) -> int:
        """Blocks in the file of `write_perf_map`, as of the machine's end or last reset."""
        return self._blocks_listed

    def profile(self) -> Profile:
        """What was sampled since the machine's start or last reset; after its end, until then."""
        with self._lock:
            if self._life:
                self._last = self._read(self._life)
            return self._last

    # ---- for the machine

    def attach(self, life: Life) -> None:
        """A life is about to start: it is sampled as was asked for."""
        with self._lock:
            self._life, self._naming = life, None
            if self._perf_map:
                life.board.vm.set_perf_map(self._perf_map.descriptor)
            if self._running:
                self._sample(life)

    def detach(self) -> None:
        """The life is over and its memory about to be freed: keeps what was found."""
        with self._lock:
            life, self._life = self._life, None
            if life is None or not (self._hz or self._perf_map):
                return
            life.board.vm.profile_stop()
            self._last = self._read(life)
            if self._perf_map:
                life.board.vm.flush_perf_map()
                try:
                    self._perf_map.put_names(self._last.naming)
                    self._blocks_listed = self._perf_map.count()
                except OSError as error:
                    log.warning("%s has no names: %s", self._perf_map.path, error)

    def abandon(self) -> None:
        """The life could not start."""
        with self._lock:
            self._life = None

    def close(self) -> None:
        """The machine has ended for good. What was found can still be read."""
        with self._lock:
            self._life = None
            if self._perf_map:
                self._perf_map.close()
                self._perf_map = None

    # ---- inside

    def _sample(self, life: Life) -> None:
        with engine_errors():
            life.board.vm.profile_start(self._hz)

    def _read(self, life: Life) -> Profile:
        vm = life.board.vm
        if self._naming is None:
            # A vCPU that does not answer in time is asked again with the next profile.
            with suppress(HostError):
                self._naming = find_naming(
                    life.vcpu_states(), partial(self._ram, life), self._given, self._candidates
                )
        lost = vm.stats().get("samples_lost", 0)
        return Profile.of(vm.profile(), lost=lost, hz=self._hz, naming=self._naming)

    def _ram(self, life: Life, gpa: int, length: int) -> bytes:
        """Copies out what there is of guest RAM from `gpa` on, `length` bytes at most."""
        for base, size in RamLayout.for_size(self._spec.memory_bytes).ranges:
            if base <= gpa < base + size:
                return life.board.vm.read_ram(gpa, min(length, base + size - gpa))
        return b""

    @cached_property
    def _candidates(self) -> tuple[SymbolSource, ...]:
        """Files that may hold the kernel's symbols: itself, and the System.map of its release."""
        kernel = Path(os.path.realpath(self._spec.kernel))
        paths = [kernel]
        release = kernel.name.partition("-")[2]
        if release:
            folders = (kernel.parent, Path("/boot"))
            paths += [folder / f"System.map-{release}" for folder in folders]
        return tuple(SymbolSource(str(path), cache(partial(_symbols_in, path))) for path in paths)


def _symbols_in(path: Path) -> Symbols | None:
    """The symbols in a file that nobody named, if it is there and has any."""
    try:
        return read_symbols(read_file(path, "symbol file", MAX_KERNEL), str(path))
    except CallerError:
        return None
