//! The paravirtual clock: how guest TSC becomes time since boot, and boot as wall-clock time, in
//! structures in guest RAM (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW and
//! MSR_KVM_WALL_CLOCK_NEW).

use wardian_engine::clock::NS_PER_S;

use crate::cpu::Cpu;

pub(super) const WALL_CLOCK_OLD: u32 = 0x11;
pub(super) const SYSTEM_TIME_OLD: u32 = 0x12;
pub(super) const WALL_CLOCK: u32 = 0x4B56_4D00;
pub(super) const SYSTEM_TIME: u32 = 0x4B56_4D01;

/// In a system-time register, beside the address: keep the structure up to date.
const ENABLED: u64 = 1;
/// The structure's flag that all vCPUs' clocks agree, so that the guest need not compare them.
const TSC_STABLE: u8 = 1;

impl Cpu {
    /// Writes this vCPU's clock structure, if the guest has named a place for it. Its contents only
    /// depend on the clock's one anchor and this vCPU's TSC, so it is written when they change.
    pub(super) fn publish_system_time(&mut self) {
        let at = self.msrs.system_time;
        if at & ENABLED == 0 {
            return;
        }
        let (tsc, system_time_ns, mul, shift) = self.board.clock.pvclock();
        let tsc = tsc.wrapping_add(self.msrs.tsc_adjust);
        let mut body = [0; 28];
        body[4..12].copy_from_slice(&tsc.to_le_bytes());
        body[12..20].copy_from_slice(&system_time_ns.to_le_bytes());
        body[20..24].copy_from_slice(&mul.to_le_bytes());
        body[24] = shift as u8;
        body[25] = TSC_STABLE;
        self.publish(at & !ENABLED, &body);
    }

    /// Writes the time of day at which the system time was zero.
    pub(super) fn publish_wall_clock(&mut self) {
        let clock = &self.board.clock;
        let boot_ns = clock.wall_ns().saturating_sub(clock.now_ns());
        let mut body = [0; 8];
        body[..4].copy_from_slice(&((boot_ns / NS_PER_S) as u32).to_le_bytes());
        body[4..].copy_from_slice(&((boot_ns % NS_PER_S) as u32).to_le_bytes());
        self.publish(self.msrs.wall_clock, &body);
    }

    /// Replaces what follows a structure's version, which is odd meanwhile and differs afterwards. An
    /// address that is not RAM is the guest's mistake and changes nothing.
    fn publish(&self, gpa: u64, body: &[u8]) {
        let ram = &self.board.ram;
        let mut version = [0; 4];
        if ram.read(gpa, &mut version).is_err() {
            return;
        }
        let odd = u32::from_le_bytes(version) | 1;
        let write = |at: u64, bytes: &[u8]| ram.write(at, bytes);
        // The first write that leaves RAM ends it: what comes after would, too.
        let _guest_mistake = write(gpa, &odd.to_le_bytes())
            .and_then(|()| write(gpa.wrapping_add(4), body))
            .and_then(|()| write(gpa, &odd.wrapping_add(1).to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(cpu: &Cpu, gpa: u64) -> [u8; N] {
        let mut bytes = [0; N];
        cpu.board.ram.read(gpa, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_clock_page_follows_the_time_stamp_counter() {
        let mut cpu = Cpu::for_test();
        cpu.board.clock.advance_ns(77);
        cpu.write_msr(SYSTEM_TIME, 0x2000 | ENABLED).unwrap();
        let (_, _, mul, shift) = cpu.board.clock.pvclock();
        let page: [u8; 32] = read(&cpu, 0x2000);
        assert_eq!(page[..4], 2u32.to_le_bytes());
        assert_eq!(page[8..24], [0; 16]);
        assert_eq!(page[24..28], mul.to_le_bytes());
        assert_eq!(page[28..], [shift as u8, TSC_STABLE, 0, 0]);
        cpu.write_msr(0x3B, 500).unwrap();
        assert_eq!(read(&cpu, 0x2000), 4u32.to_le_bytes());
        assert_eq!(read(&cpu, 0x2008), 500u64.to_le_bytes());
        cpu.write_msr(SYSTEM_TIME, 0x3000).unwrap();
        assert_eq!(read(&cpu, 0x3000), [0; 32]);
    }

    #[test]
    fn the_wall_clock_is_that_of_time_zero() {
        let mut cpu = Cpu::for_test();
        cpu.board.clock.advance_ns(5 * NS_PER_S);
        cpu.write_msr(WALL_CLOCK, 0x2000).unwrap();
        let at_zero = cpu.board.clock.wall_ns() - 5 * NS_PER_S;
        assert_eq!(
            read(&cpu, 0x2004),
            ((at_zero / NS_PER_S) as u32).to_le_bytes()
        );
        assert_eq!(read(&cpu, 0x2008), [0; 4]);
    }

    #[test]
    fn places_outside_ram_are_ignored() {
        let mut cpu = Cpu::for_test();
        for gpa in [0xfffc, 0x1_0000, u64::MAX - 7] {
            cpu.write_msr(SYSTEM_TIME, gpa | ENABLED).unwrap();
            cpu.write_msr(WALL_CLOCK, gpa).unwrap();
        }
    }
}
