"""Every device on the board, built with collaborators that only count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wardian.base.clock import ManualClock
from wardian.base.registers import RegisterMap
from wardian.devices import (
    acpi_pm,
    debug_exit,
    fw_cfg,
    i8042,
    pci,
    reset_control,
    rtc,
    serial,
)
from wardian.devices.acpi_pm import AcpiPm
from wardian.devices.debug_exit import DebugExit
from wardian.devices.device import Device
from wardian.devices.fw_cfg import FwCfg
from wardian.devices.i8042 import I8042
from wardian.devices.pci import PciHost
from wardian.devices.pci_function import Bar, BarKind, PciFunction, PciIdentity
from wardian.devices.reset_control import ResetControl
from wardian.devices.rtc import CmosRtc
from wardian.devices.serial import Serial16550

GIB = 1 << 30


@dataclass
class Surroundings:
    """What a device can reach: a clock, interrupt lines, and the ends of the machine."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(wall_s=1_795_000_000.5))
    lines: dict[str, bool] = field(default_factory=dict)
    sent: int = 0
    ends: int = 0

    def line(self, name: str) -> Callable[[bool], None]:
        def drive(level: bool) -> None:
            assert self.lines.get(name, False) is not level, "driven to the level it has"
            self.lines[name] = level

        return drive

    def output(self, data: bytes) -> None:
        self.sent += len(data)

    def end(self) -> None:
        self.ends += 1

    def end_with(self, status: int) -> None:
        assert 0 <= status <= 255
        self.ends += 1


@dataclass(frozen=True)
class Index:
    """Registers behind registers: `keys` written at (range, offset, size) choose what `data` is."""

    at: tuple[int, int, int]
    keys: Iterable[int]
    data: tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """How to build one device, what may happen to it from the host's side, and its registers.

    `windows` gives the length of each window to exercise, for a device that claims no range.
    """

    build: Callable[[Surroundings], Device]
    maps: tuple[RegisterMap, ...]
    nudge: Callable[[Device], None] = lambda device: None
    windows: tuple[int, ...] = ()
    index: Index | None = None

    def lengths(self, device: Device) -> list[int]:
        return [claim.length for claim in device.ranges] or list(self.windows)


def _pci(around: Surroundings) -> PciHost:
    host = PciHost(0xB000_0000, 256 << 20, ResetControl(around.end))
    bars = [Bar(0, BarKind.IO, 32), Bar(2, BarKind.MEMORY_64, 4096)]
    host.attach(PciFunction(PciIdentity(0x1234, 0x5678, 0xFF0000), bars, interrupt_pin=1), slot=1)
    return host


def _feed(device: Device) -> None:
    assert isinstance(device, Serial16550)
    device.feed(b"input from the host")


def _press(device: Device) -> None:
    assert isinstance(device, AcpiPm)
    device.press_power_button()


CATALOGUE: dict[str, Entry] = {
    "serial": Entry(
        lambda around: Serial16550(around.output, around.line("serial")),
        (serial.REGISTERS,),
        _feed,
    ),
    "rtc": Entry(
        lambda around: CmosRtc(around.clock.wall_s, 2 * GIB, 6 * GIB),
        (rtc.PORTS,),
        index=Index((0, 0, 1), range(256), (0, 1)),
    ),
    "i8042": Entry(
        lambda around: I8042(around.end),
        (i8042.DATA, i8042.CONTROL),
        index=Index((1, 0, 1), range(256), (0, 0)),
    ),
    "reset control": Entry(
        lambda around: ResetControl(around.end), (reset_control.REGISTERS,), windows=(1,)
    ),
    "acpi pm": Entry(
        lambda around: AcpiPm(around.clock.monotonic_ns, around.line("sci"), around.end),
        (acpi_pm.REGISTERS,),
        _press,
    ),
    "debug exit": Entry(lambda around: DebugExit(around.end_with), (debug_exit.REGISTERS,)),
    "fw_cfg": Entry(
        lambda around: FwCfg(4, 6 * GIB),
        (fw_cfg.REGISTERS,),
        index=Index((0, 0, 2), [*range(64), 0x4000, 0x8000, 0xFFFF], (0, 1)),
    ),
    "pci": Entry(
        _pci,
        (pci.PORTS,),
        # The host bridge, the function at 00:01.0 in full, an absent one, and no address at all.
        index=Index(
            (0, 0, 4),
            [1 << 31, *range(1 << 31 | 1 << 11, 1 << 31 | 1 << 11 | 0x100, 4), 0xFFFF_FFFF, 0],
            (0, 4),
        ),
    ),
}
