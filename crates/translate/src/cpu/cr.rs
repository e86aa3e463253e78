//! Control register bits.

/// Protection enable.
pub const CR0_PE: u64 = 1;
/// Monitor coprocessor.
pub const CR0_MP: u64 = 1 << 1;
/// Emulation: no x87.
pub const CR0_EM: u64 = 1 << 2;
/// Task switched.
pub const CR0_TS: u64 = 1 << 3;
/// Extension type, always one.
pub const CR0_ET: u64 = 1 << 4;
/// Numeric error: #MF instead of an external interrupt.
pub const CR0_NE: u64 = 1 << 5;
/// Write protect.
pub const CR0_WP: u64 = 1 << 16;
/// Alignment mask.
pub const CR0_AM: u64 = 1 << 18;
/// Not write-through.
pub const CR0_NW: u64 = 1 << 29;
/// Cache disable.
pub const CR0_CD: u64 = 1 << 30;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;
/// Time stamp disable.
pub const CR4_TSD: u64 = 1 << 2;
/// Debugging extensions.
pub const CR4_DE: u64 = 1 << 3;
/// Page size extensions.
pub const CR4_PSE: u64 = 1 << 4;
/// Physical address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// Machine check enable.
pub const CR4_MCE: u64 = 1 << 6;
/// Global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// RDPMC in user mode.
pub const CR4_PCE: u64 = 1 << 8;
/// FXSAVE and SSE enabled.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// #XM enabled.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// User-mode instruction prevention.
pub const CR4_UMIP: u64 = 1 << 11;
/// FSGSBASE instructions.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// Process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// XSAVE enabled.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Supervisor-mode execution prevention.
pub const CR4_SMEP: u64 = 1 << 20;
/// Supervisor-mode access prevention.
pub const CR4_SMAP: u64 = 1 << 21;
/// EFER: SYSCALL enable.
pub const EFER_SCE: u64 = 1;
/// EFER: long mode enable.
pub const EFER_LME: u64 = 1 << 8;
/// EFER: long mode active.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER: no-execute enable.
pub const EFER_NXE: u64 = 1 << 11;
