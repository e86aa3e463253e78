//! Near transfers: JMP Jcc CALL RET LOOP JCXZ.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::Lowered;
use super::op::{Handler, Op};
use crate::cpu::exception::Exec;
use crate::cpu::int::Int;
use crate::cpu::registers::{RCX, RIP};
use crate::cpu::segment::index;
use crate::cpu::{CodeMode, Cpu};
use crate::mmu::canonical;

pub(super) fn lower(ins: &Instruction, mode: CodeMode) -> Option<Lowered> {
    macro_rules! conditions {
        ($($cc:literal $jcc:ident;)*) => {
            match ins.mnemonic() {
                $(Mnemonic::$jcc if mode == CodeMode::Bits64 => jcc64::<$cc>,)*
                $(Mnemonic::$jcc => jcc::<$cc>,)*
                _ => return other(ins, mode),
            }
        };
    }
    let handler: Handler = conditions! {
        0 Jo; 1 Jno; 2 Jb; 3 Jae; 4 Je; 5 Jne; 6 Jbe; 7 Ja;
        8 Js; 9 Jns; 10 Jp; 11 Jnp; 12 Jl; 13 Jge; 14 Jle; 15 Jg;
    };
    // The 16- and 32-bit form needs the instruction for its operand size.
    if mode == CodeMode::Bits64 {
        Lowered::ends(handler)
    } else {
        Lowered::keep_and_end(handler)
    }
}

fn other(ins: &Instruction, mode: CodeMode) -> Option<Lowered> {
    let long = mode == CodeMode::Bits64;
    let near = |kind| {
        matches!(
            kind,
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        )
    };
    let direct = near(ins.op0_kind());
    let register = ins.op0_kind() == OpKind::Register;
    let handler: Handler = match ins.mnemonic() {
        Mnemonic::Jmp if direct && long => jmp64,
        Mnemonic::Jmp if direct => jmp,
        Mnemonic::Jmp if is_far(ins) => return None,
        Mnemonic::Jmp if register && long => jmp_reg64,
        Mnemonic::Jmp if long => jmp_mem64,
        Mnemonic::Jmp => jmp_indirect,
        Mnemonic::Call if direct && long => call64,
        Mnemonic::Call if direct => call,
        Mnemonic::Call if is_far(ins) => return None,
        Mnemonic::Call if register && long => call_reg64,
        Mnemonic::Call if long => call_mem64,
        Mnemonic::Call => call_indirect,
        Mnemonic::Ret if long => ret64,
        Mnemonic::Ret => ret,
        Mnemonic::Loop => repeat::<0>,
        Mnemonic::Loope => repeat::<1>,
        Mnemonic::Loopne => repeat::<2>,
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => jump_if_count_is_zero,
        _ => return None,
    };
    if long
        && !matches!(
            ins.mnemonic(),
            Mnemonic::Loop
                | Mnemonic::Loope
                | Mnemonic::Loopne
                | Mnemonic::Jcxz
                | Mnemonic::Jecxz
                | Mnemonic::Jrcxz
        )
    {
        Lowered::ends(handler)
    } else {
        Lowered::keep_and_end(handler)
    }
}

/// JMP and CALL through a far pointer in memory, or with one as immediate.
pub(super) fn is_far(ins: &Instruction) -> bool {
    matches!(ins.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32)
        || ins.is_jmp_far_indirect()
        || ins.is_call_far_indirect()
}

impl Cpu {
    /// Goes on at a 64-bit address.
    #[inline(always)]
    fn go64(&mut self, target: u64) -> Exec {
        if !canonical(target) {
            return self.gp(0);
        }
        self.regs[RIP] = target;
        Ok(())
    }

    /// Goes on at `target` cut to the operand size, within the code segment.
    pub(super) fn go(&mut self, target: u64, size: usize) -> Exec {
        if self.mode == CodeMode::Bits64 {
            return self.go64(target);
        }
        let target = target & if size == 2 { 0xffff } else { 0xffff_ffff };
        if target > u64::from(self.seg[index::CS].limit) {
            return self.gp(0);
        }
        self.regs[RIP] = target;
        Ok(())
    }
}

/// Operand size of a near branch outside 64-bit mode.
fn branch_size(ins: &Instruction) -> usize {
    match ins.op0_kind() {
        OpKind::NearBranch16 => 2,
        OpKind::NearBranch32 => 4,
        OpKind::NearBranch64 => 8,
        OpKind::Register => ins.op0_register().size(),
        _ => ins.memory_size().size(),
    }
}

fn jcc64<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    if cpu.flags.condition::<CC>() {
        let target = cpu.rip().wrapping_add(op.imm);
        return cpu.go64(target);
    }
    Ok(())
}

fn jcc<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    if cpu.flags.condition::<CC>() {
        jmp(cpu, op)
    } else {
        Ok(())
    }
}

fn jmp64(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.rip().wrapping_add(op.imm);
    cpu.go64(target)
}

fn jmp(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.rip().wrapping_add(op.imm);
    cpu.go(target, branch_size(op.instruction()))
}

fn jmp_reg64(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.get(op.dst);
    cpu.go64(target)
}

fn jmp_mem64(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, 8, false)?;
    let target = cpu.read(gva)?;
    cpu.go64(target)
}

fn indirect_target(cpu: &mut Cpu, op: &Op) -> Exec<(u64, usize)> {
    let size = branch_size(op.instruction());
    let target = if op.instruction().op0_kind() == OpKind::Register {
        cpu.get::<u64>(op.dst)
    } else {
        let gva = cpu.address(op, size as u64, false)?;
        if size == 2 {
            u64::from(cpu.read::<u16>(gva)?)
        } else {
            u64::from(cpu.read::<u32>(gva)?)
        }
    };
    Ok((target, size))
}

fn jmp_indirect(cpu: &mut Cpu, op: &Op) -> Exec {
    let (target, size) = indirect_target(cpu, op)?;
    cpu.go(target, size)
}

#[inline(always)]
fn call_to64(cpu: &mut Cpu, target: u64) -> Exec {
    if !canonical(target) {
        return cpu.gp(0);
    }
    let next = cpu.rip();
    cpu.push64(next)?;
    cpu.regs[RIP] = target;
    Ok(())
}

fn call64(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.rip().wrapping_add(op.imm);
    call_to64(cpu, target)
}

fn call_reg64(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.get(op.dst);
    call_to64(cpu, target)
}

fn call_mem64(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, 8, false)?;
    let target = cpu.read(gva)?;
    call_to64(cpu, target)
}

fn call_to(cpu: &mut Cpu, target: u64, size: usize) -> Exec {
    let next = cpu.rip();
    let mask = if size == 2 { 0xffff } else { 0xffff_ffff };
    if target & mask > u64::from(cpu.seg[index::CS].limit) {
        return cpu.gp(0);
    }
    if size == 2 {
        cpu.push(next as u16)?
    } else {
        cpu.push(next as u32)?
    }
    cpu.go(target, size)
}

fn call(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.rip().wrapping_add(op.imm);
    call_to(cpu, target, branch_size(op.instruction()))
}

fn call_indirect(cpu: &mut Cpu, op: &Op) -> Exec {
    let (target, size) = indirect_target(cpu, op)?;
    call_to(cpu, target, size)
}

fn ret64(cpu: &mut Cpu, op: &Op) -> Exec {
    let target = cpu.stack_top::<u64>()?;
    cpu.go64(target)?;
    cpu.release_stack(8 + op.imm);
    Ok(())
}

fn ret(cpu: &mut Cpu, op: &Op) -> Exec {
    let size = if is_ret16(op.instruction()) { 2 } else { 4 };
    let target = if size == 2 {
        cpu.stack_top::<u16>()?.to_u64()
    } else {
        cpu.stack_top::<u32>()?.to_u64()
    };
    cpu.go(target, size)?;
    cpu.release_stack(size as u64 + op.imm);
    Ok(())
}

fn is_ret16(ins: &Instruction) -> bool {
    matches!(
        ins.code(),
        iced_x86::Code::Retnw | iced_x86::Code::Retnw_imm16
    )
}

/// Bytes of the count register, which the address size selects.
fn count_mask(op: &Op) -> u64 {
    use iced_x86::Code;
    match op.instruction().code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32 => 0xffff,
        Code::Loop_rel8_16_RCX
        | Code::Loop_rel8_64_RCX
        | Code::Loope_rel8_16_RCX
        | Code::Loope_rel8_64_RCX
        | Code::Loopne_rel8_16_RCX
        | Code::Loopne_rel8_64_RCX
        | Code::Jrcxz_rel8_16
        | Code::Jrcxz_rel8_64 => u64::MAX,
        _ => 0xffff_ffff,
    }
}

/// LOOP (0), LOOPE (1), LOOPNE (2).
fn repeat<const KIND: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    let mask = count_mask(op);
    let count = cpu.regs[RCX].wrapping_sub(1) & mask;
    let again = count != 0
        && match KIND {
            0 => true,
            1 => cpu.flags.zf(),
            _ => !cpu.flags.zf(),
        };
    if again {
        jmp(cpu, op)?;
    }
    // CX leaves the rest of RCX alone; ECX clears its upper half, as any 32-bit write.
    cpu.regs[RCX] = if mask == 0xffff {
        cpu.regs[RCX] & !mask | count
    } else {
        count
    };
    Ok(())
}

fn jump_if_count_is_zero(cpu: &mut Cpu, op: &Op) -> Exec {
    if cpu.regs[RCX] & count_mask(op) == 0 {
        jmp(cpu, op)
    } else {
        Ok(())
    }
}
