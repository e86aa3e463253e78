//! The chips behind the local APICs: 8259 pair, I/O APIC and 8254, and how a PC wires them.

use super::ioapic::{IoApic, Sink};
use super::pic::PicPair;
use super::pit::Pit;

/// The 8254 is wired to ISA IRQ 0, and to the I/O APIC's pin 2 (the override every PC's firmware
/// describes).
const TIMER_IRQ: u8 = 0;
const TIMER_PIN: u32 = 2;
const ISA_IRQS: u32 = 16;

pub(super) struct Board {
    pub(super) pic: PicPair,
    pub(super) ioapic: IoApic,
    pub(super) pit: Pit,
    timer_line: bool,
}

impl Board {
    pub(super) fn new() -> Self {
        let mut board = Self {
            pic: PicPair::new(),
            ioapic: IoApic::new(),
            pit: Pit::new(),
            timer_line: false,
        };
        // The 8254's output idles high. Masked everywhere, this first edge reaches nobody; ICW1
        // forgets that the 8259 saw it.
        board.set_timer_line(true, &|_| false);
        board
    }

    /// Asserts or releases a global system interrupt. 0 and 2 belong to the 8254 and the cascade.
    pub(super) fn set_line(&mut self, gsi: u32, asserted: bool, sink: Sink<'_>) {
        if gsi == u32::from(TIMER_IRQ) || gsi == TIMER_PIN {
            return;
        }
        if gsi < ISA_IRQS {
            self.pic.set_line(gsi as u8, asserted);
        }
        self.ioapic.set_line(gsi, asserted, sink);
    }

    /// Brings the 8254's interrupt line up to now.
    pub(super) fn run_pit(&mut self, now_ns: u64, sink: Sink<'_>) {
        let (rose, line) = self.pit.timer_line(now_ns);
        if rose && line {
            self.set_timer_line(false, sink);
        }
        self.set_timer_line(line, sink);
    }

    fn set_timer_line(&mut self, asserted: bool, sink: Sink<'_>) {
        if self.timer_line != asserted {
            self.timer_line = asserted;
            self.pic.set_line(TIMER_IRQ, asserted);
            self.ioapic.set_line(TIMER_PIN, asserted, sink);
        }
    }

    /// One byte from a port of `PIO_CLAIMS`; all ones from any other.
    pub(super) fn read_port(&mut self, port: u16, now_ns: u64) -> u8 {
        match port {
            0x20 | 0x21 | 0xA0 | 0xA1 => self.pic.read(port),
            0x4D0 | 0x4D1 => self.pic.read_elcr(port),
            0x40..=0x43 => self.pit.read(port, now_ns),
            0x61 => self.pit.read_control(now_ns),
            _ => 0xFF,
        }
    }

    /// One byte to a port of `PIO_CLAIMS`; dropped for any other. The 8254's line has been brought
    /// up to now.
    pub(super) fn write_port(&mut self, port: u16, value: u8, now_ns: u64, sink: Sink<'_>) {
        match port {
            0x20 | 0x21 | 0xA0 | 0xA1 => self.pic.write(port, value),
            0x4D0 | 0x4D1 => self.pic.write_elcr(port, value),
            0x40..=0x43 => {
                self.pit.write(port, value, now_ns);
                self.run_pit(now_ns, sink);
            }
            0x61 => self.pit.write_control_port(value, now_ns),
            _ => {}
        }
    }
}
