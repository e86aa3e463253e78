//! The interpreter: instructions as the architecture defines them, one file per family.
//!
//! [`block`] finds decoded code, [`lower`](self) decodes it, each family file executes its
//! instructions, and [`run`] is the loop around them that also takes interrupts and exceptions.

pub(crate) mod block;
pub(crate) mod op;
pub(crate) mod run;
mod single;

pub(crate) mod lower;

mod alu;
mod atomic;
mod bits;
mod branch;
mod callgate;
mod control;
mod convert;
mod deliver;
mod descriptor;
mod far;
mod flagops;
mod frame;
mod io;
mod legacy;
mod modify;
mod mov;
mod msr;
mod muldiv;
mod protect;
mod segload;
mod shift;
mod stack;
mod string;
mod syscall;
mod trap;
mod tss;
mod vector;
mod xsave;
