//! The I/O APIC: 24 interrupt input pins that send messages to local APICs (82093AA datasheet,
//! chapter 3; version 20h with the EOI register of Intel ICH datasheets, "Advanced Programmable
//! Interrupt Controller", EOIR).
//!
//! A line here is *asserted* or not: the board inverts active-low inputs, so the polarity bit is kept
//! for software and changes nothing.

use super::message::{Delivery, Destination, Message};

pub(super) const PINS: u32 = 24;

/// Register offsets in the memory window.
const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const END_OF_INTERRUPT: u64 = 0x40;

/// Numbers of the registers behind the window (3.2).
const ID: u8 = 0x00;
const VERSION: u8 = 0x01;
const ARBITRATION: u8 = 0x02;
const REDIRECTION: u8 = 0x10;
const REDIRECTION_END: u8 = REDIRECTION + 2 * PINS as u8 - 1;

const VERSION_VALUE: u32 = 0x20 | (PINS - 1) << 16;

/// Fields of a redirection entry (3.2.4).
const LOGICAL: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Vector, delivery mode, destination mode, polarity, trigger mode and mask.
const LOW_WRITABLE: u64 = 0x1_AFFF;

/// How the I/O APIC reaches the local APICs: true if one accepted the message.
pub(super) type Sink<'a> = &'a dyn Fn(&Message) -> bool;

pub(super) struct IoApic {
    id: u32,
    select: u8,
    entries: [u64; PINS as usize],
    /// One bit for each pin that is asserted.
    lines: u32,
}

impl IoApic {
    pub(super) fn new() -> Self {
        Self {
            id: 0,
            select: 0,
            entries: [MASKED; PINS as usize],
            lines: 0,
        }
    }

    /// Asserts or releases a pin.
    pub(super) fn set_line(&mut self, pin: u32, asserted: bool, sink: Sink<'_>) {
        if pin >= PINS {
            return;
        }
        let bit = 1 << pin;
        let rose = asserted && self.lines & bit == 0;
        self.lines = if asserted {
            self.lines | bit
        } else {
            self.lines & !bit
        };
        let level = self.entries[pin as usize] & LEVEL != 0;
        if rose || (level && asserted) {
            self.service(pin, sink);
        }
    }

    /// An EOI for `vector` reached the I/O APIC: by broadcast or through its EOI register. Pins
    /// still asserted interrupt again.
    pub(super) fn end_of_interrupt(&mut self, vector: u8, sink: Sink<'_>) {
        for pin in 0..PINS {
            let entry = &mut self.entries[pin as usize];
            if *entry as u8 == vector && *entry & (LEVEL | REMOTE_IRR) == LEVEL | REMOTE_IRR {
                *entry &= !REMOTE_IRR;
                self.service_if_level(pin, sink);
            }
        }
    }

    /// Sends again what no local APIC wanted so far.
    pub(super) fn retry(&mut self, sink: Sink<'_>) {
        for pin in 0..PINS {
            self.service_if_level(pin, sink);
        }
    }

    /// Memory read. Registers are 32 bits wide.
    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset & !3 {
            SELECT => u32::from(self.select),
            WINDOW => self.read_register(),
            _ => 0,
        }
    }

    /// Memory write.
    pub(super) fn write(&mut self, offset: u64, value: u32, sink: Sink<'_>) {
        match offset {
            SELECT => self.select = value as u8,
            WINDOW => self.write_register(value, sink),
            END_OF_INTERRUPT => self.end_of_interrupt(value as u8, sink),
            _ => {}
        }
    }

    fn read_register(&self) -> u32 {
        match self.select {
            ID | ARBITRATION => self.id,
            VERSION => VERSION_VALUE,
            register @ REDIRECTION..=REDIRECTION_END => {
                let entry = self.entries[usize::from((register - REDIRECTION) / 2)];
                if register & 1 == 0 {
                    entry as u32
                } else {
                    (entry >> 32) as u32
                }
            }
            _ => 0,
        }
    }

    fn write_register(&mut self, value: u32, sink: Sink<'_>) {
        match self.select {
            ID => self.id = value & 0x0F00_0000,
            register @ REDIRECTION..=REDIRECTION_END => {
                let pin = u32::from((register - REDIRECTION) / 2);
                let entry = &mut self.entries[pin as usize];
                if register & 1 == 0 {
                    let kept = *entry & !(LOW_WRITABLE);
                    *entry = kept | u64::from(value) & LOW_WRITABLE;
                    // Switching to edge ends a level interrupt: how software without the EOI
                    // register gets out of a stuck remote IRR.
                    if *entry & LEVEL == 0 {
                        *entry &= !REMOTE_IRR;
                    }
                } else {
                    *entry = *entry & 0xFFFF_FFFF | u64::from(value & 0xFF00_0000) << 32;
                }
                self.service_if_level(pin, sink);
            }
            _ => {}
        }
    }

    fn service_if_level(&mut self, pin: u32, sink: Sink<'_>) {
        if self.lines & (1 << pin) != 0 && self.entries[pin as usize] & LEVEL != 0 {
            self.service(pin, sink);
        }
    }

    /// Sends the pin's interrupt unless it is masked or still in service. An edge on a masked pin is
    /// lost, as in the 82093AA.
    fn service(&mut self, pin: u32, sink: Sink<'_>) {
        let entry = self.entries[pin as usize];
        if entry & (MASKED | REMOTE_IRR) != 0 {
            return;
        }
        let Some(delivery) = Delivery::from_register(entry as u32) else {
            return;
        };
        let level = entry & LEVEL != 0 && delivery.has_vector();
        let destination = Destination::from_byte((entry >> 56) as u8, entry & LOGICAL != 0);
        let message = Message {
            vector: entry as u8,
            delivery,
            level,
            destination,
        };
        // Remote IRR is set when a local APIC accepts the level interrupt.
        if sink(&message) && level {
            self.entries[pin as usize] |= REMOTE_IRR;
        }
    }
}
