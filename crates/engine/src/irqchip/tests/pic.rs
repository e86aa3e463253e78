use super::Machine;

const SPECIFIC_EOI: u8 = 0x60;
const EOI: u8 = 0x20;

/// Vectors 20h and 28h, everything unmasked, on a machine as firmware leaves it.
fn machine_with(icw4: u8) -> Machine {
    let machine = Machine::as_firmware_leaves_it(1);
    for (base, vector, wiring) in [(0x20, 0x20, 0x04), (0xA0, 0x28, 0x02)] {
        machine.outb(base, 0x11);
        machine.outb(base + 1, vector);
        machine.outb(base + 1, wiring);
        machine.outb(base + 1, icw4);
    }
    machine.forget_signals();
    machine
}

fn machine() -> Machine {
    machine_with(0x01)
}

impl Machine {
    fn raise(&self, irq: u32) {
        self.chip.set_line(irq, false);
        self.chip.set_line(irq, true);
    }
}

#[test]
fn firmware_leaves_everything_masked() {
    let machine = Machine::as_firmware_leaves_it(1);
    assert_eq!((machine.inb(0x21), machine.inb(0xA1)), (0xFF, 0xFF));
    machine.raise(4);
    assert!(!machine.chip.has_interrupt(0));
}

#[test]
fn interrupts_come_by_priority_with_their_vectors() {
    let machine = machine();
    machine.raise(4);
    assert!(machine.signalled(0));
    machine.raise(1);
    machine.raise(10);
    assert_eq!(machine.inb(0x20), 1 << 4 | 1 << 2 | 1 << 1);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x21));
    assert_eq!(
        machine.chip.take_interrupt(0),
        None,
        "lower ones wait for the EOI"
    );
    machine.forget_signals();
    machine.outb(0x20, EOI);
    assert!(machine.signalled(0));
    assert_eq!(machine.chip.take_interrupt(0), Some(0x2A));
    machine.outb(0xA0, EOI);
    machine.outb(0x20, EOI);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x24));
    machine.outb(0x20, SPECIFIC_EOI | 4);
    assert!(!machine.chip.has_interrupt(0));
}

#[test]
fn the_mask_and_the_local_apic_can_both_stop_it() {
    let machine = machine();
    machine.outb(0x21, 0x10);
    machine.raise(4);
    assert!(!machine.chip.has_interrupt(0));
    machine.outb(0x21, 0);
    assert!(machine.chip.has_interrupt(0));
    machine.write(0, 0x350, 0x1_0700);
    assert!(!machine.chip.has_interrupt(0));
    machine.forget_signals();
    machine.write(0, 0x350, 0x700);
    assert!(machine.signalled(0) && machine.chip.has_interrupt(0));
    machine.write(0, 0x350, 0x1_0700);
    machine.wrmsr(0, super::APIC_BASE, 0xFEE0_0000).unwrap();
    assert_eq!(
        machine.chip.take_interrupt(0),
        Some(0x24),
        "straight to the CPU"
    );
}

#[test]
fn lint0_can_be_an_nmi_or_a_fixed_interrupt() {
    let machine = machine();
    machine.write(0, 0x350, 0x400);
    machine.raise(4);
    assert!(machine.signalled(0) && machine.chip.take_nmi(0));
    assert!(!machine.chip.has_interrupt(0));
    machine.outb(0x20, 0x0C);
    assert_eq!(machine.inb(0x20), 0x84);
    machine.outb(0x20, EOI);
    machine.write(0, 0x350, 0x077);
    machine.raise(5);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x77));
}

#[test]
fn a_request_that_goes_away_is_spurious() {
    let machine = machine();
    machine.outb(0x4D0, 0x20);
    machine.outb(0x4D1, 0x04);
    // Acknowledged by a poll, as a CPU would that had already started its cycle.
    machine.chip.set_line(5, true);
    machine.chip.set_line(5, false);
    assert!(!machine.chip.has_interrupt(0));
    let mut pair = super::super::pic::PicPair::new();
    for (port, value) in [
        (0x20, 0x13),
        (0x21, 0x20),
        (0x21, 1),
        (0xA0, 0x13),
        (0xA1, 0x28),
    ] {
        pair.write(port, value);
    }
    pair.write(0xA1, 1);
    assert_eq!(pair.acknowledge(), 0x27);
    pair.set_line(10, true);
    pair.write(0xA0, 0x0C);
    assert_eq!(pair.read(0xA0), 0x82);
    assert!(!pair.output(), "the slave has nothing more");
    assert_eq!(pair.acknowledge(), 0x27);
    pair.write(0x20, 0x0B);
    assert_eq!(pair.read(0x20), 0, "a spurious interrupt is not in service");
}

#[test]
fn level_inputs_follow_their_line() {
    let machine = machine();
    machine.outb(0x4D0, 0xFF);
    machine.outb(0x4D1, 0xFF);
    assert_eq!((machine.inb(0x4D0), machine.inb(0x4D1)), (0xF8, 0xDE));
    assert_eq!(machine.chip.pio_read(0x4D0, 2), 0xDEF8);
    machine.chip.set_line(11, true);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x2B));
    machine.outb(0xA0, EOI);
    machine.outb(0x20, EOI);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x2B), "still asserted");
    machine.chip.set_line(11, false);
    machine.outb(0xA0, EOI);
    machine.outb(0x20, EOI);
    assert!(!machine.chip.has_interrupt(0));
}

#[test]
fn rotation_makes_the_served_input_last() {
    let machine = machine();
    machine.raise(3);
    machine.raise(4);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x23));
    machine.outb(0x20, 0xA0);
    machine.raise(3);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x24));
    machine.outb(0x20, 0xE4);
    machine.raise(5);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x25));
    machine.outb(0x20, SPECIFIC_EOI | 5);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x23));
    machine.outb(0x20, EOI);
    machine.outb(0x20, 0xC0 | 6);
    machine.raise(6);
    machine.raise(7);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x27));
}

#[test]
fn automatic_eoi_leaves_nothing_in_service() {
    let machine = machine_with(0x03);
    machine.outb(0x20, 0x80);
    machine.raise(3);
    machine.raise(4);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x23));
    machine.raise(3);
    assert_eq!(
        machine.chip.take_interrupt(0),
        Some(0x24),
        "rotates by itself"
    );
    assert_eq!(machine.chip.take_interrupt(0), Some(0x23));
    machine.outb(0x20, 0x0B);
    assert_eq!(machine.inb(0x20), 0);
}

#[test]
fn special_mask_lets_lower_ones_through() {
    let machine = machine();
    machine.raise(1);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x21));
    machine.raise(4);
    assert!(!machine.chip.has_interrupt(0));
    machine.outb(0x21, 0x02);
    machine.outb(0x20, 0x68);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x24));
    machine.outb(0x20, EOI);
    machine.outb(0x20, 0x0B);
    assert_eq!(
        machine.inb(0x20),
        0x02,
        "a plain EOI passes the masked one by"
    );
    machine.outb(0x20, 0x48);
    machine.raise(4);
    assert!(!machine.chip.has_interrupt(0));
}

#[test]
fn special_fully_nested_mode_nests_within_the_slave() {
    for (icw4, nested) in [(0x01, false), (0x11, true)] {
        let machine = machine_with(icw4);
        machine.raise(12);
        assert_eq!(machine.chip.take_interrupt(0), Some(0x2C));
        machine.raise(3);
        assert!(!machine.chip.has_interrupt(0), "IRQ 3 is below the cascade");
        machine.raise(9);
        assert_eq!(machine.chip.take_interrupt(0), nested.then_some(0x29));
    }
}

#[test]
fn poll_acknowledges_and_reads_choose_their_register() {
    let machine = machine();
    machine.outb(0x20, 0x0C);
    assert_eq!(machine.inb(0x20), 0);
    machine.raise(6);
    machine.outb(0x20, 0x0C);
    assert_eq!(machine.inb(0x20), 0x86);
    assert_eq!(machine.inb(0x20), 0);
    machine.outb(0x20, 0x0B);
    assert_eq!(machine.inb(0x20), 0x40);
    machine.outb(0x20, 0x0A);
    machine.raise(7);
    assert_eq!(machine.inb(0x20), 0x80);
}

#[test]
fn nothing_is_delivered_in_the_middle_of_initialisation() {
    let machine = machine();
    machine.outb(0x20, 0x11);
    machine.raise(4);
    assert!(!machine.chip.has_interrupt(0));
    machine.outb(0x21, 0x33);
    machine.outb(0x21, 0x04);
    machine.outb(0x21, 0x01);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x34));
    machine.outb(0x20, 0x12);
    machine.outb(0x21, 0x40);
    machine.raise(4);
    assert_eq!(
        machine.chip.take_interrupt(0),
        Some(0x44),
        "single and without ICW4"
    );
}

#[test]
fn changing_the_trigger_mode_looks_at_the_line_again() {
    let machine = machine();
    machine.chip.set_line(5, true);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x25));
    machine.outb(0x20, EOI);
    assert!(!machine.chip.has_interrupt(0));
    machine.outb(0x4D0, 0x20);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x25));
    machine.outb(0x20, EOI);
    machine.outb(0x4D0, 0x00);
    assert!(
        !machine.chip.has_interrupt(0),
        "an edge input needs a new edge"
    );
}
