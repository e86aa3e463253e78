//! Delivering interrupts and exceptions through the IDT (Intel SDM vol. 3, chapter 6).

use wardian_engine::state::Segment;

use super::run::address_fault;

use crate::cpu::exception::{Exception, Exec, Stop, StopReason, vector};
use crate::cpu::int::Int;
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index, system_type};
use crate::cpu::{Cpu, flags};
use crate::mmu::canonical;

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
    fn ext(self) -> u32 {
        u32::from(self != Self::Software)
    }
}

/// A stack being built for a handler before anything of the vCPU changes.
struct Frame {
    /// Offset of the top.
    pointer: u64,
    /// The segment it is in.
    stack: Segment,
    /// Bytes per item.
    width: u64,
    /// Whether the accesses are user accesses.
    user: bool,
    ext: u32,
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

    fn enter_long(
        &mut self,
        code: Segment,
        offset: u64,
        kind: u32,
        ist: u8,
        source: Source,
    ) -> Exec {
        let level = (code.selector & 3) as u8;
        let inner = level < self.cpl;
        let top = if ist != 0 {
            self.tss_stack_long(0x24 + u64::from(ist - 1) * 8, source.ext())?
        } else if inner {
            self.tss_stack_long(4 + u64::from(level) * 8, source.ext())?
        } else {
            self.regs[RSP]
        };
        if !canonical(top) {
            return self.fault(vector::SS, Some(source.ext()));
        }
        if !canonical(offset) {
            return self.gp(source.ext());
        }
        let mut frame = Frame {
            pointer: top & !15,
            stack: Segment::default(),
            width: 8,
            user: level == 3,
            ext: source.ext(),
        };
        let ss = self.seg[index::SS].selector;
        let items = [
            u64::from(ss),
            self.regs[RSP],
            self.flags_image(source),
            u64::from(self.seg[index::CS].selector),
            self.rip(),
        ];
        for item in items {
            self.frame_push(&mut frame, item)?;
        }
        if let Source::Exception {
            error: Some(error), ..
        } = source
        {
            self.frame_push(&mut frame, u64::from(error))?;
        }
        self.regs[RSP] = frame.pointer;
        if inner {
            self.set_segment(index::SS, Segment::null(u16::from(level)));
        }
        self.set_cpl(level);
        self.set_segment(index::CS, code);
        self.regs[RIP] = offset;
        self.enter_handler(kind);
        Ok(())
    }

    fn enter_legacy(
        &mut self,
        code: Segment,
        offset: u64,
        kind: u32,
        wide: bool,
        source: Source,
    ) -> Exec {
        let ext = source.ext();
        let level = (code.selector & 3) as u8;
        let from_virtual = self.system_flags & flags::VM != 0;
        if from_virtual && (level != 0 || code.conforming()) {
            return self.gp(u32::from(code.selector & !3) | ext);
        }
        let inner = level < self.cpl;
        let width = if wide { 4 } else { 2 };
        let mut frame = if inner {
            let (selector, pointer) = self.tss_stack_legacy(level, ext)?;
            let stack = self.inner_stack_segment(selector, level, ext)?;
            Frame {
                pointer,
                stack,
                width,
                user: false,
                ext,
            }
        } else {
            Frame {
                pointer: self.regs[RSP],
                stack: self.seg[index::SS],
                width,
                user: level == 3,
                ext,
            }
        };
        if offset > u64::from(code.limit) {
            return self.gp(ext);
        }
        if from_virtual {
            for which in [index::GS, index::FS, index::DS, index::ES] {
                let selector = u64::from(self.seg[which].selector);
                self.frame_push(&mut frame, selector)?;
            }
        }
        if inner {
            let ss = u64::from(self.seg[index::SS].selector);
            self.frame_push(&mut frame, ss)?;
            let sp = self.regs[RSP];
            self.frame_push(&mut frame, sp)?;
        }
        let items = [
            self.flags_image(source),
            u64::from(self.seg[index::CS].selector),
            self.rip(),
        ];
        for item in items {
            self.frame_push(&mut frame, item)?;
        }
        if let Source::Exception {
            error: Some(error), ..
        } = source
        {
            self.frame_push(&mut frame, u64::from(error))?;
        }
        if from_virtual {
            self.system_flags &= !flags::VM;
            for which in [index::GS, index::FS, index::DS, index::ES] {
                self.set_segment(which, Segment::null(0));
            }
        }
        self.set_cpl(level);
        if inner {
            self.set_segment(index::SS, frame.stack);
        }
        self.set_segment(index::CS, code);
        self.set_stack_pointer(frame.pointer);
        self.regs[RIP] = offset;
        self.enter_handler(kind);
        Ok(())
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
    fn flags_image(&self, source: Source) -> u64 {
        match source {
            Source::Exception { fault: true, .. } => self.rflags() | flags::RF,
            _ => self.rflags(),
        }
    }

    fn enter_handler(&mut self, kind: u32) {
        self.step_over = true;
        self.system_flags &= !(flags::TF | flags::NT | flags::RF | flags::VM);
        // Interrupt gates have an even type.
        if kind & 1 == 0 {
            self.system_flags &= !flags::IF;
        }
        self.system_flags_changed();
    }

    fn frame_push(&mut self, frame: &mut Frame, value: u64) -> Exec {
        let pointer = frame.pointer.wrapping_sub(frame.width);
        if frame.width == 8 {
            frame.pointer = pointer;
            let written = self.handler_write(frame, pointer, value);
            return written.map_err(|stop| self.stack_fault(stop));
        }
        let mask = if frame.stack.big() {
            0xffff_ffff
        } else {
            0xffff
        };
        let offset = pointer & mask;
        let last = offset + frame.width - 1;
        let limit = u64::from(frame.stack.limit);
        let within = if frame.stack.expand_down() {
            offset > limit && last <= mask
        } else {
            last <= limit
        };
        if !within {
            // A stack that was switched to is named (Intel SDM vol. 3, 6.15, #SS).
            let new = (frame.stack.selector & 3) as u8 != self.cpl;
            let selector = if new { frame.stack.selector & !3 } else { 0 };
            return self.fault(vector::SS, Some(u32::from(selector) | frame.ext));
        }
        frame.pointer = frame.pointer & !mask | offset;
        let gva = frame.stack.base.wrapping_add(offset) & 0xffff_ffff;
        if frame.width == 4 {
            self.handler_write(frame, gva, value as u32)
        } else {
            self.handler_write(frame, gva, value as u16)
        }
    }

    fn handler_write<T: Int>(&mut self, frame: &Frame, gva: u64, value: T) -> Exec {
        if frame.user {
            self.write(gva, value)
        } else {
            self.system_write(gva, value)
        }
    }

    fn tss_error<T>(&mut self, ext: u32) -> Exec<T> {
        let selector = u32::from(self.seg[index::TR].selector & !3);
        self.fault(vector::TS, Some(selector | ext))
    }

    pub(super) fn tss_stack_long(&mut self, offset: u64, ext: u32) -> Exec<u64> {
        let tss = self.seg[index::TR];
        if offset + 7 > u64::from(tss.limit) {
            return self.tss_error(ext);
        }
        self.system_read(tss.base.wrapping_add(offset))
    }

    /// SS:ESP for a privilege level from a 16- or 32-bit TSS.
    pub(super) fn tss_stack_legacy(&mut self, level: u8, ext: u32) -> Exec<(u16, u64)> {
        let tss = self.seg[index::TR];
        if tss.attributes & 8 != 0 {
            let at = 4 + u64::from(level) * 8;
            if at + 5 > u64::from(tss.limit) {
                return self.tss_error(ext);
            }
            let pointer = self.system_read::<u32>(tss.base.wrapping_add(at))?;
            let selector = self.system_read::<u16>(tss.base.wrapping_add(at + 4))?;
            Ok((selector, u64::from(pointer)))
        } else {
            let at = 2 + u64::from(level) * 4;
            if at + 3 > u64::from(tss.limit) {
                return self.tss_error(ext);
            }
            let pointer = self.system_read::<u16>(tss.base.wrapping_add(at))?;
            let selector = self.system_read::<u16>(tss.base.wrapping_add(at + 2))?;
            Ok((selector, u64::from(pointer)))
        }
    }

    /// The stack segment for a more privileged level (Intel SDM vol. 3, 6.12.1).
    pub(super) fn inner_stack_segment(
        &mut self,
        selector: u16,
        level: u8,
        ext: u32,
    ) -> Exec<Segment> {
        let error = u32::from(selector & !3) | ext;
        if selector & !3 == 0 {
            return self.fault(vector::TS, Some(ext));
        }
        let raw = self.descriptor_or(selector, vector::TS, ext)?;
        let stack = Segment::from_descriptor(selector, raw);
        if (selector & 3) as u8 != level || stack.dpl() != level || !stack.writable() {
            return self.fault(vector::TS, Some(error));
        }
        if !stack.present() {
            return self.fault(vector::SS, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        Ok(stack)
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
