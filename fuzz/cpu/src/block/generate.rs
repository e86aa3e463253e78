//! From a seed and a number to a block and what it starts from.

use super::draw::Drawer;
use super::layout::Block;
use super::report::start;
use super::roles::Roles;
use super::values::choose;
use crate::generate::{background, fill_registers, names_harness};
use crate::operands::reaches_harness;
use crate::random::Random;
use crate::state::{Case, Mode, State, Xsave, base_registers};

/// Cases in a row that share one block: drawing and translating it costs more than running it.
const STATES: u64 = 8;

// What streams of random numbers are for; those of single instructions are others.
const CASES: u64 = 11;
const BLOCKS: u64 = 13;

/// A case and the block it runs.
#[derive(Debug)]
pub struct GeneratedBlock<'a> {
    /// The case.
    pub case: Case,
    /// Its block.
    pub block: &'a Block,
    /// Whether it may store.
    pub stores: bool,
}

impl GeneratedBlock<'_> {
    /// The block and what it starts from.
    pub fn text(&self) -> String {
        start(self.block, &self.case)
    }
}

/// Makes cases of blocks. Equal seed and filter give equal cases.
#[derive(Debug)]
pub struct BlockGenerator {
    seed: u64,
    drawer: Drawer,
    /// The block drawn last, and its number.
    block: (u64, Option<(Block, Roles)>),
    background: Xsave,
}

impl BlockGenerator {
    /// `only` makes about half of the instructions those whose form's name contains it, ignoring
    /// case.
    pub fn new(seed: u64, only: Option<&str>) -> Self {
        Self {
            seed,
            drawer: Drawer::new(only),
            block: (u64::MAX, None),
            background: Xsave::initial(),
        }
    }

    /// Starts the epoch that case `index` belongs to; returns the data window's background.
    pub fn start_epoch(&mut self, index: u64) -> Vec<u8> {
        background(self.seed, index, &mut self.background)
    }

    /// Case `index` of the epoch that was started last; `None` where the draw gave nothing that may
    /// be run.
    pub fn case(&mut self, index: u64) -> Option<GeneratedBlock<'_>> {
        let number = index / STATES;
        if self.block.0 != number {
            let mut random = Random::new(self.seed, BLOCKS, number);
            self.block = (number, self.drawer.draw(&mut random));
        }
        let (block, roles) = self.block.1.as_ref()?;
        let mut random = Random::new(self.seed, CASES, index);
        let mut case = Case {
            index,
            mode: Mode::Long,
            bytes: block.bytes.clone(),
            starts: block.starts,
            state: State {
                registers: base_registers(Mode::Long),
                xsave: self.background,
            },
            pokes: Vec::new(),
        };
        case.state.registers.rip = block.rip;
        fill_registers(&mut random, &mut case);
        let accesses = choose(&mut random, block, roles, &mut case);
        if names_harness(&case) || accesses.iter().any(|accesses| reaches_harness(accesses)) {
            return None;
        }
        let stores = block.encodings.iter().any(|encoding| encoding.stores);
        Some(GeneratedBlock {
            case,
            block,
            stores,
        })
    }
}
