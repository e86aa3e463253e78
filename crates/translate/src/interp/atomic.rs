//! XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B.

use std::arch::asm;

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, by_size, operand_size};
use super::modify::Change;
use super::op::Op;
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;
use crate::cpu::registers::{RAX, RBX, RCX, RDX};

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let size = operand_size(ins, 0);
    let register = ins.op0_kind() == OpKind::Register;
    let locked = ins.has_lock_prefix();
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Xchg if register && ins.op1_kind() == OpKind::Register => {
            by_size!(size, exchange_reg)
        }
        Mnemonic::Xchg => by_size!(size, exchange_mem),
        Mnemonic::Xadd if register => by_size!(size, xadd_reg),
        Mnemonic::Xadd if locked => by_size!(size, xadd_mem, Locked),
        Mnemonic::Xadd => by_size!(size, xadd_mem, Plain),
        Mnemonic::Cmpxchg if register => by_size!(size, cmpxchg_reg),
        Mnemonic::Cmpxchg if locked => by_size!(size, cmpxchg_mem, Locked),
        Mnemonic::Cmpxchg => by_size!(size, cmpxchg_mem, Plain),
        Mnemonic::Cmpxchg8b => cmpxchg8b,
        Mnemonic::Cmpxchg16b => cmpxchg16b,
        _ => return None,
    })
}

trait Lock {
    const LOCKED: bool;
}

struct Locked;
struct Plain;

impl Lock for Locked {
    const LOCKED: bool = true;
}

impl Lock for Plain {
    const LOCKED: bool = false;
}

fn exchange_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (a, b) = (cpu.get::<T>(op.dst), cpu.get::<T>(op.src));
    cpu.set(op.dst, b);
    cpu.set(op.src, a);
    Ok(())
}

/// XCHG with memory is locked with or without the prefix.
fn exchange_mem<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    let new = cpu.get::<T>(op.src);
    let old = match cpu.place::<T>(gva)? {
        Some(place) => {
            // SAFETY: a place is an operand's worth of RAM.
            let old = unsafe { new.exchange(place.at) };
            cpu.stored(&place, T::BYTES);
            old
        }
        None => cpu.modify_locked(gva, |flags, old: T| Change {
            value: new,
            flags,
            result: old,
        })?,
    };
    cpu.set(op.src, old);
    Ok(())
}

fn add<T: Int>(a: T, b: T) -> (T, Flags) {
    let sum = T::from_u64(a.to_u64().wrapping_add(b.to_u64()));
    (sum, Flags::add(a, b, sum))
}

fn xadd_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (a, b) = (cpu.get::<T>(op.dst), cpu.get::<T>(op.src));
    let (sum, flags) = add(a, b);
    cpu.flags = flags;
    cpu.set(op.src, a);
    cpu.set(op.dst, sum);
    Ok(())
}

fn xadd_mem<T: Int, L: Lock>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    let b = cpu.get::<T>(op.src);
    let change = |_: Flags, a: T| {
        let (value, flags) = add(a, b);
        Change {
            value,
            flags,
            result: a,
        }
    };
    let old = cpu.modify_as(L::LOCKED, gva, change)?;
    cpu.set(op.src, old);
    Ok(())
}

fn cmpxchg_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (accumulator, destination) = (cpu.get::<T>(RAX as u8 * 8), cpu.get::<T>(op.dst));
    cpu.flags = Flags::compare(accumulator, destination);
    if accumulator == destination {
        let source = cpu.get::<T>(op.src);
        cpu.set(op.dst, source);
    } else {
        cpu.set(RAX as u8 * 8, destination);
    }
    Ok(())
}

/// The destination is written in any case: with its own value if the comparison fails.
fn cmpxchg_mem<T: Int, L: Lock>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    let (accumulator, source) = (cpu.get::<T>(RAX as u8 * 8), cpu.get::<T>(op.src));
    let change = |_: Flags, old: T| Change {
        value: if old == accumulator { source } else { old },
        flags: Flags::compare(accumulator, old),
        result: old,
    };
    let old = cpu.modify_as(L::LOCKED, gva, change)?;
    if old != accumulator {
        cpu.set(RAX as u8 * 8, old);
    }
    Ok(())
}

fn cmpxchg8b(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, 8, true)?;
    let pair = |cpu: &Cpu, high: usize, low: usize| {
        u64::from(cpu.regs[high] as u32) << 32 | u64::from(cpu.regs[low] as u32)
    };
    let (expected, new) = (pair(cpu, RDX, RAX), pair(cpu, RCX, RBX));
    let flags = cpu.flags;
    let old = cpu.modify_locked(gva, |_, old: u64| Change {
        value: if old == expected { new } else { old },
        flags,
        result: old,
    })?;
    cpu.flags = cpu.flags.with_zf(old == expected);
    if old != expected {
        cpu.set(RAX as u8 * 8, old as u32);
        cpu.set(RDX as u8 * 8, (old >> 32) as u32);
    }
    Ok(())
}

fn cmpxchg16b(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.features.cx16 {
        return cpu.undefined();
    }
    let gva = cpu.address(op, 16, true)?;
    if gva % 16 != 0 {
        return cpu.gp(0);
    }
    let expected = u128::from(cpu.regs[RDX]) << 64 | u128::from(cpu.regs[RAX]);
    let new = u128::from(cpu.regs[RCX]) << 64 | u128::from(cpu.regs[RBX]);
    let old = match cpu.place::<u64>(gva)? {
        Some(place) => {
            // SAFETY: the operand is 16-byte aligned, so it lies in the page of its first half.
            let old = unsafe { compare_exchange_16(place.at, expected, new) };
            cpu.stored(&place, 16);
            old
        }
        None => {
            let low = cpu.read::<u64>(gva)?;
            let high = cpu.read::<u64>(gva + 8)?;
            let old = u128::from(high) << 64 | u128::from(low);
            let value = if old == expected { new } else { old };
            cpu.write(gva, value as u64)?;
            cpu.write(gva + 8, (value >> 64) as u64)?;
            old
        }
    };
    cpu.flags = cpu.flags.with_zf(old == expected);
    if old != expected {
        cpu.regs[RAX] = old as u64;
        cpu.regs[RDX] = (old >> 64) as u64;
    }
    Ok(())
}

/// # Safety
/// `at` is 16 bytes of RAM, aligned to 16.
unsafe fn compare_exchange_16(at: *mut u8, expected: u128, new: u128) -> u128 {
    let (mut low, mut high) = (expected as u64, (expected >> 64) as u64);
    // RBX cannot be named as an operand, since the compiler keeps it for itself. It may choose it for
    // an operand, though, so the address has a register of its own.
    // SAFETY: the caller vouches for the address.
    unsafe {
        asm!(
            "xchg rbx, {new_low}",
            "lock cmpxchg16b [rdi]",
            "mov rbx, {new_low}",
            in("rdi") at,
            new_low = inout(reg) new as u64 => _,
            inout("rax") low, inout("rdx") high, in("rcx") (new >> 64) as u64,
            options(nostack)
        );
    }
    u128::from(high) << 64 | u128::from(low)
}
