//! One local APIC: which interrupts are waiting, in service and deliverable (Intel SDM vol 3,
//! chapter 11). Its registers are in `lapic_registers`, its timer in `lapic_timer`.

use super::Gp;
use super::lapic_timer::Timer;
use super::message::{Delivery, Message};
use crate::clock::Clock;

/// IA32_APIC_BASE after power-up, without the bootstrap bit (11.4.4).
const BASE_RESET: u64 = 0xFEE0_0000 | BASE_ENABLE;
const BASE_BSP: u64 = 1 << 8;
const BASE_EXTD: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
/// Bits 51:12: the address, as wide as physical addresses can be. A CPUID model with narrower ones
/// only makes the APIC unreachable when it is moved beyond them.
const BASE_ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

pub(super) const LVT_TIMER: usize = 0;
pub(super) const LVT_LINT0: usize = 3;
pub(super) const LVT_LINT1: usize = 4;
pub(super) const LVT_ERROR: usize = 5;
pub(super) const LVT_MASKED: u32 = 1 << 16;

pub(super) const SVR_ENABLE: u32 = 1 << 8;
const SVR_SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;

pub(super) const ERROR_SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
const ERROR_RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
pub(super) const ERROR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// IA32_APIC_BASE bits 11:10 (11.12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Disabled,
    XApic,
    X2Apic,
}

/// A 256-bit register: one bit for each vector.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct VectorSet([u32; 8]);

impl VectorSet {
    pub(super) fn word(&self, index: usize) -> u32 {
        self.0[index & 7]
    }

    fn assign(&mut self, vector: u8, value: bool) {
        let word = &mut self.0[usize::from(vector >> 5)];
        let bit = 1 << (vector & 31);
        *word = if value { *word | bit } else { *word & !bit };
    }

    fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] & (1 << (vector & 31)) != 0
    }

    fn highest(&self) -> Option<u8> {
        let index = self.0.iter().rposition(|&word| word != 0)?;
        Some((index as u32 * 32 + self.0[index].ilog2()) as u8)
    }
}

#[derive(Debug)]
pub(super) struct Lapic {
    pub(super) id: u32,
    pub(super) base: u64,
    pub(super) tpr: u8,
    pub(super) svr: u32,
    pub(super) ldr: u32,
    pub(super) dfr: u32,
    /// The error status register, and the errors since it was last written (11.5.3).
    pub(super) esr: u32,
    pub(super) errors: u32,
    pub(super) icr: u64,
    /// Timer, thermal, performance, LINT0, LINT1, error: the order of their registers.
    pub(super) lvt: [u32; 6],
    pub(super) irr: VectorSet,
    pub(super) isr: VectorSet,
    pub(super) tmr: VectorSet,
    pub(super) timer: Timer,
    pub(super) nmi: bool,
    pub(super) init: bool,
    pub(super) startup: Option<u8>,
}

impl Lapic {
    /// The state in which firmware hands a machine over: on the bootstrap processor the virtual wire
    /// of MultiProcessor Specification 1.4, 3.6.2.2 (the 8259 pair reaches the CPU through LINT0, NMI
    /// comes through LINT1); on the others the state after INIT.
    pub(super) fn new(id: u32) -> Self {
        let bootstrap = id == 0;
        let mut lapic = Self {
            id,
            base: BASE_RESET | if bootstrap { BASE_BSP } else { 0 },
            tpr: 0,
            svr: 0,
            ldr: 0,
            dfr: 0,
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [0; 6],
            irr: VectorSet::default(),
            isr: VectorSet::default(),
            tmr: VectorSet::default(),
            timer: Timer::new(),
            nmi: false,
            init: false,
            startup: None,
        };
        lapic.reset();
        if bootstrap {
            lapic.svr |= SVR_ENABLE;
            lapic.lvt[LVT_LINT0] = 7 << 8;
            lapic.lvt[LVT_LINT1] = 4 << 8;
        }
        lapic
    }

    /// The state after INIT (11.4.7.3): everything but the id, IA32_APIC_BASE and a start-up message
    /// that came after the INIT.
    pub(super) fn reset(&mut self) {
        self.tpr = 0;
        self.svr = 0xFF;
        self.ldr = 0;
        self.dfr = u32::MAX;
        self.esr = 0;
        self.errors = 0;
        self.icr = 0;
        self.lvt = [LVT_MASKED; 6];
        self.irr = VectorSet::default();
        self.isr = VectorSet::default();
        self.tmr = VectorSet::default();
        self.timer.reset();
        self.nmi = false;
    }

    pub(super) fn mode(&self) -> Mode {
        match (self.base & BASE_ENABLE != 0, self.base & BASE_EXTD != 0) {
            (false, _) => Mode::Disabled,
            (true, false) => Mode::XApic,
            (true, true) => Mode::X2Apic,
        }
    }

    /// WRMSR to IA32_APIC_BASE: the legal transitions of Figure 11-27. Disabling loses the state
    /// (11.4.3). The bootstrap bit is a fact about the machine and keeps its value.
    pub(super) fn set_base(&mut self, value: u64) -> Result<(), Gp> {
        if value & !(BASE_ADDRESS | BASE_BSP | BASE_EXTD | BASE_ENABLE) != 0 {
            return Err(Gp);
        }
        let enable = value & BASE_ENABLE != 0;
        let extended = value & BASE_EXTD != 0;
        match (self.mode(), enable, extended) {
            (_, false, true) | (Mode::Disabled, true, true) | (Mode::X2Apic, true, false) => {
                return Err(Gp);
            }
            (_, false, false) => self.reset(),
            (Mode::XApic, true, true) => self.icr = 0,
            _ => {}
        }
        self.base = (value & !BASE_BSP) | (self.base & BASE_BSP);
        Ok(())
    }

    pub(super) fn software_enabled(&self) -> bool {
        self.mode() != Mode::Disabled && self.svr & SVR_ENABLE != 0
    }

    /// The logical id in x2APIC mode is read-only and follows from the id (11.12.10.2).
    pub(super) fn logical_id(&self) -> u32 {
        match self.mode() {
            Mode::X2Apic => ((self.id >> 4) << 16) | (1 << (self.id & 15)),
            _ => self.ldr,
        }
    }

    /// Whether a logical message destination address means this APIC (11.6.2.2, 11.12.10.1).
    pub(super) fn matches_logical(&self, mda: u32) -> bool {
        match self.mode() {
            Mode::Disabled => false,
            Mode::X2Apic => {
                let id = self.logical_id();
                id >> 16 == mda >> 16 && id & mda & 0xFFFF != 0
            }
            Mode::XApic => {
                let id = self.ldr >> 24;
                if mda > 0xFF {
                    false
                } else if self.dfr >> 28 == 0xF {
                    id & mda != 0
                } else {
                    id >> 4 == mda >> 4 && id & mda & 0xF != 0
                }
            }
        }
    }

    /// Takes a message addressed to this APIC; true if it was accepted.
    pub(super) fn accept(&mut self, message: &Message) -> bool {
        if self.mode() == Mode::Disabled {
            return false;
        }
        match message.delivery {
            Delivery::Fixed | Delivery::LowestPriority => {
                self.request(message.vector, message.level)
            }
            Delivery::Nmi => {
                self.nmi = true;
                true
            }
            Delivery::Init => {
                self.init = true;
                self.startup = None;
                true
            }
            Delivery::Startup => {
                self.startup = Some(message.vector);
                true
            }
            Delivery::Smi | Delivery::ExtInt => false,
        }
    }

    /// Puts a vector into the IRR. Vectors below 16 are errors (11.5.2); a software-disabled APIC
    /// takes none (11.4.7.2).
    pub(super) fn request(&mut self, vector: u8, level: bool) -> bool {
        if !self.software_enabled() {
            return false;
        }
        if vector < 16 {
            self.error(ERROR_RECEIVE_ILLEGAL_VECTOR);
            return false;
        }
        self.irr.assign(vector, true);
        self.tmr.assign(vector, level);
        true
    }

    /// Notes an error and raises the error interrupt (11.5.3).
    pub(super) fn error(&mut self, error: u32) {
        self.errors |= error;
        let lvt = self.lvt[LVT_ERROR];
        if lvt & LVT_MASKED != 0 {
            return;
        }
        if lvt as u8 >= 16 {
            self.request(lvt as u8, false);
        } else {
            self.errors |= ERROR_RECEIVE_ILLEGAL_VECTOR;
        }
    }

    /// Processor priority (11.8.3.1).
    pub(super) fn ppr(&self) -> u8 {
        let in_service = self.isr.highest().unwrap_or(0);
        if self.tpr >> 4 >= in_service >> 4 {
            self.tpr
        } else {
            in_service & 0xF0
        }
    }

    /// The vector the CPU would get now.
    pub(super) fn deliverable(&self) -> Option<u8> {
        let vector = self.irr.highest()?;
        (self.mode() != Mode::Disabled && vector >> 4 > self.ppr() >> 4).then_some(vector)
    }

    /// Interrupt acknowledge: moves the vector from the IRR to the ISR.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.deliverable()?;
        self.irr.assign(vector, false);
        self.isr.assign(vector, true);
        Some(vector)
    }

    /// End of interrupt; the vector to tell the I/O APIC, if it was level-triggered (11.8.5).
    pub(super) fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.isr.highest()?;
        self.isr.assign(vector, false);
        let broadcast = self.tmr.contains(vector) && self.svr & SVR_SUPPRESS_EOI_BROADCAST == 0;
        broadcast.then_some(vector)
    }

    /// Whether the 8259 pair's output reaches the CPU: as ExtINT through LINT0, or straight when the
    /// APIC is disabled (11.4.3).
    pub(super) fn passes_extint(&self) -> bool {
        let lint0 = self.lvt[LVT_LINT0];
        self.mode() == Mode::Disabled
            || (lint0 & LVT_MASKED == 0 && Delivery::from_register(lint0) == Some(Delivery::ExtInt))
    }

    /// LINT0 went from low to high. Its ExtINT use is a level and is asked by `passes_extint`.
    pub(super) fn lint0_edge(&mut self) {
        let lint0 = self.lvt[LVT_LINT0];
        if self.mode() == Mode::Disabled || lint0 & LVT_MASKED != 0 {
            return;
        }
        match Delivery::from_register(lint0) {
            Some(Delivery::Fixed) => {
                self.request(lint0 as u8, false);
            }
            Some(Delivery::Nmi) => self.nmi = true,
            _ => {}
        }
    }

    /// Lets the timer expire up to now. An expiry while the LVT is masked is lost.
    pub(super) fn run_timer(&mut self, now_ns: u64, clock: &Clock) {
        let lvt = self.lvt[LVT_TIMER];
        if self.timer.advance(now_ns, clock) && lvt & LVT_MASKED == 0 {
            self.request(lvt as u8, false);
        }
    }

    /// When `run_timer` has something to deliver; `u64::MAX` for never.
    pub(super) fn timer_deadline_ns(&self, clock: &Clock) -> u64 {
        if self.lvt[LVT_TIMER] & LVT_MASKED != 0 {
            return u64::MAX;
        }
        self.timer.deadline_ns(clock)
    }
}
