//! BT BTS BTR BTC, BSF BSR.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, by_size, operand_size};
use super::op::{Handler, Op};
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;

/// What becomes of the tested bit.
trait BitOp {
    const WRITES: bool = true;
    fn eval(value: u64, bit: u64) -> u64;
}

struct Keep;
struct Set;
struct Reset;
struct Complement;

impl BitOp for Keep {
    const WRITES: bool = false;
    fn eval(value: u64, _: u64) -> u64 {
        value
    }
}

impl BitOp for Set {
    fn eval(value: u64, bit: u64) -> u64 {
        value | bit
    }
}

impl BitOp for Reset {
    fn eval(value: u64, bit: u64) -> u64 {
        value & !bit
    }
}

impl BitOp for Complement {
    fn eval(value: u64, bit: u64) -> u64 {
        value ^ bit
    }
}

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let size = operand_size(ins, 0);
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Bt => pick::<Keep>(ins, size),
        Mnemonic::Bts => pick::<Set>(ins, size),
        Mnemonic::Btr => pick::<Reset>(ins, size),
        Mnemonic::Btc => pick::<Complement>(ins, size),
        Mnemonic::Bsf if ins.op1_kind() == OpKind::Register => by_size!(size, scan_reg, Forward),
        Mnemonic::Bsf => by_size!(size, scan_mem, Forward),
        Mnemonic::Bsr if ins.op1_kind() == OpKind::Register => by_size!(size, scan_reg, Reverse),
        Mnemonic::Bsr => by_size!(size, scan_mem, Reverse),
        _ => return None,
    })
}

fn pick<O: BitOp>(ins: &Instruction, size: usize) -> Handler {
    match (ins.op0_kind(), ins.op1_kind()) {
        (OpKind::Register, OpKind::Register) => by_size!(size, reg_reg, O),
        (OpKind::Register, _) => by_size!(size, reg_imm, O),
        (_, OpKind::Register) if ins.has_lock_prefix() => by_size!(size, mem_reg_locked, O),
        (_, OpKind::Register) => by_size!(size, mem_reg, O),
        _ if ins.has_lock_prefix() => by_size!(size, mem_imm_locked, O),
        _ => by_size!(size, mem_imm, O),
    }
}

/// Only CF is defined; the rest stays.
#[inline(always)]
fn test<T: Int, O: BitOp>(flags: Flags, value: T, number: u64) -> (T, Flags) {
    let bit = 1 << (number % u64::from(T::BITS));
    let value = value.to_u64();
    (
        T::from_u64(O::eval(value, bit)),
        flags.with_cf(value & bit != 0),
    )
}

#[inline(always)]
fn in_register<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op, number: u64) -> Exec {
    let (value, flags) = test::<T, O>(cpu.flags, cpu.get(op.dst), number);
    cpu.flags = flags;
    if O::WRITES {
        cpu.set(op.dst, value);
    }
    Ok(())
}

fn reg_reg<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    let number = cpu.get::<T>(op.src).to_u64();
    in_register::<T, O>(cpu, op, number)
}

fn reg_imm<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    in_register::<T, O>(cpu, op, op.imm)
}

#[inline(always)]
fn in_memory<T: Int, O: BitOp>(cpu: &mut Cpu, gva: u64, number: u64, locked: bool) -> Exec {
    if !O::WRITES {
        let value = cpu.read::<T>(gva)?;
        cpu.flags = test::<T, O>(cpu.flags, value, number).1;
        return Ok(());
    }
    cpu.modify_as(locked, gva, |flags, value: T| {
        test::<T, O>(flags, value, number).into()
    })
}

/// A register bit number is signed and reaches beyond the operand: it selects another one in the bit
/// string (Intel SDM vol. 2, 3.1.1.9).
fn bit_string_address<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec<(u64, u64)> {
    let number = cpu.get::<T>(op.src).sign_extend();
    let operand = (number as i64) >> T::BITS.trailing_zeros();
    let displaced = cpu
        .effective(op)
        .wrapping_add((operand as u64).wrapping_mul(T::BYTES));
    let offset = displaced & op.addressing.mask();
    let gva = cpu.segmented(usize::from(op.seg), offset, T::BYTES, O::WRITES)?;
    Ok((gva, number))
}

fn mem_reg<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (gva, number) = bit_string_address::<T, O>(cpu, op)?;
    in_memory::<T, O>(cpu, gva, number, false)
}

fn mem_reg_locked<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (gva, number) = bit_string_address::<T, O>(cpu, op)?;
    in_memory::<T, O>(cpu, gva, number, true)
}

fn mem_imm<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, O::WRITES)?;
    in_memory::<T, O>(cpu, gva, op.imm, false)
}

fn mem_imm_locked<T: Int, O: BitOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, O::WRITES)?;
    in_memory::<T, O>(cpu, gva, op.imm, true)
}

trait Scan {
    fn position(value: u64) -> u32;
}

struct Forward;
struct Reverse;

impl Scan for Forward {
    fn position(value: u64) -> u32 {
        value.trailing_zeros()
    }
}

impl Scan for Reverse {
    fn position(value: u64) -> u32 {
        63 - value.leading_zeros()
    }
}

/// A zero source sets ZF and leaves the destination as it is, upper half included.
#[inline(always)]
fn scan<T: Int, O: Scan>(cpu: &mut Cpu, op: &Op, value: T) -> Exec {
    let source = value.to_u64();
    cpu.flags = cpu.flags.with_zf(source == 0);
    if source != 0 {
        cpu.set(op.dst, T::from_u64(u64::from(O::position(source))));
    }
    Ok(())
}

fn scan_reg<T: Int, O: Scan>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get::<T>(op.src);
    scan::<T, O>(cpu, op, value)
}

fn scan_mem<T: Int, O: Scan>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let value = cpu.read::<T>(gva)?;
    scan::<T, O>(cpu, op, value)
}
