//! What a campaign runs: numbered cases, each with a verdict.

use std::io;

use iced_x86::Code;

use crate::parts::Parts;

/// What came of a case number.
#[derive(Debug)]
pub enum Verdict {
    /// The draw gave nothing to run.
    Skipped,
    /// It ran and differed, in a way that nobody is to blame for.
    Left(&'static str),
    /// Both sides agree.
    Agreed {
        /// The forms that ran.
        codes: Vec<Code>,
        /// The exception it ended in.
        vector: Option<u8>,
    },
    /// They do not.
    Differed {
        /// The forms that ran.
        codes: Vec<Code>,
        /// The form that it is filed under.
        code: Code,
        /// What differs.
        parts: Parts,
        /// The example in full.
        text: String,
    },
}

/// Runs numbered cases on host and subject.
pub trait Contest {
    /// Starts the epoch of case `index` on both sides.
    ///
    /// # Errors
    /// When the host's window cannot be written.
    fn start_epoch(&mut self, index: u64) -> io::Result<()>;

    /// Draws case `index` of that epoch, runs it on both sides and compares.
    fn fight(&mut self, index: u64) -> Verdict;
}
