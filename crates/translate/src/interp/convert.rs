//! MOVZX MOVSX MOVSXD CBW CWDE CDQE CWD CDQ CQO, XLAT.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::lower::{Lowered, operand_size};
use super::op::{Handler, Op};
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::int::Int;
use crate::cpu::registers::{RAX, RBX, RDX};

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Movzx => pick::<false>(ins),
        Mnemonic::Movsx | Mnemonic::Movsxd => pick::<true>(ins),
        Mnemonic::Cbw => |cpu, _| widen::<u8, u16>(cpu),
        Mnemonic::Cwde => |cpu, _| widen::<u16, u32>(cpu),
        Mnemonic::Cdqe => |cpu, _| widen::<u32, u64>(cpu),
        Mnemonic::Cwd => |cpu, _| spread::<u16>(cpu),
        Mnemonic::Cdq => |cpu, _| spread::<u32>(cpu),
        Mnemonic::Cqo => |cpu, _| spread::<u64>(cpu),
        Mnemonic::Xlatb => return Lowered::keep(xlat),
        _ => return None,
    })
}

fn pick<const SIGNED: bool>(ins: &Instruction) -> Handler {
    macro_rules! to {
        ($from:ty) => {
            match (ins.op1_kind() == OpKind::Register, operand_size(ins, 0)) {
                (true, 2) => reg::<$from, u16, SIGNED>,
                (true, 4) => reg::<$from, u32, SIGNED>,
                (true, _) => reg::<$from, u64, SIGNED>,
                (false, 2) => mem::<$from, u16, SIGNED>,
                (false, 4) => mem::<$from, u32, SIGNED>,
                (false, _) => mem::<$from, u64, SIGNED>,
            }
        };
    }
    match operand_size(ins, 1) {
        1 => to!(u8),
        2 => to!(u16),
        _ => to!(u32),
    }
}

#[inline(always)]
fn extend<F: Int, T: Int, const SIGNED: bool>(value: F) -> T {
    T::from_u64(if SIGNED {
        value.sign_extend()
    } else {
        value.to_u64()
    })
}

fn reg<F: Int, T: Int, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = extend::<F, T, SIGNED>(cpu.get(op.src));
    cpu.set(op.dst, value);
    Ok(())
}

fn mem<F: Int, T: Int, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, F::BYTES, false)?;
    let value = extend::<F, T, SIGNED>(cpu.read(gva)?);
    cpu.set(op.dst, value);
    Ok(())
}

fn widen<F: Int, T: Int>(cpu: &mut Cpu) -> Exec {
    let value = cpu.get::<F>(RAX as u8 * 8).sign_extend();
    cpu.set(RAX as u8 * 8, T::from_u64(value));
    Ok(())
}

fn spread<T: Int>(cpu: &mut Cpu) -> Exec {
    let sign = (cpu.get::<T>(RAX as u8 * 8).sign_extend() as i64) >> 63;
    cpu.set(RDX as u8 * 8, T::from_u64(sign as u64));
    Ok(())
}

/// XLAT's address is \[rBX + AL\], an index of one byte that no other instruction has.
fn xlat(cpu: &mut Cpu, op: &Op) -> Exec {
    let mask = match op.instruction().memory_base() {
        Register::BX => 0xffff,
        Register::EBX => 0xffff_ffff,
        _ => u64::MAX,
    };
    let offset = cpu.regs[RBX].wrapping_add(cpu.regs[RAX] & 0xff) & mask;
    let gva = cpu.segmented(usize::from(op.seg), offset, 1, false)?;
    let value = cpu.read::<u8>(gva)?;
    cpu.set(RAX as u8 * 8, value);
    Ok(())
}
