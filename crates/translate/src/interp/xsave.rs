//! Saving and restoring x87, SSE and AVX state: FXSAVE FXRSTOR, XSAVE XSAVEOPT XRSTOR, XGETBV XSETBV,
//! LDMXCSR STMXCSR (Intel SDM vol. 1, chapter 13 and 10.5).
//!
//! The vCPU's own registers are an image in the same format, so saving and restoring are copies of
//! parts of it. All checks and all accesses that may fault come before the first change.

use iced_x86::{Instruction, Mnemonic};

use super::lower::Lowered;
use super::op::Op;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::features::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::cpu::registers::RCX;
use crate::cpu::{CodeMode, Cpu, cr};
use crate::hostexec::{Feature, GUEST_MXCSR_MASK, XsaveArea};

/// Offsets in the image, each part running to the next.
const FIP: usize = 8;
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;
const XMM_END: usize = 416;
/// The FXSAVE image's last bytes are software's own: they are neither read nor written.
const LEGACY_END: usize = 512;
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
/// Header bytes that must be zero in the standard format.
const HEADER_ZERO: std::ops::Range<usize> = XCOMP_BV..536;
const HEADER_END: usize = 576;
const YMM: usize = 576;
const YMM_END: usize = 832;
/// Bytes of the registers that only 64-bit mode has, in each of XMM and YMM.
const UPPER_EIGHT: usize = 128;

const INITIAL_FCW: u16 = 0x37f;

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

/// The 32-bit forms keep 32 bits of the x87 pointers. Their segment selectors are saved as zero, as
/// by all recent processors (CPUID leaf 7, FCS and FDS deprecated).
fn narrow_pointers(image: &mut [u8]) {
    image[FIP + 4..FIP + 8].fill(0);
    image[FIP + 12..FIP + 16].fill(0);
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

fn mxcsr_of(image: &[u8]) -> u32 {
    u32::from_le_bytes([
        image[MXCSR],
        image[MXCSR + 1],
        image[MXCSR + 2],
        image[MXCSR + 3],
    ])
}

fn word64(image: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&image[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Loads x87 state; bits that no register has are dropped.
fn load_x87(area: &mut XsaveArea, image: &[u8]) {
    const FCW_WRITABLE: u16 = 0x1f3f;
    const FCW_ONE: u16 = 0x40;
    area.bytes[..MXCSR].copy_from_slice(&image[..MXCSR]);
    area.set_fcw(area.fcw() & FCW_WRITABLE | FCW_ONE);
    // FTW is one byte, FOP eleven bits.
    area.bytes[5] = 0;
    area.bytes[7] &= 7;
    for slot in (ST..XMM).step_by(16) {
        area.bytes[slot..slot + 10].copy_from_slice(&image[slot..slot + 10]);
    }
}

fn init_x87(area: &mut XsaveArea) {
    area.bytes[..MXCSR].fill(0);
    area.bytes[ST..XMM].fill(0);
    area.set_fcw(INITIAL_FCW);
}

/// The components that are not in their initial configuration (13.6).
fn in_use(area: &XsaveArea) -> u64 {
    let any = |bytes: &[u8]| bytes.iter().any(|&byte| byte != 0);
    let x87 = area.fcw() != INITIAL_FCW || any(&area.bytes[2..MXCSR]) || any(&area.bytes[ST..XMM]);
    let when = |used, bit| if used { bit } else { 0 };
    when(x87, XCR0_X87)
        | when(any(&area.bytes[XMM..XMM_END]), XCR0_SSE)
        | when(any(&area.bytes[YMM..YMM_END]), XCR0_AVX)
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
    let present = word64(&image, XSTATE_BV);
    // XCOMP_BV among them: the compacted format is not offered.
    let header_zero = image[HEADER_ZERO].iter().all(|&byte| byte == 0);
    if !header_zero || present & !cpu.xcr0 != 0 {
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

/// Loads the `requested` components, those that are not `present` with their initial values (13.8).
/// MXCSR comes from the image in any case.
fn restore(
    area: &mut XsaveArea,
    image: &[u8; YMM_END],
    requested: u64,
    present: u64,
    (xmm_end, ymm_end): (usize, usize),
) {
    if requested & XCR0_X87 != 0 {
        if present & XCR0_X87 != 0 {
            load_x87(area, image);
        } else {
            init_x87(area);
        }
    }
    if requested & (XCR0_SSE | XCR0_AVX) != 0 {
        area.set_mxcsr(mxcsr_of(image));
    }
    for (component, part) in [(XCR0_SSE, XMM..xmm_end), (XCR0_AVX, YMM..ymm_end)] {
        if requested & component == 0 {
            continue;
        }
        if present & component != 0 {
            area.bytes[part.clone()].copy_from_slice(&image[part]);
        } else {
            area.bytes[part].fill(0);
        }
    }
}

impl Cpu {
    /// The registers in the image of a saved state, which is in the standard format. `None` if no
    /// processor could have saved it.
    pub(crate) fn vectors_of(image: &[u8]) -> Option<XsaveArea> {
        let image: &[u8; YMM_END] = image.try_into().ok()?;
        let all = XCR0_X87 | XCR0_SSE | XCR0_AVX;
        let present = word64(image, XSTATE_BV);
        let header_zero = image[HEADER_ZERO].iter().all(|&byte| byte == 0);
        if !header_zero || present & !all != 0 || mxcsr_of(image) & !GUEST_MXCSR_MASK != 0 {
            return None;
        }
        let mut area = XsaveArea::default();
        restore(&mut area, image, all, present, (XMM_END, YMM_END));
        Some(area)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    const ENDS: (usize, usize) = (XMM_END, YMM_END);

    /// State with something in every register.
    fn full() -> XsaveArea {
        let mut area = XsaveArea::default();
        for i in 0..16 {
            area.set_ymm(i, [i as u8 + 1; 32]);
        }
        area.bytes[ST..ST + 10].fill(0x55);
        area.set_ftw(0x80);
        area.set_mxcsr(0x3f80);
        area
    }

    #[test]
    fn what_is_saved_is_restored() {
        let saved = full();
        assert_eq!(Cpu::vectors_of(&saved.bytes), Some(saved));
        assert_eq!(in_use(&saved), ALL);
    }

    #[test]
    fn components_that_are_not_present_become_initial() {
        let mut area = full();
        restore(&mut area, &full().bytes, ALL, XCR0_SSE, ENDS);
        assert_eq!(in_use(&area), XCR0_SSE);
        assert_eq!((area.fcw(), area.mxcsr()), (0x37f, 0x3f80));
        restore(&mut area, &XsaveArea::default().bytes, ALL, 0, ENDS);
        assert_eq!(area, XsaveArea::default());
    }

    #[test]
    fn components_that_are_not_requested_stay() {
        let mut area = full();
        restore(&mut area, &XsaveArea::default().bytes, XCR0_X87, ALL, ENDS);
        let mut expected = full();
        init_x87(&mut expected);
        assert_eq!(area, expected);
    }

    #[test]
    fn code_outside_64_bit_mode_leaves_the_upper_registers_alone() {
        let mut area = full();
        let ends = (XMM_END - UPPER_EIGHT, YMM_END - UPPER_EIGHT);
        restore(&mut area, &XsaveArea::default().bytes, ALL, 0, ends);
        assert_eq!((area.ymm(7), area.ymm(8)), ([0; 32], [9; 32]));
    }

    #[test]
    fn impossible_images_are_refused() {
        for (at, byte) in [
            (XCOMP_BV, 1),
            (XCOMP_BV + 7, 0x80),
            (XSTATE_BV, 8),
            (MXCSR + 2, 1),
        ] {
            let mut image = full().bytes;
            image[at] = byte;
            assert_eq!(Cpu::vectors_of(&image), None, "byte {at}");
        }
        assert_eq!(Cpu::vectors_of(&[0; 831]), None);
    }

    #[test]
    fn loaded_x87_state_has_no_bits_that_registers_lack() {
        let mut area = XsaveArea::default();
        load_x87(&mut area, &[0xff; LEGACY_END]);
        assert_eq!(area.fcw(), 0x1f7f);
        assert_eq!(
            (area.bytes[5], area.bytes[7], area.bytes[ST + 10]),
            (0, 7, 0)
        );
    }
}
