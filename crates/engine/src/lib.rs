//! What a machine needs from whatever executes its instructions.
//!
//! * [`contract`]: the two traits every engine implements, and the exits it reports.
//! * [`state`]: a vCPU's architectural state, in no engine's private layout.
//! * [`bus`]: which guest-physical range and which port is RAM, native, Python or nobody's.
//! * [`profile`]: where the guest spends its time, by sampling.
//! * [`irqchip`], [`clock`], [`signal`]: the interrupt controllers and timers that live below Python
//!   because guests touch them thousands of times a second.

pub mod bus;
pub mod clock;
pub mod contract;
pub mod irqchip;
pub mod profile;
pub mod signal;
pub mod state;
