//! One case on both sides, and the verdict.

use std::io;

use iced_x86::Code;

use crate::compare::{Parts, differing, unpromised};
use crate::generate::{Generated, Generator};
use crate::host::Host;
use crate::report;
use crate::rules::Treatment;
use crate::state::{End, Mode, Outcome};
use crate::subject::Subject;

/// What came of a case number.
#[derive(Debug)]
pub enum Verdict {
    /// The draw gave nothing to run.
    Skipped,
    /// Both sides agree.
    Agreed {
        /// The form that ran.
        code: Code,
        /// The exception it ended in.
        vector: Option<u8>,
    },
    /// They do not.
    Differed {
        /// The form that ran.
        code: Code,
        /// What differs.
        parts: Parts,
        /// The example in full.
        text: String,
    },
}

/// Makes the subject that fights the given host.
pub type MakeSubject = dyn Fn(&Host, Mode) -> io::Result<Box<dyn Subject>>;

/// Generator, host and subject of one process.
pub struct Duel {
    generator: Generator,
    host: Host,
    subject: Box<dyn Subject>,
    /// The data window as the current epoch started it.
    background: Vec<u8>,
    /// The data window as the current case starts it.
    before: Vec<u8>,
}

impl core::fmt::Debug for Duel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Duel")
            .field("generator", &self.generator)
            .finish_non_exhaustive()
    }
}

impl Duel {
    /// Prepares this process, which must have one thread and no other duel.
    ///
    /// # Errors
    /// When the host side or the subject cannot be set up.
    pub fn new(generator: Generator, mode: Mode, make: &MakeSubject) -> io::Result<Self> {
        let host = Host::new(mode)?;
        let subject = make(&host, mode)?;
        Ok(Self {
            generator,
            host,
            subject,
            background: Vec::new(),
            before: Vec::new(),
        })
    }

    /// Starts the epoch of case `index` on both sides.
    ///
    /// # Errors
    /// When the host's window cannot be written.
    pub fn start_epoch(&mut self, index: u64) -> io::Result<()> {
        self.background = self.generator.start_epoch(index);
        self.before.clone_from(&self.background);
        self.host.fill_data(&self.background)?;
        self.subject.fill_data(&self.background);
        Ok(())
    }

    /// Draws case `index`, runs it on both sides and compares.
    pub fn fight(&mut self, index: u64) -> Verdict {
        let Some(Generated {
            case,
            instruction,
            treatment,
            accesses,
            stores,
        }) = self.generator.case(index)
        else {
            return Verdict::Skipped;
        };
        if matches!(treatment, Treatment::Absent(_)) && !self.subject.has_model() {
            return Verdict::Skipped;
        }
        for poke in &case.pokes {
            let range = poke.offset..poke.offset + poke.length;
            let bytes = &poke.bytes[..poke.length];
            self.before[range.clone()].copy_from_slice(bytes);
            self.host.data()[range.clone()].copy_from_slice(bytes);
            self.subject.data()[range].copy_from_slice(bytes);
        }
        let subject = self.subject.run_one(&case);
        let host = match treatment {
            Treatment::Absent(_) => refused(&case),
            _ => self.host.run(&case),
        };
        for range in unpromised(&instruction, &accesses) {
            let promised = self.host.data()[range.clone()].to_vec();
            self.subject.data()[range].copy_from_slice(&promised);
        }
        let mut parts = differing(&host, &subject, &instruction, &case);
        let same_memory = self.host.data() == self.subject.data();
        parts.add(Parts::MEMORY, !same_memory);
        let code = instruction.code();
        let verdict = if parts.is_empty() {
            Verdict::Agreed {
                code,
                vector: host.end.vector(),
            }
        } else {
            let mut text = report::disassembly(&instruction, &case);
            text.push('\n');
            text += &report::inputs(&case);
            text += &report::differences(&case, &host, &subject);
            text += &report::memory(&self.before, self.host.data(), self.subject.data());
            Verdict::Differed { code, parts, text }
        };
        self.restore(&case.pokes, stores, same_memory);
        verdict
    }

    /// Puts the epoch's background back wherever the case or its preparation changed it.
    fn restore(&mut self, pokes: &[crate::state::Poke], stores: bool, same_memory: bool) {
        let writable = crate::layout::DATA_WRITABLE as usize;
        let stored = stores && self.host.data()[..writable] != self.before[..writable];
        if !same_memory || stored {
            self.host.data()[..writable].copy_from_slice(&self.background[..writable]);
            self.subject.fill_data(&self.background);
            self.before.copy_from_slice(&self.background);
            return;
        }
        for poke in pokes {
            let range = poke.offset..poke.offset + poke.length;
            let bytes = &self.background[range.clone()];
            self.before[range.clone()].copy_from_slice(bytes);
            self.host.data()[range.clone()].copy_from_slice(bytes);
            self.subject.data()[range].copy_from_slice(bytes);
        }
    }
}

/// The outcome a CPU without the instruction has: #UD, nothing changed.
fn refused(case: &crate::state::Case) -> Outcome {
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
