//! The engine that needs no hardware virtualization.
//!
//! An interpreter of x86-64 with all of its system architecture, and a translator for the 64-bit code
//! that is run often.
//!
//! * [`cpu`]: one virtual CPU: registers, flags, exceptions, model-specific registers.
//! * [`mmu`]: paging, the software TLB, and every access to guest memory.
//! * [`interp`]: instructions, one file per family, and the loop that runs them.
//! * [`translator`]: guest code turned into host code, and the cache it is kept in.
//! * [`hostexec`]: vector and floating-point instructions, executed on the host's own units.
//! * [`vm`]: the engine contract over all of it.

pub mod board;
pub mod cpu;
pub mod device_access;
pub mod hostexec;
pub mod interp;
pub mod mmu;
pub mod translator;
pub mod vm;

pub use vm::{Engine, new_vm};
