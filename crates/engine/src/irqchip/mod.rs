//! The machine's interrupt controllers and timers.

use std::sync::Arc;

use crate::clock::Clock;
use crate::signal::VcpuSignal;

/// The access is a general-protection fault (#GP(0)) of the instruction that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gp;

/// Ports of the interrupt controllers and timers, as (first port, number of ports).
pub const PIO_CLAIMS: &[(u16, u16)] = &[(0x20, 2), (0xA0, 2), (0x4D0, 2), (0x40, 4), (0x61, 1)];
/// Where the I/O APIC's registers are in guest-physical memory.
pub const IOAPIC_BASE: u64 = 0xFEC0_0000;
/// Bytes of guest-physical memory the I/O APIC answers.
pub const IOAPIC_LENGTH: u64 = 0x1000;

/// The interrupt controllers.
pub struct Irqchip {
    signals: Vec<Arc<VcpuSignal>>,
    clock: Arc<Clock>,
}

#[allow(unused_variables, missing_docs, clippy::unused_self)]
impl Irqchip {
    pub fn new(signals: Vec<Arc<VcpuSignal>>, clock: Arc<Clock>) -> Self {
        Self { signals, clock }
    }
    pub fn set_line(&self, gsi: u32, level: bool) {}
    pub fn send_msi(&self, address: u64, data: u32) {}
    pub fn nmi(&self, vcpu: usize) {
        self.signals[vcpu].raise(VcpuSignal::IRQ);
    }
    pub fn pio_read(&self, port: u16, size: u8) -> u32 {
        u32::MAX
    }
    pub fn pio_write(&self, port: u16, size: u8, value: u32) {}
    pub fn ioapic_read(&self, offset: u64, size: u8) -> u64 {
        0
    }
    pub fn ioapic_write(&self, offset: u64, size: u8, value: u64) {}
    pub fn lapic_mmio_read(&self, vcpu: usize, offset: u64, size: u8) -> u64 {
        0
    }
    pub fn lapic_mmio_write(&self, vcpu: usize, offset: u64, size: u8, value: u64) {}
    pub fn lapic_msr_read(&self, vcpu: usize, msr: u32) -> Result<u64, Gp> {
        Err(Gp)
    }
    pub fn lapic_msr_write(&self, vcpu: usize, msr: u32, value: u64) -> Result<(), Gp> {
        Err(Gp)
    }
    pub fn apic_base(&self, vcpu: usize) -> u64 {
        0xFEE0_0900
    }
    pub fn tpr(&self, vcpu: usize) -> u8 {
        0
    }
    pub fn cr8(&self, vcpu: usize) -> u8 {
        0
    }
    pub fn set_cr8(&self, vcpu: usize, value: u8) {}
    pub fn has_interrupt(&self, vcpu: usize) -> bool {
        false
    }
    pub fn take_interrupt(&self, vcpu: usize) -> Option<u8> {
        None
    }
    pub fn has_nmi(&self, vcpu: usize) -> bool {
        false
    }
    pub fn take_nmi(&self, vcpu: usize) -> bool {
        false
    }
    pub fn take_init(&self, vcpu: usize) -> bool {
        false
    }
    pub fn take_sipi(&self, vcpu: usize) -> Option<u8> {
        None
    }
    pub fn reset_lapic(&self, vcpu: usize) {}
    /// The guest's TSC is the host's plus this; TSC deadlines are in guest time.
    pub fn set_tsc_offset(&self, vcpu: usize, offset: u64) {}
    pub fn next_deadline(&self, vcpu: usize) -> u64 {
        u64::MAX
    }
    pub fn run_timers(&self, vcpu: usize, now_ns: u64) {
        let _ = self.clock.now_ns();
    }
}
