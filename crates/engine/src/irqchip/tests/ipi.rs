use super::Machine;

const ICR: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;

fn send(machine: &Machine, from: usize, destination: u32, low: u32) {
    machine.write(from, ICR_HIGH, destination << 24);
    machine.write(from, ICR, low);
}

fn who_got(machine: &Machine, vcpus: usize) -> Vec<usize> {
    (0..vcpus)
        .filter(|&vcpu| !machine.serve(vcpu).is_empty())
        .collect()
}

#[test]
fn shorthands_reach_self_all_and_others() {
    let machine = Machine::new(4);
    send(&machine, 1, 3, 0x0_4050);
    assert_eq!(who_got(&machine, 4), [3]);
    send(&machine, 1, 3, 0x4_4050);
    assert_eq!(who_got(&machine, 4), [1]);
    send(&machine, 1, 3, 0x8_4050);
    assert_eq!(who_got(&machine, 4), [0, 1, 2, 3]);
    send(&machine, 1, 3, 0xC_4050);
    assert_eq!(who_got(&machine, 4), [0, 2, 3]);
    send(&machine, 1, 0xFF, 0x4050);
    assert_eq!(who_got(&machine, 4), [0, 1, 2, 3]);
    send(&machine, 1, 9, 0x4050);
    assert_eq!(who_got(&machine, 4), []);
    assert_eq!(machine.read(1, ICR), 0x4050, "never busy");
}

#[test]
fn flat_logical_destinations_are_bit_masks() {
    let machine = Machine::new(3);
    for vcpu in 0..3 {
        machine.write(vcpu, 0xD0, 1 << (24 + vcpu));
    }
    send(&machine, 0, 0b110, 0x4850);
    assert_eq!(who_got(&machine, 3), [1, 2]);
    send(&machine, 0, 0b1000, 0x4850);
    assert_eq!(who_got(&machine, 3), []);
    send(&machine, 0, 0xFF, 0x4850);
    assert_eq!(who_got(&machine, 3), [0, 1, 2]);
}

#[test]
fn cluster_logical_destinations_name_a_cluster() {
    let machine = Machine::new(3);
    for (vcpu, ldr) in [(0, 0x11), (1, 0x12), (2, 0x21)] {
        machine.write(vcpu, 0xE0, 0x0FFF_FFFF);
        machine.write(vcpu, 0xD0, ldr << 24);
    }
    send(&machine, 0, 0x13, 0x4850);
    assert_eq!(who_got(&machine, 3), [0, 1]);
    send(&machine, 0, 0x23, 0x4850);
    assert_eq!(who_got(&machine, 3), [2]);
}

#[test]
fn lowest_priority_goes_to_the_least_busy_that_is_enabled() {
    let machine = Machine::new(3);
    machine.write(0, 0x80, 0x40);
    machine.write(1, 0xF0, 0xFF);
    machine.write(2, 0x80, 0x20);
    send(&machine, 0, 0xFF, 0x4150);
    assert_eq!(who_got(&machine, 3), [2]);
    machine.write(0, 0x80, 0x10);
    send(&machine, 0, 0xFF, 0x4150);
    assert_eq!(who_got(&machine, 3), [0]);
}

#[test]
fn init_and_startup_wait_for_their_vcpu() {
    let machine = Machine::new(2);
    send(&machine, 0, 1, 0x4608);
    send(&machine, 0, 1, 0xC500);
    assert!(machine.signalled(1));
    send(&machine, 0, 1, 0x8500);
    assert!(!machine.signalled(1), "level de-assert means nothing");
    assert!(machine.chip.take_init(1) && !machine.chip.take_init(1));
    assert_eq!(
        machine.chip.take_sipi(1),
        None,
        "the INIT cancelled the earlier start-up"
    );
    machine.chip.reset_lapic(1);
    send(&machine, 0, 1, 0x4609);
    assert!(machine.signalled(1));
    assert_eq!(machine.chip.take_sipi(1), Some(9));
    assert_eq!(machine.chip.take_sipi(1), None);
    send(&machine, 0, 0, 0xC_4500);
    assert!(machine.chip.take_init(1) && !machine.chip.take_init(0));
    send(&machine, 0, 0, 0x8_4500);
    send(&machine, 0, 0, 0x4_4608);
    assert!(!machine.chip.take_init(0) && machine.chip.take_sipi(0).is_none());
}

#[test]
fn a_startup_behind_an_init_is_kept_until_the_init_is_taken() {
    let machine = Machine::new(2);
    // The vCPU looked for an INIT just before both came, and looks for a start-up message now.
    assert!(!machine.chip.take_init(1));
    send(&machine, 0, 1, 0x4500);
    send(&machine, 0, 1, 0x4608);
    assert_eq!(machine.chip.take_sipi(1), None);
    assert!(machine.chip.take_init(1));
    machine.chip.reset_lapic(1);
    assert_eq!(machine.chip.take_sipi(1), Some(8));
}

#[test]
fn nmis_go_where_they_are_sent_and_the_rest_nowhere() {
    let machine = Machine::new(2);
    send(&machine, 0, 1, 0x4400);
    assert!(machine.signalled(1) && machine.chip.take_nmi(1));
    for mode in [0x4200, 0x4300, 0x4700] {
        send(&machine, 0, 1, mode | 0x50);
        assert!(!machine.signalled(1), "mode {mode:#x}");
    }
}
