//! Guest-virtual to host-virtual: the software TLB, the page walk, and every access to guest memory.

mod access;
mod tlb;
mod walk;

pub(crate) use walk::canonical;
pub use tlb::{Invalidate, Tlb};
pub(crate) use tlb::Table;
pub use walk::Intent;
