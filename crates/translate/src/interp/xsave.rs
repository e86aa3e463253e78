//! Saving and restoring x87, SSE and AVX state: FXSAVE FXRSTOR, XSAVE XSAVEOPT XRSTOR, XGETBV XSETBV,
//! LDMXCSR STMXCSR (Intel SDM vol. 1, chapter 13 and 10.5).
//!
//! The vCPU's own registers are an image in the same format, so saving and restoring are copies of
//! parts of it. All checks and all accesses that may fault come before the first change.

mod image;
#[cfg(test)]
mod tests;

use iced_x86::{Instruction, Mnemonic};

use self::image::{
    HEADER_END, LEGACY_END, MXCSR, ST, UPPER_EIGHT, XMM, XMM_END, XSTATE_BV, YMM, YMM_END,
    header_is_standard, in_use, load_x87, mxcsr_of, narrow_pointers, present_in, restore,
};
use super::lower::Lowered;
use super::op::Op;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::features::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::cpu::registers::RCX;
use crate::cpu::{CodeMode, Cpu, cr};
use crate::hostexec::{Feature, GUEST_MXCSR_MASK};

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    match ins.mnemonic() {
        Mnemonic::Fxsave => Lowered::plain(|cpu, op| fxsave(cpu, op, false)),
        Mnemonic::Fxsave64 => Lowered::plain(|cpu, op| fxsave(cpu, op, true)),
        Mnemonic::Fxrstor => Lowered::plain(|cpu, op| fxrstor(cpu, op, false)),
        Mnemonic::Fxrstor64 => Lowered::plain(|cpu, op| fxrstor(cpu, op, true)),
        Mnemonic::Xsave => Lowered::plain(|cpu, op| xsave(cpu, op, false, false)),
        Mnemonic::Xsave64 => Lowered::plain(|cpu, op| xsave(cpu, op, true, false)),
        Mnemonic::Xsaveopt => Lowered::plain(|cpu, op| xsave(cpu, op, false, true)),
        Mnemonic::Xsaveopt64 => Lowered::plain(|cpu, op| xsave(cpu, op, true, true)),
        Mnemonic::Xrstor => Lowered::plain(|cpu, op| xrstor(cpu, op, false)),
        Mnemonic::Xrstor64 => Lowered::plain(|cpu, op| xrstor(cpu, op, true)),
        Mnemonic::Xgetbv => Lowered::plain(xgetbv),
        Mnemonic::Xsetbv => Lowered::ends(xsetbv),
        Mnemonic::Ldmxcsr => Lowered::plain(|cpu, op| load_mxcsr(cpu, op, false)),
        Mnemonic::Vldmxcsr => Lowered::plain(|cpu, op| load_mxcsr(cpu, op, true)),
        Mnemonic::Stmxcsr => Lowered::plain(|cpu, op| store_mxcsr(cpu, op, false)),
        Mnemonic::Vstmxcsr => Lowered::plain(|cpu, op| store_mxcsr(cpu, op, true)),
        _ => None,
    }
}

/// Where the XMM registers (or, from `YMM` on, the upper halves) that the mode has end.
fn registers_end(cpu: &Cpu, end: usize) -> usize {
    if cpu.mode == CodeMode::Bits64 {
        end
    } else {
        end - UPPER_EIGHT
    }
}

fn aligned_operand(cpu: &mut Cpu, op: &Op, size: usize, alignment: u64, write: bool) -> Exec<u64> {
    let gva = cpu.address(op, size as u64, write)?;
    if gva & (alignment - 1) != 0 {
        return cpu.gp(0);
    }
    Ok(gva)
}

fn check_fxsave(cpu: &mut Cpu) -> Exec {
    if !cpu.features.fxsr {
        return cpu.undefined();
    }
    if cpu.cr0 & (cr::CR0_TS | cr::CR0_EM) != 0 {
        return cpu.fault(vector::NM, None);
    }
    Ok(())
}

fn fxsave(cpu: &mut Cpu, op: &Op, wide: bool) -> Exec {
    check_fxsave(cpu)?;
    let gva = aligned_operand(cpu, op, LEGACY_END, 16, true)?;
    cpu.probe_write(gva, LEGACY_END as u64)?;
    let mut image = cpu.vectors.bytes;
    if !wide {
        narrow_pointers(&mut image);
    }
    // Without the system's leave, XMM registers are nobody's business.
    let end = if cpu.cr4 & cr::CR4_OSFXSR == 0 {
        XMM
    } else {
        registers_end(cpu, XMM_END)
    };
    cpu.write_bytes(gva, &image[..end])
}

fn fxrstor(cpu: &mut Cpu, op: &Op, wide: bool) -> Exec {
    check_fxsave(cpu)?;
    let gva = aligned_operand(cpu, op, LEGACY_END, 16, false)?;
    let mut image = [0; LEGACY_END];
    cpu.read_bytes(gva, &mut image)?;
    let mxcsr = mxcsr_of(&image);
    if mxcsr & !GUEST_MXCSR_MASK != 0 {
        return cpu.gp(0);
    }
    if !wide {
        narrow_pointers(&mut image);
    }
    load_x87(&mut cpu.vectors, &image);
    cpu.vectors.set_mxcsr(mxcsr);
    if cpu.cr4 & cr::CR4_OSFXSR != 0 {
        let end = registers_end(cpu, XMM_END);
        cpu.vectors.bytes[XMM..end].copy_from_slice(&image[XMM..end]);
    }
    Ok(())
}

fn check_xsave(cpu: &mut Cpu) -> Exec {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return cpu.undefined();
    }
    if cpu.cr0 & cr::CR0_TS != 0 {
        return cpu.fault(vector::NM, None);
    }
    Ok(())
}

/// Bytes of an area that holds `components`.
fn area_size(components: u64) -> usize {
    if components & XCR0_AVX != 0 {
        YMM_END
    } else {
        HEADER_END
    }
}

/// XSAVE and XSAVEOPT (13.7, 13.9). XSAVEOPT leaves out components in their initial configuration;
/// that a component is unchanged since the last XRSTOR is not tracked.
fn xsave(cpu: &mut Cpu, op: &Op, wide: bool, optimized: bool) -> Exec {
    if optimized && !cpu.features.xsaveopt {
        return cpu.undefined();
    }
    check_xsave(cpu)?;
    let requested = cpu.xcr0 & cpu.edx_eax();
    let size = area_size(requested);
    let gva = aligned_operand(cpu, op, size, 64, true)?;
    cpu.probe_write(gva, size as u64)?;
    let mut header = [0; 8];
    cpu.read_bytes(gva.wrapping_add(XSTATE_BV as u64), &mut header)?;
    let used = in_use(&cpu.vectors) & requested;
    let present = u64::from_le_bytes(header) & !requested | used;
    let written = if optimized { used } else { requested };
    let mut image = cpu.vectors.bytes;
    if !wide {
        narrow_pointers(&mut image);
    }
    let xmm_end = registers_end(cpu, XMM_END);
    let ymm_end = registers_end(cpu, YMM_END);
    // MXCSR belongs to both SSE and AVX, and is written whatever their configuration.
    let parts = [
        (written & XCR0_X87 != 0, 0..MXCSR),
        (requested & (XCR0_SSE | XCR0_AVX) != 0, MXCSR..ST),
        (written & XCR0_X87 != 0, ST..XMM),
        (written & XCR0_SSE != 0, XMM..xmm_end),
        (written & XCR0_AVX != 0, YMM..ymm_end),
    ];
    for (_, part) in parts.into_iter().filter(|(wanted, _)| *wanted) {
        cpu.write_bytes(gva.wrapping_add(part.start as u64), &image[part])?;
    }
    cpu.write_bytes(gva.wrapping_add(XSTATE_BV as u64), &present.to_le_bytes())
}

fn xrstor(cpu: &mut Cpu, op: &Op, wide: bool) -> Exec {
    check_xsave(cpu)?;
    let requested = cpu.xcr0 & cpu.edx_eax();
    let size = area_size(requested);
    let gva = aligned_operand(cpu, op, size, 64, false)?;
    let mut image = [0; YMM_END];
    cpu.read_bytes(gva, &mut image[..size])?;
    let present = present_in(&image);
    if !header_is_standard(&image) || present & !cpu.xcr0 != 0 {
        return cpu.gp(0);
    }
    if requested & (XCR0_SSE | XCR0_AVX) != 0 && mxcsr_of(&image) & !GUEST_MXCSR_MASK != 0 {
        return cpu.gp(0);
    }
    if !wide {
        narrow_pointers(&mut image);
    }
    let ends = (registers_end(cpu, XMM_END), registers_end(cpu, YMM_END));
    restore(&mut cpu.vectors, &image, requested, present, ends);
    Ok(())
}

fn xgetbv(cpu: &mut Cpu, _: &Op) -> Exec {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return cpu.undefined();
    }
    // XGETBV of 1 is a feature of its own, which no model has.
    if cpu.regs[RCX] as u32 != 0 {
        return cpu.gp(0);
    }
    cpu.set_edx_eax(cpu.xcr0);
    Ok(())
}

fn xsetbv(cpu: &mut Cpu, _: &Op) -> Exec {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return cpu.undefined();
    }
    cpu.require_ring_0()?;
    let value = cpu.edx_eax();
    if cpu.regs[RCX] as u32 != 0 || !cpu.features.xcr0_valid(value) {
        return cpu.gp(0);
    }
    cpu.xcr0 = value;
    Ok(())
}

/// LDMXCSR and STMXCSR have the checks of any SSE instruction, their VEX forms those of any AVX one.
fn check_mxcsr(cpu: &mut Cpu, vex: bool) -> Exec {
    const SSE_AND_AVX: u64 = XCR0_SSE | XCR0_AVX;
    let available = if vex {
        cpu.features.host.has(Feature::Avx)
            && cpu.protected()
            && cpu.cr4 & cr::CR4_OSXSAVE != 0
            && cpu.xcr0 & SSE_AND_AVX == SSE_AND_AVX
    } else {
        cpu.features.host.has(Feature::Sse)
            && cpu.cr0 & cr::CR0_EM == 0
            && cpu.cr4 & cr::CR4_OSFXSR != 0
    };
    if !available {
        return cpu.undefined();
    }
    if cpu.cr0 & cr::CR0_TS != 0 {
        return cpu.fault(vector::NM, None);
    }
    Ok(())
}

fn load_mxcsr(cpu: &mut Cpu, op: &Op, vex: bool) -> Exec {
    check_mxcsr(cpu, vex)?;
    let gva = cpu.address(op, 4, false)?;
    let value = cpu.read::<u32>(gva)?;
    if value & !GUEST_MXCSR_MASK != 0 {
        return cpu.gp(0);
    }
    cpu.vectors.set_mxcsr(value);
    Ok(())
}

fn store_mxcsr(cpu: &mut Cpu, op: &Op, vex: bool) -> Exec {
    check_mxcsr(cpu, vex)?;
    let gva = cpu.address(op, 4, true)?;
    cpu.write(gva, cpu.vectors.mxcsr())
}
