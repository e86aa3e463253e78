//! A case on the host CPU.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::frame::{Labels, frame, labels, trampoline};
use crate::layout::{
    CODE_BASE, CODE_LEN, DATA_BASE, DATA_LEN, DATA_WRITABLE, FS_BASE, FS_SELECTOR_32, GS_BASE,
    GS_LIMIT_32, GS_SELECTOR_32, HARNESS_BASE, HARNESS_LEN, PAGE,
};
use crate::state::{Case, End, Mode, Outcome, Registers, State, base_registers};
use crate::text::{BREAKPOINT, TEXT_LEN, text};
use crate::windows::{map_anywhere, map_at, protect, shared_memory};

const FLAG_RESUME: u64 = 1 << 16;

/// The windows, the trampoline and the signal handlers of this process, which has one of each; a
/// clone is the same host.
#[derive(Clone, Debug)]
pub struct Host {
    labels: Labels,
    mode: Mode,
    /// The code window again, writable: the one cases run in is read-only and executable.
    code: *mut u8,
    /// Where the code window holds a text, and that text.
    written: Rc<Cell<(u64, [u8; TEXT_LEN])>>,
}

impl Host {
    /// Maps the windows and installs handlers and filter. Call in the process that runs the cases,
    /// before it has started another thread.
    ///
    /// # Errors
    /// When the kernel refuses a mapping, a handler, a descriptor or the filter.
    pub fn new(mode: Mode) -> io::Result<Self> {
        let code = shared_memory(CODE_LEN)?;
        map_at(CODE_BASE, CODE_LEN, libc::PROT_READ | libc::PROT_EXEC, code)?;
        let writable_code = map_anywhere(CODE_LEN, code)?;
        let data = shared_memory(DATA_LEN)?;
        map_at(
            DATA_BASE,
            DATA_LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            data,
        )?;
        protect(
            DATA_BASE + DATA_WRITABLE,
            DATA_LEN - DATA_WRITABLE,
            libc::PROT_READ,
        )?;
        let harness = shared_memory(HARNESS_LEN)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        map_at(HARNESS_BASE, HARNESS_LEN, protection, harness)?;
        let text = trampoline();
        assert!(
            text.len() <= PAGE as usize,
            "the trampoline grew over its page"
        );
        // SAFETY: the harness window was just mapped writable and the code window's alias is
        // CODE_LEN long; neither overlaps the source.
        unsafe {
            core::ptr::copy_nonoverlapping(text.as_ptr(), HARNESS_BASE as *mut u8, text.len());
            core::ptr::write_bytes(writable_code, BREAKPOINT, CODE_LEN as usize);
        }
        protect(HARNESS_BASE, PAGE, libc::PROT_READ | libc::PROT_EXEC)?;
        if mode == Mode::Compatibility {
            set_descriptor(FS_SELECTOR_32, FS_BASE as u32, 0xf_ffff, true)?;
            set_descriptor(GS_SELECTOR_32, GS_BASE as u32, GS_LIMIT_32, false)?;
        }
        crate::signals::install()?;
        crate::sandbox::forbid_system_calls_of_cases()?;
        let host = Self {
            labels: labels(),
            mode,
            code: writable_code,
            written: Rc::new(Cell::new((CODE_BASE, [BREAKPOINT; TEXT_LEN]))),
        };
        load_selectors(&base_registers(mode).selectors);
        Ok(host)
    }

    /// The data window of this process.
    pub fn data(&mut self) -> &mut [u8] {
        // SAFETY: mapped by `new` and never unmapped. Its last page is read-only: writers use
        // `fill_data`.
        unsafe { core::slice::from_raw_parts_mut(DATA_BASE as *mut u8, DATA_LEN as usize) }
    }

    /// Overwrites the whole data window, the read-only page included.
    ///
    /// # Errors
    /// When the kernel refuses to make the page writable for a moment.
    pub fn fill_data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (start, length) = (DATA_BASE + DATA_WRITABLE, DATA_LEN - DATA_WRITABLE);
        protect(start, length, libc::PROT_READ | libc::PROT_WRITE)?;
        self.data().copy_from_slice(bytes);
        protect(start, length, libc::PROT_READ)
    }

    /// Runs the case on the data window as it is.
    pub fn run(&mut self, case: &Case) -> Outcome {
        self.write_code(case.state.registers.rip, text(case));
        // SAFETY: the frame is mapped and nothing else refers to it while no case runs.
        let frame = unsafe { &mut *frame() };
        frame.input = case.state.registers;
        frame.input_xsave = case.state.xsave;
        frame.signal = 0;
        let entry = match case.mode {
            Mode::Long => self.labels.enter_long,
            Mode::Compatibility => {
                let registers = &case.state.registers;
                frame.far_target = (registers.rip as u32, registers.selectors[1]);
                self.labels.enter_compatibility
            }
        };
        // SAFETY: the label is a function of this type that keeps the callee-saved registers. The
        // case between can only reach memory of its own windows by construction (`generate`), and
        // an exception in it comes back through the signal handler.
        unsafe {
            let enter: unsafe extern "C" fn() = core::mem::transmute(entry as usize);
            enter();
        }
        let mut outcome = self.outcome(case);
        let base = base_registers(self.mode).selectors;
        if outcome.state.registers.selectors != base {
            load_selectors(&base);
        }
        normalise_null_selectors(&mut outcome.state.registers.selectors);
        outcome
    }

    /// Makes `text`, cut off where the window ends, all that the code window holds.
    fn write_code(&mut self, rip: u64, text: [u8; TEXT_LEN]) {
        let new = (rip, text);
        let (old, old_text) = self.written.get();
        if (old, old_text) == new {
            return;
        }
        for (address, text) in [(old, [BREAKPOINT; TEXT_LEN]), new] {
            let start = (address - CODE_BASE) as usize;
            let length = text.len().min(CODE_LEN as usize - start);
            // SAFETY: start + length lies inside the alias of the code window, as just limited.
            unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), self.code.add(start), length) };
        }
        self.written.set(new);
    }

    /// Interprets what the trampoline or the handler left in the frame.
    fn outcome(&self, case: &Case) -> Outcome {
        // SAFETY: as in `run`; the case has ended.
        let frame = unsafe { &mut *frame() };
        let mut state = State {
            registers: frame.output,
            xsave: frame.output_xsave,
        };
        state.xsave.normalise();
        let registers = &mut state.registers;
        let end = if frame.signal == 0 {
            registers.rip = case.next_rip();
            registers.selectors[1] = case.state.registers.selectors[1];
            End::Completed
        } else {
            self.end_of_signal(
                case,
                frame.signal,
                frame.trap,
                frame.error,
                frame.cr2,
                registers,
            )
        };
        if case.mode == Mode::Compatibility {
            clear_invisible(registers);
        }
        Outcome { end, state }
    }

    fn end_of_signal(
        &self,
        case: &Case,
        signal: i32,
        trap: u64,
        error: u64,
        cr2: u64,
        registers: &mut Registers,
    ) -> End {
        const DEBUG: u64 = 1;
        const BREAKPOINT_TRAP: u64 = 3;
        if signal == libc::SIGSYS {
            return End::Escaped;
        }
        let next = case.next_rip();
        match trap {
            // The instruction set TF: the trap comes after the jump behind it.
            DEBUG if registers.rip == self.labels.exit => {
                registers.rip = next;
                registers.selectors[1] = case.state.registers.selectors[1];
                End::Completed
            }
            // A breakpoint that is not the case's own: a branch landed on the filler.
            BREAKPOINT_TRAP if registers.rip != next || case.bytes.last() != Some(&BREAKPOINT) => {
                registers.rip -= 1;
                End::Completed
            }
            // Any other fault at another address is about fetching the next instruction, except
            // traps, which are reported with the address after their instruction.
            DEBUG | BREAKPOINT_TRAP | 4 => exception(trap, error, cr2, registers),
            _ if case.instruction_at(registers.rip).is_none() => End::Completed,
            _ => exception(trap, error, cr2, registers),
        }
    }
}

fn exception(trap: u64, error: u64, cr2: u64, registers: &mut Registers) -> End {
    const PAGE_FAULT: u64 = 14;
    // RF in the pushed flags says "fault"; the interpreter's side is asked about in micro-guests.
    registers.rflags &= !FLAG_RESUME;
    let has_error = matches!(trap, 8 | 10..=14 | 17);
    End::Exception {
        vector: trap as u8,
        error: if has_error { error as u32 } else { 0 },
        address: if trap == PAGE_FAULT { cr2 } else { 0 },
    }
}

/// In compatibility mode R8 to R15 and the high halves of the others are out of reach.
pub(crate) fn clear_invisible(registers: &mut Registers) {
    for (index, value) in registers.gpr.iter_mut().enumerate() {
        *value = if index < 8 { *value & 0xffff_ffff } else { 0 };
    }
    registers.rip &= 0xffff_ffff;
}

/// A null selector loses its RPL when an interrupt returns to ring 3 (SDM vol. 2, IRET), which can
/// happen to any case on the host: selectors 0 to 3 are one.
pub(crate) fn normalise_null_selectors(selectors: &mut [u16; 6]) {
    for selector in selectors {
        if *selector <= 3 {
            *selector = 0;
        }
    }
}

/// Loads es, ds, fs and gs; keeps the harness's FS base. SS needs no loading: ring 3 can only hold
/// the two data descriptors in it, and the signal path reloads it.
fn load_selectors(selectors: &[u16; 6]) {
    // SAFETY: the selectors are null or name data descriptors of this process; 64-bit code uses
    // none of their bases but FS's, which is put back before the next access to thread-local data.
    unsafe {
        core::arch::asm!(
            "rdfsbase {base}",
            "mov es, {es:e}",
            "mov ss, {ss:e}",
            "mov ds, {ds:e}",
            "mov fs, {fs:e}",
            "mov gs, {gs:e}",
            "wrfsbase {base}",
            base = out(reg) _,
            es = in(reg) u64::from(selectors[0]),
            ss = in(reg) u64::from(selectors[2]),
            ds = in(reg) u64::from(selectors[3]),
            fs = in(reg) u64::from(selectors[4]),
            gs = in(reg) u64::from(selectors[5]),
            options(nostack),
        );
    }
}

fn set_descriptor(selector: u16, base: u32, limit: u32, in_pages: bool) -> io::Result<()> {
    // struct user_desc of Linux's <asm/ldt.h>: entry, base, limit, flags
    // (bit 0 seg_32bit, bits 2:1 contents, bit 3 read_exec_only, bit 4 limit_in_pages,
    // bit 5 seg_not_present, bit 6 useable).
    let flags: u32 = 1 | if in_pages { 1 << 4 } else { 0 } | 1 << 6;
    const SET_THREAD_AREA: u64 = 243;
    let descriptor = [u32::from(selector >> 3), base, limit, flags];
    let below_4g = (HARNESS_BASE + 2 * PAGE) as *mut [u32; 4];
    let mut result = SET_THREAD_AREA;
    // SAFETY: the kernel reads sixteen bytes at a place in the harness window that nothing else
    // uses. The call fills one of this thread's three TLS descriptors; it exists only in the
    // 32-bit table, hence int 80h and the address below 4 GiB. It destroys r8 to r11 at most.
    unsafe {
        below_4g.write(descriptor);
        core::arch::asm!(
            "xchg rbx, {address}",
            "int 0x80",
            "xchg rbx, {address}",
            address = inout(reg) below_4g => _,
            inout("rax") result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match result as i32 {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
