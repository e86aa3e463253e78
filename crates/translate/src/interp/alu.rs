//! ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, by_size, operand_size};
use super::op::{Handler, Op};
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;

/// An operation on two operands that sets all flags.
trait Binary {
    /// CMP and TEST only set flags.
    const WRITES: bool = true;
    fn eval<T: Int>(flags: Flags, a: T, b: T) -> (T, Flags);
}

macro_rules! binary {
    ($($name:ident $(, writes = $writes:literal)?: |$flags:ident, $a:ident, $b:ident| $body:expr;)*) => {
        $(
            struct $name;
            impl Binary for $name {
                $(const WRITES: bool = $writes;)?
                #[inline(always)]
                fn eval<T: Int>($flags: Flags, $a: T, $b: T) -> (T, Flags) {
                    $body
                }
            }
        )*
    };
}

#[inline(always)]
fn sum<T: Int>(a: T, b: T, carry: bool) -> (T, Flags) {
    let result = T::from_u64(
        a.to_u64()
            .wrapping_add(b.to_u64())
            .wrapping_add(u64::from(carry)),
    );
    (result, Flags::add(a, b, result))
}

#[inline(always)]
fn difference<T: Int>(a: T, b: T, borrow: bool) -> (T, Flags) {
    let result = T::from_u64(
        a.to_u64()
            .wrapping_sub(b.to_u64())
            .wrapping_sub(u64::from(borrow)),
    );
    (result, Flags::sub(a, b, result))
}

#[inline(always)]
fn logic<T: Int>(result: u64) -> (T, Flags) {
    let result = T::from_u64(result);
    (result, Flags::logic(result))
}

binary! {
    Add: |_flags, a, b| sum(a, b, false);
    Adc: |flags, a, b| sum(a, b, flags.cf());
    Sub: |_flags, a, b| difference(a, b, false);
    Sbb: |flags, a, b| difference(a, b, flags.cf());
    Cmp, writes = false: |_flags, a, b| difference(a, b, false);
    And: |_flags, a, b| logic(a.to_u64() & b.to_u64());
    Or: |_flags, a, b| logic(a.to_u64() | b.to_u64());
    Xor: |_flags, a, b| logic(a.to_u64() ^ b.to_u64());
    Test, writes = false: |_flags, a, b| logic(a.to_u64() & b.to_u64());
}

/// An operation on one operand.
trait Unary {
    fn eval<T: Int>(flags: Flags, a: T) -> (T, Flags);
}

struct Inc;
struct Dec;
struct Neg;
struct Not;

impl Unary for Inc {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T) -> (T, Flags) {
        let (result, new) = sum(a, T::from_u64(1), false);
        (result, new.with_cf(flags.cf()))
    }
}

impl Unary for Dec {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T) -> (T, Flags) {
        let (result, new) = difference(a, T::from_u64(1), false);
        (result, new.with_cf(flags.cf()))
    }
}

impl Unary for Neg {
    #[inline(always)]
    fn eval<T: Int>(_: Flags, a: T) -> (T, Flags) {
        difference(T::from_u64(0), a, false)
    }
}

impl Unary for Not {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T) -> (T, Flags) {
        (T::from_u64(!a.to_u64()), flags)
    }
}

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Add => two_operands::<Add>(ins),
        Mnemonic::Or => two_operands::<Or>(ins),
        Mnemonic::Adc => two_operands::<Adc>(ins),
        Mnemonic::Sbb => two_operands::<Sbb>(ins),
        Mnemonic::And => two_operands::<And>(ins),
        Mnemonic::Sub => two_operands::<Sub>(ins),
        Mnemonic::Xor => two_operands::<Xor>(ins),
        Mnemonic::Cmp => two_operands::<Cmp>(ins),
        Mnemonic::Test => two_operands::<Test>(ins),
        Mnemonic::Inc => one_operand::<Inc>(ins),
        Mnemonic::Dec => one_operand::<Dec>(ins),
        Mnemonic::Neg => one_operand::<Neg>(ins),
        Mnemonic::Not => one_operand::<Not>(ins),
        _ => return None,
    })
}

fn two_operands<O: Binary>(ins: &Instruction) -> Handler {
    let size = operand_size(ins, 0);
    match (ins.op0_kind(), ins.op1_kind()) {
        (OpKind::Register, OpKind::Register) => by_size!(size, reg_reg, O),
        (OpKind::Register, OpKind::Memory) => by_size!(size, reg_mem, O),
        (OpKind::Register, _) => by_size!(size, reg_imm, O),
        (_, OpKind::Register) if !O::WRITES => by_size!(size, mem_reg_look, O),
        (_, OpKind::Register) if ins.has_lock_prefix() => by_size!(size, mem_reg_locked, O),
        (_, OpKind::Register) => by_size!(size, mem_reg, O),
        _ if !O::WRITES => by_size!(size, mem_imm_look, O),
        _ if ins.has_lock_prefix() => by_size!(size, mem_imm_locked, O),
        _ => by_size!(size, mem_imm, O),
    }
}

fn one_operand<O: Unary>(ins: &Instruction) -> Handler {
    let size = operand_size(ins, 0);
    match ins.op0_kind() {
        OpKind::Register => by_size!(size, reg, O),
        _ if ins.has_lock_prefix() => by_size!(size, mem_locked, O),
        _ => by_size!(size, mem, O),
    }
}

#[inline(always)]
fn into_register<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op, b: T) -> Exec {
    let (result, flags) = O::eval::<T>(cpu.flags, cpu.get(op.dst), b);
    cpu.flags = flags;
    if O::WRITES {
        cpu.set(op.dst, result);
    }
    Ok(())
}

fn reg_reg<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    let b = cpu.get::<T>(op.src);
    into_register::<T, O>(cpu, op, b)
}

fn reg_imm<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    into_register::<T, O>(cpu, op, T::from_u64(op.imm))
}

fn reg_mem<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let b = cpu.read::<T>(gva)?;
    into_register::<T, O>(cpu, op, b)
}

#[inline(always)]
fn look_at_memory<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op, b: T) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let a = cpu.read::<T>(gva)?;
    cpu.flags = O::eval(cpu.flags, a, b).1;
    Ok(())
}

fn mem_reg_look<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    let b = cpu.get::<T>(op.src);
    look_at_memory::<T, O>(cpu, op, b)
}

fn mem_imm_look<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    look_at_memory::<T, O>(cpu, op, T::from_u64(op.imm))
}

#[inline(always)]
fn into_memory<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op, b: T, locked: bool) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    cpu.modify_as(locked, gva, |flags, a: T| O::eval(flags, a, b).into())
}

fn mem_reg<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    let b = cpu.get::<T>(op.src);
    into_memory::<T, O>(cpu, op, b, false)
}

fn mem_imm<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    into_memory::<T, O>(cpu, op, T::from_u64(op.imm), false)
}

fn mem_reg_locked<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    let b = cpu.get::<T>(op.src);
    into_memory::<T, O>(cpu, op, b, true)
}

fn mem_imm_locked<T: Int, O: Binary>(cpu: &mut Cpu, op: &Op) -> Exec {
    into_memory::<T, O>(cpu, op, T::from_u64(op.imm), true)
}

fn reg<T: Int, O: Unary>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (result, flags) = O::eval::<T>(cpu.flags, cpu.get(op.dst));
    cpu.flags = flags;
    cpu.set(op.dst, result);
    Ok(())
}

#[inline(always)]
fn change_memory<T: Int, O: Unary>(cpu: &mut Cpu, op: &Op, locked: bool) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    cpu.modify_as(locked, gva, |flags, a: T| O::eval(flags, a).into())
}

fn mem<T: Int, O: Unary>(cpu: &mut Cpu, op: &Op) -> Exec {
    change_memory::<T, O>(cpu, op, false)
}

fn mem_locked<T: Int, O: Unary>(cpu: &mut Cpu, op: &Op) -> Exec {
    change_memory::<T, O>(cpu, op, true)
}
