//! Memory type range registers (Intel SDM vol. 3, 12.11). Guests read and write them; memory types
//! have no effect here, where all RAM is the host's and cached.

/// IA32_MTRRCAP.
pub(super) const CAPABILITIES: u32 = 0xFE;
const DEFAULT_TYPE: u32 = 0x2FF;
const VARIABLE_FIRST: u32 = 0x200;
const VARIABLE_LAST: u32 = VARIABLE_FIRST + 2 * VARIABLE as u32 - 1;
/// The registers for the first MiB: eight 64 KiB ranges, then sixteen of 16 KiB, then 4 KiB ones.
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F,
];
/// Base and mask pairs.
const VARIABLE: usize = 8;
/// Eight variable ranges, fixed ranges, write combining.
const CAPABILITIES_VALUE: u64 = 0x508;
const MASK_VALID: u64 = 1 << 11;
/// Enable, enable fixed ranges, and the type.
const DEFAULT_TYPE_BITS: u64 = 0xcff;

#[derive(Clone, Debug, Default)]
pub(super) struct Mtrrs {
    default_type: u64,
    fixed: [u64; FIXED.len()],
    /// Base, mask, base, …
    variable: [u64; 2 * VARIABLE],
}

impl Mtrrs {
    /// All registers that can be written.
    pub(super) fn indexes() -> impl Iterator<Item = u32> {
        let variable = VARIABLE_FIRST..=VARIABLE_LAST;
        FIXED.into_iter().chain(variable).chain([DEFAULT_TYPE])
    }

    pub(super) fn read(&self, index: u32) -> Option<u64> {
        match index {
            CAPABILITIES => Some(CAPABILITIES_VALUE),
            DEFAULT_TYPE => Some(self.default_type),
            VARIABLE_FIRST..=VARIABLE_LAST => {
                Some(self.variable[(index - VARIABLE_FIRST) as usize])
            }
            _ => fixed_position(index).map(|position| self.fixed[position]),
        }
    }

    /// `None` if there is no such register, or `value` has reserved bits or types.
    pub(super) fn write(&mut self, index: u32, value: u64, physical_mask: u64) -> Option<()> {
        let (register, valid) = match index {
            DEFAULT_TYPE => {
                let valid = value & !DEFAULT_TYPE_BITS == 0 && memory_type(value as u8);
                (&mut self.default_type, valid)
            }
            VARIABLE_FIRST..=VARIABLE_LAST => {
                let address = physical_mask & !0xfff;
                let valid = if index & 1 == 0 {
                    value & !(address | 0xff) == 0 && memory_type(value as u8)
                } else {
                    value & !(address | MASK_VALID) == 0
                };
                (&mut self.variable[(index - VARIABLE_FIRST) as usize], valid)
            }
            _ => {
                let valid = value.to_le_bytes().into_iter().all(memory_type);
                (&mut self.fixed[fixed_position(index)?], valid)
            }
        };
        if valid {
            *register = value;
        }
        valid.then_some(())
    }
}

fn fixed_position(index: u32) -> Option<usize> {
    FIXED.iter().position(|&register| register == index)
}

/// Uncached, write combining, write-through, write-protected, write-back (table 12-8).
fn memory_type(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHYSICAL: u64 = (1 << 40) - 1;

    #[test]
    fn every_register_keeps_what_it_may_hold() {
        let mut mtrrs = Mtrrs::default();
        for index in Mtrrs::indexes() {
            let value = if index == VARIABLE_FIRST + 1 {
                MASK_VALID
            } else {
                0
            };
            assert!(mtrrs.write(index, value, PHYSICAL).is_some(), "{index:#x}");
            assert_eq!(mtrrs.read(index), Some(value), "{index:#x}");
        }
        assert_eq!(mtrrs.write(DEFAULT_TYPE, 0xc06, PHYSICAL), Some(()));
        assert_eq!(mtrrs.read(DEFAULT_TYPE), Some(0xc06));
    }

    #[test]
    fn reserved_bits_and_types_are_refused() {
        let mut mtrrs = Mtrrs::default();
        let refused = [
            (DEFAULT_TYPE, 2),
            (DEFAULT_TYPE, 1 << 8),
            (VARIABLE_FIRST, 3),
            (VARIABLE_FIRST, 1 << 40),
            (VARIABLE_FIRST, 1 << 8),
            (VARIABLE_FIRST + 1, 1),
            (0x250, 7 << 32),
            (CAPABILITIES, CAPABILITIES_VALUE),
            (0x251, 0),
            (VARIABLE_LAST + 1, 0),
        ];
        for (index, value) in refused {
            assert!(mtrrs.write(index, value, PHYSICAL).is_none(), "{index:#x}");
        }
    }
}
