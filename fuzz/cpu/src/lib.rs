//! The instruction differential: a case, one instruction or a block of them, is run by the host CPU
//! and by a subject, and everything a ring-3 program could observe is compared.

pub mod arena;
pub mod block;
pub mod campaign;
pub mod compare;
pub mod contest;
pub mod duel;
pub mod encoding;
pub mod flags;
pub mod forms;
mod frame;
pub mod generate;
mod guest;
pub mod host;
pub mod interpreter;
pub mod layout;
mod mappings;
pub mod mirror;
pub mod operands;
pub mod parts;
pub mod plan;
pub mod random;
pub mod report;
pub mod rules;
mod sandbox;
pub mod shared;
mod signals;
pub mod state;
pub mod subject;
mod text;
pub mod tune;
pub mod vendor;
mod windows;
