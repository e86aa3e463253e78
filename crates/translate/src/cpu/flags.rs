//! Arithmetic flags, kept lazily.
//!
//! Computing six flags after every instruction would cost more than the instruction. Instead each
//! arithmetic instruction leaves three words from which any flag can be derived, by the same formula
//! whatever the operation was:
//!
//! * `result`: the result, sign-extended to 64 bits. ZF and SF read it; PF reads its low byte.
//! * `carry`: the carries out of every bit position, shifted so that the operand's top bit is bit 63.
//!   CF is bit 63; OF is bit 63 xor bit 62.
//! * `aux`: bit 4 is AF. Bits 8 and 9 invert PF and SF, for the few instructions (POPF, SAHF, …) that
//!   set combinations no result could have.

use super::int::Int;

/// Carry flag.
pub const CF: u64 = 1 << 0;
/// Parity flag.
pub const PF: u64 = 1 << 2;
/// Auxiliary carry flag.
pub const AF: u64 = 1 << 4;
/// Zero flag.
pub const ZF: u64 = 1 << 6;
/// Sign flag.
pub const SF: u64 = 1 << 7;
/// Trap (single-step) flag.
pub const TF: u64 = 1 << 8;
/// Interrupt enable flag.
pub const IF: u64 = 1 << 9;
/// Direction flag.
pub const DF: u64 = 1 << 10;
/// Overflow flag.
pub const OF: u64 = 1 << 11;
/// I/O privilege level, two bits.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Resume flag.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check, and SMAP override.
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// CPUID may be used.
pub const ID: u64 = 1 << 21;
/// The flags this module keeps.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/// The others that software can change.
pub const SYSTEM: u64 = TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
/// Always one in RFLAGS.
pub const FIXED_1: u64 = 1 << 1;

const TOP: u32 = 63;
const FLIP_PF: u64 = 1 << 8;
const FLIP_SF: u64 = 1 << 9;

/// CF, PF, AF, ZF, SF and OF. See the module text for the representation.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    result: u64,
    carry: u64,
    aux: u64,
}

impl Flags {
    /// From an RFLAGS image.
    #[must_use]
    pub fn from_bits(rflags: u64) -> Self {
        let zero = rflags & ZF != 0;
        // A result of 0 has even parity, a result of 1 odd; neither is negative.
        let natural_pf = if zero { PF } else { 0 };
        let cf = rflags & CF;
        let of = rflags >> 11 & 1;
        Self {
            result: u64::from(!zero),
            carry: cf << TOP | (cf ^ of) << (TOP - 1),
            aux: rflags & AF
                | if rflags & PF != natural_pf {
                    FLIP_PF
                } else {
                    0
                }
                | if rflags & SF != 0 { FLIP_SF } else { 0 },
        }
    }

    /// As bits of RFLAGS; all others are zero.
    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.cf())
            | u64::from(self.pf()) << 2
            | self.aux & AF
            | u64::from(self.zf()) << 6
            | u64::from(self.sf()) << 7
            | u64::from(self.of()) << 11
    }

    /// After `a + b (+ carry in) = result`.
    #[inline(always)]
    pub fn add<T: Int>(a: T, b: T, result: T) -> Self {
        let (x, y, r) = (a.to_u64(), b.to_u64(), result.to_u64());
        Self {
            result: result.sign_extend(),
            carry: ((x & y) | ((x | y) & !r)) << (64 - T::BITS),
            aux: (x ^ y ^ r) & AF,
        }
    }

    /// After `a - b (- borrow in) = result`.
    #[inline(always)]
    pub fn sub<T: Int>(a: T, b: T, result: T) -> Self {
        let (x, y, r) = (a.to_u64(), b.to_u64(), result.to_u64());
        Self {
            result: result.sign_extend(),
            carry: ((!x & y) | ((!x | y) & r)) << (64 - T::BITS),
            aux: (x ^ y ^ r) & AF,
        }
    }

    /// After CMP, whose difference goes nowhere.
    #[inline(always)]
    pub fn compare<T: Int>(a: T, b: T) -> Self {
        Self::sub(a, b, T::from_u64(a.to_u64().wrapping_sub(b.to_u64())))
    }

    /// After AND, OR, XOR, TEST: CF and OF are clear.
    #[inline(always)]
    pub fn logic<T: Int>(result: T) -> Self {
        Self {
            result: result.sign_extend(),
            carry: 0,
            aux: 0,
        }
    }

    /// ZF, SF, PF from a result; CF, OF and AF given.
    #[inline(always)]
    pub fn of_result<T: Int>(result: T, cf: bool, of: bool, af: bool) -> Self {
        let (c, o) = (u64::from(cf), u64::from(of));
        Self {
            result: result.sign_extend(),
            carry: c << TOP | (c ^ o) << (TOP - 1),
            aux: u64::from(af) << 4,
        }
    }

    /// The same flags with another CF.
    #[inline(always)]
    #[must_use]
    pub fn with_cf(self, cf: bool) -> Self {
        self.with_cf_of(cf, self.of())
    }

    /// The same flags with another CF and OF.
    #[inline(always)]
    #[must_use]
    pub fn with_cf_of(self, cf: bool, of: bool) -> Self {
        let (c, o) = (u64::from(cf), u64::from(of));
        Self {
            carry: c << TOP | (c ^ o) << (TOP - 1),
            ..self
        }
    }

    /// The same flags with another ZF.
    #[must_use]
    pub fn with_zf(self, zf: bool) -> Self {
        Self::from_bits(self.bits() & !ZF | u64::from(zf) << 6)
    }

    /// Carry.
    #[inline(always)]
    #[must_use]
    pub fn cf(self) -> bool {
        self.carry >> TOP != 0
    }

    /// Overflow.
    #[inline(always)]
    #[must_use]
    pub fn of(self) -> bool {
        (self.carry ^ (self.carry << 1)) >> TOP != 0
    }

    /// Zero.
    #[inline(always)]
    #[must_use]
    pub fn zf(self) -> bool {
        self.result == 0
    }

    /// Sign.
    #[inline(always)]
    #[must_use]
    pub fn sf(self) -> bool {
        (self.result >> TOP ^ self.aux >> 9) & 1 != 0
    }

    /// Parity of the low byte.
    #[inline(always)]
    #[must_use]
    pub fn pf(self) -> bool {
        ((self.result as u8).count_ones() & 1 == 0) ^ (self.aux & FLIP_PF != 0)
    }

    /// Auxiliary carry.
    #[inline(always)]
    #[must_use]
    pub fn af(self) -> bool {
        self.aux & AF != 0
    }

    /// Condition `CC` as encoded in the low four bits of Jcc, SETcc and CMOVcc
    /// (Intel SDM vol. 2, appendix B.1.4.7).
    #[inline(always)]
    #[must_use]
    pub fn condition<const CC: u8>(self) -> bool {
        let positive = match CC >> 1 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        positive ^ (CC & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_survives_a_round_trip() {
        for n in 0..64u64 {
            let bits = [CF, PF, AF, ZF, SF, OF]
                .iter()
                .enumerate()
                .filter(|(i, _)| n >> i & 1 != 0)
                .fold(0, |all, (_, bit)| all | bit);
            assert_eq!(Flags::from_bits(bits).bits(), bits);
        }
    }

    #[test]
    fn flags_of_eight_bit_sums_match_their_definition() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let sum = a.wrapping_add(b);
                let f = Flags::add(a, b, sum);
                assert_eq!(f.cf(), a.checked_add(b).is_none());
                assert_eq!(f.of(), (a as i8).checked_add(b as i8).is_none());
                assert_eq!(f.af(), (a & 15) + (b & 15) > 15);
                let difference = a.wrapping_sub(b);
                let f = Flags::sub(a, b, difference);
                assert_eq!(f.cf(), a < b);
                assert_eq!(f.of(), (a as i8).checked_sub(b as i8).is_none());
                assert_eq!(f.af(), a & 15 < b & 15);
                assert_eq!((f.zf(), f.sf()), (a == b, difference > 127));
            }
        }
    }
}
