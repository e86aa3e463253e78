//! Which parts of two outcomes differ.

/// The parts of an outcome, as bits: a difference is named by the parts that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts(pub u8);

impl Parts {
    /// How the case ended.
    pub const END: Self = Self(1);
    /// General registers.
    pub const GENERAL: Self = Self(2);
    /// RIP.
    pub const RIP: Self = Self(4);
    /// RFLAGS.
    pub const FLAGS: Self = Self(8);
    /// Selectors and bases.
    pub const SEGMENTS: Self = Self(16);
    /// x87 and MMX, MXCSR.
    pub const X87: Self = Self(32);
    /// XMM and YMM.
    pub const VECTOR: Self = Self(64);
    /// The data window.
    pub const MEMORY: Self = Self(128);

    /// Adds `part` when `differs`.
    pub fn add(&mut self, part: Self, differs: bool) {
        if differs {
            self.0 |= part.0;
        }
    }

    /// Whether there is no difference.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The parts' names.
    pub fn names(self) -> String {
        const NAMES: [&str; 8] = [
            "end", "gpr", "rip", "flags", "segments", "x87", "vector", "memory",
        ];
        let present = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & 1 << bit != 0);
        present.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
    }
}
