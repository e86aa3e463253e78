//! Flags that differ at the end of a stretch.
//!
//! Translated code does not keep flags that nothing reads before they are overwritten, and some
//! instructions leave flags to the processor. So a flag that differs is no mistake yet: it is in
//! doubt until it is overwritten. If an instruction reads it before that, translated code has let go
//! of a flag that was needed, unless the flag is one that no processor has to give.

use super::facts::Fact;
use super::rehearse::Rehearsed;
use crate::cpu::{CodeMode, Cpu, flags};

/// What is in doubt now.
#[derive(Default)]
pub(super) struct Doubt {
    /// Flags that were let go.
    lost: u64,
    /// The instructions of the stretch that let them go.
    path: Vec<u64>,
    /// RFLAGS at its end: of translated code, and what they should have been.
    found: u64,
    expected: u64,
    /// Exceptions and interrupts before.
    deliveries: u64,
}

impl Doubt {
    pub(super) fn is_none(&self) -> bool {
        self.lost == 0
    }

    fn overwritten(&mut self, fact: &Fact) {
        self.lost &= !u64::from(fact.writes);
    }
}

/// Flags that are up to the processor behind instructions, and whether one of them reads such a flag.
pub(super) fn undefined_behind(facts: &[Fact]) -> (u64, bool) {
    let (mask, read) = facts.iter().fold((0, false), |(mask, read), fact| {
        let read = read || fact.reads & mask != 0;
        (mask & !fact.kills | fact.undefined, read)
    });
    (u64::from(mask), read)
}

/// Flags that instructions need when they are reached.
pub(super) fn needed_by(facts: &[Fact]) -> u64 {
    let needed = |live: u16, fact: &Fact| live & !fact.kills | fact.reads;
    u64::from(facts.iter().rev().fold(0, needed))
}

impl Cpu {
    /// A handler works with the flags it finds: what is in doubt cannot be followed through one.
    fn forget_doubt_if_delivered(&mut self) {
        let deliveries = self.exceptions + self.interrupts;
        let doubt = &mut self.checks().doubt;
        if doubt.deliveries != deliveries {
            doubt.deliveries = deliveries;
            doubt.lost = 0;
        }
    }

    /// Fails if an instruction of a stretch needs a flag that is in doubt.
    pub(super) fn doubt_path(&mut self, facts: &[Fact]) -> Result<(), String> {
        self.forget_doubt_if_delivered();
        let mut lost = self.checks().doubt.lost;
        for (n, fact) in facts.iter().enumerate() {
            if lost == 0 {
                break;
            }
            let read = u64::from(fact.reads) & lost;
            if read != 0 {
                return Err(self.lost_flag(n, read));
            }
            lost &= !u64::from(fact.writes);
        }
        Ok(())
    }

    /// Fails if the instruction at RIP, which the interpreter runs next, needs a flag in doubt.
    pub(super) fn doubt_next(&mut self) -> Result<(), String> {
        self.forget_doubt_if_delivered();
        if self.checks().doubt.is_none() {
            return Ok(());
        }
        self.checks().facts.forget_page();
        let fact = match self.mode {
            CodeMode::Bits64 => self.fact(),
            _ => None,
        };
        let Some(fact) = fact else {
            self.checks().doubt.lost = 0;
            return Ok(());
        };
        let lost = self.checks().doubt.lost & u64::from(fact.reads);
        if lost != 0 {
            self.checks().path = vec![self.rip()];
            return Err(self.lost_flag(0, lost));
        }
        self.checks().doubt.overwritten(&fact);
        Ok(())
    }

    /// At the end of a stretch whose flags differ in `differs`.
    pub(super) fn doubt_end(&mut self, differs: u64, expected: &Rehearsed) {
        let found = self.flags.bits();
        let deliveries = self.exceptions + self.interrupts;
        let check = self.checks();
        let doubt = &mut check.doubt;
        if doubt.lost != 0 {
            for fact in &expected.facts {
                doubt.overwritten(fact);
            }
        }
        if differs == 0 {
            return;
        }
        let (undefined, _) = undefined_behind(&expected.facts);
        let lost = differs & !undefined & flags::ARITHMETIC;
        if lost != 0 {
            check.counts.flags_let_go += 1;
            doubt.lost |= lost;
            doubt.path.clone_from(&check.path);
            doubt.found = found;
            doubt.expected = expected.end.flags.bits();
            doubt.deliveries = deliveries;
        }
    }

    /// Says that instruction `n` of the path reads `lost` flags.
    fn lost_flag(&mut self, n: usize, lost: u64) -> String {
        let reader = self.checks().path[n];
        let doubt = std::mem::take(&mut self.checks().doubt);
        self.report_lost_flag(reader, lost, &doubt.path, doubt.found, doubt.expected)
    }
}
