//! Guest x87, MMX, SSE and AVX state as one standard-format XSAVE image.
//!
//! Layout (Intel SDM vol. 1, 13.4): the 512-byte FXSAVE64 image, the 64-byte XSAVE header, the
//! upper halves of YMM0–YMM15 at offset 576. `ST(i)` sits at slot `i`, relative to the stack top,
//! so an MMX register moves between slots when the top of stack does.

/// Offset of FCW in the image.
pub(super) const FCW: usize = 0;
/// Offset of FSW in the image.
pub(super) const FSW: usize = 2;
/// Error summary and busy in FSW: both say that an unmasked exception is pending.
pub(crate) const ERROR_SUMMARY: u16 = 0x8080;
/// Offset of the abridged tag byte: bit `i` is set when physical register `i` holds a value.
pub(super) const FTW: usize = 4;
/// Offset of the last x87 opcode.
pub(super) const FOP: usize = 6;
/// Offset of the last x87 instruction pointer.
pub(super) const FIP: usize = 8;
/// Offset of the last x87 data pointer.
pub(super) const FDP: usize = 16;
/// Offset of MXCSR.
pub(crate) const MXCSR: usize = 24;
/// Offset of the mask of MXCSR bits that software may set.
pub(super) const MXCSR_MASK: usize = 28;
/// Offset of ST(0); each slot is 16 bytes.
pub(super) const ST: usize = 32;
/// Offset of XMM0; each register is 16 bytes.
pub(crate) const XMM: usize = 160;
/// Offset of the XSAVE header.
const HEADER: usize = 512;
/// Offset of bits 255:128 of YMM0; each register takes 16 bytes.
pub(crate) const YMM_HIGH: usize = 576;

/// Mask of MXCSR bits that exist for the guest. AMD's misaligned-exception bit (17) does not:
/// LDMXCSR, FXRSTOR and XRSTOR of any other bit must raise #GP(0).
pub const GUEST_MXCSR_MASK: u32 = 0xFFFF;

/// The vector state of one guest vCPU: 832 bytes, standard (non-compacted) XSAVE format.
///
/// `default()` is the state after FNINIT plus MXCSR = 0x1F80, all registers zero. The header's
/// XSTATE_BV says that x87, SSE and AVX state are all present; nothing here changes the header.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XsaveArea {
    /// The image. Little-endian fields at the offsets of Intel SDM vol. 1, table 10-2 and 13.4.
    pub bytes: [u8; 832],
}

impl Default for XsaveArea {
    fn default() -> Self {
        let mut area = XsaveArea { bytes: [0; 832] };
        area.set_fcw(0x37F);
        area.set_mxcsr(0x1F80);
        area.put(MXCSR_MASK, GUEST_MXCSR_MASK.to_le_bytes());
        area.put(HEADER, 7u64.to_le_bytes());
        area
    }
}

impl XsaveArea {
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[offset..offset + N]);
        out
    }

    fn put<const N: usize>(&mut self, offset: usize, value: [u8; N]) {
        self.bytes[offset..offset + N].copy_from_slice(&value);
    }

    /// The x87 control word.
    pub fn fcw(&self) -> u16 {
        u16::from_le_bytes(self.get(FCW))
    }

    /// Sets the x87 control word.
    pub fn set_fcw(&mut self, value: u16) {
        self.put(FCW, value.to_le_bytes());
    }

    /// The x87 status word, top of stack in bits 13:11.
    pub fn fsw(&self) -> u16 {
        u16::from_le_bytes(self.get(FSW))
    }

    /// Sets the x87 status word.
    pub fn set_fsw(&mut self, value: u16) {
        self.put(FSW, value.to_le_bytes());
    }

    /// The abridged x87 tag byte: bit `i` set when physical register `i` is not empty.
    pub fn ftw(&self) -> u8 {
        self.bytes[FTW]
    }

    /// Sets the abridged x87 tag byte.
    pub fn set_ftw(&mut self, value: u8) {
        self.bytes[FTW] = value;
    }

    /// MXCSR.
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.get(MXCSR))
    }

    /// Sets MXCSR. The caller has already refused bits outside [`GUEST_MXCSR_MASK`].
    pub fn set_mxcsr(&mut self, value: u32) {
        self.put(MXCSR, value.to_le_bytes());
    }

    /// The exception flags of FSW (bits 5:0) that FCW does not mask.
    ///
    /// Non-zero means that the next waiting x87 or MMX instruction raises #MF. Computed from the
    /// flags, not from FSW.ES, because FXRSTOR and XRSTOR load ES as the guest wrote it.
    pub fn x87_unmasked(&self) -> u16 {
        self.fsw() & !self.fcw() & 0x3F
    }

    /// XMM register `index` (0–15).
    pub fn xmm(&self, index: usize) -> u128 {
        u128::from_le_bytes(self.get(XMM + 16 * index))
    }

    /// Sets XMM register `index`; bits 255:128 of the YMM register stay.
    pub fn set_xmm(&mut self, index: usize, value: u128) {
        self.put(XMM + 16 * index, value.to_le_bytes());
    }

    /// Bits 255:128 of YMM register `index` (0–15).
    pub fn ymm_high(&self, index: usize) -> u128 {
        u128::from_le_bytes(self.get(YMM_HIGH + 16 * index))
    }

    /// Sets bits 255:128 of YMM register `index`.
    pub fn set_ymm_high(&mut self, index: usize, value: u128) {
        self.put(YMM_HIGH + 16 * index, value.to_le_bytes());
    }

    /// YMM register `index` (0–15), 32 bytes little-endian.
    pub fn ymm(&self, index: usize) -> [u8; 32] {
        let mut out = [0; 32];
        out[..16].copy_from_slice(&self.get::<16>(XMM + 16 * index));
        out[16..].copy_from_slice(&self.get::<16>(YMM_HIGH + 16 * index));
        out
    }

    /// Sets YMM register `index` (0–15) from 32 bytes, little-endian.
    pub fn set_ymm(&mut self, index: usize, value: [u8; 32]) {
        self.bytes[XMM + 16 * index..][..16].copy_from_slice(&value[..16]);
        self.bytes[YMM_HIGH + 16 * index..][..16].copy_from_slice(&value[16..]);
    }

    /// ST(`index`) (0–7), 10 bytes little-endian.
    pub fn st(&self, index: usize) -> [u8; 10] {
        self.get(ST + 16 * index)
    }

    /// MMX register `index` (0–7): the low 64 bits of physical x87 register `index`.
    pub fn mm(&self, index: usize) -> u64 {
        let slot = (index.wrapping_sub(self.top())) & 7;
        u64::from_le_bytes(self.get(ST + 16 * slot))
    }

    /// What every MMX instruction but EMMS does to the x87 state besides its own result: top of
    /// stack becomes 0 and every register valid (Intel SDM vol. 1, 9.5.1).
    pub fn enter_mmx(&mut self) {
        let rotation = (8 - self.top()) & 7;
        self.bytes[ST..ST + 128].rotate_left(16 * rotation);
        self.set_fsw(self.fsw() & !0x3800);
        self.set_ftw(0xFF);
    }

    fn top(&self) -> usize {
        usize::from(self.fsw() >> 11) & 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mmx_registers_do_not_move_when_the_stack_top_is_cleared() {
        let mut area = XsaveArea::default();
        area.set_fsw(5 << 11);
        for slot in 0..8u64 {
            area.put(ST + 16 * slot as usize, (100 + slot).to_le_bytes());
        }
        let before: Vec<u64> = (0..8).map(|i| area.mm(i)).collect();
        assert_eq!(
            before[5], 100,
            "ST(0) is the physical register that top names"
        );
        area.enter_mmx();
        let after: Vec<u64> = (0..8).map(|i| area.mm(i)).collect();
        assert_eq!(before, after);
        assert_eq!((area.fsw(), area.ftw()), (0, 0xFF));
    }

    #[test]
    fn default_is_the_initial_state() {
        let area = XsaveArea::default();
        assert_eq!(
            (area.fcw(), area.fsw(), area.ftw(), area.mxcsr()),
            (0x37F, 0, 0, 0x1F80)
        );
        assert_eq!(area.x87_unmasked(), 0);
    }
}
