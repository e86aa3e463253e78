//! The comparer against ends that are wrong.

use std::sync::Arc;

use wardian_engine::contract::VmExit;
use wardian_engine::state::Segment;

use super::super::{Heat, Turn, VcpuMemory};
use super::doubt::{needed_by, undefined_behind};
use super::locate::Cut;
use super::stretch::Stretch;
use crate::cpu::registers::{RAX, RIP, RSP};
use crate::cpu::segment::index;
use crate::cpu::{Cpu, cr, flags};

const CODE: u64 = 0x4000;
const STACK: u64 = 0x8000;

/// A checked vCPU in 64-bit mode at `code`, with memory mapped where it is.
fn checked(code: &[u8]) -> VcpuMemory {
    const CODE_64: u32 = 0xa09b;
    let mut cpu = VcpuMemory::new(Cpu::for_test()).unwrap();
    let tables: [(u64, u64); 3] = [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)];
    for (at, entry) in tables {
        cpu.board.ram.write(at, &entry.to_le_bytes()).unwrap();
    }
    cpu.board.ram.write(CODE, code).unwrap();
    cpu.cr3 = 0x1000;
    cpu.cr4 = cr::CR4_PAE;
    cpu.efer = cr::EFER_LME | cr::EFER_LMA;
    cpu.cr0 = cr::CR0_PE | cr::CR0_PG | cr::CR0_WP;
    let segment = Segment {
        attributes: CODE_64,
        limit: u32::MAX,
        ..Segment::default()
    };
    cpu.set_segment(index::CS, segment);
    cpu.set_cpl(0);
    cpu.events = 0;
    cpu.budget = 1 << 20;
    cpu.regs[RIP] = CODE;
    cpu.regs[RSP] = STACK;
    cpu.translate(Heat::always(), true).unwrap();
    cpu.check_against_interpreter(Arc::new(Turn::default()));
    cpu
}

/// Changes guest memory behind everybody's back.
fn poke(cpu: &Cpu, at: u64, byte: u8) {
    let page = cpu.board.ram.page(at).unwrap();
    // SAFETY: the byte is in a page of RAM, and nothing runs.
    unsafe { page.hva.add((at & 0xfff) as usize).write(byte) };
}

fn byte(cpu: &Cpu, at: u64) -> u8 {
    let mut byte = [0];
    cpu.board.ram.read(at, &mut byte).unwrap();
    byte[0]
}

/// push rax; mov eax, 7; pop rcx; ret
const PUSH_POP: &[u8] = &[0x50, 0xb8, 7, 0, 0, 0, 0x59, 0xc3];

#[test]
fn a_right_stretch_has_run_once_and_is_counted() {
    let mut cpu = checked(PUSH_POP);
    cpu.regs[RAX] = 0x1234;
    cpu.board
        .ram
        .write(STACK, &0x5000u64.to_le_bytes())
        .unwrap();
    let host = cpu.hot_code();
    cpu.check_stretch(&Stretch {
        host,
        reload: 0,
        x87_reload: false,
    })
    .unwrap();
    assert_eq!(cpu.regs[RIP], 0x5000);
    assert_eq!((cpu.regs[RAX], cpu.regs[1]), (7, 0x1234));
    assert_eq!(byte(&cpu, STACK - 8), 0x34);
    let counts = &cpu.checks().counts;
    assert_eq!((counts.stretches, counts.instructions), (1, 4));
    assert_eq!((counts.repeats, counts.flags_let_go), (0, 0));
}

#[test]
fn a_rehearsal_leaves_nothing_behind() {
    let mut cpu = checked(PUSH_POP);
    cpu.regs[RAX] = 0x1234;
    let start = cpu.state(false);
    let found = cpu.rehearse(&start, 3);
    assert_eq!(found.end.regs[1], 0x1234);
    assert_eq!(found.stored[0][..2], [0x34, 0x12]);
    assert_eq!(cpu.regs, start.regs);
    assert_eq!(byte(&cpu, STACK - 8), 0);
    assert_eq!(cpu.checks().path, [CODE, CODE + 1, CODE + 6, CODE + 7]);
}

#[test]
fn a_rehearsal_ends_before_device_memory_and_behind_a_backward_jump() {
    // mov eax, [0x20000]
    let mut cpu = checked(&[0x8b, 0x04, 0x25, 0, 0, 2, 0]);
    let start = cpu.state(false);
    let found = cpu.rehearse(&start, 9);
    assert!(found.facts.is_empty() && found.before);
    // inc eax; jmp $-2
    let mut cpu = checked(&[0xff, 0xc0, 0xeb, 0xfc]);
    let start = cpu.state(false);
    let found = cpu.rehearse(&start, 9);
    assert_eq!((found.facts.len(), found.before), (2, false));
}

#[test]
fn translated_code_that_is_not_what_memory_holds_is_found() {
    let mut cpu = checked(PUSH_POP);
    assert_ne!(cpu.hot_code(), 0);
    poke(&cpu, CODE + 2, 8);
    let Some(VmExit::Diverged(report)) = cpu.run_checked() else {
        panic!("nothing was found");
    };
    assert!(
        report.contains("0x4001: b8 08 00 00 00  mov eax,8"),
        "{report}"
    );
    assert!(
        report.contains("rax       0000000000000007  0000000000000008  <"),
        "{report}"
    );
}

#[test]
fn a_wrong_register_and_a_wrong_store_are_named_at_their_instruction() {
    let mut cpu = checked(PUSH_POP);
    let start = cpu.state(false);
    let expected = cpu.rehearse(&start, 2);
    cpu.regs = expected.end.regs;
    cpu.flags = expected.end.flags;
    cpu.board.ram.write(STACK - 8, &[0; 8]).unwrap();
    assert!(cpu.difference(&expected).is_none());
    cpu.regs[RAX] = 6;
    poke(&cpu, STACK - 8, 9);
    let found = cpu.difference(&expected).unwrap();
    let path = cpu.checks().path.clone();
    let report = cpu.report_difference(&path, &Cut::Behind(2), &found);
    let first = "differ at 0x4001: b8 07 00 00 00  mov eax,7\n";
    assert!(report.contains(first), "{report}");
    assert!(
        report.contains("rax       0000000000000006  0000000000000007  <"),
        "{report}"
    );
    assert!(
        report.contains("memory at 0x7ff8: 0900000000000000"),
        "{report}"
    );
}

#[test]
fn a_flag_that_was_let_go_may_be_overwritten_but_not_read() {
    // add al, 1; inc ecx; jc +0
    let mut cpu = checked(&[0x04, 0x01, 0xff, 0xc1, 0x72, 0x00]);
    let start = cpu.state(false);
    let add = cpu.rehearse(&start, 1);
    cpu.regs[RIP] = CODE + 2;
    cpu.doubt_end(flags::CF | flags::ZF, &add);
    let rest = cpu.state(false);
    let inc = cpu.rehearse(&rest, 1);
    assert_eq!(cpu.doubt_path(&inc.facts), Ok(()));
    let jump = cpu.rehearse(&rest, 2);
    let report = cpu.doubt_path(&jump.facts).unwrap_err();
    assert!(
        report.contains("did not keep CF, which is read at 0x4004"),
        "{report}"
    );
    assert!(report.contains("0x4000: 04 01  add al,1"), "{report}");
}

#[test]
fn flags_that_are_up_to_the_processor_are_known() {
    // mul ecx; jz +0; add eax, eax; jc +0
    let mut cpu = checked(&[0xf7, 0xe1, 0x74, 0, 0x01, 0xc0, 0x72, 0]);
    let start = cpu.state(false);
    let facts = cpu.rehearse(&start, 4).facts;
    let (undefined, read) = undefined_behind(&facts[..1]);
    assert_eq!(undefined, flags::SF | flags::ZF | flags::AF | flags::PF);
    assert!(!read);
    assert!(undefined_behind(&facts[..2]).1);
    assert_eq!(undefined_behind(&facts[2..]), (0, false));
    assert_eq!(needed_by(&facts[1..]), flags::ZF);
    assert_eq!(needed_by(&facts[2..]), 0);
}

#[test]
fn turns_come_in_the_order_in_which_they_were_asked_for() {
    let turn = Turn::default();
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let first = turn.take();
        for n in 0..3 {
            let (turn, order) = (&turn, &order);
            scope.spawn(move || {
                while turn.waiting() < n {
                    std::thread::yield_now();
                }
                let _mine = turn.take();
                order.lock().unwrap().push(n);
            });
        }
        while turn.waiting() < 3 {
            std::thread::yield_now();
        }
        drop(first);
    });
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}
