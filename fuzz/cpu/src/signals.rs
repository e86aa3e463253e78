//! Exceptions on the host arrive as signals; the handler takes the state out of the signal frame.

use crate::frame::{frame, labels, signal_entry};
use crate::state::Xsave;

/// Every signal an exception of ring-3 code becomes, and the one of the system call filter.
const SIGNALS: [libc::c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];

const STACK_LEN: usize = 64 * 1024;

/// Installs the handlers, on a stack of their own, since a case's RSP can be anything.
///
/// SA_NODEFER: the handler never returns, so nothing would unblock the signal.
pub(crate) fn install() -> std::io::Result<()> {
    // SAFETY: an anonymous mapping that is never unmapped becomes the alternate stack; the
    // structures are plain data, filled in before use.
    unsafe {
        let stack = libc::mmap(
            core::ptr::null_mut(),
            STACK_LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
            -1,
            0,
        );
        if stack == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let alternate = libc::stack_t {
            ss_sp: stack,
            ss_flags: 0,
            ss_size: STACK_LEN,
        };
        if libc::sigaltstack(&alternate, core::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        for signal in SIGNALS {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = signal_entry();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            if libc::sigaction(signal, &action, core::ptr::null_mut()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Continues in the trampoline after copying what the kernel saved; reached from the assembly entry
/// with FS base and flags in order.
///
/// # Safety
/// Only the kernel's signal delivery may call it, through the assembly entry.
pub(crate) unsafe extern "C" fn on_signal(
    signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::ucontext_t,
) -> ! {
    // SAFETY: the frame is mapped for the life of the process, and the kernel's context pointer is
    // valid for the duration of the handler. Nothing else runs in this thread meanwhile.
    unsafe {
        let frame = &mut *frame();
        let machine = &(*context).uc_mcontext;
        if frame.running == 0 {
            // The harness itself or the interpreter crashed: let the parent see the real signal.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            libc::_exit(70);
        }
        let general = |index: libc::c_int| machine.gregs[index as usize] as u64;
        frame.output.gpr = [
            general(libc::REG_RAX),
            general(libc::REG_RCX),
            general(libc::REG_RDX),
            general(libc::REG_RBX),
            general(libc::REG_RSP),
            general(libc::REG_RBP),
            general(libc::REG_RSI),
            general(libc::REG_RDI),
            general(libc::REG_R8),
            general(libc::REG_R9),
            general(libc::REG_R10),
            general(libc::REG_R11),
            general(libc::REG_R12),
            general(libc::REG_R13),
            general(libc::REG_R14),
            general(libc::REG_R15),
        ];
        frame.output.rip = general(libc::REG_RIP);
        frame.output.rflags = general(libc::REG_EFL);
        let selectors = general(libc::REG_CSGSFS);
        frame.output.selectors[1] = selectors as u16;
        frame.output.selectors[2] = (selectors >> 48) as u16;
        frame.signal = signal;
        frame.trap = general(libc::REG_TRAPNO);
        frame.error = general(libc::REG_ERR);
        frame.cr2 = general(libc::REG_CR2);
        // The signal frame's floating point image is an XSAVE image in the standard format
        // (arch/x86 signal ABI: `struct _xstate`).
        let image: *const Xsave = machine.fpregs.cast();
        core::ptr::copy_nonoverlapping(
            image.cast::<u8>(),
            (&raw mut frame.output_xsave).cast::<u8>(),
            size_of::<Xsave>(),
        );
        core::arch::asm!("jmp {}", in(reg) labels().resume, options(noreturn));
    }
}
