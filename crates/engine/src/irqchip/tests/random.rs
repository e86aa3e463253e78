//! Anything the guest and the board can do, in any order: nothing panics, and what the controllers
//! promise each other stays true.

use std::sync::Arc;

use super::Machine;
use crate::irqchip::PIO_CLAIMS;

const VCPUS: usize = 3;
const STEPS: usize = 20_000;

/// A 64-bit xorshift generator; the seed is all there is to reproduce a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    /// Mostly what could mean something: small numbers, single bits, edges, and anything.
    fn value(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(0x100),
            1 => 1 << self.below(64),
            2 => u64::MAX << self.below(64),
            3 => [0, u64::MAX, 0x8000_0000, 0xFFFF_FFFF][self.below(4) as usize],
            4 => self.below(0x20_0000),
            _ => self.next(),
        }
    }
}

fn step(machine: &Machine, random: &mut Random) {
    let chip = &machine.chip;
    let vcpu = random.below(VCPUS as u64) as usize;
    let size = [1, 2, 4, 8][random.below(4) as usize];
    let value = random.value();
    match random.below(16) {
        0 => chip.set_line(random.below(26) as u32, value & 1 != 0),
        1 => chip.send_msi(0xFEE0_0000 | value & 0xF_FFFF, random.value() as u32),
        2 => {
            let (base, length) = PIO_CLAIMS[random.below(PIO_CLAIMS.len() as u64) as usize];
            let port = base + random.below(u64::from(length)) as u16;
            chip.pio_write(port, size.min(4), value as u32);
            let _ = chip.pio_read(port, size.min(4));
        }
        3 => chip.ioapic_write(0, 4, random.below(0x48)),
        4 => chip.ioapic_write(
            [0x10, 0x40, value & 0xFFF][random.below(3) as usize],
            size,
            value,
        ),
        5 => {
            let _ = chip.ioapic_read(value & 0xFFF, size);
        }
        6 | 7 => chip.lapic_mmio_write(vcpu, random.below(0x41) << 4, 4, value),
        8 => {
            chip.lapic_mmio_write(vcpu, value & 0xFFF, size, random.value());
            let _ = chip.lapic_mmio_read(vcpu, value & 0xFFF, size);
        }
        9 | 10 => {
            let msr = 0x800 + random.below(0x40) as u32;
            let _ = chip.lapic_msr_write(vcpu, msr, value);
            let _ = chip.lapic_msr_read(vcpu, msr);
        }
        11 => {
            let _ = chip.lapic_msr_write(vcpu, super::TSC_DEADLINE, value);
            chip.set_tsc_offset(vcpu, random.value());
        }
        12 => {
            let mode = [0x000, 0x800, 0xC00][random.below(3) as usize];
            let _ = chip.lapic_msr_write(vcpu, super::APIC_BASE, 0xFEE0_0000 | mode);
            let _ = chip.lapic_msr_write(vcpu, super::APIC_BASE, value);
        }
        13 => chip.set_cr8(vcpu, value as u8 & 0xF),
        14 => {
            if random.below(8) == 0 {
                chip.reset_lapic(vcpu);
            }
            let _ = (
                chip.take_init(vcpu),
                chip.take_sipi(vcpu),
                chip.take_nmi(vcpu),
            );
        }
        _ => {
            let far = if random.below(64) == 0 {
                1 << 40
            } else {
                1 << 20
            };
            machine.advance(random.below(far));
        }
    }
}

/// What must hold after every step.
fn check(machine: &Machine, context: &str) {
    let now_ns = machine.clock.now_ns();
    for vcpu in 0..VCPUS {
        let chip = &machine.chip;
        if chip.next_deadline(vcpu) <= now_ns {
            chip.run_timers(vcpu, now_ns);
        }
        assert!(
            chip.next_deadline(vcpu) > now_ns,
            "{context}: vCPU {vcpu} would spin"
        );
        let ready = chip.has_interrupt(vcpu);
        let signalled = machine.signalled(vcpu);
        assert!(
            !ready || signalled,
            "{context}: vCPU {vcpu} was not told of its interrupt"
        );
        if ready {
            assert!(
                chip.take_interrupt(vcpu).is_some(),
                "{context}: vCPU {vcpu}"
            );
        }
        // What is still ready is announced again only when something changes; look once more.
        if chip.has_interrupt(vcpu) {
            machine.signals[vcpu].raise(crate::signal::VcpuSignal::IRQ);
        }
    }
}

#[test]
fn any_sequence_of_accesses_is_survived_and_announced() {
    for seed in 1..=8u64 {
        let machine = Machine::new(VCPUS);
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for number in 0..STEPS {
            step(&machine, &mut random);
            check(&machine, &format!("seed {seed} step {number}"));
        }
    }
}

#[test]
fn many_threads_at_once_neither_deadlock_nor_panic() {
    let machine = Arc::new(Machine::new(VCPUS));
    let threads: Vec<_> = (1..=4u64)
        .map(|seed| {
            let machine = Arc::clone(&machine);
            std::thread::spawn(move || {
                let mut random = Random(seed.wrapping_mul(0xD129_42F0_57C6_1B3D));
                for _ in 0..STEPS / 4 {
                    step(&machine, &mut random);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
