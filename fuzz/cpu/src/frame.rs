//! The page through which Rust and the trampoline exchange state, and the trampoline itself.
//!
//! The trampoline's bytes are copied to `HARNESS_BASE`, where code in the window reaches them with
//! a near jump; the frame lies one page after them. Every access is RIP-relative, so state is
//! loaded and saved with no register to spare and no flag changed.

use core::arch::global_asm;
use core::mem::offset_of;

use crate::layout::{HARNESS_BASE, PAGE};
use crate::state::{Registers, Xsave};

/// What the trampoline reads and writes.
#[repr(C, align(64))]
pub(crate) struct Frame {
    /// Loaded before the case.
    pub(crate) input: Registers,
    /// Stored after it.
    pub(crate) output: Registers,
    /// Operand of the far jump into compatibility mode: offset, selector.
    pub(crate) far_target: (u32, u16),
    /// Non-zero while a case runs, so that a signal is the case's and not the harness's.
    pub(crate) running: u64,
    host_rsp: u64,
    host_fs_base: u64,
    host_mxcsr: u32,
    /// Stack for PUSHF and POPF while RSP belongs to the case.
    flags_stack: [u64; 4],
    /// Loaded before the case.
    pub(crate) input_xsave: Xsave,
    /// Stored after it.
    pub(crate) output_xsave: Xsave,
    /// Set by the signal handler: number of the signal, trap number, error code, CR2.
    pub(crate) signal: i32,
    pub(crate) trap: u64,
    pub(crate) error: u64,
    pub(crate) cr2: u64,
}

/// Distance from the trampoline's first byte to the frame.
const FRAME: usize = PAGE as usize;

/// The frame's address in the host process.
pub(crate) fn frame() -> *mut Frame {
    (HARNESS_BASE + PAGE) as *mut Frame
}

const GPR: usize = FRAME + offset_of!(Frame, input) + offset_of!(Registers, gpr);
const OUT: usize = FRAME + offset_of!(Frame, output) + offset_of!(Registers, gpr);

global_asm!(
    ".pushsection .text.fuzz_trampoline, \"ax\"",
    ".balign 64",
    ".globl fuzz_trampoline_start, fuzz_trampoline_end",
    ".globl fuzz_enter_long, fuzz_enter_compatibility, fuzz_exit, fuzz_resume",
    "fuzz_trampoline_start:",
    // Both entries are `extern "C" fn()`: keep the callee-saved registers, load everything, go.
    ".macro fuzz_load",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + fuzz_trampoline_start + {host_rsp}], rsp",
    "rdfsbase rax",
    "mov [rip + fuzz_trampoline_start + {host_fs_base}], rax",
    "stmxcsr [rip + fuzz_trampoline_start + {host_mxcsr}]",
    "mov qword ptr [rip + fuzz_trampoline_start + {running}], 1",
    "mov eax, 7",
    "xor edx, edx",
    "xrstor64 [rip + fuzz_trampoline_start + {input_xsave}]",
    "mov rax, [rip + fuzz_trampoline_start + {in_fs_base}]",
    "wrfsbase rax",
    "mov rax, [rip + fuzz_trampoline_start + {in_gs_base}]",
    "wrgsbase rax",
    "lea rsp, [rip + fuzz_trampoline_start + {flags_stack_top}]",
    "push qword ptr [rip + fuzz_trampoline_start + {in_rflags}]",
    "popfq",
    "mov rax, [rip + fuzz_trampoline_start + {gpr} + 0*8]",
    "mov rcx, [rip + fuzz_trampoline_start + {gpr} + 1*8]",
    "mov rdx, [rip + fuzz_trampoline_start + {gpr} + 2*8]",
    "mov rbx, [rip + fuzz_trampoline_start + {gpr} + 3*8]",
    "mov rsp, [rip + fuzz_trampoline_start + {gpr} + 4*8]",
    "mov rbp, [rip + fuzz_trampoline_start + {gpr} + 5*8]",
    "mov rsi, [rip + fuzz_trampoline_start + {gpr} + 6*8]",
    "mov rdi, [rip + fuzz_trampoline_start + {gpr} + 7*8]",
    "mov r8,  [rip + fuzz_trampoline_start + {gpr} + 8*8]",
    "mov r9,  [rip + fuzz_trampoline_start + {gpr} + 9*8]",
    "mov r10, [rip + fuzz_trampoline_start + {gpr} + 10*8]",
    "mov r11, [rip + fuzz_trampoline_start + {gpr} + 11*8]",
    "mov r12, [rip + fuzz_trampoline_start + {gpr} + 12*8]",
    "mov r13, [rip + fuzz_trampoline_start + {gpr} + 13*8]",
    "mov r14, [rip + fuzz_trampoline_start + {gpr} + 14*8]",
    "mov r15, [rip + fuzz_trampoline_start + {gpr} + 15*8]",
    ".endm",
    "fuzz_enter_long:",
    "fuzz_load",
    "jmp [rip + fuzz_trampoline_start + {in_rip}]",
    "fuzz_enter_compatibility:",
    "fuzz_load",
    "jmp fword ptr [rip + fuzz_trampoline_start + {far_target}]",
    // The instruction fell through to the jump behind it.
    "fuzz_exit:",
    "mov [rip + fuzz_trampoline_start + {out} + 0*8], rax",
    "mov [rip + fuzz_trampoline_start + {out} + 1*8], rcx",
    "mov [rip + fuzz_trampoline_start + {out} + 2*8], rdx",
    "mov [rip + fuzz_trampoline_start + {out} + 3*8], rbx",
    "mov [rip + fuzz_trampoline_start + {out} + 4*8], rsp",
    "mov [rip + fuzz_trampoline_start + {out} + 5*8], rbp",
    "mov [rip + fuzz_trampoline_start + {out} + 6*8], rsi",
    "mov [rip + fuzz_trampoline_start + {out} + 7*8], rdi",
    "mov [rip + fuzz_trampoline_start + {out} + 8*8], r8",
    "mov [rip + fuzz_trampoline_start + {out} + 9*8], r9",
    "mov [rip + fuzz_trampoline_start + {out} + 10*8], r10",
    "mov [rip + fuzz_trampoline_start + {out} + 11*8], r11",
    "mov [rip + fuzz_trampoline_start + {out} + 12*8], r12",
    "mov [rip + fuzz_trampoline_start + {out} + 13*8], r13",
    "mov [rip + fuzz_trampoline_start + {out} + 14*8], r14",
    "mov [rip + fuzz_trampoline_start + {out} + 15*8], r15",
    "lea rsp, [rip + fuzz_trampoline_start + {flags_stack_top}]",
    "pushfq",
    "pop qword ptr [rip + fuzz_trampoline_start + {out_rflags}]",
    // AC, DF, NT and TF must not reach the harness.
    "push 0x202",
    "popfq",
    "rdfsbase rax",
    "mov [rip + fuzz_trampoline_start + {out_fs_base}], rax",
    "rdgsbase rax",
    "mov [rip + fuzz_trampoline_start + {out_gs_base}], rax",
    "mov rax, [rip + fuzz_trampoline_start + {host_fs_base}]",
    "wrfsbase rax",
    "mov word ptr [rip + fuzz_trampoline_start + {out_selectors} + 0], es",
    "mov word ptr [rip + fuzz_trampoline_start + {out_selectors} + 4], ss",
    "mov word ptr [rip + fuzz_trampoline_start + {out_selectors} + 6], ds",
    "mov word ptr [rip + fuzz_trampoline_start + {out_selectors} + 8], fs",
    "mov word ptr [rip + fuzz_trampoline_start + {out_selectors} + 10], gs",
    "mov eax, 7",
    "xor edx, edx",
    "xsave64 [rip + fuzz_trampoline_start + {output_xsave}]",
    "fninit",
    "ldmxcsr [rip + fuzz_trampoline_start + {host_mxcsr}]",
    // Also where the signal handler continues, on the stack and with the registers of the caller.
    "fuzz_resume:",
    "mov qword ptr [rip + fuzz_trampoline_start + {running}], 0",
    "mov rsp, [rip + fuzz_trampoline_start + {host_rsp}]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    "fuzz_trampoline_end:",
    ".popsection",
    // The signal handler's first instructions. FS base may be anything here, and the kernel keeps
    // AC and NT for a handler, so neither thread-local storage nor an unaligned access is safe yet.
    // The interrupted FS and GS bases and selectors are not in the signal frame: keep them now.
    ".pushsection .text.fuzz_signal, \"ax\"",
    ".globl fuzz_signal_entry",
    "fuzz_signal_entry:",
    "push 0x202",
    "popfq",
    "mov ecx, {frame_address}",
    "rdfsbase rax",
    "mov [rcx + {out_fs_base} - {frame_offset}], rax",
    "rdgsbase rax",
    "mov [rcx + {out_gs_base} - {frame_offset}], rax",
    "mov word ptr [rcx + {out_selectors} - {frame_offset} + 0], es",
    "mov word ptr [rcx + {out_selectors} - {frame_offset} + 6], ds",
    "mov word ptr [rcx + {out_selectors} - {frame_offset} + 8], fs",
    "mov word ptr [rcx + {out_selectors} - {frame_offset} + 10], gs",
    // Outside a case the FS base is the harness's own already, and the frame's may be stale.
    "cmp qword ptr [rcx + {running} - {frame_offset}], 0",
    "je 2f",
    "mov rax, [rcx + {host_fs_base} - {frame_offset}]",
    "wrfsbase rax",
    "2:",
    "jmp {on_signal}",
    ".popsection",
    gpr = const GPR,
    out = const OUT,
    in_rip = const FRAME + offset_of!(Frame, input) + offset_of!(Registers, rip),
    in_rflags = const FRAME + offset_of!(Frame, input) + offset_of!(Registers, rflags),
    in_fs_base = const FRAME + offset_of!(Frame, input) + offset_of!(Registers, fs_base),
    in_gs_base = const FRAME + offset_of!(Frame, input) + offset_of!(Registers, gs_base),
    out_rflags = const FRAME + offset_of!(Frame, output) + offset_of!(Registers, rflags),
    out_fs_base = const FRAME + offset_of!(Frame, output) + offset_of!(Registers, fs_base),
    out_gs_base = const FRAME + offset_of!(Frame, output) + offset_of!(Registers, gs_base),
    out_selectors = const FRAME + offset_of!(Frame, output) + offset_of!(Registers, selectors),
    far_target = const FRAME + offset_of!(Frame, far_target),
    running = const FRAME + offset_of!(Frame, running),
    host_rsp = const FRAME + offset_of!(Frame, host_rsp),
    host_fs_base = const FRAME + offset_of!(Frame, host_fs_base),
    host_mxcsr = const FRAME + offset_of!(Frame, host_mxcsr),
    flags_stack_top = const FRAME + offset_of!(Frame, flags_stack) + 32,
    input_xsave = const FRAME + offset_of!(Frame, input_xsave),
    output_xsave = const FRAME + offset_of!(Frame, output_xsave),
    frame_address = const HARNESS_BASE + PAGE,
    frame_offset = const FRAME,
    on_signal = sym crate::signals::on_signal,
);

unsafe extern "C" {
    static fuzz_trampoline_start: u8;
    static fuzz_trampoline_end: u8;
    static fuzz_enter_long: u8;
    static fuzz_enter_compatibility: u8;
    static fuzz_exit: u8;
    static fuzz_resume: u8;
    fn fuzz_signal_entry();
}

/// The trampoline as it was linked, to be copied to `HARNESS_BASE`.
pub(crate) fn trampoline() -> &'static [u8] {
    let start = &raw const fuzz_trampoline_start;
    let length = &raw const fuzz_trampoline_end as usize - start as usize;
    // SAFETY: both labels bound one piece of initialised, immutable text.
    unsafe { core::slice::from_raw_parts(start, length) }
}

/// Addresses of the trampoline's labels in the copy at `HARNESS_BASE`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels {
    pub(crate) enter_long: u64,
    pub(crate) enter_compatibility: u64,
    pub(crate) exit: u64,
    pub(crate) resume: u64,
}

/// Where the trampoline's labels are after the copy.
pub(crate) fn labels() -> Labels {
    let start = &raw const fuzz_trampoline_start as u64;
    let moved = |label: *const u8| HARNESS_BASE + (label as u64 - start);
    Labels {
        enter_long: moved(&raw const fuzz_enter_long),
        enter_compatibility: moved(&raw const fuzz_enter_compatibility),
        exit: moved(&raw const fuzz_exit),
        resume: moved(&raw const fuzz_resume),
    }
}

/// The address to install as signal handler.
pub(crate) fn signal_entry() -> usize {
    fuzz_signal_entry as *const () as usize
}
