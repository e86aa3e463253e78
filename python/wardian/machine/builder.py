"""Composes a machine: the only place that knows every part.

It reads in the order in which a PC is put together: CPUs and memory, the devices, then what the
firmware would leave in memory before it jumps to the kernel. A reset builds the machine again.
"""

from __future__ import annotations

from wardian.base.clock import Clock, SystemClock
from wardian.boot.acpi import acpi_tables
from wardian.boot.board import COM1_GSI, SCI_GSI
from wardian.boot.memory_map import ECAM_BASE, ECAM_LENGTH, RSDP, RamLayout
from wardian.boot.plan import plan_boot
from wardian.cpu.models import cpuid_entries, msr_defaults
from wardian.devices.acpi_pm import AcpiPm
from wardian.devices.debug_exit import DebugExit
from wardian.devices.device import Device
from wardian.devices.fw_cfg import FwCfg
from wardian.devices.i8042 import I8042
from wardian.devices.pci import PciHost
from wardian.devices.reset_control import ResetControl
from wardian.devices.rtc import CmosRtc
from wardian.devices.serial import Serial16550
from wardian.machine.board import Board
from wardian.machine.bus import Bus
from wardian.machine.console import Console
from wardian.machine.engine import CreateVm
from wardian.machine.preparation import Preparation
from wardian.machine.spec import MachineSpec
from wardian.machine.wiring import End, Wiring


def build_board(
    spec: MachineSpec,
    preparation: Preparation,
    console: Console,
    end: End,
    create_vm: CreateVm,
) -> Board:
    """Builds the machine of `spec`, ready to run; `end` hears when the guest ends it.

    Errors: `CallerError` BOOT_... for media that cannot be booted; `HostError` for an engine that
    the host refuses. Nothing is left behind by either.
    """
    ram = RamLayout.for_size(spec.memory_bytes)
    plan = plan_boot(
        preparation.media.kernel, preparation.media.initrd, spec.append, ram, acpi_rsdp=RSDP
    )

    vm = create_vm(preparation.engine, spec.cpus)
    for base, length in ram.ranges:
        vm.map_ram(base, length)
    vm.set_cpuid(cpuid_entries(preparation.cpu_model, spec.cpus, vm.tsc_hz()))

    bus, wiring = Bus(vm), Wiring(vm, end)
    clock = SystemClock()
    serial = Serial16550(output=console.put, irq=wiring.line(COM1_GSI))
    power = AcpiPm(clock.monotonic_ns, wiring.line(SCI_GSI), wiring.power_off)
    for device in (serial, power, *_other_devices(spec, ram, wiring, clock)):
        bus.attach(device)

    for address, data in (*acpi_tables(spec.cpus), *plan.writes):
        vm.write_ram(address, data)
    vcpus = tuple(vm.vcpu(index) for index in range(spec.cpus))
    for vcpu in vcpus:
        vcpu.set_state({"msrs": msr_defaults(preparation.cpu_model)})
    vcpus[0].set_state(plan.state)
    return Board(
        vm=vm,
        bus=bus,
        wiring=wiring,
        vcpus=vcpus,
        description=f"{preparation.engine} engine, {plan.description}",
        type_in=bus.enter(serial, serial.feed),
        unread=lambda: serial.unread,
        press_power_button=bus.enter(power, power.press_power_button),
    )


def _other_devices(spec: MachineSpec, ram: RamLayout, wiring: Wiring, clock: Clock) -> list[Device]:
    """The devices that nobody but the guest talks to."""
    devices: list[Device] = [
        PciHost(ECAM_BASE, ECAM_LENGTH, ResetControl(wiring.reset)),
        I8042(wiring.reset),
        CmosRtc(clock.wall_s, ram.low, ram.high),
        FwCfg(spec.cpus, spec.memory_bytes),
    ]
    if spec.debug_exit:
        devices.append(DebugExit(wiring.debug_exit))
    return devices
