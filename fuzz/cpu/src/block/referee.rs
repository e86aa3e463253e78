//! Which differences of a block nobody is to blame for. The rules for single instructions say it of
//! each instruction in the state that it finds, so the block is followed an instruction at a time.

use std::io;

use super::layout::Block;
use crate::flags::{read, replaced_with, undefined};
use crate::interpreter::Interpreter;
use crate::operands::{accesses, reaches_harness};
use crate::state::{Case, Mode, Outcome};
use crate::subject::Subject;
use crate::tune::lands_in_itself;
use crate::vendor::vendor_difference;

/// Follows blocks in an interpreter of its own.
#[derive(Debug)]
pub(super) struct Referee(Interpreter);

/// What may be said of a block's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// Compare everything except these flags.
    Compare(u64),
    /// Compare nothing, for this reason.
    Leave(&'static str),
}

impl Referee {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Interpreter::new(Mode::Long)?))
    }

    /// Judges `case`, which started with `data` and `faulted` at its end or did not.
    pub(super) fn judge(
        &mut self,
        block: &Block,
        case: &Case,
        data: &[u8],
        faulted: bool,
    ) -> Ruling {
        self.0.fill_data(data);
        let mut before = 0;
        let mut after = 0;
        let mut reason = None;
        let mut single = case.clone();
        let rip = self.0.replay(case, &mut |number, state| {
            let encoding = &block.encodings[number];
            let instruction = &encoding.instruction;
            single.state = *state;
            single.bytes.clone_from(&encoding.bytes);
            let accesses = accesses(encoding, &single);
            reason = vendor_difference(instruction, &single, &accesses, encoding.treatment);
            if reaches_harness(&accesses) {
                reason = Some("reaches memory that only the host process has");
            }
            if read(instruction) & after != 0 {
                reason = Some("uses a flag that the instruction before left undefined");
            }
            let cl = state.registers.gpr[1];
            before = after;
            after = after & !replaced_with(instruction, cl) | undefined(instruction, cl);
            reason.is_none()
        });
        if case.instruction_at(rip).is_none() && lands_in_itself(rip, block.rip, block.end()) {
            reason = Some("jumps into the middle of an instruction");
        }
        match reason {
            Some(reason) => Ruling::Leave(reason),
            None => Ruling::Compare(if faulted { before } else { after }),
        }
    }

    /// Whether the case, which starts with `data`, comes to no end: it has made itself a way back.
    pub(super) fn loops(&mut self, case: &Case, data: &[u8]) -> bool {
        const MANY: u32 = 1 << 20;
        self.0.fill_data(data);
        let mut steps = 0;
        self.0.replay(case, &mut |_, _| {
            steps += 1;
            steps < MANY
        });
        steps == MANY
    }

    /// What the interpreter makes of the case.
    pub(super) fn outcome(&mut self, case: &Case, data: &[u8]) -> Outcome {
        self.0.fill_data(data);
        self.0.run_one(case)
    }
}
