//! Draws the instructions of a block.

use iced_x86::{Encoder as Writer, FlowControl, Instruction, InstructionInfoFactory};

use super::flow::{moves_stack_down, undefined_after};
use super::forms::{Kind, Pools, left_out};
use super::layout::{Block, Piece, Target};
use super::roles::Roles;
use crate::encoding::{Encoder, is_relative_branch};
use crate::flags::read;
use crate::layout::{CODE_BASE, CODE_LEN, PAGE};
use crate::operands::{aim_displacement, decode, is_indirect_near};
use crate::random::Random;
use crate::rules::{Treatment, prefixes};
use crate::state::{INSTRUCTIONS_MAX, Mode};
use crate::tune::landing;

/// Where most blocks lie: not where an address in them comes to with a low byte of zero or one, as
/// a store to it is likely to make it.
const PLACE: u64 = CODE_BASE + 0x880;

/// Draws blocks.
pub(super) struct Drawer {
    anything: Encoder,
    /// Whether forms were asked for by name.
    filtered: bool,
    pools: Pools,
    writer: Writer,
    info: InstructionInfoFactory,
}

/// What has been drawn of a block.
#[derive(Default)]
struct Draft {
    pieces: Vec<Piece>,
    length: u64,
    kind: Option<Kind>,
    undefined: u64,
    /// A return address of the block's own may be on the stack.
    called: bool,
    /// And copies of it may be, too.
    pushed: bool,
}

impl core::fmt::Debug for Drawer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Drawer").finish_non_exhaustive()
    }
}

impl Drawer {
    pub(super) fn new(only: Option<&str>) -> Self {
        Self {
            anything: Encoder::new(Mode::Long, only),
            filtered: only.is_some(),
            pools: Pools::new(),
            writer: Writer::new(64),
            info: InstructionInfoFactory::new(),
        }
    }

    /// A block and its registers, or `None` where the draw gave none.
    pub(super) fn draw(&mut self, random: &mut Random) -> Option<(Block, Roles)> {
        const ATTEMPTS: u64 = 12;
        let roles = Roles::draw(random);
        let wanted = 1 + random.below(INSTRUCTIONS_MAX as u64) as usize;
        let mut draft = Draft::default();
        for _ in 0..wanted {
            for _ in 0..ATTEMPTS {
                let kind = self.kind(random, draft.kind);
                let drawn = self.instruction(random, &roles, kind, PLACE + draft.length);
                if let Some((piece, instruction)) = drawn {
                    if draft.add(piece, &instruction, kind) {
                        break;
                    }
                }
            }
        }
        if draft.pieces.is_empty() {
            return None;
        }
        let rip = place(random, draft.length);
        aim_branches(random, &mut draft, rip);
        let block = Block::lay_out(&mut self.info, draft.pieces, rip)?;
        Some((block, roles))
    }

    /// What comes next: producers and consumers of flags near each other, with loads and stores
    /// between them; pushes and pops in runs.
    fn kind(&self, random: &mut Random, previous: Option<Kind>) -> Kind {
        use Kind as K;
        if self.filtered && random.one_in(2) {
            return K::Any;
        }
        let drawn = random.below(100);
        match previous {
            Some(K::Producer | K::Wide) if drawn < 35 => return K::Consumer,
            Some(K::Producer | K::Wide) if drawn < 60 => return K::Move,
            Some(K::Move) if drawn < 30 => return K::Consumer,
            Some(K::Stack) if drawn < 45 => return K::Stack,
            _ => {}
        }
        match random.below(100) {
            0..=23 => K::Producer,
            24..=32 => K::Consumer,
            33..=44 => K::Move,
            45..=54 => K::Stack,
            55..=65 => K::Wide,
            66..=71 => K::Exchange,
            72..=77 => K::Branch,
            78..=79 => K::String,
            80..=81 => K::Control,
            _ => K::Any,
        }
    }

    /// An instruction that may stand in a block, as it would be at `rip`.
    fn instruction(
        &mut self,
        random: &mut Random,
        roles: &Roles,
        kind: Kind,
        rip: u64,
    ) -> Option<(Piece, Instruction)> {
        let (mut bytes, treatment) = if kind == Kind::Any {
            let encoding = self.anything.draw(random)?;
            (encoding.bytes, encoding.treatment)
        } else {
            let form = random.pick(self.pools.of(kind));
            let mut bytes = Vec::with_capacity(48);
            form.write(random, Mode::Long, &mut bytes);
            (bytes, Treatment::Compare)
        };
        let (mut instruction, _) = decode(&bytes, Mode::Long, rip);
        let refused = instruction.is_invalid() && (kind != Kind::Any || !random.one_in(8));
        if treatment != Treatment::Compare || refused || left_out(instruction.code()).is_some() {
            return None;
        }
        if !instruction.is_invalid() {
            bytes.truncate(instruction.len());
            if !random.one_in(5) {
                if let Some(cast) = roles.cast(random, &mut self.writer, &instruction) {
                    bytes = cast;
                }
            }
            let constants;
            (instruction, constants) = decode(&bytes, Mode::Long, rip);
            if aim_displacement(random, &instruction, &constants, &mut bytes) {
                (instruction, _) = decode(&bytes, Mode::Long, rip);
            }
        }
        let branch = is_relative_branch(&instruction);
        let transfers = branch
            || is_indirect_near(&instruction)
            || instruction.flow_control() == FlowControl::Return;
        if transfers && prefixes(&bytes).contains(&0x66) {
            // The vendors differ in what it means.
            return None;
        }
        let relative = instruction.is_ip_rel_memory_operand();
        let piece = Piece {
            bytes,
            treatment,
            operand: relative.then(|| instruction.ip_rel_memory_address()),
            target: branch.then_some(Target::Inside(0)),
        };
        Some((piece, instruction))
    }
}

impl Draft {
    /// Appends the instruction unless it would make the block worthless.
    fn add(&mut self, piece: Piece, instruction: &Instruction, kind: Kind) -> bool {
        if read(instruction) & self.undefined != 0 {
            return false;
        }
        // A return address of its own could send the block round for ever.
        let returns = instruction.flow_control() == FlowControl::Return;
        if self.called && (is_indirect_near(instruction) || returns && self.pushed) {
            return false;
        }
        let calls = instruction.is_call_near();
        self.pushed |= self.called && (calls || moves_stack_down(instruction));
        self.called |= calls || instruction.is_call_near_indirect();
        self.undefined = undefined_after(instruction, self.undefined);
        self.length += piece.bytes.len() as u64;
        self.pieces.push(piece);
        self.kind = Some(kind);
        true
    }
}

/// Sends each relative branch forward in the block, or out of it.
fn aim_branches(random: &mut Random, draft: &mut Draft, rip: u64) {
    let count = draft.pieces.len();
    let end = rip + draft.length;
    for (number, piece) in draft.pieces.iter_mut().enumerate() {
        if let Some(target) = &mut piece.target {
            *target = if random.one_in(10) {
                Target::Outside(landing(random, Mode::Long, rip, end))
            } else {
                let rest = (count - number) as u64;
                Target::Inside(number + 1 + random.below(rest) as usize)
            };
        }
    }
}

/// The address of a block: sometimes across the two code pages, or up to the end of the window.
fn place(random: &mut Random, length: u64) -> u64 {
    match random.below(40) {
        0 | 1 => CODE_BASE + PAGE - random.below(length + 1),
        2 => CODE_BASE + CODE_LEN - length,
        3 => CODE_BASE + CODE_LEN - 1 - random.below(length),
        _ => PLACE,
    }
}
