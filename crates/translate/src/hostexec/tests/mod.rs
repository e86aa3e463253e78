//! The thunks against the host processor itself: a trampoline that loads the whole state, executes
//! the guest's own encoding, and dumps the whole state.

mod differential;
mod effort;
mod exceptions;
mod forms;
mod guards;
mod modes;
mod reference;
mod special;
mod state;
