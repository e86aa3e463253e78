//! Guest RAM.
//!
//! RAM is a few slots of memfd memory. Beside its bytes every 4 KiB page has a *watch* byte and a
//! *generation*: an engine that keeps something derived from a page's bytes (decoded instructions,
//! translated code) watches the page and remembers the generation; whoever stores to a watched page
//! advances the generation and tells the engine where. `watch.rs` says why no store can slip through.

mod ram;
mod watch;

pub use ram::{GuestRam, PAGE_SIZE, PageRef, RamError};
pub use watch::CodeListener;
