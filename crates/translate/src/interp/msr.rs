//! Instructions about the processor itself: RDMSR WRMSR, RDTSC RDTSCP RDPID RDPMC, CPUID, SWAPGS,
//! RDFSBASE and its like.

use iced_x86::{Instruction, Mnemonic};

use super::lower::{Lowered, operand_size};
use super::op::Op;
use crate::cpu::exception::Exec;
use crate::cpu::features::XCR0_AVX;
use crate::cpu::registers::{RAX, RBX, RCX, RDX};
use crate::cpu::segment::index;
use crate::cpu::{Cpu, cr};
use crate::mmu::canonical;

/// Bytes of an XSAVE area without and with AVX state (Intel SDM vol. 1, 13.4).
const XSAVE_SIZE: u32 = 576;
const XSAVE_SIZE_AVX: u32 = 832;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    match ins.mnemonic() {
        Mnemonic::Rdmsr => Lowered::plain(rdmsr),
        Mnemonic::Wrmsr => Lowered::ends(wrmsr),
        Mnemonic::Rdtsc => Lowered::plain(rdtsc),
        Mnemonic::Rdtscp => Lowered::plain(rdtscp),
        Mnemonic::Rdpid => Lowered::plain(rdpid),
        // There are no counters to name (leaf 0xA), so any privilege level faults.
        Mnemonic::Rdpmc => Lowered::plain(|cpu, _| cpu.gp(0)),
        Mnemonic::Cpuid => Lowered::ends(cpuid),
        Mnemonic::Swapgs => Lowered::plain(swapgs),
        Mnemonic::Rdfsbase => read_base(ins, index::FS),
        Mnemonic::Rdgsbase => read_base(ins, index::GS),
        Mnemonic::Wrfsbase => write_base(ins, index::FS),
        Mnemonic::Wrgsbase => write_base(ins, index::GS),
        _ => None,
    }
}

impl Cpu {
    /// EDX:EAX as one number.
    pub(super) fn edx_eax(&self) -> u64 {
        self.regs[RDX] << 32 | self.regs[RAX] & 0xffff_ffff
    }

    /// Sets EDX:EAX; the upper halves of RDX and RAX become zero.
    pub(super) fn set_edx_eax(&mut self, value: u64) {
        self.regs[RAX] = value & 0xffff_ffff;
        self.regs[RDX] = value >> 32;
    }
}

fn rdmsr(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.require_ring_0()?;
    let value = cpu.read_msr(cpu.regs[RCX] as u32)?;
    cpu.set_edx_eax(value);
    Ok(())
}

fn wrmsr(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.require_ring_0()?;
    cpu.write_msr(cpu.regs[RCX] as u32, cpu.edx_eax())
}

fn check_time_stamp(cpu: &mut Cpu) -> Exec {
    if cpu.cpl > 0 && cpu.cr4 & cr::CR4_TSD != 0 {
        return cpu.gp(0);
    }
    Ok(())
}

fn rdtsc(cpu: &mut Cpu, _: &Op) -> Exec {
    check_time_stamp(cpu)?;
    cpu.set_edx_eax(cpu.tsc());
    Ok(())
}

fn rdtscp(cpu: &mut Cpu, _: &Op) -> Exec {
    if !cpu.features.rdtscp {
        return cpu.undefined();
    }
    check_time_stamp(cpu)?;
    cpu.set_edx_eax(cpu.tsc());
    cpu.regs[RCX] = cpu.msrs.tsc_aux;
    Ok(())
}

fn rdpid(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.features.rdpid {
        return cpu.undefined();
    }
    cpu.set(op.dst, cpu.msrs.tsc_aux);
    Ok(())
}

/// CPUID is what programs serialise with: stores become visible, and what follows is fetched anew
/// (Intel SDM vol. 3, 9.3).
fn cpuid(cpu: &mut Cpu, _: &Op) -> Exec {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    let [eax, ebx, ecx, edx] = cpu.cpuid(cpu.regs[RAX] as u32, cpu.regs[RCX] as u32);
    cpu.regs[RAX] = u64::from(eax);
    cpu.regs[RBX] = u64::from(ebx);
    cpu.regs[RCX] = u64::from(ecx);
    cpu.regs[RDX] = u64::from(edx);
    Ok(())
}

impl Cpu {
    /// CPUID's answer: the model's, and what only this vCPU knows now (Intel SDM vol. 2, CPUID).
    pub(crate) fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        const APIC: u32 = 1 << 9;
        const OSXSAVE: u32 = 1 << 27;
        const APIC_ENABLED: u64 = 1 << 11;
        let (leaf, [eax, mut ebx, mut ecx, mut edx]) = self.features.cpuid_row(leaf, subleaf);
        let apic_id = self.index as u32;
        match leaf {
            1 => {
                ebx = ebx & 0x00ff_ffff | apic_id << 24;
                ecx &= !OSXSAVE;
                if self.cr4 & cr::CR4_OSXSAVE != 0 {
                    ecx |= OSXSAVE;
                }
                if self.board.irqchip.apic_base(self.index) & APIC_ENABLED == 0 {
                    edx &= !APIC;
                }
            }
            0xB | 0x1F => {
                // The subleaf comes back also where there is no such level.
                ecx = ecx & !0xff | subleaf & 0xff;
                edx = apic_id;
            }
            0xD if subleaf == 0 && eax != 0 => {
                let avx = self.xcr0 & XCR0_AVX != 0;
                ebx = if avx { XSAVE_SIZE_AVX } else { XSAVE_SIZE };
            }
            _ => {}
        }
        [eax, ebx, ecx, edx]
    }
}

fn swapgs(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.require_ring_0()?;
    let user = cpu.seg_base[index::GS];
    cpu.set_segment_base(index::GS, cpu.msrs.kernel_gs_base);
    cpu.msrs.kernel_gs_base = user;
    Ok(())
}

/// The handler for an operand of 8 or of 4 bytes, and for FS or GS.
fn read_base(ins: &Instruction, which: usize) -> Option<Lowered> {
    Lowered::plain(match (operand_size(ins, 0), which) {
        (8, index::FS) => |cpu, op| store_base(cpu, op, index::FS, u64::MAX),
        (8, _) => |cpu, op| store_base(cpu, op, index::GS, u64::MAX),
        (_, index::FS) => |cpu, op| store_base(cpu, op, index::FS, 0xffff_ffff),
        _ => |cpu, op| store_base(cpu, op, index::GS, 0xffff_ffff),
    })
}

fn write_base(ins: &Instruction, which: usize) -> Option<Lowered> {
    Lowered::plain(match (operand_size(ins, 0), which) {
        (8, index::FS) => |cpu, op| load_base(cpu, op, index::FS, u64::MAX),
        (8, _) => |cpu, op| load_base(cpu, op, index::GS, u64::MAX),
        (_, index::FS) => |cpu, op| load_base(cpu, op, index::FS, 0xffff_ffff),
        _ => |cpu, op| load_base(cpu, op, index::GS, 0xffff_ffff),
    })
}

fn check_fsgsbase(cpu: &mut Cpu) -> Exec {
    if cpu.cr4 & cr::CR4_FSGSBASE == 0 {
        return cpu.undefined();
    }
    Ok(())
}

fn store_base(cpu: &mut Cpu, op: &Op, which: usize, mask: u64) -> Exec {
    check_fsgsbase(cpu)?;
    cpu.set(op.dst, cpu.seg_base[which] & mask);
    Ok(())
}

fn load_base(cpu: &mut Cpu, op: &Op, which: usize, mask: u64) -> Exec {
    check_fsgsbase(cpu)?;
    let base = cpu.get::<u64>(op.dst) & mask;
    if !canonical(base) {
        return cpu.gp(0);
    }
    cpu.set_segment_base(which, base);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuid_says_what_this_vcpu_has_switched_on() {
        let mut cpu = Cpu::for_test();
        assert_eq!(cpu.cpuid(1, 0)[2] >> 27 & 1, 0);
        cpu.cr4 |= cr::CR4_OSXSAVE;
        assert_eq!(cpu.cpuid(1, 0)[2] >> 27 & 1, 1);
        assert_eq!(cpu.cpuid(1, 0)[3] >> 9 & 1, 1);
        let base = cpu.read_msr(0x1B).unwrap();
        cpu.write_msr(0x1B, base & !(1 << 11)).unwrap();
        assert_eq!(cpu.cpuid(1, 0)[3] >> 9 & 1, 0);
    }

    #[test]
    fn cpuid_tells_the_apic_id_and_the_level() {
        let mut cpu = Cpu::for_test();
        cpu.index = 3;
        cpu.features.cpuid[0].regs[0] = 0x1F;
        assert_eq!(cpu.cpuid(0xB, 5), [0, 0, 5, 3]);
        assert_eq!(cpu.cpuid(0x1F, 0), [0, 0, 0, 3]);
    }

    #[test]
    fn cpuid_tells_the_size_of_the_enabled_state() {
        let mut cpu = Cpu::for_test();
        if cpu.features.xcr0_valid(7) {
            assert_eq!(cpu.cpuid(0xD, 0), [7, XSAVE_SIZE, XSAVE_SIZE_AVX, 0]);
            cpu.xcr0 = 7;
            assert_eq!(cpu.cpuid(0xD, 0), [7, XSAVE_SIZE_AVX, XSAVE_SIZE_AVX, 0]);
        }
    }

    #[test]
    fn thirty_two_bits_of_edx_eax_count() {
        let mut cpu = Cpu::for_test();
        cpu.regs[RAX] = u64::MAX - 1;
        cpu.regs[RDX] = u64::MAX - 2;
        assert_eq!(cpu.edx_eax(), 0xffff_fffd_ffff_fffe);
        cpu.set_edx_eax(0x1234_5678_9abc_def0);
        assert_eq!((cpu.regs[RDX], cpu.regs[RAX]), (0x1234_5678, 0x9abc_def0));
    }
}
