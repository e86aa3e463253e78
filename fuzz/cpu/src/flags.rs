//! Which flags an instruction leaves undefined, given its operands.

use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

/// RFLAGS bits that must not be compared after `instruction`, which found `cl` in RCX.
pub fn undefined(instruction: &Instruction, cl: u64) -> u64 {
    match instruction.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr | Mnemonic::Sar => shift(instruction, cl),
        Mnemonic::Rol | Mnemonic::Ror | Mnemonic::Rcl | Mnemonic::Rcr => {
            if count(instruction, cl) <= 1 { 0 } else { OF }
        }
        Mnemonic::Shld | Mnemonic::Shrd => match count(instruction, cl) {
            0 => 0,
            1 => AF,
            count if count > width(instruction) => CF | PF | AF | ZF | SF | OF,
            _ => AF | OF,
        },
        _ => from_decoder(instruction.rflags_undefined()),
    }
}

/// The arithmetic flags whose values `instruction` uses.
pub fn read(instruction: &Instruction) -> u64 {
    from_decoder(instruction.rflags_read())
}

/// The arithmetic flags that `instruction` gives new values, defined or not, whatever its operands
/// hold: a count of zero in CL, or no iteration of a string comparison, leaves them as they are.
pub fn replaced(instruction: &Instruction) -> u64 {
    let counted = matches!(
        instruction.mnemonic(),
        Mnemonic::Shl
            | Mnemonic::Sal
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Rcl
            | Mnemonic::Rcr
            | Mnemonic::Shld
            | Mnemonic::Shrd
    );
    let none = counted && count(instruction, 0) == 0;
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if none || repeated && instruction.is_string_instruction() {
        return 0;
    }
    from_decoder(instruction.rflags_modified())
}

/// The arithmetic flags that `instruction` gives new values when it finds `cl` in RCX.
pub fn replaced_with(instruction: &Instruction, cl: u64) -> u64 {
    let shifts = instruction.op_count() > 0
        && instruction.op_kind(instruction.op_count() - 1) == OpKind::Register
        && instruction.op_register(instruction.op_count() - 1) == Register::CL;
    if shifts && replaced(instruction) == 0 && count(instruction, cl) != 0 {
        return from_decoder(instruction.rflags_modified());
    }
    replaced(instruction)
}

/// All arithmetic flags.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// SDM vol. 2, SAL/SAR/SHL/SHR: a count of 0 changes nothing; AF is undefined for others, OF for
/// all but 1, CF for logical shifts by more than the operand's width.
fn shift(instruction: &Instruction, cl: u64) -> u64 {
    let count = count(instruction, cl);
    let arithmetic = instruction.mnemonic() == Mnemonic::Sar;
    match count {
        0 => 0,
        1 => AF,
        _ if count > width(instruction) && !arithmetic => AF | OF | CF,
        _ => AF | OF,
    }
}

/// The operand's width in bits.
pub fn width(instruction: &Instruction) -> u32 {
    let bytes = match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    };
    8 * bytes as u32
}

/// The masked count of a shift or rotation: its last operand.
pub fn count(instruction: &Instruction, cl: u64) -> u32 {
    let last = instruction.op_count() - 1;
    let raw = match instruction.op_kind(last) {
        OpKind::Register if instruction.op_register(last) == Register::CL => cl as u32,
        OpKind::Register | OpKind::Memory => 1,
        _ => instruction.immediate(last) as u32,
    };
    raw & if width(instruction) == 64 { 63 } else { 31 }
}

fn from_decoder(bits: u32) -> u64 {
    [
        (RflagsBits::CF, CF),
        (RflagsBits::PF, PF),
        (RflagsBits::AF, AF),
        (RflagsBits::ZF, ZF),
        (RflagsBits::SF, SF),
        (RflagsBits::OF, OF),
    ]
    .iter()
    .filter(|(bit, _)| bits & bit != 0)
    .fold(0, |mask, (_, flag)| mask | flag)
}
