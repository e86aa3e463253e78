//! Which cases run, and what runs them.

use std::io;
use std::time::Duration;

use iced_x86::Code;

use crate::arena::MakeSubject;
use crate::block::{self, BlockDuel, BlockGenerator};
use crate::contest::Contest;
use crate::duel::Duel;
use crate::generate::Generator;
use crate::state::Mode;

/// What is said of a worker that ended where no case was running.
pub(crate) const OUTSIDE: &str = "(outside a case)\n";

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First and last+1 case number.
    pub cases: u64,
    /// The seed.
    pub seed: u64,
    /// Stop after this long even if cases are left.
    pub time: Option<Duration>,
    /// Worker processes.
    pub jobs: u64,
    /// End as soon as one case differed.
    pub stop_at_first: bool,
    /// Form filter.
    pub only: Option<String>,
    /// CPU mode of all cases.
    pub mode: Mode,
    /// Blocks of instructions in place of single ones; 64-bit mode only.
    pub blocks: bool,
}

impl Plan {
    /// What runs the plan's cases in this process.
    ///
    /// # Errors
    /// When the host side or the subject cannot be set up.
    pub fn contest(&self, make: &MakeSubject) -> io::Result<Box<dyn Contest>> {
        let only = self.only.as_deref();
        Ok(if self.blocks {
            Box::new(BlockDuel::new(BlockGenerator::new(self.seed, only), make)?)
        } else {
            let generator = Generator::new(self.seed, self.mode, only);
            Box::new(Duel::new(generator, self.mode, make)?)
        })
    }

    /// Case `index` as text.
    pub fn text(&self, index: u64) -> String {
        let only = self.only.as_deref();
        if self.blocks {
            let mut generator = BlockGenerator::new(self.seed, only);
            generator.start_epoch(index);
            let generated = generator.case(index);
            return generated.map_or(String::new(), |generated| generated.text());
        }
        let mut generator = Generator::new(self.seed, self.mode, only);
        generator.start_epoch(index);
        generator
            .case(index)
            .map_or(String::new(), |generated| generated.text())
    }

    /// The form that a case which ended its worker is filed under, and the case as text; `None` if
    /// nobody is to blame.
    pub(crate) fn describe(
        &self,
        index: u64,
        make: &MakeSubject,
    ) -> io::Result<Option<(Code, String)>> {
        if self.blocks {
            return block::describe(self.seed, self.only.as_deref(), index, make);
        }
        let mut generator = Generator::new(self.seed, self.mode, self.only.as_deref());
        generator.start_epoch(index);
        let Some(generated) = generator.case(index) else {
            return Ok(Some((Code::INVALID, OUTSIDE.into())));
        };
        Ok(Some((generated.instruction.code(), generated.text())))
    }
}
