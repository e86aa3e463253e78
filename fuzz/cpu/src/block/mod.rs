//! Blocks of instructions: what a translator takes apart and puts together again.

mod draw;
mod duel;
mod flow;
mod forms;
mod generate;
mod layout;
mod minimise;
mod referee;
mod report;
mod roles;
mod values;

pub use duel::{BlockDuel, describe};
pub use generate::{BlockGenerator, GeneratedBlock};
pub use layout::{Block, Target};
