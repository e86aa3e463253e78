//! Which instruction of a stretch is the first that differs.

use super::doubt::{needed_by, undefined_behind};
use super::facts::excuse;
use super::rehearse::Rehearsed;
use super::stretch::{State, Stretch};
use crate::cpu::Cpu;
use crate::cpu::exception::StopReason;
use crate::cpu::registers::RIP;

/// A store that differs: linear address, length, bytes found, bytes expected.
pub(super) type WrongStore = (u64, usize, [u8; 32], [u8; 32]);

/// Two ends of the same instructions.
pub(super) struct Difference {
    /// Of translated code.
    pub(super) found: State,
    /// Of the interpreter.
    pub(super) expected: State,
    pub(super) stores: Vec<WrongStore>,
    /// Why the interpreter did not run the next instruction.
    pub(super) stop: StopReason,
}

/// How a stretch was cut to find the instruction.
pub(super) enum Cut {
    /// The difference shows behind this many instructions, and not before.
    Behind(usize),
    /// It shows only in the blocks as they are.
    Whole,
}

impl Cpu {
    /// Finds the first instruction that differs and reports it, unless processors may differ there.
    pub(super) fn divergence(&mut self, start: &State, whole: Difference) -> Result<(), String> {
        self.take_back(start);
        let all = self.rehearse(start, usize::MAX);
        let path = self.checks().path.clone();
        if undefined_behind(&all.facts).1 {
            return self.excused();
        }
        for count in 1..=all.facts.len() {
            let expected = self.rehearse(start, count);
            self.perform_first(count, &path);
            let flags = self.needed_flags_differ(&expected, &all, count);
            let difference = self.difference(&expected).or_else(|| {
                flags.then(|| Difference {
                    found: self.state(false),
                    expected: expected.end.clone(),
                    stores: Vec::new(),
                    stop: expected.stop.clone(),
                })
            });
            self.take_back(start);
            let Some(difference) = difference else {
                continue;
            };
            let rip = path[count - 1];
            let found = self
                .code_bytes(rip)
                .and_then(|(bytes, length)| self.decode_for_check(&bytes[..length], rip));
            if found.and_then(|(ins, _)| excuse(&ins)).is_some() {
                self.rehearse(start, usize::MAX);
                return self.excused();
            }
            return Err(self.report_difference(&path, &Cut::Behind(count), &difference));
        }
        Err(self.report_difference(&path, &Cut::Whole, &whole))
    }

    /// A difference that is nobody's mistake: the translated code's end stays.
    fn excused(&mut self) -> Result<(), String> {
        self.checks().counts.excused += 1;
        self.translate_block(usize::MAX);
        if let Some(host) = self.translated_entry() {
            self.perform(&Stretch {
                host,
                reload: 0,
                x87_reload: false,
            });
        }
        Ok(())
    }

    /// Flags that the rest of the stretch reads differ behind its first `count` instructions.
    fn needed_flags_differ(&self, expected: &Rehearsed, all: &Rehearsed, count: usize) -> bool {
        let (undefined, _) = undefined_behind(&all.facts[..count]);
        let needed = needed_by(&all.facts[count..]) & !undefined;
        (self.flags.bits() ^ expected.end.flags.bits()) & needed != 0
    }

    /// Runs the first `count` instructions of a path, translated as blocks of their own.
    fn perform_first(&mut self, count: usize, path: &[u64]) {
        self.checks().path.clear();
        let mut done = 0;
        while done < count {
            let rip = self.regs[RIP];
            let translated = self.translate_block(count - done).and_then(|_| {
                self.fast_tables()?.clear_code();
                self.translated_entry()
            });
            let Some(host) = translated else {
                return;
            };
            self.perform(&Stretch {
                host,
                reload: 0,
                x87_reload: false,
            });
            if self.checks().site.is_some() && self.regs[RIP] == rip {
                // Not an instruction that translated code runs by itself.
                if self.execute_one() != StopReason::None {
                    return;
                }
            }
            let rip = self.regs[RIP];
            match (done + 1..=count).find(|&at| path[at] == rip) {
                Some(at) => done = at,
                None => return,
            }
        }
    }
}
