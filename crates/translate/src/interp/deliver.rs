//! Delivering interrupts and exceptions through the IDT (Intel SDM vol. 3, chapter 6).

use wardian_engine::state::Segment;

use super::run::address_fault;
use crate::cpu::exception::{Exception, Exec, Stop, StopReason, vector};
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index, system_type};
use crate::cpu::{Cpu, flags};

/// Deliveries that may fail before one succeeds. A double fault, and a benign exception and a page
/// fault before it, are at most four.
const MAX_DELIVERIES: u32 = 8;

/// Where an interrupt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An interrupt controller, or NMI.
    External,
    /// INT n, INT3, INTO: the gate's privilege level counts.
    Software,
    /// An exception, with its error code if the vector has one; `fault` sets RF in the pushed flags,
    /// so that an instruction breakpoint does not hit twice.
    Exception { error: Option<u32>, fault: bool },
}

impl Source {
    /// The EXT bit of error codes of faults that happen during delivery.
    pub(super) fn ext(self) -> u32 {
        u32::from(self != Self::Software)
    }
}

impl Cpu {
    /// Delivers an exception, or the double fault or triple fault that comes of it.
    ///
    /// # Errors
    /// A triple fault, or what the engine cannot do.
    pub(crate) fn deliver_exception(&mut self, first: Exception) -> Exec {
        let mut current = first;
        for _ in 0..MAX_DELIVERIES {
            self.exceptions += 1;
            match current.vector {
                vector::PF => self.cr2 = current.address,
                vector::DB => {
                    self.dr6 = self.dr6 & !0xf | current.dr6;
                    self.dr7 &= !crate::cpu::debug::DR7_GD;
                }
                _ => {}
            }
            let trap = matches!(current.vector, vector::DB | vector::BP | vector::OF);
            // Real mode has no error codes.
            let error = current.error.filter(|_| self.protected_or_virtual());
            let source = Source::Exception {
                error,
                fault: !trap,
            };
            if self.interrupt(current.vector, source).is_ok() {
                return Ok(());
            }
            if self.stop == StopReason::NonCanonical {
                self.stop = address_fault(vector::GP);
            }
            let StopReason::Exception(second) = self.stop.clone() else {
                return Err(Stop);
            };
            current = match combine(current.vector, second.vector) {
                Combined::Second => second,
                Combined::DoubleFault => {
                    if second.vector == vector::PF {
                        self.cr2 = second.address;
                    }
                    Exception {
                        vector: vector::DF,
                        error: Some(0),
                        address: 0,
                        dr6: 0,
                    }
                }
                Combined::Shutdown => {
                    self.stop = StopReason::Shutdown;
                    return Err(Stop);
                }
            };
        }
        // #AC in the delivery of #AC, for ever: a processor would hang with interrupts held off.
        self.stop = StopReason::Shutdown;
        Err(Stop)
    }

    fn protected_or_virtual(&self) -> bool {
        self.cr0 & crate::cpu::cr::CR0_PE != 0
    }

    /// Enters the handler of `number`; RIP is where it will return to.
    ///
    /// # Errors
    /// A fault during delivery; the vCPU is then unchanged.
    pub(crate) fn interrupt(&mut self, number: u8, source: Source) -> Exec {
        if !self.protected_or_virtual() {
            return self.interrupt_real(number);
        }
        let gate_size = if self.long_mode() { 16 } else { 8 };
        let gate_error = u32::from(number) * 8 + 2 + source.ext();
        let at = u64::from(number) * gate_size;
        if at + gate_size - 1 > u64::from(self.idtr.limit) {
            return self.gp(gate_error);
        }
        let at = self.idtr.base.wrapping_add(at);
        let low = self.system_read::<u64>(at)?;
        let high = if self.long_mode() {
            self.system_read::<u64>(at.wrapping_add(8))?
        } else {
            0
        };
        let kind = (low >> 40 & 0x1f) as u32;
        let known = match kind {
            system_type::INTERRUPT_GATE | system_type::TRAP_GATE => true,
            system_type::INTERRUPT_GATE16 | system_type::TRAP_GATE16 | system_type::TASK_GATE => {
                !self.long_mode()
            }
            _ => false,
        };
        if !known {
            return self.gp(gate_error);
        }
        if source == Source::Software && (low >> 45 & 3) < u64::from(self.cpl) {
            return self.gp(gate_error);
        }
        if low >> 47 & 1 == 0 {
            return self.fault(vector::NP, Some(gate_error));
        }
        if kind == system_type::TASK_GATE {
            return self.fail(format!("interrupt {number} goes through a task gate, and this engine has no hardware task switching"));
        }
        let selector = (low >> 16) as u16;
        let offset = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
        let wide = kind & 8 != 0;
        let target = self.gate_code_segment(selector, source.ext())?;
        if self.long_mode() {
            self.enter_long(target, offset, kind, (low >> 32 & 7) as u8, source)
        } else {
            let offset = if wide {
                offset & 0xffff_ffff
            } else {
                offset & 0xffff
            };
            self.enter_legacy(target, offset, kind, wide, source)
        }
    }

    /// The code segment a gate names, checked; its selector gets the new privilege level.
    fn gate_code_segment(&mut self, selector: u16, ext: u32) -> Exec<Segment> {
        if selector & !3 == 0 {
            return self.gp(ext);
        }
        let error = u32::from(selector & !3) | ext;
        let raw = self.descriptor_or(selector, vector::GP, ext)?;
        let mut code = Segment::from_descriptor(selector, raw);
        if !code.code() || code.dpl() > self.cpl {
            return self.gp(error);
        }
        if !code.present() {
            return self.fault(vector::NP, Some(error));
        }
        if self.long_mode() && (!code.long() || code.big()) {
            return self.gp(error);
        }
        let level = if code.conforming() {
            self.cpl
        } else {
            code.dpl()
        };
        code.selector = selector & !3 | u16::from(level);
        self.mark_accessed(selector, raw)?;
        Ok(code)
    }

    /// Through the interrupt vector table (Intel SDM vol. 3, 20.1.4).
    fn interrupt_real(&mut self, number: u8) -> Exec {
        let at = u64::from(number) * 4;
        if at + 3 > u64::from(self.idtr.limit) {
            return self.gp(u32::from(number) * 8 + 2);
        }
        let entry = self.system_read::<u32>(self.idtr.base.wrapping_add(at))?;
        let before = self.regs[RSP];
        let items = [
            self.rflags() as u16,
            self.seg[index::CS].selector,
            self.rip() as u16,
        ];
        for item in items {
            if let Err(stop) = self.push(item) {
                self.regs[RSP] = before;
                return Err(stop);
            }
        }
        let code = self.seg[index::CS].real_mode((entry >> 16) as u16);
        self.set_segment(index::CS, code);
        self.regs[RIP] = u64::from(entry & 0xffff);
        self.step_over = true;
        self.system_flags &= !(flags::IF | flags::TF | flags::AC | flags::RF);
        self.system_flags_changed();
        Ok(())
    }

    /// RFLAGS as the handler finds them on its stack.
    pub(super) fn flags_image(&self, source: Source) -> u64 {
        match source {
            Source::Exception { fault: true, .. } => self.rflags() | flags::RF,
            _ => self.rflags(),
        }
    }

    pub(super) fn enter_handler(&mut self, kind: u32) {
        self.step_over = true;
        self.system_flags &= !(flags::TF | flags::NT | flags::RF | flags::VM);
        // Interrupt gates have an even type.
        if kind & 1 == 0 {
            self.system_flags &= !flags::IF;
        }
        self.system_flags_changed();
    }
}

enum Combined {
    Second,
    DoubleFault,
    Shutdown,
}

/// What becomes of an exception during the delivery of another (Intel SDM vol. 3, table 6-5).
fn combine(first: u8, second: u8) -> Combined {
    let contributory = |v| {
        matches!(
            v,
            vector::DE | vector::TS | vector::NP | vector::SS | vector::GP
        )
    };
    match first {
        vector::DF if contributory(second) || second == vector::PF => Combined::Shutdown,
        vector::PF if contributory(second) || second == vector::PF => Combined::DoubleFault,
        _ if contributory(first) && contributory(second) => Combined::DoubleFault,
        _ => Combined::Second,
    }
}
