"""From an exit's token to the device that answers it.

A device's methods never run at the same time as one another: each device has one lock, held
around every call. A device that raises has a bug; the guest must not be able to end the monitor
with it, so the access is answered as if nobody were there, counted, and logged at a limited rate.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec

from wardian.cpu.contract import Vm
from wardian.devices.device import Device, RangeKind

P = ParamSpec("P")

log = logging.getLogger(__name__)

#: What a read of so many bytes gives where nobody answers.
_ONES = tuple((1 << 8 * size) - 1 for size in range(9))

#: Seconds between two log records about one device.
_LOG_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class RangeCounts:
    """Accesses that reached one range of one device, and how many of them raised."""

    device: str
    range: str
    kind: RangeKind
    reads: int
    writes: int
    errors: int


class _Slot:
    """One device on the bus: its lock and its error log."""

    __slots__ = ("_last_log", "_silent", "device", "errors", "lock")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.lock = threading.Lock()
        self.errors = 0
        self._silent = 0
        self._last_log = float("-inf")

    def report(self, what: str) -> None:
        """Logs the exception being handled, unless one was logged a moment ago."""
        self.errors += 1
        now = time.monotonic()
        if now - self._last_log < _LOG_INTERVAL_S:
            self._silent += 1
            return
        log.exception(
            "device %s raised in a %s (%d more since the last report)",
            self.device.name,
            what,
            self._silent,
        )
        self._last_log = now
        self._silent = 0


class _Route:
    """One claimed range: where its accesses go, and how many there were."""

    __slots__ = (
        "_device_read",
        "_device_write",
        "_lock",
        "errors",
        "index",
        "kind",
        "length",
        "name",
        "reads",
        "slot",
        "writes",
    )

    def __init__(self, slot: _Slot, index: int) -> None:
        claimed = slot.device.ranges[index]
        self.slot = slot
        self._lock = slot.lock
        self._device_read = slot.device.read
        self._device_write = slot.device.write
        self.index = index
        self.kind = claimed.kind
        self.name = claimed.name
        self.length = claimed.length
        self.reads = 0
        self.writes = 0
        self.errors = 0

    def read(self, offset: int, size: int) -> int:
        """Answers a read; all ones where the device failed or the range has ended."""
        if offset + size > self.length:
            return self._read_past_end(offset, size)
        ones = _ONES[size]
        with self._lock:
            self.reads += 1
            try:
                return self._device_read(self.index, offset, size) & ones
            except Exception:
                self.errors += 1
                self.slot.report(f"read of {self.name}+{offset:#x}, {size} bytes")
                return ones

    def write(self, offset: int, size: int, value: int) -> None:
        """Delivers a write; it is lost where the device failed or the range has ended."""
        if offset + size > self.length:
            self._write_past_end(offset, size, value)
            return
        with self._lock:
            self.writes += 1
            try:
                self._device_write(self.index, offset, size, value)
            except Exception:
                self.errors += 1
                self.slot.report(f"write of {value:#x} to {self.name}+{offset:#x}, {size} bytes")

    # An access that crosses the end of a range becomes single bytes, as a bus splits one that is
    # wider than its target (PCI 3.0 section 3.2.2.1); nobody answers the bytes beyond the end.

    def _read_past_end(self, offset: int, size: int) -> int:
        value = 0
        for byte in range(size):
            inside = offset + byte < self.length
            value |= (self.read(offset + byte, 1) if inside else 0xFF) << 8 * byte
        return value

    def _write_past_end(self, offset: int, size: int, value: int) -> None:
        for byte in range(min(size, self.length - offset)):
            self.write(offset + byte, 1, value >> 8 * byte & 0xFF)


class Bus:
    """The devices of one machine, by token. Devices are attached before the first vCPU runs."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._slots: dict[int, _Slot] = {}
        #: A token is an index into this list, which is the whole of dispatch.
        self.routes: list[_Route] = []

    def attach(self, device: Device) -> None:
        """Claims every range of `device`; an overlap with another is refused by the engine."""
        slot = self._slots[id(device)] = _Slot(device)
        for index, claimed in enumerate(device.ranges):
            token = len(self.routes)
            self.routes.append(_Route(slot, index))
            claim = self._vm.claim_pio if claimed.kind is RangeKind.PIO else self._vm.claim_mmio
            claim(claimed.base, claimed.length, token)

    def enter(self, device: Device, method: Callable[P, None]) -> Callable[P, None]:
        """`method` of `device`, made safe to call from any thread but the device's own."""
        lock = self._slots[id(device)].lock

        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            with lock:
                method(*args, **kwargs)

        return call

    def counts(self) -> tuple[RangeCounts, ...]:
        """Accesses so far, one row per range, in the order of attachment."""
        return tuple(
            RangeCounts(r.slot.device.name, r.name, r.kind, r.reads, r.writes, r.errors)
            for r in self.routes
        )

    def devices(self) -> Iterable[Device]:
        """Every attached device, in the order of attachment."""
        return (slot.device for slot in self._slots.values())
