//! The four operand sizes of integer instructions, and single-instruction access to shared bytes.

use std::arch::asm;

/// `u8`, `u16`, `u32` or `u64` as an operand.
pub trait Int: Copy + Eq + 'static {
    /// Operand size in bits.
    const BITS: u32;
    /// Operand size in bytes.
    const BYTES: u64;
    /// Low bits of a 64-bit value.
    fn from_u64(value: u64) -> Self;
    /// Zero-extended.
    fn to_u64(self) -> u64;
    /// Sign-extended.
    fn sign_extend(self) -> u64;

    /// Loads with one host instruction, at any alignment.
    ///
    /// # Safety
    /// `at..at + BYTES` is mapped. Others may be storing there at the same time, which is why this is
    /// not a Rust load: guest memory is shared with other vCPUs and has x86 semantics.
    unsafe fn load(at: *const u8) -> Self;

    /// Stores with one host instruction, at any alignment.
    ///
    /// # Safety
    /// As [`Int::load`], and the bytes are guest RAM.
    unsafe fn store(self, at: *mut u8);

    /// LOCK CMPXCHG: stores `new` if memory holds `old`; gives what memory held.
    ///
    /// # Safety
    /// As [`Int::store`].
    unsafe fn compare_exchange(at: *mut u8, old: Self, new: Self) -> Self;

    /// XCHG: stores and gives what memory held.
    ///
    /// # Safety
    /// As [`Int::store`].
    unsafe fn exchange(self, at: *mut u8) -> Self;
}

macro_rules! int {
    ($unsigned:ty, $signed:ty, $class:ident, $memory:literal, $operand:literal, $acc:tt) => {
        impl Int for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;
            const BYTES: u64 = (<$unsigned>::BITS / 8) as u64;

            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as Self
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn sign_extend(self) -> u64 {
                self as $signed as i64 as u64
            }

            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                let value: Self;
                // SAFETY: the caller vouches for the address.
                unsafe {
                    asm!(
                        concat!("mov {v", $operand, "}, ", $memory, " ptr [{at}]"),
                        at = in(reg) at, v = out($class) value,
                        options(nostack, preserves_flags, readonly)
                    );
                }
                value
            }

            #[inline(always)]
            unsafe fn store(self, at: *mut u8) {
                // SAFETY: the caller vouches for the address.
                unsafe {
                    asm!(
                        concat!("mov ", $memory, " ptr [{at}], {v", $operand, "}"),
                        at = in(reg) at, v = in($class) self,
                        options(nostack, preserves_flags)
                    );
                }
            }

            #[inline(always)]
            unsafe fn compare_exchange(at: *mut u8, old: Self, new: Self) -> Self {
                let was: Self;
                // SAFETY: the caller vouches for the address.
                unsafe {
                    asm!(
                        concat!("lock cmpxchg ", $memory, " ptr [{at}], {v", $operand, "}"),
                        at = in(reg) at, v = in($class) new, inout($acc) old => was,
                        options(nostack)
                    );
                }
                was
            }

            #[inline(always)]
            unsafe fn exchange(self, at: *mut u8) -> Self {
                let was: Self;
                // SAFETY: the caller vouches for the address.
                unsafe {
                    asm!(
                        concat!("xchg ", $memory, " ptr [{at}], {v", $operand, "}"),
                        at = in(reg) at, v = inout($class) self => was,
                        options(nostack, preserves_flags)
                    );
                }
                was
            }
        }
    };
}

int!(u8, i8, reg_byte, "byte", "", "al");
int!(u16, i16, reg, "word", ":x", "ax");
int!(u32, i32, reg, "dword", ":e", "eax");
int!(u64, i64, reg, "qword", ":r", "rax");
