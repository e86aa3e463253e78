//! One decoded instruction, ready to run.

use iced_x86::Instruction;

use crate::cpu::exception::Exec;
use crate::cpu::segment::{SegmentExt, index};
use crate::cpu::{CodeMode, Cpu};
use crate::hostexec::HostOp;

/// What executes an instruction. RIP already points behind it.
pub(crate) type Handler = fn(&mut Cpu, &Op) -> Exec;

/// A decoded instruction. Registers are byte offsets in the register file
/// (see [`crate::cpu::registers`]).
pub struct Op {
    /// Executes it.
    pub run: Handler,
    /// Immediate, sign-extended; or a branch displacement relative to the next instruction.
    pub imm: u64,
    /// Displacement of the memory operand.
    pub disp: u64,
    /// Base register.
    pub base: u8,
    /// Index register.
    pub index: u8,
    /// Left shift of the index.
    pub scale: u8,
    /// Index in `Cpu::seg_base`.
    pub seg: u8,
    /// First register operand.
    pub dst: u8,
    /// Second register operand.
    pub src: u8,
    /// Length in bytes.
    pub len: u8,
    /// Width of addresses, and whether segmentation applies.
    pub addressing: Addressing,
    /// For instructions that need more than fits here.
    pub extra: Option<Box<Extra>>,
}

/// The whole instruction, and its host thunk if it is executed on the host.
pub struct Extra {
    /// As decoded.
    pub instruction: Instruction,
    /// Compiled for the host.
    pub host: Option<HostOp>,
}

/// How a memory operand's address is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Addressing {
    /// 64-bit mode with 64-bit addresses: a plain sum.
    Plain,
    /// 64-bit mode with 32-bit addresses.
    Long32,
    /// 16-bit addresses, segmented.
    Segmented16,
    /// 32-bit addresses, segmented.
    Segmented32,
}

impl Addressing {
    /// Mask of an effective address.
    #[must_use]
    pub fn mask(self) -> u64 {
        match self {
            Self::Plain => u64::MAX,
            Self::Long32 | Self::Segmented32 => 0xffff_ffff,
            Self::Segmented16 => 0xffff,
        }
    }
}

impl Op {
    /// The instruction as decoded; only for handlers whose lowering keeps it.
    #[must_use]
    pub fn instruction(&self) -> &Instruction {
        &self
            .extra
            .as_ref()
            .expect("the lowering keeps it")
            .instruction
    }
}

impl Cpu {
    /// The linear address of the memory operand, `size` bytes of which will be accessed.
    ///
    /// # Errors
    /// #GP or #SS from segmentation.
    #[inline(always)]
    pub fn address(&mut self, op: &Op, size: u64, write: bool) -> Exec<u64> {
        if op.addressing == Addressing::Plain {
            return Ok(self
                .effective(op)
                .wrapping_add(self.seg_base[usize::from(op.seg)]));
        }
        let offset = self.effective(op) & op.addressing.mask();
        self.segmented(usize::from(op.seg), offset, size, write)
    }

    /// The effective address before segmentation and masking (LEA).
    #[inline(always)]
    #[must_use]
    pub fn effective(&self, op: &Op) -> u64 {
        self.get::<u64>(op.base)
            .wrapping_add(self.get::<u64>(op.index) << op.scale)
            .wrapping_add(op.disp)
    }

    /// Applies a segment to an offset already cut to its width.
    ///
    /// # Errors
    /// #GP(0), or #SS(0) for the stack segment (Intel SDM vol. 3, 5.3).
    #[inline(never)]
    pub fn segmented(&mut self, seg: usize, offset: u64, size: u64, write: bool) -> Exec<u64> {
        if self.mode == CodeMode::Bits64 {
            return Ok(self.seg_base[seg].wrapping_add(offset));
        }
        let descriptor = self.seg[seg];
        let last = offset + (size.max(1) - 1);
        let within = if descriptor.expand_down() {
            let top = if descriptor.big() {
                0xffff_ffff
            } else {
                0xffff
            };
            offset > u64::from(descriptor.limit) && last <= top
        } else {
            last <= u64::from(descriptor.limit)
        };
        let usable = !self.protected()
            || !descriptor.unusable()
                && if write {
                    descriptor.writable()
                } else {
                    descriptor.readable()
                };
        if !within || !usable {
            let vector = if seg == index::SS {
                crate::cpu::exception::vector::SS
            } else {
                crate::cpu::exception::vector::GP
            };
            return self.fault(vector, Some(0));
        }
        Ok(self.seg_base[seg].wrapping_add(offset) & 0xffff_ffff)
    }
}
