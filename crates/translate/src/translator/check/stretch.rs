//! One stretch: the translated code's run, and the comparison with what was rehearsed.

use super::locate::Difference;
use super::rehearse::Rehearsed;
use crate::cpu::Cpu;
use crate::cpu::exception::StopReason;
use crate::cpu::flags::Flags;
use crate::cpu::registers::{REGISTER_SLOTS, RIP};
use crate::cpu::segment::index;
use crate::hostexec::XsaveArea;

/// Instructions in a stretch. One that goes on is not checked: nothing but code made for it does.
const LONGEST: usize = 1 << 14;
/// A difference counts if it shows this many times in a row: devices store to RAM at any time.
const TRIES: u32 = 3;

/// Where translated code of a stretch is entered.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    /// Host address.
    pub(super) host: u64,
    /// The vector registers have to be loaded for it.
    pub(super) reload: u8,
    /// The x87 registers have to be.
    pub(super) x87_reload: bool,
}

/// Names of what [`Cpu::system_state`] gives.
pub(super) const SYSTEM_NAMES: [&str; SYSTEM] = ["system", "gs", "gs kept", "gs kernel"];
const SYSTEM: usize = 4;

/// What the instructions of a stretch can change besides memory.
#[derive(Clone)]
pub(super) struct State {
    pub(super) regs: [u64; REGISTER_SLOTS],
    pub(super) flags: Flags,
    /// See [`Cpu::system_state`].
    pub(super) system: [u64; SYSTEM],
    /// Only where vector or x87 instructions ran.
    pub(super) vectors: Option<Box<XsaveArea>>,
}

impl Cpu {
    /// Checks a stretch from the present state. Then the translated code has run.
    pub(super) fn check_stretch(&mut self, stretch: &Stretch) -> Result<(), String> {
        self.checks().mode = self.translation_mode();
        let start = self.state(false);
        let mut limit = LONGEST;
        let mut tries = 0;
        loop {
            let expected = self.rehearse(&start, limit);
            if expected.no_room {
                self.perform(stretch);
                return Ok(());
            }
            if limit == LONGEST {
                self.doubt_path(&expected.facts)?;
            }
            self.perform(stretch);
            if let Some(at) = self.ended_early(expected.before) {
                limit = at;
            } else {
                match self.difference(&expected) {
                    None => {
                        self.settle(&expected);
                        return Ok(());
                    }
                    Some(_) if limit == LONGEST && self.passes_its_end().is_some() => {
                        limit = self.passes_its_end().unwrap_or(LONGEST);
                    }
                    Some(difference) => {
                        tries += 1;
                        self.checks().counts.repeats += 1;
                        if tries == TRIES {
                            return self.divergence(&start, difference);
                        }
                        limit = LONGEST;
                    }
                }
            }
            self.take_back(&start);
        }
    }

    /// Where on the path translated code has left, if that is not at its end.
    fn ended_early(&mut self, before: bool) -> Option<usize> {
        let rip = self.regs[RIP];
        let check = self.checks();
        let (&last, path) = check.path.split_last()?;
        // At a site it has not run the instruction, even if the path leads back there.
        let at_site = check.site.is_some() && !before;
        if rip == last && !at_site {
            return None;
        }
        path.binary_search(&rip).ok()
    }

    /// Where the path passes the address at which it ends. Translated code that is there has not
    /// necessarily come to the end.
    fn passes_its_end(&mut self) -> Option<usize> {
        let (last, path) = self.checks().path.split_last()?;
        path.binary_search(last).ok()
    }

    /// The present state; with the vector registers if `vectors`.
    pub(super) fn state(&self, vectors: bool) -> State {
        State {
            regs: self.regs,
            flags: self.flags,
            system: self.system_state(),
            vectors: vectors.then(|| self.vectors.clone()),
        }
    }

    /// RFLAGS without the arithmetic flags, and what SWAPGS exchanges.
    fn system_state(&self) -> [u64; SYSTEM] {
        [
            self.system_flags,
            self.seg_base[index::GS],
            self.seg[index::GS].base,
            self.msrs.kernel_gs_base,
        ]
    }

    /// Goes back to `start`, to where memory and registers were before a stretch.
    pub(super) fn take_back(&mut self, start: &State) {
        self.checks().log.take_back();
        self.regs = start.regs;
        self.flags = start.flags;
        let [flags, gs, kept, kernel] = start.system;
        self.system_flags = flags;
        self.seg_base[index::GS] = gs;
        self.seg[index::GS].base = kept;
        self.msrs.kernel_gs_base = kernel;
        if let Some(vectors) = self.checks().vectors_before.take() {
            self.vectors = vectors;
        }
        self.stop = StopReason::None;
    }

    /// Runs the translated code of a stretch.
    pub(super) fn perform(&mut self, stretch: &Stretch) {
        self.give_flags();
        self.native.rcx = self.regs[RIP];
        self.native.reload = stretch.reload;
        self.native.x87_reload = stretch.x87_reload;
        let check = self.checks();
        check.site = None;
        check.reached = 0;
        check.running = true;
        self.single_block = true;
        self.resume(stretch.host);
        self.single_block = false;
        self.checks().running = false;
    }

    /// How the present state differs from what the rehearsal found. Flags may: see [`super::doubt`].
    pub(super) fn difference(&mut self, expected: &Rehearsed) -> Option<Difference> {
        let check = self.checker()?;
        let wrong = |n: &usize| check.log.stores[*n].now() != expected.stored[*n];
        let stores: Vec<usize> = (0..expected.stored.len()).filter(wrong).collect();
        let vectors = match &expected.end.vectors {
            Some(vectors) => vectors.bytes != self.vectors.bytes,
            None => false,
        };
        let system = self.system_state() == expected.end.system;
        if self.regs == expected.end.regs && system && stores.is_empty() && !vectors {
            return None;
        }
        let vectors = expected.end.vectors.is_some();
        let found = self.state(vectors);
        let log = &self.checks().log;
        let stores = stores
            .iter()
            .map(|&n| {
                let store = &log.stores[n];
                (store.gva, store.length(), store.now(), expected.stored[n])
            })
            .collect();
        Some(Difference {
            found,
            expected: expected.end.clone(),
            stores,
            stop: expected.stop.clone(),
        })
    }

    /// The stretch was right: what it leaves in doubt is noted.
    fn settle(&mut self, expected: &Rehearsed) {
        let differs = self.flags.bits() ^ expected.end.flags.bits();
        let length = expected.facts.len() as u64;
        let counts = &mut self.checks().counts;
        counts.stretches += 1;
        counts.instructions += length;
        self.doubt_end(differs, expected);
    }
}
