//! The local APIC's registers, through memory (xAPIC) and through MSRs (x2APIC): Intel SDM vol 3,
//! Table 11-1 and Table 11-6. A register's number is its offset / 16 and its MSR - 800h.

use super::Gp;
use super::lapic::{
    ERROR_ILLEGAL_REGISTER, ERROR_SEND_ILLEGAL_VECTOR, LVT_ERROR, LVT_MASKED, LVT_TIMER, Lapic,
    Mode, SVR_ENABLE,
};
use super::lapic_timer::TimerMode;
use super::message::{Message, from_icr};
use crate::clock::Clock;

const ID: u32 = 0x02;
const VERSION: u32 = 0x03;
const TPR: u32 = 0x08;
const ARBITRATION_PRIORITY: u32 = 0x09;
const PPR: u32 = 0x0A;
const EOI: u32 = 0x0B;
const REMOTE_READ: u32 = 0x0C;
const LDR: u32 = 0x0D;
const DFR: u32 = 0x0E;
const SVR: u32 = 0x0F;
const ISR: u32 = 0x10;
const ISR_END: u32 = 0x17;
const TMR: u32 = 0x18;
const TMR_END: u32 = 0x1F;
const IRR: u32 = 0x20;
const IRR_END: u32 = 0x27;
const ESR: u32 = 0x28;
const ICR: u32 = 0x30;
const ICR_HIGH: u32 = 0x31;
const LVT: u32 = 0x32;
const LVT_END: u32 = 0x37;
const INITIAL_COUNT: u32 = 0x38;
const CURRENT_COUNT: u32 = 0x39;
const DIVIDE: u32 = 0x3E;
const SELF_IPI: u32 = 0x3F;

/// Version 14h, six LVT entries, EOI broadcast suppression (11.4.8).
const VERSION_VALUE: u32 = 0x14 | 5 << 16 | 1 << 24;

const SVR_WRITABLE: u32 = 0x13FF;
const DIVIDE_WRITABLE: u32 = 0xB;
/// Vector, delivery mode, polarity, trigger, mask and timer mode where the entry has them (Figure
/// 11-8).
const LVT_WRITABLE: [u32; 6] = [0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];
/// Delivery status and remote IRR: not reserved, but read-only.
const LVT_READ_ONLY: u32 = 1 << 12 | 1 << 14;
/// Vector to destination mode, level, trigger, shorthand and the 32-bit destination. Bit 12 is the
/// xAPIC's read-only delivery status, which x2APIC mode has no more: setting it is tolerated.
const ICR_X2APIC_ALLOWED: u64 = 0xFFFF_FFFF_000C_DFFF;
const ICR_DELIVERY_STATUS: u64 = 1 << 12;

/// What a register write does beyond its own APIC. The caller performs it without holding the APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Send(Message),
    /// The level-triggered interrupt of this vector is over.
    EndLevel(u8),
    /// The APIC takes interrupts again that it refused before.
    Enabled,
}

/// The number of the register at this offset in the APIC's page.
pub(super) fn number(offset: u64) -> u32 {
    ((offset >> 4) & 0xFF) as u32
}

/// Whether writing this register can change when the timer expires next.
pub(super) fn moves_timer(register: u32) -> bool {
    matches!(register, SVR | LVT | INITIAL_COUNT | DIVIDE)
}

/// There is no such register, or not for this kind of access.
#[derive(Debug)]
struct Missing;

impl Lapic {
    /// Memory read, `offset` in 0..1000h. Registers are 32 bits wide on 16-byte boundaries; what
    /// lies between reads as 0 (11.4.1 leaves it undefined).
    pub(super) fn mmio_read(&mut self, offset: u64, size: u8, clock: &Clock) -> u64 {
        if self.mode() != Mode::XApic {
            return u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        }
        let register = number(offset);
        let value = match register {
            ID => self.id << 24,
            ICR_HIGH => (self.icr >> 32) as u32,
            SELF_IPI => self.illegal_register(),
            _ => self
                .read(register, clock)
                .unwrap_or_else(|_| self.illegal_register()),
        };
        u64::from(value)
            .checked_shr(8 * (offset & 0xF) as u32)
            .unwrap_or(0)
    }

    /// Memory write. Anything but an aligned write of at least 32 bits is dropped.
    pub(super) fn mmio_write(
        &mut self,
        offset: u64,
        size: u8,
        value: u32,
        clock: &Clock,
    ) -> Effect {
        if self.mode() != Mode::XApic || offset & 0xF != 0 || size < 4 {
            return Effect::None;
        }
        let register = number(offset);
        match register {
            // Read-only here, so that two APICs never answer to one id.
            ID => Effect::None,
            LDR => {
                self.ldr = value & 0xFF00_0000;
                Effect::None
            }
            DFR => {
                self.dfr = value | 0x0FFF_FFFF;
                Effect::None
            }
            ICR => {
                self.icr = (self.icr & !0xFFFF_FFFF) | u64::from(value) & !ICR_DELIVERY_STATUS;
                self.send(false)
            }
            ICR_HIGH => {
                self.icr = (self.icr & 0xFFFF_FFFF) | u64::from(value & 0xFF00_0000) << 32;
                Effect::None
            }
            SELF_IPI => {
                self.illegal_register();
                Effect::None
            }
            _ => self.write(register, value, clock).unwrap_or_else(|_| {
                self.illegal_register();
                Effect::None
            }),
        }
    }

    /// RDMSR of 800h + `register`.
    pub(super) fn msr_read(&mut self, register: u32, clock: &Clock) -> Result<u64, Gp> {
        if self.mode() != Mode::X2Apic {
            return Err(Gp);
        }
        match register {
            ID => Ok(u64::from(self.id)),
            ICR => Ok(self.icr),
            EOI | DFR | ICR_HIGH | SELF_IPI | ARBITRATION_PRIORITY | REMOTE_READ => Err(Gp),
            _ => self.read(register, clock).map(u64::from).map_err(|_| Gp),
        }
    }

    /// WRMSR of 800h + `register`. Reserved bits and read-only registers fault (11.12.1.3).
    pub(super) fn msr_write(
        &mut self,
        register: u32,
        value: u64,
        clock: &Clock,
    ) -> Result<Effect, Gp> {
        if self.mode() != Mode::X2Apic {
            return Err(Gp);
        }
        if register == ICR {
            if value & !ICR_X2APIC_ALLOWED != 0 {
                return Err(Gp);
            }
            self.icr = value & !ICR_DELIVERY_STATUS;
            return Ok(self.send(true));
        }
        let allowed = match register {
            TPR | SELF_IPI => 0xFF,
            EOI | ESR => 0,
            SVR => SVR_WRITABLE,
            LVT..=LVT_END => LVT_WRITABLE[(register - LVT) as usize] | LVT_READ_ONLY,
            INITIAL_COUNT => u32::MAX,
            DIVIDE => DIVIDE_WRITABLE,
            _ => return Err(Gp),
        };
        if value & !u64::from(allowed) != 0 {
            return Err(Gp);
        }
        if register == SELF_IPI {
            return Ok(self.self_ipi(value as u8));
        }
        self.write(register, value as u32, clock).map_err(|_| Gp)
    }

    /// Registers that read the same both ways.
    fn read(&self, register: u32, clock: &Clock) -> Result<u32, Missing> {
        Ok(match register {
            VERSION => VERSION_VALUE,
            TPR => u32::from(self.tpr),
            // Not implemented since the Pentium 4 (11.6.2.4).
            ARBITRATION_PRIORITY | REMOTE_READ => 0,
            PPR => u32::from(self.ppr()),
            // Write-only, read as 0 through memory.
            EOI => 0,
            LDR => self.logical_id(),
            DFR => self.dfr,
            SVR => self.svr,
            ISR..=ISR_END => self.isr.word((register - ISR) as usize),
            TMR..=TMR_END => self.tmr.word((register - TMR) as usize),
            IRR..=IRR_END => self.irr.word((register - IRR) as usize),
            ESR => self.esr,
            ICR => self.icr as u32,
            LVT..=LVT_END => self.lvt[(register - LVT) as usize],
            INITIAL_COUNT => self.timer.initial(),
            CURRENT_COUNT => self.timer.current(clock.now_ns()),
            DIVIDE => self.timer.divide(),
            _ => return Err(Missing),
        })
    }

    /// Registers that are written the same both ways.
    fn write(&mut self, register: u32, value: u32, clock: &Clock) -> Result<Effect, Missing> {
        match register {
            TPR => self.tpr = value as u8,
            EOI => {
                return Ok(self
                    .end_of_interrupt()
                    .map_or(Effect::None, Effect::EndLevel));
            }
            SVR => return Ok(self.write_svr(value)),
            // Writing makes the errors since the last write visible (11.5.3).
            ESR => self.esr = std::mem::take(&mut self.errors),
            LVT..=LVT_END => self.write_lvt((register - LVT) as usize, value, clock),
            INITIAL_COUNT => {
                let now_ns = clock.now_ns();
                self.run_timer(now_ns, clock);
                self.timer.set_initial(value, now_ns);
            }
            DIVIDE => {
                let now_ns = clock.now_ns();
                self.run_timer(now_ns, clock);
                self.timer.set_divide(value, now_ns);
            }
            _ => return Err(Missing),
        }
        Ok(Effect::None)
    }

    /// Software-disabling masks every LVT entry and keeps them masked (11.4.7.2).
    fn write_svr(&mut self, value: u32) -> Effect {
        let was_enabled = self.svr & SVR_ENABLE != 0;
        self.svr = value & SVR_WRITABLE;
        let enabled = self.svr & SVR_ENABLE != 0;
        if !enabled {
            for entry in &mut self.lvt {
                *entry |= LVT_MASKED;
            }
        }
        if enabled && !was_enabled {
            Effect::Enabled
        } else {
            Effect::None
        }
    }

    fn write_lvt(&mut self, index: usize, value: u32, clock: &Clock) {
        let masked = if self.svr & SVR_ENABLE == 0 {
            LVT_MASKED
        } else {
            0
        };
        if index == LVT_TIMER {
            self.run_timer(clock.now_ns(), clock);
            self.timer.set_mode(TimerMode::from_lvt(value));
        }
        self.lvt[index] = value & LVT_WRITABLE[index] | masked;
    }

    /// WRMSR to IA32_TSC_DEADLINE (11.5.4.1). A deadline in the past expires at once;
    /// the time plays no part in this timer mode.
    pub(super) fn write_tsc_deadline(&mut self, deadline: u64, clock: &Clock) {
        if self.timer.set_tsc_deadline(deadline) {
            self.run_timer(0, clock);
        }
    }

    fn send(&mut self, x2apic: bool) -> Effect {
        let Some(message) = from_icr(self.icr, x2apic, self.id) else {
            return Effect::None;
        };
        if message.delivery.has_vector() && message.vector < 16 {
            self.error(ERROR_SEND_ILLEGAL_VECTOR);
            return Effect::None;
        }
        Effect::Send(message)
    }

    /// The self-IPI register (11.12.11): an edge-triggered fixed interrupt to this APIC.
    fn self_ipi(&mut self, vector: u8) -> Effect {
        if vector < 16 {
            self.error(ERROR_SEND_ILLEGAL_VECTOR);
        } else {
            self.request(vector, false);
        }
        Effect::None
    }

    fn illegal_register(&mut self) -> u32 {
        self.error(ERROR_ILLEGAL_REGISTER);
        0
    }
}

const _: () = assert!(LVT_END - LVT == LVT_ERROR as u32);
