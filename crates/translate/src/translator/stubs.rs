//! The code every translation shares: entering and leaving, and the calls into the dispatcher.
//!
//! A site that needs the dispatcher pushes its number and jumps to a stub. The stub puts the guest's
//! registers back into the vCPU, spills the vector registers if they are loaded, switches to the
//! thread's own stack and calls a function of [`super::runtime`]. That returns the host address to
//! go on at, or 0 to leave.

use std::mem::offset_of;

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

use super::fast::{Fast, HINT_LOG, TLB_ENTRIES};
use super::hints::Hint;
use super::host::{Asm, HELD, Mem, Target, cc, reg};
use super::native::{self, TlbFields};
use super::runtime;
use crate::hostexec::{MXCSR_OFFSET, VECTOR_HIGH_OFFSET, VECTOR_LOW_OFFSET};
use crate::mmu::tlb::Table;

/// Offsets of the stubs in the code cache.
#[derive(Clone, Copy, Default)]
pub(super) struct Stubs {
    /// Called from Rust with the vCPU: goes on at `Native::resume`.
    pub(super) enter: u32,
    /// A load or store of the address in RCX that missed the TLB.
    pub(super) missed: u32,
    /// Called: fills the hint at offset RAX from the vCPU for the address in RCX from the TLB, per
    /// privilege table. Carry: the TLB does not have it. Keeps RCX.
    pub(super) refill_load: [u32; 3],
    pub(super) refill_store: [u32; 3],
    /// A store went to watched code: RAX points to the watch byte, RCX to what was stored. With the
    /// flags in EFLAGS (and RCX anything), or saved or dead.
    pub(super) watched_live: u32,
    pub(super) watched: u32,
    /// An exit that is not linked, with the flags in EFLAGS or not.
    pub(super) exit_live: u32,
    pub(super) exit: u32,
    /// An instruction for the interpreter. Flags that matter are saved.
    pub(super) interpret: u32,
    /// A branch to RCX that is in no table.
    pub(super) miss: u32,
    /// Loads the vector registers; called, keeps everything but RAX and RCX.
    pub(super) load_vectors: u32,
    /// Loads the x87 registers; called, keeps everything but RAX and RCX, flags included.
    pub(super) load_x87: u32,
}

/// The dispatcher's side of a stub: vCPU, RCX and number in; host address or 0 out.
pub(super) type Dispatch = unsafe extern "sysv64" fn(*mut crate::cpu::Cpu, u64, u64) -> u64;

/// Assembles the stubs for offset `base` of the code cache.
pub(super) fn assemble(asm: &mut Asm, base: u32) -> Stubs {
    let avx = std::arch::is_x86_feature_detected!("avx");
    let mut stubs = Stubs::default();
    let at = |asm: &Asm| asm.place(base, asm.here());

    stubs.load_vectors = at(asm);
    // The call pushed 8 bytes.
    load_vectors(asm, 8, avx);
    asm.bytes(&[0xc3]);

    stubs.load_x87 = at(asm);
    load_x87(asm);

    // Below it goes on at `resume` with what is left to load.
    let from_spill = at(asm);
    move_spill(asm, avx, true);
    let loaded = asm.jmp_later();
    let from_memory = at(asm);
    load_vectors(asm, 0, avx);
    let also_loaded = asm.jmp_later();
    let resume = at(asm);
    asm.load8(reg::RAX, native::reload());
    asm.cmp_imm(reg::RAX, 1);
    asm.jcc(cc::A, Target::Code(from_spill));
    asm.jcc(cc::E, Target::Code(from_memory));
    let here = asm.here();
    asm.bind(loaded, here);
    asm.bind(also_loaded, here);
    for (guest, host) in HELD {
        asm.load(host, native::register(guest));
    }
    asm.load32(reg::RAX, native::flags());
    asm.flags_from_rax();
    asm.load(reg::RCX, native::rcx());
    asm.rm(false, &[0xff], 4, native::resume()); // jmp [resume]

    stubs.enter = at(asm);
    for register in [reg::RBX, reg::RBP] {
        asm.bytes(&[0x50 | register]);
    }
    for register in [reg::R12, reg::R13, reg::R14, reg::R15] {
        asm.bytes(&[0x41, 0x50 | register & 7]);
    }
    asm.bytes(&[0x48, 0x83, 0xec, 8]); // sub rsp, 8: aligned for calls
    asm.store(Mem::at(reg::RDI, native::host_rsp().disp), reg::RSP);
    asm.mov(reg::RSP, reg::RDI);
    asm.jmp(Target::Code(resume));

    let leave = at(asm);
    asm.load(reg::RSP, native::host_rsp());
    asm.bytes(&[0x48, 0x83, 0xc4, 8]);
    for register in [reg::R15, reg::R14, reg::R13, reg::R12] {
        asm.bytes(&[0x41, 0x58 | register & 7]);
    }
    for register in [reg::RBP, reg::RBX] {
        asm.bytes(&[0x58 | register]);
    }
    asm.bytes(&[0xc3]);

    let call = |asm: &mut Asm, function: Dispatch| {
        for (guest, host) in HELD {
            asm.store(native::register(guest), host);
        }
        asm.store8_imm(native::reload(), 0);
        asm.cmp8_zero(native::vectors_away());
        let skip = asm.jcc_later(cc::NE);
        move_spill(asm, avx, false);
        asm.store8_imm(native::reload(), 2);
        let here = asm.here();
        asm.bind(skip, here);
        asm.mov(reg::RBX, reg::RSP);
        asm.mov(reg::RDI, reg::RSP);
        asm.load(reg::RSI, native::rcx());
        asm.load(reg::RDX, native::id());
        asm.load(reg::RSP, native::host_rsp());
        asm.constant(reg::RAX, function as usize as u64);
        asm.bytes(&[0xff, 0xd0]); // call rax
        asm.mov(reg::RSP, reg::RBX);
        asm.store(native::resume(), reg::RAX);
        asm.rr(true, &[0x85], reg::RAX, reg::RAX); // test
        asm.jcc(cc::NE, Target::Code(resume));
        asm.jmp(Target::Code(leave));
    };
    // Before the pop the vCPU is 8 bytes further away.
    let pushed = |mem: Mem| Mem {
        disp: mem.disp + 8,
        ..mem
    };

    stubs.missed = at(asm);
    asm.store(pushed(native::rcx()), reg::RCX);
    asm.bytes(&[0x58]); // pop rax
    asm.store(native::id(), reg::RAX);
    call(asm, runtime::missed);

    for table in [Table::Kernel, Table::KernelToUser, Table::User] {
        let tlb = TlbFields::of(table);
        stubs.refill_load[table as usize] = at(asm);
        refill(asm, table, tlb.read, None);
        stubs.refill_store[table as usize] = at(asm);
        refill(asm, table, tlb.write, Some(tlb.watch));
    }

    stubs.watched_live = at(asm);
    asm.store(pushed(native::rax()), reg::RAX);
    asm.flags_to_rax();
    asm.rm(false, &[0x89], reg::RAX, pushed(native::flags()));
    asm.constant(reg::RCX, 0);
    let join = asm.jmp_later();
    stubs.watched = at(asm);
    asm.store(pushed(native::rax()), reg::RAX);
    let here = asm.here();
    asm.bind(join, here);
    asm.store(pushed(native::rcx()), reg::RCX);
    asm.bytes(&[0x58]);
    asm.store(native::id(), reg::RAX);
    call(asm, runtime::stored_to_code);

    stubs.exit_live = at(asm);
    asm.flags_to_rax();
    asm.rm(false, &[0x89], reg::RAX, pushed(native::flags()));
    stubs.exit = at(asm);
    asm.bytes(&[0x58]);
    asm.store(native::id(), reg::RAX);
    call(asm, runtime::exit);

    stubs.interpret = at(asm);
    asm.bytes(&[0x58]);
    asm.store(native::id(), reg::RAX);
    call(asm, runtime::interpret);

    stubs.miss = at(asm);
    asm.store(native::rcx(), reg::RCX);
    call(asm, runtime::branch_missed);
    stubs
}

/// See [`Stubs::refill_load`]. The TLB's tag is at `tag`; a store hint has a watch as well.
fn refill(asm: &mut Asm, table: Table, tag: i32, watch: Option<i32>) {
    // The call pushed 8 bytes. RDX indexes the TLB, RAX the hint.
    let cpu = |offset: i32| Mem::cpu(offset + 8);
    let entry = |offset: i32| Mem {
        index: Some((reg::RDX, 0)),
        ..cpu(offset)
    };
    let hint = |offset: usize| Mem {
        index: Some((reg::RAX, 0)),
        ..cpu(offset as i32)
    };
    let tlb = TlbFields::of(table);
    let saved = cpu(native::scratch(2).disp);
    asm.store(saved, reg::RDX);
    asm.mov32(reg::RDX, reg::RCX);
    asm.bytes(&[0xc1, 0xea, 7]); // shr edx, 7
    asm.bytes(&[0x81, 0xe2]); // and edx
    asm.imm32(((TLB_ENTRIES - 1) << 5) as i32);
    asm.rm(true, &[0x33], reg::RCX, entry(tag)); // xor
    asm.cmp_imm(reg::RCX, 4095);
    let missed = asm.jcc_later(cc::A);
    // The hint's patience: when it is at its end, the dispatcher judges the hint.
    asm.rm(false, &[0xff], 1, hint(offset_of!(Hint, patience))); // dec
    let judged = asm.jcc_later(cc::E);
    asm.rm(true, &[0x33], reg::RCX, entry(tag)); // the address again
    let mut pairs = vec![
        (tag, offset_of!(Hint, tag)),
        (tlb.host, offset_of!(Hint, host)),
    ];
    pairs.extend(watch.map(|watch| (watch, offset_of!(Hint, watch))));
    for (from, to) in pairs {
        asm.rm(false, &[0xff], 6, entry(from)); // push
        asm.rm(false, &[0x8f], 0, hint(to)); // pop; its address counts from behind the pop
    }
    asm.bytes(&[0xc1, 0xea, 5]); // shr edx, 5: the TLB slot
    let hinted = native::fast(offset_of!(Fast, hinted) + table as usize * TLB_ENTRIES);
    asm.rm(false, &[0xc6], 0, entry(hinted));
    asm.bytes(&[1]);
    let length = cpu(native::fast(
        offset_of!(Fast, hint_log_length) + 4 * table as usize,
    ));
    asm.load32(reg::RDX, length);
    asm.rr(false, &[0x81], 7, reg::RDX); // cmp
    asm.imm32(HINT_LOG as i32);
    let full = asm.jcc_later(cc::AE);
    let log = native::fast(offset_of!(Fast, hint_log) + 4 * HINT_LOG * table as usize);
    asm.rm(
        false,
        &[0x89],
        reg::RAX,
        Mem {
            index: Some((reg::RDX, 2)),
            ..cpu(log)
        },
    );
    asm.rm(false, &[0xff], 0, length); // inc
    let here = asm.here();
    asm.bind(full, here);
    asm.load(reg::RDX, saved);
    asm.bytes(&[0xf8, 0xc3]); // clc; ret
    let here = asm.here();
    asm.bind(missed, here);
    asm.bind(judged, here);
    asm.rm(true, &[0x33], reg::RCX, entry(tag));
    asm.load(reg::RDX, saved);
    asm.bytes(&[0xf9, 0xc3]); // stc; ret
}

fn vector_moves(avx: bool) -> impl Iterator<Item = (Register, Register, i64, i64)> {
    let _ = avx;
    (0..16).map(|n| {
        (
            Register::XMM0 + n,
            Register::YMM0 + n,
            VECTOR_LOW_OFFSET as i64 + 16 * i64::from(n),
            VECTOR_HIGH_OFFSET as i64 + 16 * i64::from(n),
        )
    })
}

fn encode(asm: &mut Asm, instruction: iced_x86::Instruction) {
    let mut encoder = Encoder::new(64);
    encoder
        .encode(&instruction, 0)
        .expect("the operands are fixed and fit");
    asm.bytes(&encoder.take_buffer());
}

fn rcx(displacement: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ(Register::RCX, displacement)
}

/// Loads the registers and MXCSR; `pushed` bytes lie between RSP and the vCPU. Changes RCX only.
fn load_vectors(asm: &mut Asm, pushed: i32, avx: bool) {
    let behind = |mem: Mem| Mem {
        disp: mem.disp + pushed,
        ..mem
    };
    asm.load(reg::RCX, behind(native::vectors()));
    for (xmm, ymm, low, high) in vector_moves(avx) {
        if avx {
            encode(
                asm,
                Instruction::with2(Code::VEX_Vmovups_xmm_xmmm128, xmm, rcx(low)).expect("fits"),
            );
            encode(
                asm,
                Instruction::with4(
                    Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8,
                    ymm,
                    ymm,
                    rcx(high),
                    1,
                )
                .expect("fits"),
            );
        } else {
            encode(
                asm,
                Instruction::with2(Code::Movups_xmm_xmmm128, xmm, rcx(low)).expect("fits"),
            );
        }
    }
    asm.rm(false, &[0x0f, 0xae], 3, behind(native::host_mxcsr())); // stmxcsr
    asm.rm(
        false,
        &[0x0f, 0xae],
        2,
        Mem::at(reg::RCX, MXCSR_OFFSET as i32),
    ); // ldmxcsr
    asm.store8_imm(behind(native::vectors_away()), 0);
}

/// See [`Stubs::load_x87`].
fn load_x87(asm: &mut Asm) {
    asm.bytes(&[0x52]); // push rdx
    // Return address and RDX.
    let behind = |mem: Mem| Mem {
        disp: mem.disp + 16,
        ..mem
    };
    asm.load(reg::RCX, behind(native::vectors()));
    asm.rm(false, &[0xd9], 7, behind(native::host_fcw())); // fnstcw
    asm.constant(reg::RAX, 1);
    asm.constant(reg::RDX, 0);
    asm.rm(true, &[0x0f, 0xae], 5, Mem::at(reg::RCX, 0)); // xrstor64
    asm.store8_imm(behind(native::x87_away()), 0);
    asm.bytes(&[0x5a, 0xc3]); // pop rdx; ret
}

/// Saves the registers in the spill area, or loads them from it.
fn move_spill(asm: &mut Asm, avx: bool, load: bool) {
    for n in 0..16 {
        let (register, place) = (n as u8, native::spill(n));
        let rex = (register >> 3) << 2;
        let opcode = if load { 0x10 } else { 0x11 };
        if avx {
            // vmovups ymm: VEX.256.0F, the register's fourth bit inverted.
            asm.bytes(&[0xc5, 0x7c | (if rex == 0 { 0x80 } else { 0 }), opcode]);
        } else {
            if rex != 0 {
                asm.bytes(&[0x40 | rex]);
            }
            asm.bytes(&[0x0f, opcode]);
        }
        asm.bytes(&[0x84 | (register & 7) << 3, 0x24]); // [rsp + disp32]
        asm.imm32(place.disp);
    }
    if avx && !load {
        asm.bytes(&[0xc5, 0xf8, 0x77]); // vzeroupper
    }
}
