//! Guest x87 and MMX state in the registers of the host, between instructions that run there one
//! after the other.
//!
//! Between [`XsaveArea::load_x87`] (or code that does the same) and [`XsaveArea::save_x87`] the host
//! thread must not use x87 or MMX itself. Compiled Rust for x86-64 does not.

use std::arch::asm;

use super::area::{FOP, MXCSR, XsaveArea};

/// The component of XRSTOR and XSAVE.
const X87: u32 = 1;
/// XSTATE_BV in the image.
const HEADER: usize = 512;

/// Whether the host can load and save x87 state by itself. The images say that they hold AVX state
/// too, so XRSTOR accepts them only where that is enabled.
pub(crate) fn host_keeps_x87() -> bool {
    is_x86_feature_detected!("avx")
}

impl XsaveArea {
    /// Moves the x87 state to the host's registers.
    ///
    /// # Safety
    /// [`host_keeps_x87`]; no unmasked exception is pending in the image; and the file's promise.
    pub(crate) unsafe fn load_x87(&self, host_fcw: &mut u16) {
        // SAFETY: the header of every image is valid, and only the x87 registers change.
        unsafe {
            asm!(
                "fnstcw [{fcw}]",
                "xrstor64 [{area}]",
                area = in(reg) self.bytes.as_ptr(),
                fcw = in(reg) host_fcw,
                in("eax") X87,
                in("edx") 0,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Moves it back; the host's registers are then initialized, with `host_fcw` as control word.
    /// The last-instruction pointers are zero, as after every instruction executed on the host: the
    /// real ones would be those of translated code.
    ///
    /// # Safety
    /// The state was loaded before.
    pub(crate) unsafe fn save_x87(&mut self, host_fcw: u16) {
        // SAFETY: the image is aligned and large enough; XSAVE writes its x87 part and XSTATE_BV.
        unsafe {
            asm!(
                "xsave64 [{area}]",
                "fninit",
                "fldcw [{fcw}]",
                area = in(reg) self.bytes.as_mut_ptr(),
                fcw = in(reg) &raw const host_fcw,
                in("eax") X87,
                in("edx") 0,
                options(nostack, preserves_flags),
            );
        }
        // XSAVE says so when the state is the initial one, which is in the image all the same.
        self.bytes[HEADER] |= X87 as u8;
        // FOP, FIP and FDP.
        self.bytes[FOP..MXCSR].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_goes_to_the_host_and_comes_back() {
        if !host_keeps_x87() {
            return;
        }
        let mut guest = XsaveArea::default();
        guest.set_fsw(7 << 11 | 0x20);
        guest.set_ftw(0x80);
        guest.bytes[32..42].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0xc9, 0, 0x40]);
        for mut area in [guest, XsaveArea::default()] {
            let (before, mut fcw) = (area, 0);
            // SAFETY: nothing uses x87 between the two.
            unsafe {
                area.load_x87(&mut fcw);
                area.save_x87(fcw);
            }
            assert_eq!(area, before);
        }
    }

    #[test]
    fn the_hosts_instruction_pointers_stay_its_own() {
        if !host_keeps_x87() {
            return;
        }
        let (mut area, mut fcw) = (XsaveArea::default(), 0);
        // SAFETY: the x87 instruction is the guest's.
        unsafe {
            area.load_x87(&mut fcw);
            asm!("fld1", options(nomem, nostack));
            area.save_x87(fcw);
        }
        assert_eq!((area.fsw() >> 11, area.ftw()), (7, 0x80));
        assert!(area.bytes[FOP..MXCSR].iter().all(|&byte| byte == 0));
    }
}
