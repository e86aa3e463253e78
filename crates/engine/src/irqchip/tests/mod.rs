//! The controllers as a guest and the board see them, on a clock that stands still.

mod ioapic;
mod ipi;
mod lapic;
mod pic;
mod pit;
mod random;
mod timer;
mod x2apic;

use std::sync::Arc;

use super::{Gp, Irqchip};
use crate::clock::Clock;
use crate::signal::VcpuSignal;

const APIC_BASE: u32 = 0x1B;
const TSC_DEADLINE: u32 = 0x6E0;

/// A machine's interrupt controllers with everybody's signals in reach.
struct Machine {
    chip: Irqchip,
    clock: Arc<Clock>,
    signals: Vec<Arc<VcpuSignal>>,
}

impl Machine {
    /// Local APICs enabled with spurious vector FFh, as an operating system leaves them.
    fn new(vcpus: usize) -> Self {
        let machine = Self::as_firmware_leaves_it(vcpus);
        for vcpu in 0..vcpus {
            machine.write(vcpu, 0xF0, 0x1FF);
        }
        machine.forget_signals();
        machine
    }

    fn as_firmware_leaves_it(vcpus: usize) -> Self {
        let clock = Arc::new(Clock::manual());
        let signals: Vec<_> = (0..vcpus).map(|_| Arc::new(VcpuSignal::new())).collect();
        let chip = Irqchip::new(signals.clone(), Arc::clone(&clock));
        Self {
            chip,
            clock,
            signals,
        }
    }

    /// All APICs in x2APIC mode.
    fn x2apic(vcpus: usize) -> Self {
        let machine = Self::new(vcpus);
        for vcpu in 0..vcpus {
            let base = machine.chip.apic_base(vcpu);
            machine
                .chip
                .lapic_msr_write(vcpu, APIC_BASE, base | 0x400)
                .unwrap();
        }
        machine
    }

    fn write(&self, vcpu: usize, offset: u64, value: u32) {
        self.chip
            .lapic_mmio_write(vcpu, offset, 4, u64::from(value));
    }

    fn read(&self, vcpu: usize, offset: u64) -> u32 {
        self.chip.lapic_mmio_read(vcpu, offset, 4) as u32
    }

    fn wrmsr(&self, vcpu: usize, msr: u32, value: u64) -> Result<(), Gp> {
        self.chip.lapic_msr_write(vcpu, msr, value)
    }

    fn rdmsr(&self, vcpu: usize, msr: u32) -> Result<u64, Gp> {
        self.chip.lapic_msr_read(vcpu, msr)
    }

    fn outb(&self, port: u16, value: u8) {
        self.chip.pio_write(port, 1, u32::from(value));
    }

    fn inb(&self, port: u16) -> u8 {
        self.chip.pio_read(port, 1) as u8
    }

    /// A fixed, edge-triggered, physical MSI.
    fn msi(&self, vcpu: usize, vector: u8) {
        self.chip
            .send_msi(0xFEE0_0000 | (vcpu as u64) << 12, u32::from(vector));
    }

    /// Moves the clock, and lets every vCPU look after its timers if it has to.
    fn advance(&self, ns: u64) {
        self.clock.advance_ns(ns);
        let now_ns = self.clock.now_ns();
        for vcpu in 0..self.signals.len() {
            if self.chip.next_deadline(vcpu) <= now_ns {
                self.chip.run_timers(vcpu, now_ns);
            }
        }
    }

    /// Everything the vCPU would take now, each ended by an EOI.
    fn serve(&self, vcpu: usize) -> Vec<u8> {
        let mut vectors = Vec::new();
        while let Some(vector) = self.chip.take_interrupt(vcpu) {
            vectors.push(vector);
            if !self.eoi(vcpu) {
                break;
            }
        }
        vectors
    }

    fn eoi(&self, vcpu: usize) -> bool {
        self.write(vcpu, 0xB0, 0);
        self.wrmsr(vcpu, 0x80B, 0).is_ok() || self.chip.apic_base(vcpu) & 0x400 == 0
    }

    fn signalled(&self, vcpu: usize) -> bool {
        self.signals[vcpu].take(VcpuSignal::IRQ) != 0
    }

    fn forget_signals(&self) {
        for signal in &self.signals {
            signal.take(u32::MAX);
        }
    }
}
