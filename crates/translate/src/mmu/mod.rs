//! Guest-virtual to host-virtual: the software TLB, the page walk, and every access to guest memory.

mod access;
pub(crate) mod rehearsal;
pub(crate) mod tlb;
pub(crate) mod walk;

pub(crate) use access::Place;
pub(crate) use tlb::Table;
pub use tlb::{Invalidate, Tlb};
pub use walk::Intent;
pub(crate) use walk::canonical;
