//! A compiled instruction, the frame it works on, and what running it can come to.

use super::area::{self, XsaveArea};
use super::isa::{HostKind, Isa};
use super::mxcsr;
use super::special::Special;

/// Where a thunk finds guest state. Made once per vCPU; the pointers stay, the rest is per run.
#[repr(C)]
#[derive(Debug)]
pub struct HostFrame {
    /// 16 general registers in hardware order (RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15).
    pub gpr: *mut u64,
    /// The vector state.
    pub vec: *mut XsaveArea,
    /// The memory operand's bytes, read and written here: a staging buffer of 64 bytes (108 for
    /// x87 environments), 64-byte aligned. For an op that only reads it may point at guest RAM,
    /// when the operand lies in one page; `mem_align` has been checked, so alignment carries over.
    pub mem: *mut u8,
    /// RFLAGS in and out. Only status flags are read or changed, and only those the op names.
    pub rflags: u64,
    /// MXCSR the instruction runs with; [`HostOp::run`] sets it.
    pub(super) mxcsr_run: u32,
    /// Raised flags that keep the thunk from committing its result; [`HostOp::run`] sets it.
    pub(super) simd_unmasked: u32,
    /// MXCSR after the instruction.
    pub(super) simd_raised: u32,
    /// The host's MXCSR while a thunk runs.
    pub(super) host_mxcsr: u32,
    /// The host's x87 control word while a thunk runs.
    pub(super) host_fcw: u16,
}

impl HostFrame {
    /// A frame over guest state. The pointers are used only by [`HostOp::run`].
    pub fn new(gpr: *mut u64, vec: *mut XsaveArea, mem: *mut u8) -> Self {
        HostFrame {
            gpr,
            vec,
            mem,
            rflags: 0,
            mxcsr_run: 0,
            simd_unmasked: 0,
            simd_raised: 0,
            host_mxcsr: 0,
            host_fcw: 0,
        }
    }
}

/// What running an instruction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// Done. If the op writes memory, the bytes to write are in the staging buffer.
    Done,
    /// Done, but the memory operand must not be written: an x87 store that raised an unmasked
    /// exception (Intel SDM vol. 1, 8.5; the exception itself waits for the next x87 instruction).
    DoneWithoutStore,
    /// An x87 exception was pending: raise #MF. No state changed.
    X87Pending,
    /// An unmasked SIMD exception: raise #XM (#UD when CR4.OSXMMEXCPT = 0). The flags are in
    /// MXCSR; nothing else changed, and the staging buffer must not be written to the guest.
    SimdException,
}

/// One compiled instruction, valid until the [`HostExec`](super::HostExec) that made it is reset
/// or dropped.
#[derive(Clone, Copy, Debug)]
pub struct HostOp {
    /// The thunk. Call it through [`run`](Self::run), which brings MXCSR in and out.
    pub(super) entry: unsafe extern "sysv64" fn(*mut HostFrame),
    /// The state it works on, which says what to check before it runs.
    pub kind: HostKind,
    /// All of what must hold before it runs.
    pub isa: Isa,
    /// Bytes of its memory operand; 0 when it has none.
    pub mem_size: u16,
    /// The operand must be in the staging buffer before the run.
    pub mem_read: bool,
    /// The staging buffer must be written to the guest after the run, when [`Outcome::Done`].
    /// Prove the guest address writable before the run: the run changes registers too.
    pub mem_write: bool,
    /// Alignment of the guest linear address, else #GP(0); 1 when any will do.
    pub mem_align: u16,
    /// Status flags it reads or may leave as they are, as RFLAGS bits: `HostFrame::rflags` must be
    /// set before the run.
    pub flags_read: u32,
    /// Status flags it writes, as RFLAGS bits: `HostFrame::rflags` holds them after the run.
    pub flags_written: u32,
    /// It runs with the guest's MXCSR and may end in [`Outcome::SimdException`].
    pub may_raise_simd_fp: bool,
    /// It checks for pending x87 exceptions and may end in [`Outcome::X87Pending`].
    pub x87_waits: bool,
    /// Other than `None`: it has no thunk; call [`run_special`](super::run_special) instead.
    pub special: Special,
}

impl HostOp {
    /// Runs the instruction over the frame's state.
    ///
    /// # Safety
    /// The `HostExec` that compiled this op is alive and was not reset since. The frame's pointers
    /// are valid for reads and writes, with the sizes its fields name, and nothing else refers to
    /// what they point at during the call. `special` is `None`.
    #[inline]
    pub unsafe fn run(&self, frame: &mut HostFrame) -> Outcome {
        debug_assert!(self.special == Special::None);
        if self.may_raise_simd_fp || self.x87_waits {
            // SAFETY: the caller's promises are the callee's.
            return unsafe { self.run_with_exceptions(frame) };
        }
        // SAFETY: entry is a thunk in live code; the frame is as it expects.
        unsafe { (self.entry)(frame) };
        Outcome::Done
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn run_with_exceptions(&self, frame: &mut HostFrame) -> Outcome {
        if self.x87_waits {
            // SAFETY: the frame's area is valid and ours during the call.
            let area = unsafe { &mut *frame.vec };
            if area.x87_unmasked() != 0 {
                return Outcome::X87Pending;
            }
            // An image may claim an error that its flags do not show; the host must not see it.
            area.set_fsw(area.fsw() & !area::ERROR_SUMMARY);
        }
        if self.may_raise_simd_fp {
            // SAFETY: the caller's promises are the callee's.
            return unsafe { self.run_simd_fp(frame) };
        }
        // SAFETY: as in `run`.
        unsafe { (self.entry)(frame) };
        // Precision alone is found after the store; the others suppress it.
        const SUPPRESS_STORE: u16 = 0x1F;
        // SAFETY: the frame's area is valid and ours during the call.
        if self.mem_write && unsafe { (*frame.vec).x87_unmasked() } & SUPPRESS_STORE != 0 {
            return Outcome::DoneWithoutStore;
        }
        Outcome::Done
    }

    /// The host runs with every exception masked; which would have been delivered is worked out
    /// from the flags (Intel SDM vol. 1, 11.5).
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    #[inline]
    unsafe fn run_simd_fp(&self, frame: &mut HostFrame) -> Outcome {
        // SAFETY: the frame's area is valid and ours during the call.
        let guest = unsafe { (*frame.vec).mxcsr() };
        let unmasked = !(guest >> 7) & mxcsr::FLAGS;
        frame.mxcsr_run = guest & mxcsr::CONTROL | mxcsr::MASKS;
        frame.simd_unmasked = unmasked;
        let mut tiny = 0;
        if unmasked & mxcsr::UNDERFLOW != 0 {
            // SAFETY: as in `run`.
            tiny = unsafe { self.probe_underflow(frame) };
        }
        // SAFETY: as in `run`.
        unsafe { (self.entry)(frame) };
        // What masked runs cannot tell: after an unmasked overflow or underflow, whether the result
        // would have been exact in an unbounded exponent range (precision is reported); that an
        // exact denormal from VCVTPS2PH, which ignores flush-to-zero, underflows (it does not); in
        // which step of DPPS and DPPD the first exception fell (flags of all steps are reported).
        let raised = frame.simd_raised & mxcsr::FLAGS | tiny;
        let fault = raised & unmasked != 0;
        // An unmasked exception found before computing keeps the others from being found.
        let before = raised & mxcsr::PRE_COMPUTATION;
        let sticky = if before & unmasked != 0 {
            before
        } else {
            raised
        };
        // SAFETY: the frame's area is valid and ours during the call.
        unsafe { (*frame.vec).set_mxcsr(guest | sticky) };
        if !fault {
            return Outcome::Done;
        }
        if self.kind == HostKind::Mmx {
            // The processor enters MMX state before it converts.
            // SAFETY: the frame's area is valid and ours during the call.
            unsafe { (*frame.vec).enter_mmx() };
        }
        Outcome::SimdException
    }

    /// With underflow unmasked a tiny result raises it even when exact, and flush-to-zero is
    /// ignored; masked, an exact tiny result raises nothing. Flush-to-zero, though, acts on every
    /// tiny result and flags it, so a run with it on, not committed, tells. Leaves the frame set
    /// up for the real run.
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    #[cold]
    unsafe fn probe_underflow(&self, frame: &mut HostFrame) -> u32 {
        // A mask bit is always set in MXCSR after the run, so naming one keeps it uncommitted.
        const NEVER_COMMIT: u32 = 0x80;
        let (control, unmasked) = (frame.mxcsr_run, frame.simd_unmasked);
        frame.mxcsr_run = control | mxcsr::FLUSH_TO_ZERO;
        frame.simd_unmasked = NEVER_COMMIT;
        // SAFETY: as in `run`.
        unsafe { (self.entry)(frame) };
        let tiny = frame.simd_raised & mxcsr::UNDERFLOW;
        frame.mxcsr_run = control & !mxcsr::FLUSH_TO_ZERO;
        frame.simd_unmasked = if tiny == 0 { unmasked } else { NEVER_COMMIT };
        tiny
    }
}
