//! MOV and POP of segment registers; LDS LES LFS LGS LSS.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::lower::Lowered;
use super::op::Op;
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::registers::RSP;
use crate::cpu::segment::index;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let segment = |n| {
        ins.op_count() > n
            && ins.op_kind(n) == OpKind::Register
            && ins.op_register(n).is_segment_register()
    };
    match ins.mnemonic() {
        Mnemonic::Mov if segment(0) => Lowered::keep_and_end(mov_to_segment),
        Mnemonic::Mov if segment(1) => Lowered::keep(mov_from_segment),
        Mnemonic::Pop if segment(0) => Lowered::keep_and_end(pop_segment),
        Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss => {
            Lowered::keep_and_end(load_far_pointer)
        }
        _ => None,
    }
}

fn mov_to_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let which = ins.op0_register().number();
    if which == index::CS {
        return cpu.undefined();
    }
    let selector = if ins.op1_kind() == OpKind::Register {
        // The segment register is no general one, so the source is the first of those.
        cpu.get::<u16>(op.dst)
    } else {
        let gva = cpu.address(op, 2, false)?;
        cpu.read::<u16>(gva)?
    };
    cpu.load_segment(which, selector)?;
    cpu.shadow_after_stack_load(which);
    Ok(())
}

fn mov_from_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let selector = cpu.seg[ins.op1_register().number()].selector;
    if ins.op0_kind() == OpKind::Memory {
        let gva = cpu.address(op, 2, true)?;
        return cpu.write(gva, selector);
    }
    match ins.op0_register().size() {
        2 => cpu.set(op.dst, selector),
        4 => cpu.set(op.dst, u32::from(selector)),
        _ => cpu.set(op.dst, u64::from(selector)),
    }
    Ok(())
}

fn pop_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let which = ins.op0_register().number();
    let size = match ins.code() {
        Code::Popw_ES
        | Code::Popw_SS
        | Code::Popw_DS
        | Code::Popw_FS
        | Code::Popw_GS
        | Code::Popw_CS => 2,
        Code::Popq_FS | Code::Popq_GS => 8,
        _ => 4,
    };
    // The whole slot is read, though only its low half is used.
    let selector = match size {
        2 => cpu.stack_top::<u16>()?,
        4 => cpu.stack_top::<u32>()? as u16,
        _ => cpu.stack_top::<u64>()? as u16,
    };
    let before = cpu.regs[RSP];
    // The stack pointer has the width of the segment the selector was popped from.
    cpu.release_stack(size);
    if let Err(stop) = cpu.load_segment(which, selector) {
        cpu.regs[RSP] = before;
        return Err(stop);
    }
    cpu.shadow_after_stack_load(which);
    Ok(())
}

/// A far pointer of an instruction: selector, offset, operand size in bytes.
pub(super) fn far_pointer(cpu: &mut Cpu, op: &Op, size: u64) -> Exec<(u16, u64)> {
    let gva = cpu.address(op, size + 2, false)?;
    let offset = match size {
        2 => u64::from(cpu.read::<u16>(gva)?),
        4 => u64::from(cpu.read::<u32>(gva)?),
        _ => cpu.read::<u64>(gva)?,
    };
    let selector = cpu.read::<u16>(gva.wrapping_add(size))?;
    Ok((selector, offset))
}

fn load_far_pointer(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let size = ins.op0_register().size() as u64;
    let which = match ins.mnemonic() {
        Mnemonic::Lds => index::DS,
        Mnemonic::Les => index::ES,
        Mnemonic::Lfs => index::FS,
        Mnemonic::Lgs => index::GS,
        _ => index::SS,
    };
    let (selector, offset) = far_pointer(cpu, op, size)?;
    cpu.load_segment(which, selector)?;
    match size {
        2 => cpu.set(op.dst, offset as u16),
        4 => cpu.set(op.dst, offset as u32),
        _ => cpu.set(op.dst, offset),
    }
    Ok(())
}
