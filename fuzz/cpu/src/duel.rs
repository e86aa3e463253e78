//! One instruction on both sides, and the verdict.

use std::io;

use crate::arena::{Arena, MakeSubject};
use crate::compare::{differing, unpromised};
use crate::contest::{Contest, Verdict};
use crate::flags::undefined;
use crate::generate::{Generated, Generator};
use crate::parts::Parts;
use crate::report;
use crate::rules::Treatment;
use crate::state::{Case, End, Mode, Outcome};

/// Generator, host and subject of one process.
pub struct Duel {
    generator: Generator,
    arena: Arena,
}

impl core::fmt::Debug for Duel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Duel")
            .field("generator", &self.generator)
            .finish_non_exhaustive()
    }
}

impl Duel {
    /// Prepares this process, which must have one thread and no other contest.
    ///
    /// # Errors
    /// When the host side or the subject cannot be set up.
    pub fn new(generator: Generator, mode: Mode, make: &MakeSubject) -> io::Result<Self> {
        let arena = Arena::new(mode, make)?;
        Ok(Self { generator, arena })
    }
}

impl Contest for Duel {
    fn start_epoch(&mut self, index: u64) -> io::Result<()> {
        let background = self.generator.start_epoch(index);
        self.arena.start_epoch(background)
    }

    fn fight(&mut self, index: u64) -> Verdict {
        let Some(generated) = self.generator.case(index) else {
            return Verdict::Skipped;
        };
        let Generated {
            case,
            instruction,
            treatment,
            accesses,
            stores,
        } = &generated;
        let arena = &mut self.arena;
        if matches!(treatment, Treatment::Absent(_)) && !arena.subject.has_model() {
            return Verdict::Skipped;
        }
        arena.place(&case.pokes);
        let (host, subject) = match treatment {
            Treatment::Absent(_) => (refused(case), arena.subject.run_one(case)),
            _ => arena.run(case),
        };
        for range in unpromised(instruction, accesses) {
            let promised = arena.host.data()[range.clone()].to_vec();
            arena.subject.data()[range].copy_from_slice(&promised);
        }
        let flags = match host.end {
            End::Completed => undefined(instruction, case.state.registers.gpr[1]),
            _ => 0,
        };
        let mut parts = differing(&host, &subject, instruction, case, flags);
        let same_memory = arena.same_memory();
        parts.add(Parts::MEMORY, !same_memory);
        let code = instruction.code();
        let verdict = if parts.is_empty() {
            Verdict::Agreed {
                codes: vec![code],
                vector: host.end.vector(),
            }
        } else {
            let mut text = generated.text();
            text += &report::differences(case, &host, &subject);
            text += &arena.memory_report();
            Verdict::Differed {
                codes: vec![code],
                code,
                parts,
                text,
            }
        };
        arena.restore(&case.pokes, *stores, same_memory);
        verdict
    }
}

/// The outcome a CPU without the instruction has: #UD, nothing changed.
fn refused(case: &Case) -> Outcome {
    const INVALID_OPCODE: u8 = 6;
    let mut state = case.state;
    state.xsave.normalise();
    Outcome {
        end: End::Exception {
            vector: INVALID_OPCODE,
            error: 0,
            address: 0,
        },
        state,
    }
}
