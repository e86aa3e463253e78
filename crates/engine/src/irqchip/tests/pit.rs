use super::Machine;
use crate::signal::VcpuSignal;

/// Nanoseconds that take at least this many ticks of 1.193182 MHz.
fn ticks(count: u64) -> u64 {
    (count * 1_000_000_000).div_ceil(1_193_182)
}

/// The 8254's line at I/O APIC pin 2 with vector 30h.
fn machine() -> Machine {
    let machine = Machine::new(2);
    machine.chip.ioapic_write(0, 4, 0x14);
    machine.chip.ioapic_write(0x10, 4, 0x30);
    machine
}

impl Machine {
    fn program(&self, counter: u8, mode: u8, count: u16) {
        self.outb(0x43, counter << 6 | 0x30 | mode << 1);
        for byte in count.to_le_bytes() {
            self.outb(0x40 + u16::from(counter), byte);
        }
    }

    fn count(&self, counter: u8) -> u16 {
        self.outb(0x43, counter << 6);
        let port = 0x40 + u16::from(counter);
        u16::from_le_bytes([self.inb(port), self.inb(port)])
    }

    /// The status byte, and with it the OUT pin in bit 7.
    fn status(&self, counter: u8) -> u8 {
        self.outb(0x43, 0xE0 | 2 << counter);
        self.inb(0x40 + u16::from(counter))
    }
}

#[test]
fn mode_0_interrupts_once_at_its_end() {
    let machine = machine();
    assert_eq!(
        machine.chip.next_deadline(0),
        u64::MAX,
        "nothing ticks before it is programmed"
    );
    machine.program(0, 0, 1000);
    assert_eq!(machine.chip.next_deadline(0), ticks(1000));
    assert_eq!(
        machine.signals[0].take(VcpuSignal::TIMER),
        VcpuSignal::TIMER
    );
    assert_eq!(machine.status(0), 0x30);
    machine.advance(ticks(1000) - 1);
    assert_eq!((machine.serve(0), machine.count(0)), (vec![], 1));
    machine.advance(1);
    assert_eq!((machine.serve(0), machine.count(0)), (vec![0x30], 0));
    assert_eq!(machine.status(0), 0xB0);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    machine.advance(ticks(10));
    assert_eq!((machine.serve(0), machine.count(0)), (vec![], 0xFFF6));
}

#[test]
fn mode_2_is_periodic_keeps_phase_and_coalesces() {
    let machine = machine();
    machine.program(0, 2, 1000);
    machine.advance(ticks(1000));
    assert_eq!(machine.serve(0), [0x30]);
    machine.advance(ticks(5500) - ticks(1000));
    assert_eq!(machine.serve(0), [0x30]);
    assert_eq!(machine.serve(0), []);
    assert_eq!(machine.count(0), 500);
    assert_eq!(machine.chip.next_deadline(0), ticks(6000));
}

#[test]
fn a_new_count_in_mode_2_waits_for_the_end_of_the_period() {
    let machine = machine();
    machine.program(0, 2, 1000);
    machine.advance(ticks(300));
    machine.outb(0x40, 0xF4);
    machine.outb(0x40, 0x01);
    assert_eq!(
        machine.status(0) & 0x40,
        0x40,
        "the count is not loaded yet"
    );
    assert_eq!(machine.chip.next_deadline(0), ticks(1000));
    machine.advance(ticks(1000) - ticks(300));
    assert_eq!(machine.chip.next_deadline(0), ticks(1500));
    assert_eq!(machine.status(0) & 0x40, 0);
}

#[test]
fn mode_3_is_a_square_wave_that_counts_by_two() {
    let machine = machine();
    machine.program(0, 3, 1000);
    machine.advance(ticks(100));
    assert_eq!((machine.count(0), machine.status(0)), (800, 0xB6));
    machine.advance(ticks(600) - ticks(100));
    assert_eq!((machine.count(0), machine.status(0)), (800, 0x36));
    machine.advance(ticks(1000) - ticks(600));
    assert_eq!((machine.serve(0), machine.status(0)), (vec![0x30], 0xB6));
}

#[test]
fn mode_4_strobes_once_and_modes_1_and_5_need_a_gate_edge() {
    let machine = machine();
    machine.program(0, 4, 1000);
    machine.advance(ticks(1000));
    assert_eq!(machine.serve(0), [0x30]);
    machine.advance(ticks(70_000));
    assert_eq!(
        (machine.serve(0), machine.chip.next_deadline(0)),
        (vec![], u64::MAX)
    );
    for mode in [1, 5] {
        machine.program(0, mode, 10);
        machine.advance(ticks(100));
        assert_eq!(
            (machine.serve(0), machine.chip.next_deadline(0)),
            (vec![], u64::MAX)
        );
    }
}

#[test]
fn the_8259_gets_the_timer_on_irq_0() {
    let machine = Machine::as_firmware_leaves_it(1);
    for (port, value) in [(0x20, 0x13), (0x21, 0x20), (0x21, 0x01)] {
        machine.outb(port, value);
    }
    machine.program(0, 2, 100);
    assert!(!machine.chip.has_interrupt(0));
    machine.advance(ticks(100));
    assert_eq!(machine.chip.take_interrupt(0), Some(0x20));
    machine.outb(0x20, 0x20);
    assert!(!machine.chip.has_interrupt(0));
    machine.advance(ticks(100));
    assert_eq!(machine.chip.take_interrupt(0), Some(0x20));
}

#[test]
fn the_gate_of_counter_2_starts_and_stops_it() {
    let machine = machine();
    machine.program(2, 0, 1000);
    machine.advance(ticks(100));
    assert_eq!(machine.count(2), 1000, "the gate is low");
    machine.outb(0x61, 0x01);
    let start_ns = machine.clock.now_ns();
    machine.advance(ticks(400));
    assert!((599..=601).contains(&machine.count(2)));
    machine.outb(0x61, 0x00);
    let stopped = machine.count(2);
    machine.advance(ticks(400));
    assert_eq!(machine.count(2), stopped);
    machine.outb(0x61, 0x03);
    assert_eq!(machine.inb(0x61) & 0x2F, 0x03);
    machine.advance(start_ns + ticks(1000));
    assert_eq!(machine.inb(0x61) & 0x2F, 0x23);
}

#[test]
fn a_gate_edge_triggers_modes_1_and_5_and_restarts_modes_2_and_3() {
    let machine = machine();
    for mode in [1, 5] {
        machine.outb(0x61, 0);
        machine.program(2, mode, 1000);
        assert_eq!(machine.inb(0x61) & 0x20, 0x20);
        machine.outb(0x61, 1);
        assert_eq!(machine.inb(0x61) & 0x20, if mode == 1 { 0 } else { 0x20 });
        machine.advance(ticks(400));
        machine.outb(0x61, 0);
        machine.outb(0x61, 1);
        machine.advance(ticks(990));
        assert!(machine.count(2) <= 11, "triggered again");
        machine.advance(ticks(20));
        assert_eq!(machine.inb(0x61) & 0x20, 0x20);
    }
    for mode in [2, 3] {
        machine.program(2, mode, 1000);
        machine.advance(ticks(300));
        machine.outb(0x61, 0);
        assert_eq!(machine.inb(0x61) & 0x20, 0x20);
        machine.outb(0x61, 1);
        assert_eq!(machine.count(2), 1000);
    }
}

#[test]
fn latches_hold_until_read_and_read_back_latches_both() {
    let machine = machine();
    machine.program(0, 2, 0x1234);
    machine.outb(0x43, 0x00);
    machine.advance(ticks(100));
    machine.outb(0x43, 0x00);
    assert_eq!((machine.inb(0x40), machine.inb(0x40)), (0x34, 0x12));
    machine.outb(0x43, 0xC2);
    machine.advance(ticks(100));
    assert_eq!(machine.inb(0x40), 0xB4);
    assert_eq!(
        u16::from_le_bytes([machine.inb(0x40), machine.inb(0x40)]),
        0x1234 - 100
    );
    assert_eq!(machine.inb(0x43), 0xFF);
}

#[test]
fn single_byte_access_reads_and_writes_one_half() {
    let machine = machine();
    machine.outb(0x43, 0x14);
    machine.outb(0x40, 0x80);
    assert_eq!(machine.chip.next_deadline(0), ticks(0x80));
    assert_eq!((machine.inb(0x40), machine.inb(0x40)), (0x80, 0x80));
    machine.outb(0x43, 0x24);
    machine.outb(0x40, 0x02);
    assert_eq!(machine.chip.next_deadline(0), ticks(0x200));
    assert_eq!(machine.inb(0x40), 0x02);
}

#[test]
fn bcd_counts_in_decimal() {
    let machine = machine();
    machine.outb(0x43, 0x35);
    machine.outb(0x40, 0x34);
    machine.outb(0x40, 0x12);
    assert_eq!(machine.chip.next_deadline(0), ticks(1234));
    machine.advance(ticks(35));
    assert_eq!(machine.count(0), 0x1199);
    machine.outb(0x43, 0x31);
    machine.outb(0x40, 0);
    machine.outb(0x40, 0);
    assert_eq!(machine.chip.next_deadline(0), ticks(10_035));
    machine.advance(ticks(1));
    assert_eq!(machine.count(0), 0x9999);
}

#[test]
fn a_count_of_zero_is_the_largest() {
    let machine = machine();
    machine.program(0, 2, 0);
    assert_eq!(machine.chip.next_deadline(0), ticks(0x1_0000));
}

#[test]
fn the_refresh_bit_toggles() {
    let machine = machine();
    let before = machine.inb(0x61) & 0x10;
    machine.advance(15_085);
    assert_ne!(machine.inb(0x61) & 0x10, before);
}

#[test]
fn what_was_due_before_a_new_programme_still_interrupts() {
    let machine = machine();
    machine.program(0, 2, 1000);
    machine.clock.advance_ns(ticks(1000));
    machine.program(0, 1, 1000);
    assert_eq!(machine.serve(0), [0x30]);
}

#[test]
fn the_first_byte_of_a_count_stops_mode_0() {
    let machine = machine();
    machine.program(0, 0, 1000);
    machine.outb(0x40, 0x10);
    machine.advance(ticks(2000));
    assert_eq!(
        (machine.serve(0), machine.chip.next_deadline(0)),
        (vec![], u64::MAX)
    );
    machine.outb(0x40, 0x00);
    machine.advance(ticks(16));
    assert_eq!(machine.serve(0), [0x30]);
}

#[test]
fn an_odd_square_wave_is_high_one_tick_longer() {
    let machine = machine();
    machine.program(0, 3, 5);
    let high: Vec<_> = (0..5)
        .map(|_| {
            let high = machine.status(0) & 0x80 != 0;
            machine.advance(ticks(1));
            high
        })
        .collect();
    assert_eq!(high, [true, true, true, false, false]);
}

#[test]
fn a_latched_status_stays_until_it_is_read() {
    let machine = machine();
    machine.program(0, 0, 1000);
    machine.outb(0x43, 0xE2);
    machine.advance(ticks(1000));
    machine.outb(0x43, 0xE2);
    assert_eq!((machine.inb(0x40), machine.status(0)), (0x30, 0xB0));
}

#[test]
fn a_one_shot_goes_on_when_its_gate_falls() {
    let machine = machine();
    machine.program(2, 1, 1000);
    machine.outb(0x61, 1);
    machine.outb(0x61, 0);
    assert_eq!(machine.inb(0x61) & 0x20, 0);
    machine.advance(ticks(1000));
    assert_eq!(machine.inb(0x61) & 0x20, 0x20);
}

#[test]
fn only_a_rising_gate_is_a_trigger() {
    let machine = machine();
    machine.program(2, 1, 1000);
    machine.outb(0x61, 1);
    machine.advance(ticks(600));
    machine.outb(0x61, 3);
    machine.advance(ticks(401));
    assert_eq!(machine.inb(0x61) & 0x20, 0x20);
}

#[test]
fn a_count_that_waits_is_loaded_by_a_rising_gate() {
    let machine = machine();
    machine.outb(0x61, 1);
    machine.program(2, 2, 1000);
    machine.outb(0x42, 0xF4);
    machine.outb(0x42, 0x01);
    machine.outb(0x61, 0);
    machine.outb(0x61, 1);
    assert_eq!(machine.count(2), 500);
}

#[test]
fn an_access_to_another_port_loses_no_interrupt_that_is_due() {
    let machine = machine();
    machine.program(0, 0, 1000);
    machine.clock.advance_ns(ticks(1000));
    machine.outb(0x21, 0xFF);
    machine.advance(0);
    assert_eq!(machine.serve(0), [0x30]);
}

#[test]
fn the_8259_shows_a_timer_that_is_due() {
    let machine = machine();
    machine.outb(0x20, 0x11);
    for value in [0x20, 4, 1, 0xFF] {
        machine.outb(0x21, value);
    }
    machine.program(0, 0, 1000);
    assert_eq!(machine.inb(0x20) & 1, 0);
    machine.clock.advance_ns(ticks(1000));
    assert_eq!(machine.inb(0x20) & 1, 1);
}

#[test]
fn reading_a_counter_at_the_end_of_its_period_loses_no_interrupt() {
    let machine = machine();
    machine.program(0, 2, 1000);
    machine.clock.advance_ns(ticks(1000));
    machine.inb(0x40);
    machine.advance(0);
    assert_eq!(machine.serve(0), [0x30]);
}

#[test]
fn a_time_that_another_vcpu_has_overtaken_does_not_turn_the_timer_back() {
    for mode in [0, 4] {
        let machine = machine();
        machine.program(0, mode, 1000);
        machine.advance(ticks(1000));
        assert_eq!(machine.serve(0), [0x30]);
        let run_pit = |now_ns| {
            machine.chip.with_board(|board| {
                board.run_pit(now_ns, &|message| machine.chip.lapics.deliver(message));
            });
        };
        run_pit(ticks(999));
        run_pit(ticks(1000));
        assert_eq!(machine.serve(0), [], "mode {mode}");
    }
}
