//! Unmasked exceptions: the host delivers them, the thunk works them out.

use iced_x86::{Code, Mnemonic};

use super::differential::{compile, describe, run_thunk, same, unpredictable};
use super::effort::{generator, rounds};
use super::forms::{codes, random_form};
use super::reference::Reference;
use super::state::random_state;
use crate::hostexec::{
    Feature, HostExec, HostKind, Outcome, Special, XsaveArea, host_features, mxcsr,
};

#[test]
fn unmasked_simd_exceptions_are_those_the_host_delivers() {
    let mut random = generator(2);
    let mut reference = Reference::new();
    let mut exec = HostExec::new(64 << 10).expect("code buffer");
    let (mut cases, mut delivered, mut wrong) = (0u32, 0u32, Vec::new());
    for code in codes().filter(|&code| !unpredictable(code)) {
        let mut failures = 0;
        for _ in 0..4 * rounds() {
            let mut state = random_state(&mut random);
            let form = random_form(code, &mut random, &mut state, reference.window(), 64, 16);
            let Some(form) = form.filter(|f| host_features().contains(f.isa.features)) else {
                continue;
            };
            if !mxcsr::uses_mxcsr(&form.ins) {
                break;
            }
            let op = compile(&mut exec, &form.ins);
            // Flags from before must not count as raised: start with none, some or all set.
            let mut masks = random.next() as u32 & mxcsr::MASKS;
            if code.mnemonic() == Mnemonic::Vcvtps2ph {
                masks |= mxcsr::UNDERFLOW << 7;
            }
            let sticky = random.next() as u32 & random.next() as u32 & mxcsr::FLAGS;
            state
                .area
                .set_mxcsr(masks | random.next() as u32 & mxcsr::CONTROL | sticky);
            let (mut ours, mut theirs) = (state.clone(), state.clone());
            let signal = reference.run(&form.bytes, &mut theirs);
            let outcome = run_thunk(&op, form.offset, &mut ours);
            let expected = match signal {
                0 => Outcome::Done,
                libc::SIGFPE => Outcome::SimdException,
                other => panic!("{code:?}: signal {other}"),
            };
            if signal != 0 {
                forgive_flags(code, &mut ours.area, &theirs.area);
            }
            cases += 1;
            delivered += u32::from(signal != 0);
            if outcome != expected || !same(&ours, &theirs) {
                failures += 1;
                if failures == 1 {
                    let states = describe(&form, &state, &ours, &theirs);
                    wrong.push(format!(
                        "mxcsr {:04x} ours {:04x} {outcome:?} host {:04x} {expected:?} {states}",
                        state.area.mxcsr(),
                        ours.area.mxcsr(),
                        theirs.area.mxcsr(),
                    ));
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
    println!("{cases} cases, {delivered} delivered");
    assert!(
        delivered > 1000,
        "only {delivered} exceptions in {cases} cases"
    );
}

/// Takes over the flags that `run_simd_fp` says it cannot know.
fn forgive_flags(code: Code, ours: &mut XsaveArea, theirs: &XsaveArea) {
    const OVERFLOW_OR_UNDERFLOW: u32 = 0x18;
    const PRECISION: u32 = 0x20;
    let found = theirs.mxcsr() & !(theirs.mxcsr() >> 7);
    let unknown = match code.mnemonic() {
        Mnemonic::Dpps | Mnemonic::Dppd | Mnemonic::Vdpps | Mnemonic::Vdppd => mxcsr::FLAGS,
        _ if found & OVERFLOW_OR_UNDERFLOW != 0 => PRECISION,
        _ => 0,
    };
    ours.set_mxcsr(ours.mxcsr() & !unknown | theirs.mxcsr() & unknown);
}

#[test]
fn unmasked_x87_exceptions_leave_what_the_host_leaves() {
    let mut random = generator(3);
    let mut reference = Reference::new();
    let mut exec = HostExec::new(64 << 10).expect("code buffer");
    let (mut cases, mut raised, mut wrong) = (0u32, 0u32, Vec::new());
    for code in codes() {
        let mut failures = 0;
        for _ in 0..4 * rounds() {
            let mut state = random_state(&mut random);
            let form = random_form(code, &mut random, &mut state, reference.window(), 64, 16);
            let Some(form) = form else { continue };
            if !matches!(form.isa.kind, HostKind::X87 | HostKind::Mmx) {
                break;
            }
            let op = compile(&mut exec, &form.ins);
            if op.special != Special::None {
                break;
            }
            let area = &mut state.area;
            area.set_fcw(area.fcw() & !0x3F | random.next() as u16 & 0x3F);
            area.set_fsw(area.fsw() & !0x3F | random.next() as u16 & random.next() as u16 & 0x3F);
            let pending = area.x87_unmasked() != 0;
            // The processor keeps the summary bits equal to the flags; FXRSTOR takes any.
            area.set_fsw(area.fsw() & !0x8080 | if pending { 0x8080 } else { 0 });
            let (mut ours, mut theirs) = (state.clone(), state.clone());
            let signal = reference.run(&form.bytes, &mut theirs);
            let outcome = run_thunk(&op, form.offset, &mut ours);
            let stops = outcome == Outcome::X87Pending;
            cases += 1;
            raised += u32::from(ours.area.x87_unmasked() != 0);
            if stops != (signal != 0) || !same(&ours, &theirs) {
                failures += 1;
                if failures == 1 {
                    let states = describe(&form, &state, &ours, &theirs);
                    wrong.push(format!(
                        "fcw {:04x} {outcome:?} signal {signal} {states}",
                        state.area.fcw()
                    ));
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
    println!("{cases} cases, {raised} raised");
    assert!(raised > 1000, "only {raised} exceptions in {cases} cases");
}

#[test]
fn alignment_is_required_where_the_host_requires_it() {
    let mut random = generator(4);
    let mut reference = Reference::new();
    let mut exec = HostExec::new(64 << 10).expect("code buffer");
    let mut faults = 0;
    for code in codes().filter(|&code| !unpredictable(code)) {
        for _ in 0..12 {
            let mut state = random_state(&mut random);
            let form = random_form(code, &mut random, &mut state, reference.window(), 1, 16);
            let Some(form) = form.filter(|f| host_features().contains(f.isa.features)) else {
                continue;
            };
            let op = compile(&mut exec, &form.ins);
            let Some(offset) = form.offset.filter(|_| op.special == Special::None) else {
                continue;
            };
            let address = reference.window() + offset as u64;
            if form.isa.features.has(Feature::Sha) {
                // The manual asks 16 bytes of them; some processors do not check.
                assert_eq!(op.mem_align, 16);
                continue;
            }
            let misaligned = address & (u64::from(op.mem_align) - 1) != 0;
            let signal = reference.run(&form.bytes, &mut state);
            assert_eq!(
                signal == libc::SIGSEGV,
                misaligned,
                "{code:?} at {address:x}"
            );
            faults += u32::from(misaligned);
        }
    }
    assert!(faults > 500, "only {faults} faults");
}
