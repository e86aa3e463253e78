"""Dispatch, locks, counters, and devices with bugs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pytest

from wardian.base.errors import BugError
from wardian.devices.device import Device, Range, RangeKind
from wardian.machine.bus import Bus, RangeCounts
from wardian.testing import FakeVm


class Recorder(Device):
    """Two ranges; remembers its accesses, and raises where it is told to."""

    name = "recorder"

    def __init__(self, port: int = 0x100) -> None:
        self.log: list[tuple[object, ...]] = []
        self.broken = False
        self._port = port

    @property
    def ranges(self) -> Sequence[Range]:
        return [
            Range(RangeKind.PIO, self._port, 4, "ports"),
            Range(RangeKind.MMIO, 0xC000_0000 + (self._port << 16), 0x1000, "window"),
        ]

    def read(self, range_index: int, offset: int, size: int) -> int:
        if self.broken:
            raise ValueError("broken")
        self.log.append(("read", range_index, offset, size))
        return 0x1122334455667788

    def write(self, range_index: int, offset: int, size: int, value: int) -> None:
        if self.broken:
            raise ValueError("broken")
        self.log.append(("write", range_index, offset, size, value))

    def reset(self) -> None:
        self.log.clear()


def test_accesses_reach_their_device_and_are_counted() -> None:
    bus = Bus(FakeVm("interpret", 1))
    first, second = Recorder(), Recorder(0x200)
    bus.attach(first)
    bus.attach(second)
    assert bus.routes[0].read(1, 2) == 0x7788
    bus.routes[3].write(8, 8, 5)
    bus.routes[3].write(16, 4, 6)
    assert first.log == [("read", 0, 1, 2)]
    assert second.log == [("write", 1, 8, 8, 5), ("write", 1, 16, 4, 6)]
    assert bus.counts()[0] == RangeCounts("recorder", "ports", RangeKind.PIO, 1, 0, 0)
    assert bus.counts()[3] == RangeCounts("recorder", "window", RangeKind.MMIO, 0, 2, 0)


def test_overlapping_devices_are_a_bug() -> None:
    bus = Bus(FakeVm("interpret", 1))
    bus.attach(Recorder())
    with pytest.raises(BugError):
        bus.attach(Recorder(0x102))


def test_an_access_across_the_end_is_split_and_the_rest_is_nobodys() -> None:
    bus = Bus(FakeVm("interpret", 1))
    device = Recorder()
    bus.attach(device)
    assert bus.routes[0].read(2, 4) == 0xFFFF_8888
    bus.routes[0].write(3, 4, 0xAABBCCDD)
    assert device.log == [
        ("read", 0, 2, 1),
        ("read", 0, 3, 1),
        ("write", 0, 3, 1, 0xDD),
    ]


def test_a_device_that_raises_is_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus(FakeVm("interpret", 1))
    device = Recorder()
    bus.attach(device)
    device.broken = True
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            assert bus.routes[0].read(0, 4) == 0xFFFF_FFFF
            bus.routes[1].write(0, 4, 1)
    assert len(caplog.records) == 1
    assert "recorder" in caplog.text
    assert [row.errors for row in bus.counts()] == [100, 100]


def test_other_threads_enter_a_device_one_at_a_time() -> None:
    bus = Bus(FakeVm("interpret", 1))
    device = Recorder()
    bus.attach(device)
    entered: list[int] = []
    enter = bus.enter(device, entered.append)
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        leave.wait(10)

    holder = threading.Thread(target=bus.enter(device, stay))
    holder.start()
    assert inside.wait(10)
    waiting = [threading.Thread(target=enter, args=(n,)) for n in range(2)]
    waiting.append(threading.Thread(target=bus.routes[0].write, args=(0, 1, 2)))
    for thread in waiting:
        thread.start()
    assert not entered
    assert not device.log
    leave.set()
    for thread in (holder, *waiting):
        thread.join(timeout=10)
    assert sorted(entered) == [0, 1]
    assert device.log == [("write", 0, 0, 1, 2)]


def test_devices_are_listed_in_order() -> None:
    bus = Bus(FakeVm("interpret", 1))
    devices = [Recorder(), Recorder(0x200)]
    for device in devices:
        bus.attach(device)
    assert list(bus.devices()) == devices
