//! Which code is worth translating: what has been run often enough by the interpreter.

/// Runs before code is translated.
const THRESHOLD: u8 = 12;
const SLOTS: usize = 1 << 14;

/// Counts by guest address. Addresses that share a slot heat each other, which only translates a
/// little early.
pub struct Heat {
    counts: Box<[u8; SLOTS]>,
    threshold: u8,
}

impl Default for Heat {
    fn default() -> Self {
        Self {
            counts: Box::new([0; SLOTS]),
            threshold: THRESHOLD,
        }
    }
}

impl Heat {
    /// Everything is hot.
    #[must_use]
    pub fn always() -> Self {
        Self {
            threshold: 1,
            ..Self::default()
        }
    }

    /// Counts a run of the code at `rip`; true once each time it has become hot.
    pub(super) fn is_hot(&mut self, rip: u64) -> bool {
        let slot = (rip.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as usize % SLOTS;
        let count = &mut self.counts[slot];
        *count += 1;
        if *count >= self.threshold {
            *count = 0;
            return true;
        }
        false
    }
}
