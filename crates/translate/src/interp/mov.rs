//! MOV (general registers and memory), LEA, CMOVcc, SETcc, MOVNTI, BSWAP.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, by_size, operand_size};
use super::op::{Handler, Op};
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::int::Int;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let size = operand_size(ins, 0);
    let handler = match ins.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movnti => return mov(ins, size),
        Mnemonic::Lea => by_size!(size, lea),
        Mnemonic::Bswap if size == 8 => bswap64,
        Mnemonic::Bswap if size == 4 => bswap32,
        // BSWAP of a 16-bit register is undefined; processors store zero.
        Mnemonic::Bswap => bswap16,
        _ => return conditional(ins, size),
    };
    Lowered::plain(handler)
}

fn mov(ins: &Instruction, size: usize) -> Option<Lowered> {
    let general = |n| ins.op_register(n).is_gpr();
    Lowered::plain(match (ins.op0_kind(), ins.op1_kind()) {
        (OpKind::Register, OpKind::Register) if general(0) && general(1) => by_size!(size, reg_reg),
        (OpKind::Register, OpKind::Memory) if general(0) => by_size!(size, reg_mem),
        (OpKind::Memory, OpKind::Register) if general(1) => by_size!(size, mem_reg),
        // Segment, control and debug registers belong to other families.
        (_, OpKind::Register) | (OpKind::Register, OpKind::Memory) => return None,
        (OpKind::Register, _) if general(0) => by_size!(size, reg_imm),
        (OpKind::Memory, _) => by_size!(size, mem_imm),
        _ => return None,
    })
}

fn reg_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get::<T>(op.src);
    cpu.set(op.dst, value);
    Ok(())
}

fn reg_imm<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.set(op.dst, T::from_u64(op.imm));
    Ok(())
}

fn reg_mem<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let value = cpu.read::<T>(gva)?;
    cpu.set(op.dst, value);
    Ok(())
}

fn mem_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    let value = cpu.get::<T>(op.src);
    cpu.write(gva, value)
}

fn mem_imm<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    cpu.write(gva, T::from_u64(op.imm))
}

fn lea<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let offset = cpu.effective(op) & op.addressing.mask();
    cpu.set(op.dst, T::from_u64(offset));
    Ok(())
}

fn bswap64(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get::<u64>(op.dst);
    cpu.set(op.dst, value.swap_bytes());
    Ok(())
}

fn bswap32(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get::<u32>(op.dst);
    cpu.set(op.dst, value.swap_bytes());
    Ok(())
}

fn bswap16(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.set(op.dst, 0u16);
    Ok(())
}

/// CMOVcc and SETcc: one instance per condition.
fn conditional(ins: &Instruction, size: usize) -> Option<Lowered> {
    macro_rules! conditions {
        ($($cc:literal $cmov:ident $set:ident;)*) => {
            match ins.mnemonic() {
                $(
                    Mnemonic::$cmov => pick_cmov::<$cc>(ins, size),
                    Mnemonic::$set if ins.op0_kind() == OpKind::Register => set_reg::<$cc>,
                    Mnemonic::$set => set_mem::<$cc>,
                )*
                _ => return None,
            }
        };
    }
    Lowered::plain(conditions! {
        0 Cmovo Seto; 1 Cmovno Setno; 2 Cmovb Setb; 3 Cmovae Setae;
        4 Cmove Sete; 5 Cmovne Setne; 6 Cmovbe Setbe; 7 Cmova Seta;
        8 Cmovs Sets; 9 Cmovns Setns; 10 Cmovp Setp; 11 Cmovnp Setnp;
        12 Cmovl Setl; 13 Cmovge Setge; 14 Cmovle Setle; 15 Cmovg Setg;
    })
}

fn pick_cmov<const CC: u8>(ins: &Instruction, size: usize) -> Handler {
    match (ins.op1_kind(), size) {
        (OpKind::Register, 2) => cmov_reg::<u16, CC>,
        (OpKind::Register, 4) => cmov_reg::<u32, CC>,
        (OpKind::Register, _) => cmov_reg::<u64, CC>,
        (_, 2) => cmov_mem::<u16, CC>,
        (_, 4) => cmov_mem::<u32, CC>,
        _ => cmov_mem::<u64, CC>,
    }
}

fn cmov_reg<T: Int, const CC: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get::<T>(if cpu.flags.condition::<CC>() {
        op.src
    } else {
        op.dst
    });
    // A 32-bit form clears the upper half even when nothing is moved.
    cpu.set(op.dst, value);
    Ok(())
}

fn cmov_mem<T: Int, const CC: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let loaded = cpu.read::<T>(gva)?;
    let value = if cpu.flags.condition::<CC>() {
        loaded
    } else {
        cpu.get::<T>(op.dst)
    };
    cpu.set(op.dst, value);
    Ok(())
}

fn set_reg<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.set(op.dst, u8::from(cpu.flags.condition::<CC>()));
    Ok(())
}

fn set_mem<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, 1, true)?;
    cpu.write(gva, u8::from(cpu.flags.condition::<CC>()))
}
