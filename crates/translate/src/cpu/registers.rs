//! The register file: sixteen general registers and two slots that simplify address computation.
//!
//! Instructions name a register by its *byte offset* in the file, so that AH (offset 1) and AL
//! (offset 0), R8W and R8D are all one load from one base, and so that "no base register" and
//! "relative to RIP" are ordinary registers.

use iced_x86::Register;

use super::Cpu;
use super::int::Int;

/// RAX.
pub const RAX: usize = 0;
/// RCX.
pub const RCX: usize = 1;
/// RDX.
pub const RDX: usize = 2;
/// RBX.
pub const RBX: usize = 3;
/// RSP.
pub const RSP: usize = 4;
/// RBP.
pub const RBP: usize = 5;
/// RSI.
pub const RSI: usize = 6;
/// RDI.
pub const RDI: usize = 7;
/// Always zero: stands for an absent base or index.
pub const ZERO: usize = 16;
/// The instruction pointer; while an instruction executes, that of the next one.
pub const RIP: usize = 17;
/// Slots in the file.
pub const REGISTER_SLOTS: usize = 18;

/// Byte offset of an iced register in the file; [`Register::None`] gives the zero slot.
#[must_use]
pub fn offset_of(register: Register) -> u8 {
    let slot = match register {
        Register::None => ZERO,
        Register::RIP | Register::EIP => RIP,
        Register::AH | Register::CH | Register::DH | Register::BH => {
            return (register as u32 - Register::AH as u32) as u8 * 8 + 1;
        }
        other => other.full_register().number(),
    };
    slot as u8 * 8
}

impl Cpu {
    /// Reads a register operand.
    #[inline(always)]
    pub fn get<T: Int>(&self, offset: u8) -> T {
        debug_assert!(usize::from(offset) + size_of::<T>() <= REGISTER_SLOTS * 8);
        // SAFETY: `offset_of` is the only source of offsets, and its values leave room for T in the
        // file (a high-byte offset only ever comes with T = u8). x86 hosts allow any alignment.
        unsafe {
            self.regs
                .as_ptr()
                .cast::<u8>()
                .add(usize::from(offset))
                .cast::<T>()
                .read_unaligned()
        }
    }

    /// Writes a register operand; a 32-bit write clears the upper half.
    #[inline(always)]
    pub fn set<T: Int>(&mut self, offset: u8, value: T) {
        debug_assert!(usize::from(offset) + size_of::<T>() <= REGISTER_SLOTS * 8);
        // SAFETY: as in `get`; a 32-bit operand's offset is a multiple of 8 below the file's end.
        unsafe {
            let at = self.regs.as_mut_ptr().cast::<u8>().add(usize::from(offset));
            if T::BITS == 32 {
                at.cast::<u64>().write_unaligned(value.to_u64());
            } else {
                at.cast::<T>().write_unaligned(value);
            }
        }
    }
}
