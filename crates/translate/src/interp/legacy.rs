//! What only 16- and 32-bit code has: decimal adjustment, BOUND, INTO, SALC.

use iced_x86::{Instruction, Mnemonic};

use super::lower::{Lowered, operand_size};
use super::op::Op;
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::flags::{self, Flags};
use crate::cpu::int::Int;
use crate::cpu::registers::RAX;

const AL: u8 = RAX as u8 * 8;
const AH: u8 = AL + 1;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Daa => |cpu, _| adjust_packed(cpu, false),
        Mnemonic::Das => |cpu, _| adjust_packed(cpu, true),
        Mnemonic::Aaa => |cpu, _| adjust_unpacked(cpu, false),
        Mnemonic::Aas => |cpu, _| adjust_unpacked(cpu, true),
        Mnemonic::Aam => aam,
        Mnemonic::Aad => aad,
        Mnemonic::Salc => |cpu, _| {
            cpu.set(AL, if cpu.flags.cf() { 0xffu8 } else { 0 });
            Ok(())
        },
        Mnemonic::Bound if operand_size(ins, 0) == 2 => bound::<u16>,
        Mnemonic::Bound => bound::<u32>,
        _ => return None,
    })
}

/// DAA and DAS (Intel SDM vol. 2). OF is undefined.
fn adjust_packed(cpu: &mut Cpu, subtract: bool) -> Exec {
    let old = cpu.get::<u8>(AL);
    let (old_cf, old_af) = (cpu.flags.cf(), cpu.flags.af());
    let adjust = |value: u8, by: u8| {
        if subtract {
            value.wrapping_sub(by)
        } else {
            value.wrapping_add(by)
        }
    };
    let mut al = old;
    let (mut cf, mut af) = (false, false);
    if old & 15 > 9 || old_af {
        al = adjust(al, 6);
        cf = old_cf || if subtract { old < 6 } else { old > 0xf9 };
        af = true;
    }
    if old > 0x99 || old_cf {
        al = adjust(al, 0x60);
        cf = true;
    }
    cpu.set(AL, al);
    cpu.flags = Flags::of_result(al, cf, false, af);
    Ok(())
}

/// AAA and AAS. Only CF and AF are defined.
fn adjust_unpacked(cpu: &mut Cpu, subtract: bool) -> Exec {
    let ax = cpu.get::<u16>(AL);
    let carry = ax & 15 > 9 || cpu.flags.af();
    let adjusted = match (carry, subtract) {
        (false, _) => ax,
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(6).wrapping_sub(0x100),
    };
    cpu.set(AL, adjusted & 0xff0f);
    let af = if carry { flags::AF } else { 0 };
    let kept = cpu.flags.bits() & !(flags::CF | flags::AF);
    cpu.flags = Flags::from_bits(kept | af | u64::from(carry));
    Ok(())
}

fn aam(cpu: &mut Cpu, op: &Op) -> Exec {
    let base = op.imm as u8;
    if base == 0 {
        return cpu.fault(vector::DE, None);
    }
    let al = cpu.get::<u8>(AL);
    cpu.set(AH, al / base);
    cpu.set(AL, al % base);
    cpu.flags = Flags::logic(al % base);
    Ok(())
}

fn aad(cpu: &mut Cpu, op: &Op) -> Exec {
    let (al, ah) = (cpu.get::<u8>(AL), cpu.get::<u8>(AH));
    let result = al.wrapping_add(ah.wrapping_mul(op.imm as u8));
    cpu.set(AL, u16::from(result));
    cpu.flags = Flags::logic(result);
    Ok(())
}

fn bound<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, 2 * T::BYTES, false)?;
    let (low, high) = (
        cpu.read::<T>(gva)?,
        cpu.read::<T>(gva.wrapping_add(T::BYTES))?,
    );
    let value = cpu.get::<T>(op.dst).sign_extend() as i64;
    if value < low.sign_extend() as i64 || value > high.sign_extend() as i64 {
        return cpu.fault(vector::BR, None);
    }
    Ok(())
}
