//! Exceptions, and why the interpreter stops.

/// Exception vectors (Intel SDM vol. 3, 6.15).
pub mod vector {
    /// Divide error.
    pub const DE: u8 = 0;
    /// Debug.
    pub const DB: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Breakpoint.
    pub const BP: u8 = 3;
    /// Overflow.
    pub const OF: u8 = 4;
    /// BOUND range exceeded.
    pub const BR: u8 = 5;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// Device not available.
    pub const NM: u8 = 7;
    /// Double fault.
    pub const DF: u8 = 8;
    /// Invalid TSS.
    pub const TS: u8 = 10;
    /// Segment not present.
    pub const NP: u8 = 11;
    /// Stack-segment fault.
    pub const SS: u8 = 12;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// x87 floating-point error.
    pub const MF: u8 = 16;
    /// Alignment check.
    pub const AC: u8 = 17;
    /// SIMD floating-point exception.
    pub const XM: u8 = 19;
}

/// An exception on its way to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, for the vectors that push one.
    pub error: Option<u32>,
    /// For #PF, the linear address that goes to CR2.
    pub address: u64,
    /// For #DB, the bits that go to DR6.
    pub dr6: u64,
}

/// Why execution left the current instruction. The reason is in [`Cpu::stop`](super::Cpu::stop): a
/// type without content lets every memory access return its value and its success in registers.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

/// The result of anything that may stop the current instruction.
pub type Exec<T = ()> = Result<T, Stop>;

/// What [`Stop`] stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StopReason {
    /// Nothing stopped.
    #[default]
    None,
    /// The instruction faulted and has had no effect.
    Exception(Exception),
    /// As above, by an address that is not canonical: #SS(0) if it was formed with the stack segment,
    /// else #GP(0). Whoever knows how it was formed makes an exception of it.
    NonCanonical,
    /// The instruction waits for a device in Python; it will be run again with the answer.
    Device,
    /// A triple fault.
    Shutdown,
    /// The engine cannot go on.
    Fail(String),
}
