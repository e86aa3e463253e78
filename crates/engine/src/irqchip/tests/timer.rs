use super::{Machine, TSC_DEADLINE};

const LVT: u64 = 0x320;
const INITIAL: u64 = 0x380;
const CURRENT: u64 = 0x390;
const DIVIDE: u64 = 0x3E0;
const PERIODIC: u32 = 1 << 17;
const DEADLINE: u32 = 2 << 17;
const MASKED: u32 = 1 << 16;
const BY_1: u32 = 0xB;

#[test]
fn one_shot_counts_down_once() {
    let machine = Machine::new(1);
    machine.write(0, LVT, 0x40);
    machine.write(0, DIVIDE, 0x3);
    machine.write(0, INITIAL, 100);
    assert_eq!(machine.chip.next_deadline(0), 1600);
    machine.advance(800);
    assert_eq!(machine.read(0, CURRENT), 50);
    machine.advance(799);
    assert!(!machine.chip.has_interrupt(0));
    machine.advance(1);
    assert_eq!(machine.serve(0), [0x40]);
    assert_eq!(
        (machine.read(0, CURRENT), machine.chip.next_deadline(0)),
        (0, u64::MAX)
    );
    machine.advance(1_000_000);
    assert_eq!(machine.serve(0), []);
}

#[test]
fn every_divider_divides() {
    let machine = Machine::new(1);
    machine.write(0, LVT, 0x40);
    for (code, divisor) in [
        (0, 2),
        (1, 4),
        (2, 8),
        (3, 16),
        (8, 32),
        (9, 64),
        (10, 128),
        (11, 1),
    ] {
        machine.write(0, DIVIDE, code);
        machine.write(0, INITIAL, 1000);
        assert_eq!(
            machine.chip.next_deadline(0) - machine.clock.now_ns(),
            1000 * divisor
        );
    }
}

#[test]
fn periodic_keeps_its_phase_and_counts_missed_periods_once() {
    let machine = Machine::new(1);
    machine.write(0, LVT, PERIODIC | 0x40);
    machine.write(0, DIVIDE, BY_1);
    machine.write(0, INITIAL, 1000);
    machine.advance(1000);
    assert_eq!(machine.serve(0), [0x40]);
    assert_eq!(machine.read(0, CURRENT), 1000);
    machine.clock.advance_ns(7300);
    assert_eq!(
        machine.read(0, CURRENT),
        700,
        "counts on before anybody runs the timer"
    );
    machine.advance(0);
    assert_eq!(machine.serve(0), [0x40]);
    assert_eq!(machine.serve(0), []);
    assert_eq!(machine.chip.next_deadline(0), 9000);
    machine.write(0, INITIAL, 0);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
}

#[test]
fn a_masked_timer_counts_in_silence() {
    let machine = Machine::new(1);
    machine.write(0, LVT, MASKED | 0x40);
    machine.write(0, DIVIDE, BY_1);
    machine.write(0, INITIAL, 1000);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    machine.advance(400);
    assert_eq!(machine.read(0, CURRENT), 600);
    machine.write(0, LVT, 0x40);
    assert_eq!(machine.chip.next_deadline(0), 1000);
    machine.write(0, LVT, MASKED | 0x40);
    machine.advance(600);
    machine.write(0, LVT, 0x40);
    assert_eq!(
        (machine.serve(0), machine.chip.next_deadline(0)),
        (vec![], u64::MAX)
    );
}

#[test]
fn a_new_divider_goes_on_from_the_current_count() {
    let machine = Machine::new(1);
    machine.write(0, LVT, 0x40);
    machine.write(0, DIVIDE, BY_1);
    machine.write(0, INITIAL, 1000);
    machine.advance(400);
    machine.write(0, DIVIDE, 0);
    assert_eq!(machine.read(0, CURRENT), 600);
    assert_eq!(machine.chip.next_deadline(0), 400 + 1200);
}

#[test]
fn a_tsc_deadline_fires_once_and_clears_the_msr() {
    let machine = Machine::new(1);
    machine.write(0, LVT, DEADLINE | 0x40);
    machine.write(0, INITIAL, 1000);
    assert_eq!(
        (machine.read(0, INITIAL), machine.chip.next_deadline(0)),
        (0, u64::MAX)
    );
    machine.wrmsr(0, TSC_DEADLINE, 5000).unwrap();
    let deadline_ns = machine.chip.next_deadline(0);
    assert!((5000..=5001).contains(&deadline_ns));
    assert_eq!(machine.rdmsr(0, TSC_DEADLINE), Ok(5000));
    machine.advance(4999);
    assert!(!machine.chip.has_interrupt(0));
    machine.advance(2);
    assert_eq!(machine.serve(0), [0x40]);
    assert_eq!(machine.rdmsr(0, TSC_DEADLINE), Ok(0));
    machine.wrmsr(0, TSC_DEADLINE, u64::MAX).unwrap();
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    machine.wrmsr(0, TSC_DEADLINE, 1).unwrap();
    assert!(
        machine.signalled(0),
        "a deadline in the past expires at once"
    );
    assert_eq!(machine.serve(0), [0x40]);
}

#[test]
fn a_tsc_deadline_is_in_guest_time() {
    let machine = Machine::new(1);
    machine.write(0, LVT, DEADLINE | 0x40);
    machine.chip.set_tsc_offset(0, 1_000_000);
    machine.wrmsr(0, TSC_DEADLINE, 1_002_000).unwrap();
    assert!((2000..=2001).contains(&machine.chip.next_deadline(0)));
    machine.chip.set_tsc_offset(0, 0u64.wrapping_sub(1000));
    machine.wrmsr(0, TSC_DEADLINE, 2000).unwrap();
    assert_eq!(
        machine.serve(0),
        [0x40],
        "a guest TSC before 0 is a very large one"
    );
}

#[test]
fn changing_to_or_from_deadline_mode_disarms() {
    let machine = Machine::new(1);
    machine.write(0, LVT, DEADLINE | 0x40);
    machine.wrmsr(0, TSC_DEADLINE, 5000).unwrap();
    machine.write(0, LVT, 0x40);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    assert_eq!(machine.rdmsr(0, TSC_DEADLINE), Ok(0));
    machine.write(0, INITIAL, 5000);
    machine.write(0, LVT, DEADLINE | 0x40);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    machine.write(0, LVT, PERIODIC | 0x40);
    assert_eq!(machine.read(0, CURRENT), 0);
}

#[test]
fn timers_of_two_vcpus_do_not_meet() {
    let machine = Machine::new(2);
    machine.write(1, LVT, 0x41);
    machine.write(1, INITIAL, 100);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    machine.advance(200);
    assert_eq!((machine.serve(0), machine.serve(1)), (vec![], vec![0x41]));
}

#[test]
fn software_disabling_the_apic_silences_the_timer() {
    let machine = Machine::new(1);
    machine.write(0, LVT, 0x40);
    machine.write(0, INITIAL, 100);
    machine.write(0, 0xF0, 0xFF);
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
}
