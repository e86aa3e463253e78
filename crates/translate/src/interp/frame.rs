//! The stack frame of a handler, and entering the handler with it (Intel SDM vol. 3, 6.12 and 6.14).

use wardian_engine::state::Segment;

use super::deliver::Source;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::int::Int;
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index};
use crate::cpu::{Cpu, flags};
use crate::mmu::canonical;

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
    pub(super) fn enter_long(
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
        self.push_stack_pointer(&mut frame)?;
        self.push_return(&mut frame, source)?;
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

    pub(super) fn enter_legacy(
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
            self.push_stack_pointer(&mut frame)?;
        }
        self.push_return(&mut frame, source)?;
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

    fn push_stack_pointer(&mut self, frame: &mut Frame) -> Exec {
        self.frame_push(frame, u64::from(self.seg[index::SS].selector))?;
        self.frame_push(frame, self.regs[RSP])
    }

    /// Flags, code segment, instruction pointer, and the error code if there is one.
    fn push_return(&mut self, frame: &mut Frame, source: Source) -> Exec {
        self.frame_push(frame, self.flags_image(source))?;
        self.frame_push(frame, u64::from(self.seg[index::CS].selector))?;
        self.frame_push(frame, self.rip())?;
        match source {
            Source::Exception {
                error: Some(error), ..
            } => self.frame_push(frame, u64::from(error)),
            _ => Ok(()),
        }
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
}
