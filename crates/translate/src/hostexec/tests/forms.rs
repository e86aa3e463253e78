//! Every encodable register and memory form of an instruction, with random operands.

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, EncodingKind, Instruction, OpCodeOperandKind, OpKind,
    Register,
};

use super::state::{Random, State, WINDOW};
use crate::hostexec::{Isa, required_isa};

/// One instruction with everything it takes to run it.
pub(super) struct Form {
    pub(super) ins: Instruction,
    pub(super) bytes: Vec<u8>,
    pub(super) isa: Isa,
    /// Offset of the memory operand in the window.
    pub(super) offset: Option<usize>,
}

/// The codes in scope: those that some operand choice makes an instruction of a supported set.
pub(super) fn codes() -> impl Iterator<Item = Code> {
    Code::values().filter(|code| {
        let encoding = code.op_code().encoding();
        matches!(encoding, EncodingKind::Legacy | EncodingKind::VEX) && code.op_code().mode64() && {
            let mut bare = Instruction::new();
            bare.set_code(*code);
            required_isa(&bare).is_some()
        }
    })
}

/// An instruction of `code` with random operands, memory ones at a random offset of the window at
/// `window`, aligned to `alignment`. Sets the base register in `state`. `registers` bounds the
/// register numbers.
pub(super) fn random_form(
    code: Code,
    random: &mut Random,
    state: &mut State,
    window: u64,
    alignment: usize,
    registers: u64,
) -> Option<Form> {
    let mut ins = Instruction::new();
    ins.set_code(code);
    let mut offset = None;
    let facts = code.op_code();
    for operand in 0..facts.op_count() {
        let kind = facts.op_kind(operand);
        if is_memory(kind, random) {
            let at = random.below(128) as usize * alignment % (WINDOW / 2) + 128;
            let base = random.below(registers);
            ins.set_op_kind(operand, OpKind::Memory);
            ins.set_memory_base(Register::RAX + base as u32);
            let displacement = random.one_of(&[0, 0x40, -0x1234]);
            ins.set_memory_displacement64(displacement as u64);
            ins.set_memory_displ_size(if displacement == 0 { 0 } else { 8 });
            state.gpr[base as usize] = (window + at as u64).wrapping_sub(displacement as u64);
            offset = Some(at);
        } else if let Some(register) = register(kind, random, registers) {
            ins.set_op_kind(operand, OpKind::Register);
            ins.set_op_register(operand, register);
        } else if kind == OpCodeOperandKind::seg_rDI {
            ins.set_op_kind(operand, OpKind::MemorySegRDI);
            state.gpr[7] = window + 128 + random.below(64);
        } else if matches!(
            kind,
            OpCodeOperandKind::mem_vsib32x
                | OpCodeOperandKind::mem_vsib32y
                | OpCodeOperandKind::mem_vsib64x
                | OpCodeOperandKind::mem_vsib64y
        ) {
            return None;
        } else {
            assert_eq!(kind, OpCodeOperandKind::imm8, "{code:?} operand {operand}");
            ins.set_op_kind(operand, OpKind::Immediate8);
            ins.set_immediate8(random.next() as u8);
        }
    }
    let mut encoder = Encoder::new(64);
    // Operands that do not go together, such as AH with a REX prefix.
    encoder.encode(&ins, 0).ok()?;
    let bytes = encoder.take_buffer();
    let ins = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
    // Forms with a wait prefix decode as WAIT and the rest.
    if ins.code() != code || ins.len() != bytes.len() {
        return None;
    }
    let isa = required_isa(&ins)?;
    Some(Form {
        ins,
        bytes,
        isa,
        offset,
    })
}

fn is_memory(kind: OpCodeOperandKind, random: &mut Random) -> bool {
    use OpCodeOperandKind::*;
    match kind {
        mem => true,
        r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | mm_or_mem | xmm_or_mem | ymm_or_mem => {
            random.below(2) == 0
        }
        _ => false,
    }
}

fn register(kind: OpCodeOperandKind, random: &mut Random, registers: u64) -> Option<Register> {
    use OpCodeOperandKind::*;
    let number = random.below(registers) as u32;
    Some(match kind {
        r8_or_mem | r8_reg => {
            let bytes = [
                Register::AL,
                Register::BL,
                Register::AH,
                Register::CH,
                Register::DH,
                Register::BH,
                Register::SPL,
                Register::DIL,
                Register::R9L,
            ];
            random.one_of(&bytes[..if registers > 8 { 9 } else { 6 }])
        }
        r16_or_mem | r16_reg | r16_rm | r16_reg_mem => Register::AX + number,
        r32_or_mem | r32_reg | r32_rm | r32_reg_mem | r32_vvvv => Register::EAX + number,
        r64_or_mem | r64_reg | r64_rm | r64_reg_mem | r64_vvvv => Register::RAX + number,
        mm_or_mem | mm_reg | mm_rm => Register::MM0 + number % 8,
        xmm_or_mem | xmm_reg | xmm_rm | xmm_vvvv | xmm_is4 => Register::XMM0 + number,
        ymm_or_mem | ymm_reg | ymm_rm | ymm_vvvv | ymm_is4 => Register::YMM0 + number,
        ax => Register::AX,
        st0 => Register::ST0,
        sti_opcode => Register::ST0 + number % 8,
        _ => return Option::None,
    })
}
