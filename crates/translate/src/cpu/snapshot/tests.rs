//! States that are saved, loaded and refused, and those after reset and INIT.

use std::sync::Arc;

use wardian_engine::bus::Bus;
use wardian_engine::clock::Clock;
use wardian_engine::irqchip::Irqchip;
use wardian_engine::profile::Profiler;
use wardian_engine::signal::VcpuSignal;
use wardian_engine::state::{Activity, Segment, VcpuState};
use wardian_memory::GuestRam;

use crate::board::Board;
use crate::cpu::features::Features;
use crate::cpu::registers::{RDX, RIP};
use crate::cpu::segment::index;
use crate::cpu::{CodeMode, Cpu, cr, event, flags};

const CODE_64: u32 = 0xa09b;
const DATA: u32 = 0xc093;
const UNUSABLE: u32 = 1 << 16;

impl Cpu {
    /// The only vCPU of a machine with 64 KiB of RAM, every feature, and a clock that stands still.
    pub(crate) fn for_test() -> Self {
        let signal = Arc::new(VcpuSignal::with_halt_poll(0));
        let clock = Arc::new(Clock::manual());
        let board = Board {
            ram: GuestRam::new(),
            bus: Bus::default(),
            irqchip: Irqchip::new(vec![Arc::clone(&signal)], Arc::clone(&clock)),
            profiler: Profiler::default(),
            clock,
        };
        board.ram.map(0, 0x1_0000).unwrap();
        Self::new(0, Arc::new(board), signal, Features::default()).unwrap()
    }
}

/// 64-bit mode with something in every register.
fn long_mode_state(cpu: &Cpu) -> VcpuState {
    let mut state = cpu.save();
    for (i, register) in state.gpr.iter_mut().enumerate() {
        *register = 0x0101_0101_0101_0101 * (i as u64 + 1);
    }
    state.rip = 0xffff_ffff_8100_0000;
    state.rflags = flags::FIXED_1 | flags::CF | flags::OF | flags::IF;
    state.cr0 = cr::CR0_PE | cr::CR0_ET | cr::CR0_PG | cr::CR0_WP;
    state.cr2 = 0x1234;
    state.cr3 = 0x2000;
    state.cr4 = cr::CR4_PAE | cr::CR4_PGE;
    state.cr8 = 9;
    state.efer = cr::EFER_LME | cr::EFER_LMA | cr::EFER_SCE;
    let data = Segment {
        selector: 0x18,
        base: 0,
        limit: u32::MAX,
        attributes: DATA,
    };
    for which in [index::ES, index::SS, index::DS] {
        state.segments[which] = data;
    }
    state.segments[index::CS] = Segment {
        selector: 0x10,
        attributes: CODE_64,
        ..data
    };
    state.segments[index::FS] = Segment {
        selector: 0,
        base: 0x7f00_0000_0000,
        limit: 0,
        attributes: UNUSABLE,
    };
    state.segments[index::GS] = Segment {
        base: 0xffff_8880_0000_0000,
        ..state.segments[index::FS]
    };
    state.dr = [1, 2, 3, 4, 0xffff_0ff1, 0x401];
    state.xsave[160] = 0x55;
    state.activity = Activity::Halted;
    for (index, value) in &mut state.msrs {
        match *index {
            0xC000_0082 => *value = 0xffff_ffff_8160_0000,
            0x277 => *value = 0x0007_0106_0007_0106,
            0x3B => *value = 1 << 40,
            _ => {}
        }
    }
    state
}

#[test]
fn a_loaded_state_is_the_state_that_is_saved() {
    let mut cpu = Cpu::for_test();
    assert_eq!(cpu.save().rip, 0xfff0);
    let state = long_mode_state(&cpu);
    cpu.load(&state).unwrap();
    assert_eq!(cpu.save(), state);
    assert_eq!((cpu.mode, cpu.cpl), (CodeMode::Bits64, 0));
    assert_ne!(cpu.events & event::NOT_RUNNING, 0);
    assert_ne!(cpu.events & event::CODE_BREAKPOINTS, 0);
    let mut other = Cpu::for_test();
    other.load(&cpu.save()).unwrap();
    assert_eq!(other.save(), state);
}

#[test]
fn the_privilege_level_is_the_stack_segments() {
    let mut cpu = Cpu::for_test();
    let mut state = long_mode_state(&cpu);
    state.segments[index::SS].attributes |= 3 << 5;
    state.segments[index::CS].attributes |= 3 << 5;
    cpu.load(&state).unwrap();
    assert_eq!(cpu.cpl, 3);
    // Just after the switch to protected mode, CS still holds a real-mode selector.
    let mut state = Cpu::for_test().save();
    state.cr0 |= cr::CR0_PE;
    state.segments[index::CS].selector = 0x1003;
    cpu.load(&state).unwrap();
    assert_eq!(cpu.cpl, 0);
}

#[test]
fn impossible_states_are_refused_and_change_nothing() {
    type Damage = fn(&mut VcpuState);
    let damages: [(&str, Damage); 22] = [
        ("RIP not canonical", |s| s.rip = 1 << 47),
        ("RFLAGS reserved", |s| s.rflags |= 1 << 3),
        ("VM in long mode", |s| s.rflags |= flags::VM),
        ("CR0 reserved", |s| s.cr0 |= 1 << 32),
        ("paging without protection", |s| s.cr0 &= !cr::CR0_PE),
        ("NW without CD", |s| s.cr0 |= cr::CR0_NW),
        ("CR3 too wide", |s| s.cr3 |= 1 << 40),
        ("CR4 unknown", |s| s.cr4 |= 1 << 12),
        ("long mode without PAE", |s| s.cr4 &= !cr::CR4_PAE),
        ("CR8 too large", |s| s.cr8 = 16),
        ("EFER unknown", |s| s.efer |= 1 << 12),
        ("LMA without LME", |s| s.efer &= !cr::EFER_LME),
        ("LME and paging without LMA", |s| s.efer &= !cr::EFER_LMA),
        ("XCR0 without x87", |s| s.xcr0 = 2),
        ("64-bit and 32-bit code", |s| {
            s.segments[index::CS].attributes |= 1 << 14
        }),
        ("DS base too wide", |s| s.segments[index::DS].base = 1 << 32),
        ("GS base not canonical", |s| {
            s.segments[index::GS].base = 1 << 63
        }),
        ("DR7 reserved", |s| s.dr[5] |= 1 << 32),
        ("unknown MSR", |s| s.msrs.push((0xC001_0015, 0))),
        ("MSR value", |s| s.msrs.push((0x277, 2))),
        ("APIC base", |s| s.msrs.push((0x1B, 1))),
        ("XSAVE image", |s| s.xsave.truncate(831)),
    ];
    for (what, damage) in damages {
        let mut cpu = Cpu::for_test();
        let before = cpu.save();
        let mut state = long_mode_state(&cpu);
        damage(&mut state);
        assert!(cpu.load(&state).is_err(), "{what}");
        assert_eq!(cpu.save(), before, "{what}");
    }
}

#[test]
fn pae_paging_reads_its_top_level() {
    let mut cpu = Cpu::for_test();
    let mut state = cpu.save();
    state.cr0 = cr::CR0_PE | cr::CR0_ET | cr::CR0_PG;
    state.cr4 = cr::CR4_PAE;
    state.cr3 = 0x1020;
    cpu.board
        .ram
        .write(0x1020, &0x3001u64.to_le_bytes())
        .unwrap();
    cpu.load(&state).unwrap();
    assert_eq!(cpu.pdptrs, [0x3001, 0, 0, 0]);
    // What memory says later is only read with the next load of CR3.
    cpu.board
        .ram
        .write(0x1020, &0x3003u64.to_le_bytes())
        .unwrap();
    cpu.load(&cpu.save()).unwrap();
    assert_eq!(cpu.pdptrs, [0x3001, 0, 0, 0]);
    assert!(
        Cpu::for_test()
            .load(&VcpuState {
                cr3: 0xff_f000,
                ..state
            })
            .is_err()
    );
}

#[test]
fn init_keeps_what_reset_does_not() {
    let mut cpu = Cpu::for_test();
    let reset = cpu.save();
    let state = long_mode_state(&cpu);
    cpu.load(&state).unwrap();
    cpu.init();
    let after = cpu.save();
    assert_eq!(
        (after.msrs, after.xsave),
        (state.msrs.clone(), state.xsave.clone())
    );
    assert_eq!((after.rip, after.rflags, after.cr0), (0xfff0, 2, 0x10));
    assert_eq!(
        (after.cr4, after.efer, after.segments),
        (0, 0, reset.segments)
    );
    assert_eq!(cpu.regs[RDX], 0x0006_0601);
    cpu.start_at(0x9a);
    assert_eq!((cpu.seg_base[index::CS], cpu.regs[RIP]), (0x9_a000, 0));
    assert_eq!(cpu.seg[index::CS].selector, 0x9a00);
    cpu.load(&state).unwrap();
    cpu.reset();
    // The task priority is the local APIC's.
    assert_eq!(cpu.save(), VcpuState { cr8: 9, ..reset });
}
