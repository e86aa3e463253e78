//! A thunk leaves the host as the System V ABI has it, whatever the guest's state.

use std::arch::asm;

use super::differential::{Staging, compile, unpredictable};
use super::effort::generator;
use super::forms::{codes, random_form};
use super::state::random_state;
use crate::hostexec::{HostExec, HostFrame, HostOp, Special, host_features};

const CANARIES: [u64; 6] = [0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666];

/// What a function must give back: rbx, rbp, r12–r15, MXCSR, x87 control and tag word, RFLAGS.DF.
#[derive(PartialEq, Eq, Debug)]
struct HostSide {
    registers: [u64; 6],
    mxcsr: u32,
    control: u16,
    tags: u16,
    direction: bool,
}

/// Calls the op's thunk with canaries in the callee-saved registers and looks afterwards.
fn call(op: &HostOp, frame: &mut HostFrame) -> HostSide {
    let mut registers = CANARIES;
    let (mut mxcsr, mut flags) = (0u32, 0u64);
    let mut environment = [0u16; 14];
    // SAFETY: the asm saves the callee-saved registers it loads, keeps the stack aligned at the
    // call (eight pushes after alignment to 16), and declares the rest clobbered by the ABI.
    unsafe {
        asm!(
            "push rbx", "push rbp", "mov rbp, rsp", "and rsp, -16",
            "push rbp", "push r8", "push r9", "push r10", "push r12", "push r13", "push r14", "push r15",
            "mov r11, rcx",
            "mov rbx, [r8]", "mov rbp, [r8 + 8]", "mov r12, [r8 + 16]",
            "mov r13, [r8 + 24]", "mov r14, [r8 + 32]", "mov r15, [r8 + 40]",
            "call r11",
            "mov r8, [rsp + 48]",
            "mov [r8], rbx", "mov [r8 + 8], rbp", "mov [r8 + 16], r12",
            "mov [r8 + 24], r13", "mov [r8 + 32], r14", "mov [r8 + 40], r15",
            "pop r15", "pop r14", "pop r13", "pop r12", "pop r10", "pop r9", "pop r8", "pop rbp",
            "stmxcsr [r9]", "fnstenv [r10]", "fldenv [r10]",
            "pushfq", "pop rax",
            "mov rsp, rbp", "pop rbp", "pop rbx",
            in("rcx") op.entry,
            in("rdi") frame,
            in("r8") &mut registers,
            in("r9") &mut mxcsr,
            in("r10") &mut environment,
            out("rax") flags,
            clobber_abi("sysv64"),
        );
    }
    HostSide {
        registers,
        mxcsr,
        control: environment[0],
        tags: environment[4],
        direction: flags & 0x400 != 0,
    }
}

#[test]
fn the_host_side_of_a_thunk_is_untouched() {
    let mut random = generator(6);
    let mut exec = HostExec::new(64 << 10).expect("code buffer");
    for code in codes().filter(|&code| !unpredictable(code)) {
        for _ in 0..4 {
            let mut state = random_state(&mut random);
            let Some(form) = random_form(code, &mut random, &mut state, 0x1000, 64, 16) else {
                continue;
            };
            if !host_features().contains(form.isa.features) {
                continue;
            }
            let op = compile(&mut exec, &form.ins);
            if op.special != Special::None {
                continue;
            }
            // A hostile image: MXCSR bits that do not exist, everything unmasked, unknown RFLAGS.
            state.area.set_mxcsr(random.next() as u32);
            let masks = if op.x87_waits {
                0x3F
            } else {
                random.next() as u16 & 0x3F
            };
            state.area.set_fcw(state.area.fcw() & !0x3F | masks);
            state.area.set_fsw(random.next() as u16);
            let mut staging = Staging([0x5A; 128]);
            let mut frame = HostFrame::new(
                state.gpr.as_mut_ptr(),
                &mut state.area,
                staging.0.as_mut_ptr(),
            );
            frame.rflags = random.next();
            frame.mxcsr_run = 0x1F80;
            let after = call(&op, &mut frame);
            let expected = HostSide {
                registers: CANARIES,
                mxcsr: 0x1F80,
                control: 0x37F,
                tags: 0xFFFF,
                direction: false,
            };
            assert_eq!(after, expected, "{code:?}");
        }
    }
}

#[test]
fn a_full_buffer_is_reported_and_reset_makes_room() {
    use crate::hostexec::CompileError;
    let mut random = generator(7);
    let mut exec = HostExec::new(4096).expect("code buffer");
    let mut full = 0;
    for code in codes().take(200) {
        let mut state = random_state(&mut random);
        let Some(form) = random_form(code, &mut random, &mut state, 0x1000, 64, 16) else {
            continue;
        };
        if exec.compile(&form.ins).err() == Some(CompileError::Full) {
            full += 1;
            exec.reset();
            assert!(exec.compile(&form.ins).is_ok());
        }
    }
    assert!(full > 2, "200 thunks take several pages");
}

#[test]
fn instructions_that_differ_only_in_addressing_share_a_thunk() {
    use iced_x86::{Decoder, DecoderOptions};
    let mut exec = HostExec::new(4096).expect("code buffer");
    let entry = |exec: &mut HostExec, bytes: &[u8]| {
        let ins = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        compile(exec, &ins).entry as usize
    };
    let plain = entry(&mut exec, &[0x66, 0x0F, 0xFE, 0x06]); // paddd xmm0, [rsi]
    let indexed = entry(&mut exec, &[0x65, 0x66, 0x0F, 0xFE, 0x44, 0x8B, 0x10]);
    let other = entry(&mut exec, &[0x66, 0x0F, 0xFE, 0x0E]); // paddd xmm1, [rsi]
    assert_eq!(plain, indexed);
    assert_ne!(plain, other);
}
