//! The interpreter's rehearsal of a stretch: what the instructions do, and where the stretch ends.

use super::facts::{Fact, Kind};
use super::stretch::State;
use crate::cpu::exception::StopReason;
use crate::cpu::registers::RIP;
use crate::cpu::{Cpu, event};
use crate::interp::block::Span;
use crate::mmu::Table;

/// What a rehearsal found.
pub(super) struct Rehearsed {
    pub(super) end: State,
    /// What each store of the log left behind.
    pub(super) stored: Vec<[u8; 32]>,
    pub(super) facts: Vec<Fact>,
    /// Why the instruction at the end was not run.
    pub(super) stop: StopReason,
    /// It ends because of what comes next, not because of what was last.
    pub(super) before: bool,
    /// An instruction could not be run before room is made for its thunk.
    pub(super) no_room: bool,
}

impl Cpu {
    /// Lets the interpreter run at most `limit` instructions from `start`, and takes them back.
    pub(super) fn rehearse(&mut self, start: &State, limit: usize) -> Rehearsed {
        let mut rehearsed = self.rehearse_once(limit);
        if self.checks().log.marked {
            // What the rehearsal read of page tables may have been without the marks.
            self.take_back(start);
            rehearsed = self.rehearse_once(limit);
        }
        let log = &self.checks().log;
        rehearsed.stored = log.stores.iter().map(|store| store.now()).collect();
        let vectors = self.checks().vectors_before.clone();
        self.take_back(start);
        self.checks().vectors_before = vectors;
        rehearsed
    }

    fn rehearse_once(&mut self, limit: usize) -> Rehearsed {
        let (table, events) = (self.tlb.table, self.events);
        let check = self.checks();
        check.log.clear();
        check.vectors_before = None;
        check.facts.forget_page();
        let mut path = std::mem::take(&mut check.path);
        path.clear();
        path.push(self.regs[RIP]);
        self.tlb.table = Table::Slow;
        self.checks().rehearsing = true;
        let mut facts = Vec::with_capacity(16);
        let mut stop = StopReason::None;
        let (mut before, mut no_room) = (true, false);
        // Decoded instructions from RIP on.
        let mut ops: Span = (std::ptr::null(), std::ptr::null());
        while facts.len() < limit {
            let at = self.regs[RIP];
            let fact = match self.fact() {
                Some(fact) if fact.kind != Kind::Unchecked => fact,
                _ => break,
            };
            if fact.vector && self.checks().vectors_before.is_none() {
                self.checks().vectors_before = Some(self.vectors.clone());
            }
            if ops.0 == ops.1 {
                match self.find_block() {
                    Ok(found) => ops = found,
                    Err(_) => stop = std::mem::take(&mut self.stop),
                }
            }
            if stop == StopReason::None {
                // SAFETY: `ops` is what is left of the block that was found last; blocks are dropped
                // in the run loop only.
                stop = self.execute_op(unsafe { &*ops.0 });
            }
            // STI and CLI choose the table anew.
            self.tlb.table = Table::Slow;
            if stop != StopReason::None {
                break;
            }
            let to = self.regs[RIP];
            if to == at && fact.kind == Kind::Plain {
                no_room = true;
                break;
            }
            facts.push(fact);
            // SAFETY: at most one past the end.
            ops.0 = unsafe { ops.0.add(1) };
            if fact.kind != Kind::Plain {
                ops = (std::ptr::null(), std::ptr::null());
            }
            path.push(to);
            let over = match fact.kind {
                Kind::Indirect => true,
                _ => to <= at,
            };
            if over || self.checks().log.to_code {
                before = false;
                break;
            }
        }
        let vectors = self.checks().vectors_before.is_some();
        let end = self.state(vectors);
        self.tlb.table = table;
        self.events = events | self.events & event::DROP_CODE;
        self.stop = StopReason::None;
        let check = self.checks();
        check.rehearsing = false;
        check.path = path;
        Rehearsed {
            end,
            stored: Vec::new(),
            facts,
            stop,
            before,
            no_room,
        }
    }
}
