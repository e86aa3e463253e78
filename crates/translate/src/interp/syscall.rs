//! SYSCALL SYSRET SYSENTER SYSEXIT (Intel SDM vol. 2; vol. 3, 5.8.7 and 5.8.8).

use iced_x86::{Code, Instruction, Mnemonic};
use wardian_engine::state::Segment;

use super::lower::Lowered;
use super::op::Op;
use crate::cpu::debug::DR6_SINGLE_STEP;
use crate::cpu::exception::Exec;
use crate::cpu::registers::{RCX, RDX, RIP, RSP};
use crate::cpu::segment::index;
use crate::cpu::{CodeMode, Cpu, cr, event, flags};
use crate::mmu::canonical;

const R11: usize = 11;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    match ins.code() {
        Code::Sysretd => return Lowered::ends(|cpu, _| sysret(cpu, false)),
        Code::Sysretq => return Lowered::ends(|cpu, _| sysret(cpu, true)),
        Code::Sysexitd => return Lowered::ends(|cpu, _| sysexit(cpu, false)),
        Code::Sysexitq => return Lowered::ends(|cpu, _| sysexit(cpu, true)),
        _ => {}
    }
    match ins.mnemonic() {
        Mnemonic::Syscall => Lowered::ends(syscall),
        Mnemonic::Sysenter => Lowered::ends(sysenter),
        _ => None,
    }
}

/// A flat code segment as these instructions load it: not from a table.
fn flat_code(selector: u16, level: u8, long: bool) -> Segment {
    let size = if long { 1 << 13 } else { 1 << 14 };
    Segment {
        selector: selector & !3 | u16::from(level),
        base: 0,
        limit: u32::MAX,
        attributes: 0x809b | u32::from(level) << 5 | size,
    }
}

fn flat_stack(selector: u16, level: u8) -> Segment {
    Segment {
        selector: selector & !3 | u16::from(level),
        base: 0,
        limit: u32::MAX,
        attributes: 0xc093 | u32::from(level) << 5,
    }
}

fn syscall(cpu: &mut Cpu, _: &Op) -> Exec {
    // In compatibility mode the CPU models here, being Intel's, have no SYSCALL.
    if cpu.mode != CodeMode::Bits64 || cpu.efer & cr::EFER_SCE == 0 {
        return cpu.undefined();
    }
    cpu.regs[RCX] = cpu.rip();
    cpu.regs[R11] = cpu.rflags();
    let selector = (cpu.msrs.star >> 32) as u16;
    cpu.regs[RIP] = cpu.msrs.lstar;
    let kept = cpu.rflags() & !cpu.msrs.fmask & !flags::RF;
    cpu.set_segment(index::CS, flat_code(selector, 0, true));
    cpu.set_segment(index::SS, flat_stack(selector.wrapping_add(8), 0));
    cpu.cpl = 0;
    cpu.step_over = kept & flags::TF == 0;
    cpu.set_rflags(kept);
    Ok(())
}

fn sysret(cpu: &mut Cpu, to_64: bool) -> Exec {
    if cpu.mode != CodeMode::Bits64 || cpu.efer & cr::EFER_SCE == 0 {
        return cpu.undefined();
    }
    let target = cpu.regs[RCX];
    if cpu.cpl != 0 || to_64 && !canonical(target) {
        return cpu.gp(0);
    }
    let selector = (cpu.msrs.star >> 48) as u16;
    let image = cpu.regs[R11];
    if to_64 {
        cpu.set_segment(index::CS, flat_code(selector.wrapping_add(16), 3, true));
        cpu.regs[RIP] = target;
    } else {
        cpu.set_segment(index::CS, flat_code(selector, 3, false));
        cpu.regs[RIP] = target & 0xffff_ffff;
    }
    cpu.set_segment(index::SS, flat_stack(selector.wrapping_add(8), 3));
    cpu.cpl = 3;
    cpu.set_rflags(image & !(flags::RF | flags::VM));
    if image & flags::TF != 0 {
        // Unlike IRET's, this TF already traps before the first instruction in ring 3, as Linux's
        // entry code notes where it avoids SYSRET for programs being stepped.
        cpu.pending_dr6 |= DR6_SINGLE_STEP;
        cpu.events |= event::DEBUG_TRAP;
    }
    Ok(())
}

fn sysenter(cpu: &mut Cpu, _: &Op) -> Exec {
    if !cpu.features.sep {
        return cpu.undefined();
    }
    let selector = cpu.msrs.sysenter_cs as u16;
    if cpu.cr0 & cr::CR0_PE == 0 || selector & !3 == 0 {
        return cpu.gp(0);
    }
    let long = cpu.long_mode();
    let cut = if long { u64::MAX } else { 0xffff_ffff };
    cpu.system_flags &= !(flags::VM | flags::IF | flags::RF);
    cpu.set_segment(index::CS, flat_code(selector, 0, long));
    cpu.set_segment(index::SS, flat_stack(selector.wrapping_add(8), 0));
    cpu.set_cpl(0);
    cpu.system_flags_changed();
    cpu.regs[RSP] = cpu.msrs.sysenter_esp & cut;
    cpu.regs[RIP] = cpu.msrs.sysenter_eip & cut;
    Ok(())
}

fn sysexit(cpu: &mut Cpu, to_64: bool) -> Exec {
    if !cpu.features.sep {
        return cpu.undefined();
    }
    let selector = cpu.msrs.sysenter_cs as u16;
    if cpu.cr0 & cr::CR0_PE == 0 || cpu.cpl != 0 || selector & !3 == 0 {
        return cpu.gp(0);
    }
    let (target, pointer) = (cpu.regs[RDX], cpu.regs[RCX]);
    if to_64 && !(canonical(target) && canonical(pointer)) {
        return cpu.gp(0);
    }
    let (cut, code) = if to_64 {
        (u64::MAX, 32)
    } else {
        (0xffff_ffff, 16)
    };
    cpu.set_segment(index::CS, flat_code(selector.wrapping_add(code), 3, to_64));
    cpu.set_segment(index::SS, flat_stack(selector.wrapping_add(code + 8), 3));
    cpu.set_cpl(3);
    cpu.regs[RSP] = pointer & cut;
    cpu.regs[RIP] = target & cut;
    Ok(())
}
