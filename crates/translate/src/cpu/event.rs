//! What the run loop must look at before the next block.

/// RFLAGS.TF is set.
pub const SINGLE_STEP: u32 = 1;
/// The next instruction runs with interrupts held off (after STI).
pub const STI_SHADOW: u32 = 1 << 1;
/// The next instruction runs with interrupts and debug traps held off (after MOV SS).
pub const MOV_SS_SHADOW: u32 = 1 << 2;
/// `pending_dr6` holds debug traps to deliver.
pub const DEBUG_TRAP: u32 = 1 << 3;
/// An instruction breakpoint is armed.
pub const CODE_BREAKPOINTS: u32 = 1 << 4;
/// Interrupts may have become deliverable.
pub const CHECK_INTERRUPTS: u32 = 1 << 5;
/// The vCPU is not running (HLT, or waiting for SIPI).
pub const NOT_RUNNING: u32 = 1 << 6;
/// Device answers of the current instruction are outstanding or can be forgotten.
pub const DEVICE: u32 = 1 << 7;
/// Those that hold interrupts off for one instruction.
pub const SHADOWS: u32 = STI_SHADOW | MOV_SS_SHADOW;
/// Those under which instructions run one at a time.
pub const STEPPING: u32 = SINGLE_STEP | SHADOWS | CODE_BREAKPOINTS | RESUME;
/// Thunks and decoded blocks are to be dropped, to make room.
pub const DROP_CODE: u32 = 1 << 8;
/// RFLAGS.RF is set, for one instruction.
pub const RESUME: u32 = 1 << 9;
