//! Every instruction form in scope, over random state, against the host.

use iced_x86::{Code, Instruction, Mnemonic};

use super::effort::{generator, rounds};
use super::forms::{Form, codes, random_form};
use super::reference::Reference;
use super::state::{State, random_state};
use crate::hostexec::{CompileError, HostExec, HostFrame, HostOp, Outcome, Special, XsaveArea};

/// A staging buffer of the alignment that [`HostFrame::mem`] asks for.
#[repr(C, align(64))]
pub(super) struct Staging(pub(super) [u8; 128]);

/// What the interpreter does with an op: stage, run, write back.
pub(super) fn run_thunk(op: &HostOp, offset: Option<usize>, state: &mut State) -> Outcome {
    let mut staging = Staging([0xCC; 128]);
    let size = usize::from(op.mem_size);
    let operand = offset.map(|at| at..at + size);
    if let Some(operand) = operand.clone().filter(|_| op.mem_read) {
        staging.0[..size].copy_from_slice(&state.window[operand]);
    }
    let mut frame = HostFrame::new(
        state.gpr.as_mut_ptr(),
        &mut state.area,
        staging.0.as_mut_ptr(),
    );
    frame.rflags = state.rflags;
    // SAFETY: the pointers are to live, exclusive data; the compiler outlives its ops in tests.
    let outcome = unsafe { op.run(&mut frame) };
    state.rflags = frame.rflags;
    assert!(
        staging.0[size..].iter().all(|&byte| byte == 0xCC),
        "wrote past the operand"
    );
    if let Some(operand) = operand.filter(|_| op.mem_write && outcome == Outcome::Done) {
        state.window[operand].copy_from_slice(&staging.0[..size]);
    }
    outcome
}

/// The image without what the guest does not own: last-instruction pointers, MXCSR_MASK, header
/// and the bytes no register has.
pub(super) fn comparable(area: &XsaveArea) -> XsaveArea {
    let mut out = *area;
    out.bytes[6..24].fill(0);
    out.bytes[28..32].fill(0);
    out.bytes[416..576].fill(0);
    out
}

pub(super) fn describe(form: &Form, was: &State, ours: &State, theirs: &State) -> String {
    let mut text = format!(
        "{:?} {:02X?} {:?}\n",
        form.ins.code(),
        form.bytes,
        form.offset
    );
    let mut line = |name: String, was: &[u8], a: &[u8], b: &[u8]| {
        if a != b {
            text += &format!("  {name}: was {was:02X?}\n    ours {a:02X?}\n    host {b:02X?}\n");
        }
    };
    for i in 0..16 {
        let [w, a, b] = [was, ours, theirs].map(|s| s.gpr[i].to_be_bytes());
        line(format!("gpr {i}"), &w, &a, &b);
    }
    let [w, a, b] = [was, ours, theirs].map(|s| s.rflags.to_be_bytes());
    line("rflags".into(), &w, &a, &b);
    let [w, a, b] = [was, ours, theirs].map(|s| comparable(&s.area));
    for at in (0..832).step_by(16) {
        line(
            format!("area {at}"),
            &w.bytes[at..at + 16],
            &a.bytes[at..at + 16],
            &b.bytes[at..at + 16],
        );
    }
    for at in (0..was.window.len()).step_by(16) {
        let [w, a, b] = [was, ours, theirs].map(|s| &s.window[at..at + 16]);
        line(format!("window {at}"), w, a, b);
    }
    text
}

pub(super) fn same(ours: &State, theirs: &State) -> bool {
    ours.gpr == theirs.gpr
        && ours.rflags == theirs.rflags
        && ours.window == theirs.window
        && comparable(&ours.area) == comparable(&theirs.area)
}

/// Compiles, starting over when the buffer is full.
pub(super) fn compile(exec: &mut HostExec, ins: &Instruction) -> HostOp {
    let mut result = exec.compile(ins);
    if matches!(result, Err(CompileError::Full)) {
        exec.reset();
        result = exec.compile(ins);
    }
    result.unwrap_or_else(|error| panic!("{:?}: {error:?}", ins.code()))
}

/// Results that differ from run to run, and the wait that has no form of its own.
pub(super) fn unpredictable(code: Code) -> bool {
    matches!(code.mnemonic(), Mnemonic::Rdrand | Mnemonic::Rdseed)
}

#[test]
fn every_form_does_what_the_host_does() {
    let mut random = generator(1);
    let mut reference = Reference::new();
    let mut exec = HostExec::new(64 << 10).expect("code buffer");
    let (mut cases, mut tried, mut wrong) = (0u32, 0u32, Vec::new());
    for code in codes().filter(|&code| !unpredictable(code)) {
        tried += 1;
        let mut failures = 0;
        for round in 0..rounds() {
            let mut state = random_state(&mut random);
            let alignment = if round % 2 == 0 { 64 } else { 32 };
            let Some(form) = random_form(
                code,
                &mut random,
                &mut state,
                reference.window(),
                alignment,
                16,
            ) else {
                continue;
            };
            if !crate::hostexec::host_features().contains(form.isa.features) {
                continue;
            }
            let op = compile(&mut exec, &form.ins);
            if op.special != Special::None {
                continue;
            }
            cases += 1;
            let (mut ours, mut theirs) = (state.clone(), state.clone());
            assert_eq!(
                reference.run(&form.bytes, &mut theirs),
                0,
                "{code:?} {:02X?}",
                form.bytes
            );
            let outcome = run_thunk(&op, form.offset, &mut ours);
            assert_eq!(outcome, Outcome::Done, "{code:?}");
            if !same(&ours, &theirs) {
                failures += 1;
                if failures == 1 {
                    wrong.push(describe(&form, &state, &ours, &theirs));
                }
            }
        }
    }
    let shown: String = wrong.iter().take(20).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} codes differ, first:\n{shown}",
        wrong.len()
    );
    println!("{tried} codes, {cases} cases");
    assert!(cases > 10 * tried, "only {cases} cases for {tried} codes");
}
