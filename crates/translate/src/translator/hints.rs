//! Page hints: each place in translated code that accesses memory remembers the page it used last.
//!
//! Most instructions keep to one page for a long time. A hint is checked with an operand at a fixed
//! address, so nothing of the check waits for the guest's address but one xor, one compare and one
//! add; the TLB is asked only when the page has changed. All accesses through the stack pointer share
//! two hints. A place whose page changes all the time is translated anew to ask the TLB directly.

use std::arch::x86_64::_rdtsc;
use std::collections::HashSet;

use super::cache::Site;
use super::native::HintFields;
use crate::mmu::tlb::Table;

/// Hints of one vCPU; places beyond that ask the TLB directly.
pub(super) const HINTS: usize = 1 << 17;
/// Hints for accesses through the stack pointer: a load and a store hint per privilege table.
pub(super) const STACK_HINTS: u32 = 6;
/// Changes of page after which a hint is judged.
pub(super) const PATIENCE: u32 = 1024;
/// Changing more often than once in so many ticks of the host's clock is all the time.
const TICKS_PER_CHANGE: u64 = 4000;
/// Places remembered as changing all the time.
const MAX_WANDERERS: usize = 1 << 16;

/// The page a place used last. `tag`, `host` and `watch` are as in a TLB entry.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Hint {
    pub(super) tag: u64,
    pub(super) host: u64,
    pub(super) watch: u64,
    /// Changes of page left until the hint is judged.
    pub(super) patience: u32,
    /// When the count began, in units of 2^16 ticks.
    since: u32,
}

impl Hint {
    /// Starts a new count.
    pub(super) fn restart(&mut self) {
        self.patience = PATIENCE;
        self.since = now();
    }

    /// Whether the page changed all the time while the patience ran out.
    pub(super) fn wanders(&self) -> bool {
        u64::from(now().wrapping_sub(self.since)) << 16 < u64::from(PATIENCE) * TICKS_PER_CHANGE
    }
}

fn now() -> u32 {
    // SAFETY: every x86-64 processor has a time-stamp counter.
    (unsafe { _rdtsc() } >> 16) as u32
}

/// Which hints are in use.
pub(super) struct HintPool {
    free: Vec<u32>,
    top: u32,
    wanderers: HashSet<u64>,
}

impl Default for HintPool {
    fn default() -> Self {
        Self {
            free: Vec::new(),
            top: STACK_HINTS,
            wanderers: HashSet::new(),
        }
    }
}

impl HintPool {
    /// A hint for the instruction at `rip`; `None` if it wanders or none is left.
    pub(super) fn take(&mut self, rip: u64) -> Option<u32> {
        if self.wanderers.contains(&rip) {
            return None;
        }
        self.free.pop().or_else(|| {
            let next = self.top;
            ((next as usize) < HINTS).then(|| {
                self.top += 1;
                next
            })
        })
    }

    /// The hint of everything that goes through the stack pointer.
    pub(super) fn stack(table: Table, store: bool) -> u32 {
        table as u32 * 2 + u32::from(store)
    }

    pub(super) fn give_back(&mut self, hints: &[u32]) {
        self.free.extend_from_slice(hints);
    }

    /// The instruction of `site` asks the TLB directly from its next translation on; false for those
    /// that go through the stack pointer.
    pub(super) fn wanders(&mut self, site: &Site) -> bool {
        let first_own = HintFields::of(STACK_HINTS).offset;
        if site.hint < first_own {
            return false;
        }
        if self.wanderers.len() >= MAX_WANDERERS {
            self.wanderers.clear();
        }
        self.wanderers.insert(site.rip);
        true
    }
}
