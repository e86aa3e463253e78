//! The instructions, executed one at a time in real mode.

use super::*;
use crate::cpu::exception::StopReason;
use crate::cpu::registers::{RAX, RBX, RDX};
use crate::interp::lower::decode;

const FXSAVE: u8 = 0x07;
const FXRSTOR: u8 = 0x0f;
const LDMXCSR: u8 = 0x17;
const STMXCSR: u8 = 0x1f;
const XSAVE: u8 = 0x27;
const XRSTOR: u8 = 0x2f;
const XSAVEOPT: u8 = 0x37;

/// Real mode with everything enabled, all components requested, and BX at 2000h.
fn cpu() -> Cpu {
    let mut cpu = Cpu::for_test();
    cpu.cr4 |= cr::CR4_OSFXSR | cr::CR4_OSXSAVE;
    cpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu.regs[RAX] = u64::MAX;
    cpu.regs[RDX] = u64::MAX;
    cpu.regs[RBX] = 0x2000;
    *cpu.vectors = crate::hostexec::XsaveArea::default();
    cpu
}

/// Executes 0F AE with its memory operand at DS:BX; the vector of its exception, if it has one.
fn execute(cpu: &mut Cpu, modrm: u8) -> Option<u8> {
    execute_bytes(cpu, &[0x0f, 0xae, modrm])
}

fn execute_bytes(cpu: &mut Cpu, bytes: &[u8]) -> Option<u8> {
    let (op, _) = decode(cpu, bytes, 0).unwrap();
    (op.run)(cpu, &op).err()?;
    match std::mem::take(&mut cpu.stop) {
        StopReason::Exception(exception) => Some(exception.vector),
        other => panic!("{other:?}"),
    }
}

fn memory<const N: usize>(cpu: &Cpu, at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    cpu.board.ram.read(0x2000 + at as u64, &mut bytes).unwrap();
    bytes
}

fn store(cpu: &Cpu, at: usize, bytes: &[u8]) {
    cpu.board.ram.write(0x2000 + at as u64, bytes).unwrap();
}

#[test]
fn saved_registers_come_back() {
    for (save, restore) in [(FXSAVE, FXRSTOR), (XSAVE, XRSTOR), (XSAVEOPT, XRSTOR)] {
        let mut cpu = cpu();
        cpu.vectors.set_xmm(7, 0x1234);
        cpu.vectors.set_mxcsr(0x1fa0);
        cpu.vectors.set_ftw(1);
        let before = *cpu.vectors;
        assert_eq!(execute(&mut cpu, save), None);
        cpu.vectors.set_xmm(7, 1);
        cpu.vectors.set_mxcsr(0x1f80);
        cpu.vectors.set_ftw(0);
        assert_eq!(execute(&mut cpu, restore), None);
        assert_eq!(*cpu.vectors, before, "{save:#x}");
    }
}

#[test]
fn what_is_not_requested_or_not_there_is_not_written() {
    let mut cpu = cpu();
    store(&cpu, 0, &[0xaa; YMM_END]);
    store(&cpu, XSTATE_BV, &[0; 8]);
    cpu.vectors.set_xmm(0, 5);
    cpu.vectors.set_ymm_high(1, 6);
    // 16-bit code has no registers 8 to 15, and software's part of the image is its own.
    assert_eq!(execute(&mut cpu, XSAVE), None);
    assert_eq!(memory(&cpu, XSTATE_BV), 6u64.to_le_bytes());
    assert_eq!(memory(&cpu, XMM + 128), [0xaa; 16]);
    assert_eq!(memory(&cpu, YMM + 128), [0xaa; 16]);
    assert_eq!(memory(&cpu, 464), [0xaa; 48]);
    assert_eq!(memory(&cpu, XSTATE_BV + 8), [0xaa; 8]);
    // XSAVEOPT leaves components in their initial configuration alone.
    store(&cpu, 0, &[0xaa; YMM_END]);
    store(&cpu, XSTATE_BV, &[0; 8]);
    cpu.vectors.set_xmm(0, 0);
    assert_eq!(execute(&mut cpu, XSAVEOPT), None);
    assert_eq!(memory(&cpu, XSTATE_BV), 4u64.to_le_bytes());
    assert_eq!(memory(&cpu, XMM), [0xaa; 16]);
    assert_eq!(memory(&cpu, YMM + 16), 6u128.to_le_bytes());
    assert_eq!(memory(&cpu, MXCSR), 0x1f80u32.to_le_bytes());
    // Without AVX in the request nothing beyond the header is touched, nor need be there.
    cpu.regs[RAX] = XCR0_X87;
    cpu.regs[RBX] = 0xfdc0;
    assert_eq!(execute(&mut cpu, XSAVE), None);
}

#[test]
fn faults_come_in_order_and_change_nothing() {
    for (save, restore) in [(FXSAVE, FXRSTOR), (XSAVE, XRSTOR)] {
        for modrm in [save, restore] {
            let mut cpu = cpu();
            let before = *cpu.vectors;
            cpu.regs[RBX] = 0x2008;
            assert_eq!(execute(&mut cpu, modrm), Some(vector::GP));
            cpu.cr0 |= cr::CR0_TS;
            assert_eq!(execute(&mut cpu, modrm), Some(vector::NM));
            assert_eq!(*cpu.vectors, before);
        }
    }
    let mut cpu = cpu();
    cpu.cr4 = 0;
    cpu.cr0 |= cr::CR0_TS;
    for modrm in [XSAVE, XSAVEOPT, XRSTOR, LDMXCSR, STMXCSR] {
        assert_eq!(execute(&mut cpu, modrm), Some(vector::UD));
    }
}

#[test]
fn images_with_reserved_bits_are_not_loaded() {
    for (modrm, at) in [
        (FXRSTOR, MXCSR + 2),
        (LDMXCSR, 2),
        (XRSTOR, MXCSR + 2),
        (XRSTOR, XSTATE_BV),
        (XRSTOR, XSTATE_BV + 15),
        (XRSTOR, XSTATE_BV + 23),
    ] {
        let mut cpu = cpu();
        let before = *cpu.vectors;
        store(&cpu, at, &[8]);
        assert_eq!(
            execute(&mut cpu, modrm),
            Some(vector::GP),
            "{modrm:#x} {at}"
        );
        assert_eq!(*cpu.vectors, before);
    }
}

#[test]
fn mxcsr_goes_to_memory_and_back() {
    let mut cpu = cpu();
    store(&cpu, 0, &0x3f80u32.to_le_bytes());
    assert_eq!(execute(&mut cpu, LDMXCSR), None);
    assert_eq!(cpu.vectors.mxcsr(), 0x3f80);
    cpu.regs[RBX] = 0x2011;
    assert_eq!(execute(&mut cpu, STMXCSR), None);
    assert_eq!(memory(&cpu, 0x11), 0x3f80u32.to_le_bytes());
}

#[test]
fn xcr0_is_read_by_all_and_written_with_care() {
    let (xgetbv, xsetbv) = ([0x0f, 0x01, 0xd0], [0x0f, 0x01, 0xd1]);
    let mut cpu = cpu();
    cpu.regs[RDX] = 0;
    for (value, result) in [
        (7, None),
        (5, Some(vector::GP)),
        (3, None),
        (0, Some(vector::GP)),
    ] {
        cpu.regs[RAX] = value;
        cpu.regs[RCX] = 0;
        assert_eq!(execute_bytes(&mut cpu, &xsetbv), result, "{value}");
    }
    assert_eq!(execute_bytes(&mut cpu, &xgetbv), None);
    assert_eq!((cpu.regs[RDX], cpu.regs[RAX]), (0, 3));
    cpu.regs[RCX] = 1;
    assert_eq!(execute_bytes(&mut cpu, &xgetbv), Some(vector::GP));
    assert_eq!(execute_bytes(&mut cpu, &xsetbv), Some(vector::GP));
    cpu.regs[RCX] = 0;
    cpu.cpl = 3;
    assert_eq!(execute_bytes(&mut cpu, &xsetbv), Some(vector::GP));
    cpu.cr4 = 0;
    assert_eq!(execute_bytes(&mut cpu, &xgetbv), Some(vector::UD));
}
