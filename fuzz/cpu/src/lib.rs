//! The instruction differential: a case is run by the host CPU and by a subject, and everything a
//! ring-3 program could observe is compared.

pub mod campaign;
pub mod compare;
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
pub mod mirror;
pub mod operands;
pub mod random;
pub mod report;
pub mod rules;
mod sandbox;
mod signals;
pub mod state;
pub mod subject;
pub mod tune;
pub mod vendor;
