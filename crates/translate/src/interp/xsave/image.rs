//! Parts of an XSAVE image in the standard format (Intel SDM vol. 1, 13.4), and what it means to load
//! them into the vCPU's own.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::cpu::features::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::hostexec::{GUEST_MXCSR_MASK, XsaveArea};

/// Offsets in the image, each part running to the next.
const FIP: usize = 8;
pub(super) const MXCSR: usize = 24;
pub(super) const ST: usize = 32;
pub(super) const XMM: usize = 160;
pub(super) const XMM_END: usize = 416;
/// The FXSAVE image's last bytes are software's own: they are neither read nor written.
pub(super) const LEGACY_END: usize = 512;
pub(super) const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
/// Header bytes that must be zero in the standard format.
const HEADER_ZERO: Range<usize> = XCOMP_BV..536;
pub(super) const HEADER_END: usize = 576;
pub(super) const YMM: usize = 576;
pub(super) const YMM_END: usize = 832;
/// Bytes of the registers that only 64-bit mode has, in each of XMM and YMM.
pub(super) const UPPER_EIGHT: usize = 128;

const INITIAL_FCW: u16 = 0x37f;

/// The 32-bit forms keep 32 bits of the x87 pointers. Their segment selectors are saved as zero, as
/// by all recent processors (CPUID leaf 7, FCS and FDS deprecated).
pub(super) fn narrow_pointers(image: &mut [u8]) {
    image[FIP + 4..FIP + 8].fill(0);
    image[FIP + 12..FIP + 16].fill(0);
}

pub(super) fn mxcsr_of(image: &[u8]) -> u32 {
    u32::from_le_bytes([
        image[MXCSR],
        image[MXCSR + 1],
        image[MXCSR + 2],
        image[MXCSR + 3],
    ])
}

/// XSTATE_BV: the components that the image has.
pub(super) fn present_in(image: &[u8; YMM_END]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&image[XSTATE_BV..XCOMP_BV]);
    u64::from_le_bytes(bytes)
}

/// The header's bytes that the standard format leaves zero; XCOMP_BV, which would say that the image
/// is in the compacted format, is among them.
pub(super) fn header_is_standard(image: &[u8; YMM_END]) -> bool {
    image[HEADER_ZERO].iter().all(|&byte| byte == 0)
}

/// Loads x87 state; bits that no register has are dropped.
pub(super) fn load_x87(area: &mut XsaveArea, image: &[u8]) {
    const FCW_WRITABLE: u16 = 0x1f3f;
    const FCW_ONE: u16 = 0x40;
    area.bytes[..MXCSR].copy_from_slice(&image[..MXCSR]);
    area.set_fcw(area.fcw() & FCW_WRITABLE | FCW_ONE);
    area.set_fsw(summarised(area.fsw(), area.fcw()));
    // FTW is one byte, FOP eleven bits.
    area.bytes[5] = 0;
    area.bytes[7] &= 7;
    for slot in (ST..XMM).step_by(16) {
        area.bytes[slot..slot + 10].copy_from_slice(&image[slot..slot + 10]);
    }
}

/// FSW with its error summary and busy bits as the exception flags and masks make them.
fn summarised(fsw: u16, fcw: u16) -> u16 {
    const EXCEPTIONS: u16 = 0x3f;
    const ES_AND_B: u16 = 0x8080;
    let pending = fsw & !fcw & EXCEPTIONS != 0;
    fsw & !ES_AND_B | if pending { ES_AND_B } else { 0 }
}

fn init_x87(area: &mut XsaveArea) {
    area.bytes[..MXCSR].fill(0);
    area.bytes[ST..XMM].fill(0);
    area.set_fcw(INITIAL_FCW);
}

/// The components that are not in their initial configuration (13.6).
pub(super) fn in_use(area: &XsaveArea) -> u64 {
    let any = |bytes: &[u8]| bytes.iter().any(|&byte| byte != 0);
    let x87 = area.fcw() != INITIAL_FCW || any(&area.bytes[2..MXCSR]) || any(&area.bytes[ST..XMM]);
    let when = |used, bit| if used { bit } else { 0 };
    when(x87, XCR0_X87)
        | when(any(&area.bytes[XMM..XMM_END]), XCR0_SSE)
        | when(any(&area.bytes[YMM..YMM_END]), XCR0_AVX)
}

/// Loads the `requested` components, those that are not `present` with their initial values (13.8).
/// MXCSR comes from the image in any case.
pub(super) fn restore(
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
        let present = present_in(image);
        let possible = header_is_standard(image)
            && present & !all == 0
            && mxcsr_of(image) & !GUEST_MXCSR_MASK == 0;
        if !possible {
            return None;
        }
        let mut area = XsaveArea::default();
        restore(&mut area, image, all, present, (XMM_END, YMM_END));
        Some(area)
    }
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
