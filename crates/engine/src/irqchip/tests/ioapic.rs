use super::Machine;

impl Machine {
    fn ioapic_read(&self, register: u8) -> u32 {
        self.chip.ioapic_write(0, 4, u64::from(register));
        self.chip.ioapic_read(0x10, 4) as u32
    }

    fn ioapic_write(&self, register: u8, value: u32) {
        self.chip.ioapic_write(0, 4, u64::from(register));
        self.chip.ioapic_write(0x10, 4, u64::from(value));
    }

    fn redirect(&self, pin: u8, destination: u32, low: u32) {
        self.ioapic_write(0x11 + 2 * pin, destination << 24);
        self.ioapic_write(0x10 + 2 * pin, low);
    }

    fn pulse(&self, gsi: u32) {
        self.chip.set_line(gsi, true);
        self.chip.set_line(gsi, false);
    }
}

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const REMOTE_IRR: u32 = 1 << 14;

#[test]
fn registers_read_as_the_datasheet_says() {
    let machine = Machine::new(1);
    assert_eq!(machine.ioapic_read(1), 0x0017_0020);
    machine.ioapic_write(0, u32::MAX);
    assert_eq!(
        (machine.ioapic_read(0), machine.ioapic_read(2)),
        (0x0F00_0000, 0x0F00_0000)
    );
    machine.ioapic_write(1, 0);
    assert_eq!(machine.ioapic_read(1), 0x0017_0020);
    assert_eq!(machine.ioapic_read(0x10), MASKED);
    machine.ioapic_write(0x3F, u32::MAX);
    machine.ioapic_write(0x3E, u32::MAX);
    assert_eq!(
        (machine.ioapic_read(0x3E), machine.ioapic_read(0x3F)),
        (0x1_AFFF, 0xFF00_0000)
    );
    assert_eq!(
        (machine.ioapic_read(0x40), machine.ioapic_read(0xFF)),
        (0, 0)
    );
    assert_eq!(machine.chip.ioapic_read(0x0, 1), 0xFF);
}

#[test]
fn an_edge_interrupts_once_and_is_lost_while_masked() {
    let machine = Machine::new(2);
    machine.redirect(4, 1, 0x44);
    machine.chip.set_line(4, true);
    machine.chip.set_line(4, true);
    assert!(machine.signalled(1));
    assert_eq!((machine.serve(0), machine.serve(1)), (vec![], vec![0x44]));
    machine.chip.set_line(4, true);
    machine.chip.set_line(4, false);
    assert_eq!(machine.serve(1), []);
    machine.redirect(4, 1, MASKED | 0x44);
    machine.pulse(4);
    machine.redirect(4, 1, 0x44);
    assert_eq!(machine.serve(1), []);
    machine.pulse(4);
    assert_eq!(machine.serve(1), [0x44]);
}

#[test]
fn a_level_interrupts_until_it_is_released() {
    let machine = Machine::new(1);
    machine.redirect(17, 0, LEVEL | 0x51);
    machine.chip.set_line(17, true);
    assert_eq!(machine.ioapic_read(0x32), LEVEL | REMOTE_IRR | 0x51);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x51));
    assert_eq!(machine.read(0, 0x180 + 0x20), 1 << 17, "the TMR says level");
    machine.chip.set_line(17, true);
    assert!(!machine.chip.has_interrupt(0));
    machine.forget_signals();
    machine.eoi(0);
    assert!(machine.signalled(0));
    assert_eq!(machine.chip.take_interrupt(0), Some(0x51));
    machine.chip.set_line(17, false);
    machine.eoi(0);
    assert!(!machine.chip.has_interrupt(0));
    assert_eq!(machine.ioapic_read(0x32), LEVEL | 0x51);
}

#[test]
fn unmasking_an_asserted_level_interrupts() {
    let machine = Machine::new(1);
    machine.redirect(17, 0, MASKED | LEVEL | 0x51);
    machine.chip.set_line(17, true);
    assert!(!machine.chip.has_interrupt(0));
    machine.redirect(17, 0, LEVEL | 0x51);
    assert!(machine.chip.has_interrupt(0));
}

#[test]
fn the_eoi_register_and_edge_mode_end_a_level_interrupt() {
    let machine = Machine::new(1);
    machine.write(0, 0xF0, 0x11FF);
    machine.redirect(17, 0, LEVEL | 0x51);
    machine.chip.set_line(17, true);
    machine.chip.set_line(17, false);
    assert_eq!(machine.serve(0), [0x51]);
    assert_eq!(
        machine.ioapic_read(0x32),
        LEVEL | REMOTE_IRR | 0x51,
        "broadcast suppressed"
    );
    machine.chip.ioapic_write(0x40, 4, 0x50);
    assert_eq!(machine.ioapic_read(0x32), LEVEL | REMOTE_IRR | 0x51);
    machine.chip.ioapic_write(0x40, 4, 0x51);
    assert_eq!(machine.ioapic_read(0x32), LEVEL | 0x51);
    machine.pulse(17);
    machine.redirect(17, 0, 0x51);
    assert_eq!(machine.ioapic_read(0x32), 0x51);
}

#[test]
fn a_level_that_nobody_took_waits_for_an_apic() {
    let machine = Machine::new(1);
    machine.write(0, 0xF0, 0xFF);
    machine.redirect(17, 0, LEVEL | 0x51);
    machine.chip.set_line(17, true);
    assert_eq!(machine.ioapic_read(0x32), LEVEL | 0x51);
    machine.write(0, 0xF0, 0x1FF);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x51));
}

#[test]
fn destinations_can_be_logical_or_everybody() {
    let machine = Machine::new(2);
    machine.write(0, 0xD0, 1 << 24);
    machine.write(1, 0xD0, 2 << 24);
    machine.redirect(5, 2, 0x855);
    machine.pulse(5);
    assert_eq!((machine.serve(0), machine.serve(1)), (vec![], vec![0x55]));
    machine.redirect(5, 0xFF, 0x55);
    machine.pulse(5);
    assert_eq!(
        (machine.serve(0), machine.serve(1)),
        (vec![0x55], vec![0x55])
    );
    machine.redirect(5, 1, 0x400);
    machine.pulse(5);
    assert!(machine.chip.take_nmi(1) && !machine.chip.take_nmi(0));
    machine.redirect(5, 1, LEVEL | 0x400);
    machine.chip.set_line(5, true);
    assert!(machine.chip.take_nmi(1));
    assert_eq!(
        machine.ioapic_read(0x1A) & REMOTE_IRR,
        0,
        "no EOI would ever end it"
    );
}

#[test]
fn lines_of_the_board_and_beyond_are_not_for_devices() {
    let machine = Machine::new(1);
    for pin in 0..24 {
        machine.redirect(pin, 0, 0x60);
    }
    for gsi in [0, 2, 24, 1000, u32::MAX] {
        machine.pulse(gsi);
    }
    assert!(!machine.chip.has_interrupt(0));
}
