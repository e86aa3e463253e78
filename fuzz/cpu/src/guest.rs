//! The machine around the interpreter's CPU: page tables that map the windows where the host has
//! them, and the descriptor tables that Linux gives the host's processes.

use std::io;
use std::sync::Arc;

use wardian_engine::bus::Bus;
use wardian_engine::clock::Clock;
use wardian_engine::irqchip::Irqchip;
use wardian_engine::profile::Profiler;
use wardian_engine::signal::VcpuSignal;
use wardian_engine::state::{Segment, TableRegister};
use wardian_memory::GuestRam;
use wardian_translate::board::Board;
use wardian_translate::cpu::{Cpu, cr};

use crate::layout::{
    CODE_BASE, CODE_LEN, DATA_BASE, DATA_LEN, DATA_WRITABLE, FS_BASE, GS_BASE, GS_LIMIT_32, PAGE,
};
use crate::state::Mode;

// Guest-physical addresses. Everything is in the first two MiB.
const PML4: u64 = 0x1000;
const LOW_PDPT: u64 = 0x2000;
const LOW_PD: u64 = 0x3000;
const CODE_PT: u64 = 0x4000;
const DATA_PT: u64 = 0x5000;
const HIGH_PDPT: u64 = 0x6000;
const HIGH_PD: u64 = 0x7000;
const GDT: u64 = 0x8000;
const IDT: u64 = 0x9000;
const TSS: u64 = 0xa000;
const KERNEL_STACK: u64 = 0xc000;
/// The code window.
pub(crate) const CODE_FRAMES: u64 = 0x1_0000;
/// The data window.
pub(crate) const DATA_FRAMES: u64 = 0x1_8000;
const RAM_LEN: u64 = 0x20_0000;

/// Where the kernel half maps guest-physical 0. Ring 3 cannot tell it from the host's kernel half:
/// Linux reports every address there as present and forbidden.
const KERNEL: u64 = 0xffff_8000_0000_0000;
/// The handler of vector n is at `HANDLERS + n`; nothing is ever executed there.
pub(crate) const HANDLERS: u64 = KERNEL + 0xe000;
/// Top of the stack that exceptions from ring 3 push their frame on.
pub(crate) const STACK_TOP: u64 = KERNEL + KERNEL_STACK + PAGE;
/// The same, as a guest-physical address.
pub(crate) const STACK_TOP_FRAME: u64 = KERNEL_STACK + PAGE;

const GDT_ENTRIES: usize = 16;
const VECTORS: u64 = 256;

/// Page table entry bits (SDM vol. 3, 4.5).
mod page {
    pub(super) const PRESENT: u64 = 1;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    /// Accessed and dirty, so that no case has to set them.
    pub(super) const USED: u64 = 1 << 5 | 1 << 6;
    pub(super) const LARGE: u64 = 1 << 7;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
}

/// A CPU at ring 3 in the windows.
///
/// # Errors
/// When the host refuses memory.
pub(crate) fn cpu(mode: Mode) -> io::Result<Cpu> {
    let ram = GuestRam::new();
    ram.map(0, RAM_LEN).map_err(io::Error::other)?;
    write_page_tables(&ram);
    write_descriptors(&ram, mode);
    let clock = Arc::new(Clock::new());
    let signal = Arc::new(VcpuSignal::new());
    let irqchip = Irqchip::new(vec![Arc::clone(&signal)], Arc::clone(&clock));
    let board = Arc::new(Board {
        ram,
        bus: Bus::default(),
        irqchip,
        profiler: Profiler::default(),
        clock,
    });
    let mut cpu = Cpu::new(0, board, signal, Default::default())?;
    cpu.cr0 =
        cr::CR0_PE | cr::CR0_MP | cr::CR0_ET | cr::CR0_NE | cr::CR0_WP | cr::CR0_AM | cr::CR0_PG;
    cpu.cr3 = PML4;
    cpu.cr4 = cr::CR4_PAE
        | cr::CR4_PGE
        | cr::CR4_OSFXSR
        | cr::CR4_OSXMMEXCPT
        | cr::CR4_FSGSBASE
        | cr::CR4_OSXSAVE
        | cr::CR4_SMEP
        | cr::CR4_SMAP;
    cpu.efer = cr::EFER_SCE | cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE;
    cpu.xcr0 = 7;
    cpu.gdtr = TableRegister {
        base: KERNEL + GDT,
        limit: (GDT_ENTRIES * 8 - 1) as u16,
    };
    cpu.idtr = TableRegister {
        base: KERNEL + IDT,
        limit: (VECTORS * 16 - 1) as u16,
    };
    Ok(cpu)
}

/// The hidden parts of ES CS SS DS FS GS LDTR TR that go with `base_registers`.
pub(crate) fn segments(mode: Mode) -> [Segment; 8] {
    const CODE_64: u32 = 0xa0fb;
    const CODE_32: u32 = 0xc0fb;
    const DATA: u32 = 0xc0f3;
    const SMALL_DATA: u32 = 0x50f3;
    const AVAILABLE: u32 = 1 << 12;
    const UNUSABLE: u32 = 1 << 16;
    let selectors = crate::state::base_registers(mode).selectors;
    let segment = |index: usize, base, limit, attributes| Segment {
        selector: selectors[index],
        base,
        limit,
        attributes,
    };
    let flat = |index, attributes| segment(index, 0, u32::MAX, attributes);
    let tss = Segment {
        selector: 0x40,
        base: KERNEL + TSS,
        limit: 0x67,
        attributes: 0x8b,
    };
    let ldt = Segment {
        attributes: UNUSABLE,
        ..Segment::default()
    };
    match mode {
        Mode::Long => [
            flat(0, UNUSABLE),
            flat(1, CODE_64),
            flat(2, DATA),
            flat(3, UNUSABLE),
            segment(4, FS_BASE, u32::MAX, UNUSABLE),
            segment(5, GS_BASE, u32::MAX, UNUSABLE),
            ldt,
            tss,
        ],
        Mode::Compatibility => [
            flat(0, DATA),
            flat(1, CODE_32),
            flat(2, DATA),
            flat(3, DATA),
            segment(4, FS_BASE, u32::MAX, DATA | AVAILABLE),
            segment(5, GS_BASE, GS_LIMIT_32, SMALL_DATA),
            ldt,
            tss,
        ],
    }
}

fn put(ram: &GuestRam, gpa: u64, value: u64) {
    ram.write(gpa, &value.to_le_bytes())
        .expect("the tables lie inside RAM");
}

fn write_page_tables(ram: &GuestRam) {
    let table = page::PRESENT | page::WRITABLE | page::USER | page::USED;
    put(ram, PML4, LOW_PDPT | table);
    put(ram, LOW_PDPT, LOW_PD | table);
    put(ram, LOW_PD + (CODE_BASE >> 21) * 8, CODE_PT | table);
    put(ram, LOW_PD + (DATA_BASE >> 21) * 8, DATA_PT | table);
    for offset in (0..CODE_LEN).step_by(PAGE as usize) {
        let entry = (CODE_FRAMES + offset) | page::PRESENT | page::USER | page::USED;
        put(ram, CODE_PT + page_index(CODE_BASE + offset) * 8, entry);
    }
    for offset in (0..DATA_LEN).step_by(PAGE as usize) {
        let write = if offset < DATA_WRITABLE {
            page::WRITABLE
        } else {
            0
        };
        let access = page::PRESENT | page::USER | page::USED | page::NO_EXECUTE | write;
        put(
            ram,
            DATA_PT + page_index(DATA_BASE + offset) * 8,
            (DATA_FRAMES + offset) | access,
        );
    }
    let kernel = page::PRESENT | page::WRITABLE | page::USED;
    put(ram, PML4 + 256 * 8, HIGH_PDPT | kernel);
    put(ram, HIGH_PDPT, HIGH_PD | kernel);
    put(ram, HIGH_PD, kernel | page::LARGE);
}

fn page_index(address: u64) -> u64 {
    (address >> 12) & 511
}

/// Linux's GDT (arch/x86/include/asm/segment.h), an IDT whose gates ring 3 may not use except #BP
/// and #OF, and a TSS with a stack for ring 0.
fn write_descriptors(ram: &GuestRam, mode: Mode) {
    let mut gdt = [0_u64; GDT_ENTRIES];
    gdt[1] = 0x00cf_9b00_0000_ffff;
    gdt[2] = 0x00af_9b00_0000_ffff;
    gdt[3] = 0x00cf_9300_0000_ffff;
    gdt[4] = 0x00cf_fb00_0000_ffff;
    gdt[5] = 0x00cf_f300_0000_ffff;
    gdt[6] = 0x00af_fb00_0000_ffff;
    let tss = KERNEL + TSS;
    gdt[8] = (tss & 0xff_ffff) << 16 | (tss >> 24 & 0xff) << 56 | 0x0000_8b00_0000_0067;
    gdt[9] = tss >> 32;
    if mode == Mode::Compatibility {
        let data = |base: u64, limit: u64, flags: u64| {
            (base & 0xff_ffff) << 16
                | (base >> 24) << 56
                | limit & 0xffff
                | (limit >> 16 & 15) << 48
                | 0xf3 << 40
                | flags << 52
        };
        gdt[12] = data(FS_BASE, 0xf_ffff, 0xd);
        gdt[13] = data(GS_BASE, u64::from(GS_LIMIT_32), 0x5);
    }
    // The per-CPU descriptor that holds the CPU number in its limit.
    gdt[15] = 0x0040_f500_0000_0000;
    for (index, entry) in gdt.iter().enumerate() {
        put(ram, GDT + index as u64 * 8, *entry);
    }
    for vector in 0..VECTORS {
        const KERNEL_CS: u64 = 0x10;
        let handler = HANDLERS + vector;
        let user = if matches!(vector, 3 | 4) { 3 << 45 } else { 0 };
        let low = handler & 0xffff
            | KERNEL_CS << 16
            | 0x8e00 << 32
            | user
            | (handler >> 16 & 0xffff) << 48;
        put(ram, IDT + vector * 16, low);
        put(ram, IDT + vector * 16 + 8, handler >> 32);
    }
    put(ram, TSS + 4, STACK_TOP);
    // The I/O permission map begins beyond the limit: no port is allowed.
    put(ram, TSS + 0x60, 0x68 << 48);
}
