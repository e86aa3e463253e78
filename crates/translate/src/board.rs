//! What the vCPUs of one machine share.

use std::sync::Arc;

use wardian_engine::bus::Bus;
use wardian_engine::clock::Clock;
use wardian_engine::irqchip::Irqchip;
use wardian_engine::profile::Profiler;
use wardian_memory::GuestRam;

/// RAM, bus, interrupt controllers, profile and clock of one machine.
pub struct Board {
    /// Guest RAM.
    pub ram: GuestRam,
    /// Ports and device memory.
    pub bus: Bus,
    /// Interrupt controllers and timers.
    pub irqchip: Irqchip,
    /// Where the vCPUs say what they are at, when they are asked.
    pub profiler: Profiler,
    /// Time.
    pub clock: Arc<Clock>,
}
