//! The slow, generic way to run one instruction: load every register, execute, store every one.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

use super::state::{State, WINDOW};
use crate::hostexec::XsaveArea;
use crate::hostexec::code_buffer::CodeBuffer;

/// Below 2 GiB, so that the trampoline reaches it without a base register. The window is last and
/// ends where an inaccessible page begins.
#[repr(C, align(64))]
struct Data {
    gpr: [u64; 16],
    rflags: u64,
    host_rsp: u64,
    host_mxcsr: u64,
    area: XsaveArea,
    window: [u8; WINDOW],
}

static LOCK: Mutex<()> = Mutex::new(());
static START: AtomicU64 = AtomicU64::new(0);
static RESUME: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicU64 = AtomicU64::new(0);

/// The trampoline and its data. Only one exists at a time: the signal handler has one set of
/// addresses to go by.
pub(super) struct Reference {
    code: CodeBuffer,
    pages: *mut libc::c_void,
    data: *mut Data,
    alternate_stack: *mut libc::c_void,
    _alone: MutexGuard<'static, ()>,
}

const PAGE: usize = 4096;
const ALTERNATE_STACK: usize = 64 << 10;

impl Reference {
    pub(super) fn new() -> Self {
        let alone = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = map(2 * PAGE, libc::MAP_32BIT);
        // SAFETY: the second page is part of the mapping, and nothing is in it.
        unsafe {
            assert_eq!(
                libc::mprotect(pages.byte_add(PAGE), PAGE, libc::PROT_NONE),
                0
            );
        }
        // SAFETY: the first page is larger than Data.
        let data = unsafe { pages.byte_add(PAGE - size_of::<Data>()).cast() };
        let alternate_stack = map(ALTERNATE_STACK, 0);
        let stack = libc::stack_t {
            ss_sp: alternate_stack,
            ss_flags: 0,
            ss_size: ALTERNATE_STACK,
        };
        // SAFETY: the stack stays mapped while it is installed; the handler only touches atomics
        // and the context it is given.
        unsafe {
            assert_eq!(libc::sigaltstack(&stack, ptr::null_mut()), 0);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action.sa_sigaction = on_fault as *const () as usize;
            for signal in [libc::SIGFPE, libc::SIGSEGV, libc::SIGILL] {
                assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
            }
        }
        let code = CodeBuffer::new(4096).expect("code buffer");
        Reference {
            code,
            pages,
            data,
            alternate_stack,
            _alone: alone,
        }
    }

    /// Address of the window that memory operands may use.
    pub(super) fn window(&self) -> u64 {
        self.data as u64 + std::mem::offset_of!(Data, window) as u64
    }

    /// Executes `bytes` over `state`; the signal the instruction got, 0 for none.
    pub(super) fn run(&mut self, bytes: &[u8], state: &mut State) -> i32 {
        self.code.clear();
        let before = self.enter();
        let after = self.exit();
        let code = [&before, bytes, &after].concat();
        let entry = self.code.append(&code).expect("trampoline fits");
        let start = entry.as_ptr() as u64 + before.len() as u64;
        START.store(start, Ordering::SeqCst);
        RESUME.store(start + bytes.len() as u64, Ordering::SeqCst);
        SIGNAL.store(0, Ordering::SeqCst);
        // SAFETY: data is mapped and ours; entry is a complete function that keeps to the ABI.
        unsafe {
            let data = &mut *self.data;
            data.gpr = state.gpr;
            data.rflags = state.rflags;
            data.area = state.area;
            data.window = state.window;
            let entry: unsafe extern "sysv64" fn() = std::mem::transmute(entry.as_ptr());
            entry();
            let data = &*self.data;
            state.gpr = data.gpr;
            state.rflags = data.rflags & 0x8D5 | state.rflags & !0x8D5;
            state.area = data.area;
            state.window = data.window;
        }
        SIGNAL.load(Ordering::SeqCst) as i32
    }

    fn slot(&self, offset: usize) -> MemoryOperand {
        MemoryOperand::with_displ(self.data as u64 + offset as u64, 8)
    }

    fn enter(&self) -> Vec<u8> {
        use std::mem::offset_of;
        let mut list = Vec::new();
        for saved in CALLEE_SAVED {
            list.push(Instruction::with1(Code::Push_r64, saved));
        }
        let rsp = self.slot(offset_of!(Data, host_rsp));
        list.push(Instruction::with2(Code::Mov_rm64_r64, rsp, Register::RSP));
        let mxcsr = self.slot(offset_of!(Data, host_mxcsr));
        list.push(Instruction::with1(Code::Stmxcsr_m32, mxcsr));
        list.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, 7));
        list.push(Instruction::with2(Code::Mov_r32_imm32, Register::EDX, 0));
        list.push(Instruction::with1(
            Code::Xrstor64_mem,
            self.slot(offset_of!(Data, area)),
        ));
        list.push(Instruction::with1(
            Code::Push_rm64,
            self.slot(offset_of!(Data, rflags)),
        ));
        list.push(Ok(Instruction::with(Code::Popfq)));
        for number in 0..16 {
            let register = Register::RAX + number;
            let slot = self.slot(8 * number as usize);
            list.push(Instruction::with2(Code::Mov_r64_rm64, register, slot));
        }
        encode_all(&list)
    }

    fn exit(&self) -> Vec<u8> {
        use std::mem::offset_of;
        let mut list = Vec::new();
        for number in 0..16 {
            let register = Register::RAX + number;
            let slot = self.slot(8 * number as usize);
            list.push(Instruction::with2(Code::Mov_rm64_r64, slot, register));
        }
        let rsp = self.slot(offset_of!(Data, host_rsp));
        list.push(Instruction::with2(Code::Mov_r64_rm64, Register::RSP, rsp));
        list.push(Ok(Instruction::with(Code::Pushfq)));
        list.push(Instruction::with1(
            Code::Pop_rm64,
            self.slot(offset_of!(Data, rflags)),
        ));
        list.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, 7));
        list.push(Instruction::with2(Code::Mov_r32_imm32, Register::EDX, 0));
        list.push(Instruction::with1(
            Code::Xsave64_mem,
            self.slot(offset_of!(Data, area)),
        ));
        list.push(Ok(Instruction::with(Code::Fninit)));
        let mxcsr = self.slot(offset_of!(Data, host_mxcsr));
        list.push(Instruction::with1(Code::Ldmxcsr_m32, mxcsr));
        list.push(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        for saved in CALLEE_SAVED.into_iter().rev() {
            list.push(Instruction::with1(Code::Pop_r64, saved));
        }
        list.push(Ok(Instruction::with(Code::Retnq)));
        encode_all(&list)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: default handlers back, the alternate stack off, then both mappings go.
        unsafe {
            for signal in [libc::SIGFPE, libc::SIGSEGV, libc::SIGILL] {
                libc::signal(signal, libc::SIG_DFL);
            }
            let off = libc::stack_t {
                ss_sp: ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            };
            libc::sigaltstack(&off, ptr::null_mut());
            libc::munmap(self.alternate_stack, ALTERNATE_STACK);
            libc::munmap(self.pages, 2 * PAGE);
        }
    }
}

const CALLEE_SAVED: [Register; 6] = [
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

fn encode_all(list: &[Result<Instruction, iced_x86::IcedError>]) -> Vec<u8> {
    let mut encoder = Encoder::new(64);
    for ins in list {
        let ins = ins.as_ref().expect("valid operands");
        encoder.encode(ins, 0).expect("encodes");
    }
    encoder.take_buffer()
}

fn map(length: usize, flags: libc::c_int) -> *mut libc::c_void {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a fresh private mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at
}

/// Continues after the instruction under test when it faulted; any other fault is fatal.
extern "C" fn on_fault(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let rip = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    if *rip as u64 == START.load(Ordering::SeqCst) {
        *rip = RESUME.load(Ordering::SeqCst) as i64;
        SIGNAL.store(signal as u64, Ordering::SeqCst);
    } else {
        // SAFETY: returning with the default handler in place repeats the fault and ends us.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
