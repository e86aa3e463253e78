//! A block on both sides, and the verdict.

use std::io;

use iced_x86::{Code, InstructionInfoFactory};

use super::flow::live;
use super::generate::{BlockGenerator, GeneratedBlock};
use super::layout::Block;
use super::minimise::{every, kills, minimise};
use super::referee::{Referee, Ruling};
use super::report::{numbers, start};
use crate::arena::{Arena, MakeSubject};
use crate::compare::{differing, sets_misaligned_mode};
use crate::contest::{Contest, Verdict};
use crate::flags::ARITHMETIC;
use crate::mappings::only_the_host_has;
use crate::parts::Parts;
use crate::plan::OUTSIDE;
use crate::report::differences;
use crate::state::{Case, End, Mode, Outcome};

/// Generator, host and subject of one process.
pub struct BlockDuel {
    generator: BlockGenerator,
    ring: Ring,
    info: InstructionInfoFactory,
}

/// Where blocks are run and judged.
struct Ring {
    arena: Arena,
    referee: Referee,
}

/// What came of running a block once.
enum Round {
    Agreed(Option<u8>),
    Left(&'static str),
    Differed { parts: Parts, text: String },
}

impl core::fmt::Debug for BlockDuel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BlockDuel")
            .field("generator", &self.generator)
            .finish_non_exhaustive()
    }
}

impl BlockDuel {
    /// Prepares this process, which must have one thread and no other contest.
    ///
    /// # Errors
    /// When the host side or the subject cannot be set up.
    pub fn new(generator: BlockGenerator, make: &MakeSubject) -> io::Result<Self> {
        Ok(Self {
            generator,
            ring: Ring {
                arena: Arena::new(Mode::Long, make)?,
                referee: Referee::new()?,
            },
            info: InstructionInfoFactory::new(),
        })
    }

    /// Case `index` with those of its instructions that `keep` has a bit for, as it is.
    pub fn fight_part(&mut self, index: u64, keep: u32) -> Verdict {
        let Some(generated) = self.generator.case(index) else {
            return Verdict::Skipped;
        };
        let keep = keep & every(generated.block.encodings.len());
        if keep == 0 {
            return Verdict::Skipped;
        }
        let Some(block) = generated.block.subset(&mut self.info, keep) else {
            return Verdict::Skipped;
        };
        let case = case_of(&generated.case, &block);
        let text = start(&block, &case);
        let round = self.ring.round(&block, &case, generated.stores, true);
        round.verdict(&block, text)
    }
}

impl Contest for BlockDuel {
    fn start_epoch(&mut self, index: u64) -> io::Result<()> {
        let background = self.generator.start_epoch(index);
        self.ring.arena.start_epoch(background)
    }

    fn fight(&mut self, index: u64) -> Verdict {
        let Some(GeneratedBlock {
            case,
            block,
            stores,
        }) = self.generator.case(index)
        else {
            return Verdict::Skipped;
        };
        let (ring, info) = (&mut self.ring, &mut self.info);
        let round = ring.round(block, &case, stores, false);
        if !matches!(round, Round::Differed { .. }) {
            return round.verdict(block, String::new());
        }
        let keep = minimise(block.encodings.len(), &mut |keep| {
            let Some(part) = block.subset(info, keep) else {
                return false;
            };
            let round = ring.round(&part, &case_of(&case, &part), stores, false);
            matches!(round, Round::Differed { .. })
        });
        let Some(part) = block.subset(info, keep) else {
            return round.verdict(block, start(block, &case));
        };
        let case = case_of(&case, &part);
        let round = ring.round(&part, &case, stores, true);
        round.verdict(&part, heading(keep) + &start(&part, &case))
    }
}

/// A block that ended its worker, reduced to what still does, and the form it is filed under; `None`
/// if it runs for ever on any CPU, or as nobody promises.
///
/// # Errors
/// When the host refuses memory.
pub fn describe(
    seed: u64,
    only: Option<&str>,
    index: u64,
    make: &MakeSubject,
) -> io::Result<Option<(Code, String)>> {
    let mut generator = BlockGenerator::new(seed, only);
    let mut data = generator.start_epoch(index);
    let Some(GeneratedBlock { case, block, .. }) = generator.case(index) else {
        return Ok(Some((Code::INVALID, OUTSIDE.into())));
    };
    for poke in &case.pokes {
        data[poke.offset..poke.offset + poke.length].copy_from_slice(&poke.bytes[..poke.length]);
    }
    let mut referee = Referee::new()?;
    if referee.loops(&case, &data)
        || matches!(referee.judge(block, &case, &data, false), Ruling::Leave(_))
    {
        return Ok(None);
    }
    let keep = minimise(block.encodings.len(), &mut |keep| {
        kills(&mut || {
            let duel = BlockDuel::new(BlockGenerator::new(seed, only), make);
            if let Ok(mut duel) = duel {
                if duel.start_epoch(index).is_ok() {
                    duel.fight_part(index, keep);
                }
            }
        })
    });
    let part = block.subset(&mut InstructionInfoFactory::new(), keep);
    Ok(part.map(|part| {
        let text = heading(keep) + &start(&part, &case_of(&case, &part));
        (filed_under(&part), text)
    }))
}

fn heading(keep: u32) -> String {
    format!("  reduced to --keep {}\n", numbers(keep))
}

/// The form a difference is filed under: the last of the reduced block.
fn filed_under(block: &Block) -> Code {
    let last = block.encodings.last();
    last.map_or(Code::INVALID, |last| last.instruction.code())
}

/// What `whole` starts from, with another block.
fn case_of(whole: &Case, block: &Block) -> Case {
    let mut case = whole.clone();
    case.bytes.clone_from(&block.bytes);
    case.starts = block.starts;
    case
}

impl Ring {
    /// Runs the case once on both sides. Text is made only if `explain`.
    fn round(&mut self, block: &Block, case: &Case, stores: bool, explain: bool) -> Round {
        let arena = &mut self.arena;
        arena.place(&case.pokes);
        let (host, subject) = arena.run(case);
        let same_memory = arena.same_memory();
        let exact = arena.subject.has_exact_flags();
        let mut parts = compare(block, case, &host, &subject, 0, exact);
        parts.add(Parts::MEMORY, !same_memory);
        let mut round = Round::Agreed(host.end.vector());
        if !parts.is_empty() {
            round = match self.rule(block, case, &host, &subject) {
                Ruling::Leave(reason) => Round::Left(reason),
                Ruling::Compare(undefined) => {
                    let mut parts = compare(block, case, &host, &subject, undefined, exact);
                    parts.add(Parts::MEMORY, !same_memory);
                    match parts.is_empty() {
                        true => Round::Agreed(host.end.vector()),
                        false if !explain => Round::Differed {
                            parts,
                            text: String::new(),
                        },
                        false => Round::Differed {
                            parts,
                            text: self.explain(case, &host, &subject),
                        },
                    }
                }
            };
        }
        self.arena.restore(&case.pokes, stores, same_memory);
        round
    }

    fn rule(&mut self, block: &Block, case: &Case, host: &Outcome, subject: &Outcome) -> Ruling {
        const PAGE_FAULT: u8 = 14;
        const DEBUG: u8 = 1;
        if host.end.vector() == Some(DEBUG) {
            return Ruling::Leave("single-steps, which is no business of a block's");
        }
        if sets_misaligned_mode(host, case) {
            return Ruling::Leave("sets a bit of MXCSR that only AMD's processors have");
        }
        if let End::Exception {
            vector: PAGE_FAULT,
            address,
            ..
        } = subject.end
        {
            if subject.end != host.end && only_the_host_has(address) {
                return Ruling::Leave("reaches memory that only the host process has");
            }
        }
        let faulted = host.end != End::Completed;
        self.referee
            .judge(block, case, self.arena.before(), faulted)
    }

    fn explain(&mut self, case: &Case, host: &Outcome, subject: &Outcome) -> String {
        let third = self.referee.outcome(case, self.arena.before());
        let mut text = differences(case, host, subject);
        text += &self.arena.memory_report();
        let agrees = match () {
            () if third == *host => "as the host",
            () if third == *subject => "as the subject",
            () => "neither",
        };
        text + &format!("  the interpreter's registers: {agrees}\n")
    }
}

/// The parts that differ apart from memory.
fn compare(
    block: &Block,
    case: &Case,
    host: &Outcome,
    subject: &Outcome,
    undefined: u64,
    exact: bool,
) -> Parts {
    let ended = match host.end {
        End::Exception { .. } => case.instruction_at(host.state.registers.rip),
        _ => None,
    };
    let mut unpromised = undefined;
    if let Some(number) = ended.filter(|_| !exact) {
        unpromised |= ARITHMETIC & !live(block, number);
    }
    let number = ended.unwrap_or(block.encodings.len() - 1);
    let instruction = &block.encodings[number].instruction;
    differing(host, subject, instruction, case, unpromised)
}

impl Round {
    fn verdict(self, block: &Block, start: String) -> Verdict {
        let codes = block.encodings.iter();
        let codes = codes.map(|encoding| encoding.instruction.code()).collect();
        match self {
            Self::Agreed(vector) => Verdict::Agreed { codes, vector },
            Self::Left(reason) => Verdict::Left(reason),
            Self::Differed { parts, text } => Verdict::Differed {
                codes,
                code: filed_under(block),
                parts,
                text: start + &text,
            },
        }
    }
}
