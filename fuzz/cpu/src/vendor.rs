//! Cases that are not compared although their form is, each with the reason.

use iced_x86::{
    Code, CpuidFeature, FlowControl, Instruction, Mnemonic, OpKind, Register, UsedMemory,
};

use crate::compare::{is_masked, is_unordered};
use crate::flags::{count, width};
use crate::generate::ALIGNMENT_CHECK;
use crate::layout::{CODE_BASE, CODE_LEN, PAGE};
use crate::operands::base_in;
use crate::rules::{Treatment, prefixes};
use crate::state::{Case, MXCSR, Mode, X87_REGISTERS, XMM_REGISTERS};

/// Why the case is not compared, if it is not. The CPU models are Intel's and the host may be AMD's:
/// where the manuals differ, or say nothing, nobody is wrong. `accesses` have linear addresses.
pub fn vendor_difference(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
    treatment: Treatment,
) -> Option<&'static str> {
    known_limit(instruction, case)
        .or_else(|| undefined_result(instruction, case, accesses, treatment))
        .or_else(|| vendor_form(instruction, case, accesses))
        .or_else(|| vendor_addressing(instruction, case, accesses))
        .or_else(|| vendor_alignment(instruction, case, accesses))
        .or_else(|| vendor_near_branch(instruction, case))
}

/// What the interpreter is known not to do as a processor does.
fn known_limit(instruction: &Instruction, case: &Case) -> Option<&'static str> {
    const UNDERFLOW_MASK: u8 = 1 << 3;
    let image = &case.state.xsave.0;
    let unmasked = image[MXCSR + 1] & UNDERFLOW_MASK == 0;
    (instruction.mnemonic() == Mnemonic::Vcvtps2ph && unmasked)
        .then_some("an exact denormal of half precision does not raise an unmasked underflow")
}

fn undefined_result(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
    treatment: Treatment,
) -> Option<&'static str> {
    let double_shift = matches!(instruction.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    if double_shift && count(instruction, case.state.registers.gpr[1]) > width(instruction) {
        return Some("the result of a double shift by more than the width is undefined");
    }
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if instruction.is_loopcc() && repeated {
        return Some("a repeat prefix is reserved here; AMD's processors test ZF by it");
    }
    let port = matches!(
        instruction.mnemonic(),
        Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
    );
    if port && repeated && string_count(instruction, case) == 0 {
        return Some("whether a count of zero needs the permission is not said");
    }
    // Nobody knows the length of what only a decoder's table calls an instruction.
    let length = if instruction.is_invalid() {
        15
    } else {
        instruction.len() as u64
    };
    let cut = case.state.registers.rip + length > CODE_BASE + CODE_LEN;
    let refused = treatment != Treatment::Compare
        || instruction.is_invalid()
        || matches!(instruction.mnemonic(), Mnemonic::Ud0 | Mnemonic::Ud1);
    if cut && refused {
        return Some("whether all of an undefined instruction is fetched is not said");
    }
    let masked_store = matches!(
        instruction.mnemonic(),
        Mnemonic::Maskmovq | Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu
    );
    let (_, linear) = accesses.first()?;
    if masked_store && !selects_on_every_page(instruction, case, *linear) {
        return Some("faults of bytes that are not selected are left to the implementation");
    }
    None
}

/// The count of a repeated string instruction, as wide as its addresses.
fn string_count(instruction: &Instruction, case: &Case) -> u64 {
    let mask =
        (0..instruction.op_count()).fold(!0, |mask, operand| match instruction.op_kind(operand) {
            OpKind::MemorySegSI | OpKind::MemoryESDI => 0xffff,
            OpKind::MemorySegESI | OpKind::MemoryESEDI => 0xffff_ffff,
            _ => mask,
        });
    case.state.registers.gpr[1] & mask
}

/// Whether MASKMOVQ's or MASKMOVDQU's mask selects a byte of every page that its operand touches.
fn selects_on_every_page(instruction: &Instruction, case: &Case, linear: u64) -> bool {
    let mask = instruction.op2_register();
    let image = &case.state.xsave.0;
    let bytes = if mask.is_mm() {
        // The image is relative to the top of the x87 stack, the register is not.
        let top = usize::from(image[3] >> 3 & 7);
        let start = X87_REGISTERS + (mask.number() + 8 - top) % 8 * 16;
        &image[start..start + 8]
    } else {
        let start = XMM_REGISTERS + mask.number() * 16;
        &image[start..start + 16]
    };
    let on_first_page = (PAGE - linear % PAGE).min(bytes.len() as u64) as usize;
    let (first, second) = bytes.split_at(on_first_page);
    let selects = |bytes: &[u8]| bytes.iter().any(|byte| byte & 0x80 != 0);
    selects(first) && (second.is_empty() || selects(second))
}

fn vendor_form(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
) -> Option<&'static str> {
    let code = instruction.code();
    let compatibility = case.mode == Mode::Compatibility;
    match code {
        Code::Movsxd_r16_rm16 if instruction.op1_kind() == OpKind::Memory => {
            return Some("AMD reads 32 bits where Intel reads 16");
        }
        Code::Reservednop_rm16_r16_0F0D
        | Code::Reservednop_rm32_r32_0F0D
        | Code::Reservednop_rm64_r64_0F0D => {
            return Some("PREFETCHW of a register: a NOP on Intel's, #UD on AMD's processors");
        }
        Code::Sysretd | Code::Sysretq if compatibility => {
            return Some("#UD outside 64-bit mode on Intel's, #GP on AMD's processors");
        }
        Code::VEX_Vpextrd_rm32_xmm_imm8 | Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8 if compatibility => {
            return Some("VEX.W is ignored in 32-bit code on Intel's, #UD on AMD's processors");
        }
        Code::Jmp_m1664
        | Code::Call_m1664
        | Code::Lss_r64_m1664
        | Code::Lfs_r64_m1664
        | Code::Lgs_r64_m1664 => {
            return Some("AMD: no far pointers with 64-bit offset");
        }
        _ => {}
    }
    if instruction.is_invalid() {
        return vendor_refusal(case);
    }
    let sha = instruction.cpuid_features().contains(&CpuidFeature::SHA);
    let aligned = accesses.first().is_some_and(|(_, linear)| linear % 16 == 0);
    if sha && instruction.op1_kind() == OpKind::Memory && !aligned {
        return Some("AMD's SHA instructions take unaligned operands");
    }
    if instruction.mnemonic() == Mnemonic::Arpl && instruction.memory_segment() == Register::CS {
        return Some("AMD's ARPL needs a writable segment only if it writes");
    }
    None
}

/// Encodings that Intel's processors refuse and AMD's do not, or not at once.
fn vendor_refusal(case: &Case) -> Option<&'static str> {
    const LOCK: u8 = 0xf0;
    const OPERAND_SIZE: u8 = 0x66;
    const MAP_3: u8 = 3;
    const VEX_W: u8 = 0x80;
    let prefixes = prefixes(&case.bytes);
    match case.bytes[prefixes.len()..] {
        [0x0f, 0x00, modifier, ..] => {
            let verify = modifier < 0xc0 && matches!(modifier >> 3 & 7, 4 | 5);
            (verify && prefixes.contains(&LOCK))
                .then_some("AMD reads the operand of VERR and VERW before it refuses LOCK")
        }
        [0x0f, 0x80..=0x8f, ..] | [0xe8 | 0xe9, ..] => {
            let narrow = case.mode == Mode::Long && prefixes.contains(&OPERAND_SIZE);
            narrow.then_some("AMD: a near branch of 16 bits is short enough where 32 are too many")
        }
        [0xc4, map, last, 0x00 | 0x01, ..] => (map & 31 == MAP_3 && last & VEX_W == 0)
            .then_some("AMD ignores VEX.W of VPERMQ and VPERMPD"),
        _ => None,
    }
}

fn vendor_addressing(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
) -> Option<&'static str> {
    let offset =
        |memory: &UsedMemory, linear: u64| linear.wrapping_sub(base_in(case, memory.segment()));
    if case.mode == Mode::Compatibility {
        const LIMIT: u64 = 1 << 32;
        let wraps = accesses.iter().any(|(memory, linear)| {
            // The decoder gives no size to a repeated access.
            let size = memory
                .memory_size()
                .size()
                .max(instruction.memory_size().size()) as u64;
            (offset(memory, *linear) & (LIMIT - 1)) + size > LIMIT
        });
        let several = accesses.len() > 1 || instruction.memory_size().size() > 8;
        if wraps && (several || is_unordered(instruction)) {
            return Some("which access of several runs into the segment limit is not said");
        }
        const LIMIT_16: u64 = 1 << 16;
        let wraps_16 = accesses.iter().any(|(memory, linear)| {
            let narrow = memory.base().size() == 2 || instruction.memory_displ_size() == 2;
            narrow && offset(memory, *linear) + instruction.memory_size().size() as u64 > LIMIT_16
        });
        if wraps_16 && is_masked(instruction) {
            return Some("whether each lane's address is 16 bits wide is not said");
        }
        if pushes_selector(instruction)
            && accesses.iter().any(|(_, linear)| linear % PAGE > PAGE - 4)
        {
            return Some("AMD writes 32 bits where Intel writes 16");
        }
        return None;
    }
    // A bit string's bits lie this far from its address at most.
    let reach = if instruction.op1_kind() == OpKind::Register {
        1 << 16
    } else {
        0
    };
    let carried = accesses.iter().any(|(memory, linear)| {
        let offset = offset(memory, *linear);
        let near =
            !is_canonical(offset.wrapping_sub(reach)) || !is_canonical(offset.wrapping_add(reach));
        near && base_in(case, memory.segment()) != 0 && is_canonical(linear.wrapping_add(reach))
    });
    if carried {
        return Some("AMD refuses a non-canonical offset even if base and offset are canonical");
    }
    let wraps = accesses.iter().any(|(memory, linear)| {
        let length = memory.memory_size().size().max(1) as u64;
        base_in(case, memory.segment()) != 0 && linear.checked_add(length - 1).is_none()
    });
    wraps
        .then_some("what an access with a segment base across the top of memory raises is not said")
}

/// Where RFLAGS.AC asks for aligned operands.
fn vendor_alignment(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
) -> Option<&'static str> {
    if case.state.registers.rflags & ALIGNMENT_CHECK == 0 {
        return None;
    }
    let vector = accesses.iter().any(|(memory, linear)| {
        let size = memory.memory_size().size() as u64;
        size >= 16 && linear % size.min(32) != 0
    });
    if vector {
        return Some("Intel checks operands of up to eight bytes, AMD larger ones, too");
    }
    if instruction.mnemonic() == Mnemonic::Maskmovq {
        return Some("the interpreter stores single bytes, which are always aligned");
    }
    let stack = instruction.mnemonic() == Mnemonic::Enter || pushes_selector(instruction);
    stack.then_some("AMD checks the whole slot, and where ENTER will put the top of the stack")
}

/// Whether the instruction is a push of a segment register into a slot of four bytes.
fn pushes_selector(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Pushd_ES
            | Code::Pushd_CS
            | Code::Pushd_SS
            | Code::Pushd_DS
            | Code::Pushd_FS
            | Code::Pushd_GS
    )
}

fn vendor_near_branch(instruction: &Instruction, case: &Case) -> Option<&'static str> {
    let near = matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::Return
    );
    let narrow = case.mode == Mode::Long && prefixes(&case.bytes).contains(&0x66);
    (near && narrow)
        .then_some("AMD: an operand-size prefix makes a near branch 16 bits wide in 64-bit mode")
}

fn is_canonical(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address
}
