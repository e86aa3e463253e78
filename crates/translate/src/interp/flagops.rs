//! CLC STC CMC CLD STD LAHF SAHF, and instructions without architectural effect.

use iced_x86::{Instruction, Mnemonic};

use super::lower::Lowered;
use super::op::Op;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::flags::{self, Flags};
use crate::cpu::registers::RAX;
use crate::cpu::{Cpu, cr};

/// PAUSEs after which a spinning vCPU gives its host CPU away: whoever holds the lock it waits for
/// may be a vCPU that is not running.
const PAUSES_BEFORE_YIELD: u32 = 64;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Clc => |cpu, _| set_carry(cpu, false),
        Mnemonic::Stc => |cpu, _| set_carry(cpu, true),
        Mnemonic::Cmc => |cpu, _| {
            let carry = !cpu.flags.cf();
            set_carry(cpu, carry)
        },
        Mnemonic::Cld => |cpu, _| {
            cpu.system_flags &= !flags::DF;
            Ok(())
        },
        Mnemonic::Std => |cpu, _| {
            cpu.system_flags |= flags::DF;
            Ok(())
        },
        Mnemonic::Lahf => lahf,
        Mnemonic::Sahf => sahf,
        Mnemonic::Pause => pause,
        Mnemonic::Wait => wait,
        Mnemonic::Nop
        | Mnemonic::Endbr64
        | Mnemonic::Endbr32
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2
        | Mnemonic::Prefetchwt1
        | Mnemonic::Prefetchit0
        | Mnemonic::Prefetchit1
        | Mnemonic::Cldemote
        // Shadow stacks are not offered, and then this is a hint.
        | Mnemonic::Rdsspd
        | Mnemonic::Rdsspq
        | Mnemonic::Reservednop => |_, _| Ok(()),
        // A store buffer is the only reordering an x86 host has, and the guest's stores and loads are
        // the host's, so the guest's fences are the host's too.
        Mnemonic::Mfence | Mnemonic::Lfence | Mnemonic::Sfence => fence,
        Mnemonic::Clflush | Mnemonic::Clflushopt => flush_line,
        _ => return None,
    })
}

fn set_carry(cpu: &mut Cpu, carry: bool) -> Exec {
    cpu.flags = cpu.flags.with_cf(carry);
    Ok(())
}

fn lahf(cpu: &mut Cpu, _: &Op) -> Exec {
    let image = cpu.flags.bits() as u8 | flags::FIXED_1 as u8;
    cpu.set(RAX as u8 * 8 + 1, image);
    Ok(())
}

fn sahf(cpu: &mut Cpu, _: &Op) -> Exec {
    const LOADED: u64 = flags::SF | flags::ZF | flags::AF | flags::PF | flags::CF;
    let image = u64::from(cpu.get::<u8>(RAX as u8 * 8 + 1));
    cpu.flags = Flags::from_bits(cpu.flags.bits() & !LOADED | image & LOADED);
    Ok(())
}

fn pause(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.pauses += 1;
    if cpu.pauses >= PAUSES_BEFORE_YIELD {
        cpu.pauses = 0;
        std::thread::yield_now();
    }
    Ok(())
}

/// WAIT: reports a pending x87 error. Its #NM needs MP as well as TS.
fn wait(cpu: &mut Cpu, _: &Op) -> Exec {
    const WATCHED: u64 = cr::CR0_MP | cr::CR0_TS;
    if cpu.cr0 & WATCHED == WATCHED {
        return cpu.fault(vector::NM, None);
    }
    if cpu.vectors.x87_unmasked() != 0 {
        return cpu.fault(vector::MF, None);
    }
    Ok(())
}

fn fence(_: &mut Cpu, _: &Op) -> Exec {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    Ok(())
}

/// CLFLUSH faults as a load would; the guest's caches are the host's, so nothing is flushed.
fn flush_line(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, 1, false)?;
    cpu.probe_read(gva)
}
