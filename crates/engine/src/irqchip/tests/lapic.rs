use super::Machine;

#[test]
fn firmware_leaves_the_virtual_wire_on_the_bootstrap_processor_only() {
    let machine = Machine::as_firmware_leaves_it(2);
    assert_eq!(machine.chip.apic_base(0), 0xFEE0_0900);
    assert_eq!(machine.chip.apic_base(1), 0xFEE0_0800);
    assert_eq!(
        (
            machine.read(0, 0xF0),
            machine.read(0, 0x350),
            machine.read(0, 0x360)
        ),
        (0x1FF, 0x700, 0x400)
    );
    assert_eq!(
        (machine.read(1, 0xF0), machine.read(1, 0x350)),
        (0xFF, 0x1_0000)
    );
    assert_eq!(
        (machine.read(1, 0x20), machine.read(1, 0x30)),
        (1 << 24, 0x0105_0014)
    );
    assert_eq!(machine.read(1, 0xE0), u32::MAX);
}

#[test]
fn interrupts_are_taken_by_priority_and_nest() {
    let machine = Machine::new(1);
    machine.msi(0, 0x41);
    assert!(machine.signalled(0) && machine.chip.has_interrupt(0));
    machine.msi(0, 0x52);
    machine.msi(0, 0x53);
    assert_eq!(machine.chip.take_interrupt(0), Some(0x53));
    assert_eq!(machine.read(0, 0xA0), 0x50);
    assert!(
        !machine.chip.has_interrupt(0),
        "52h is of the same class as 53h"
    );
    machine.forget_signals();
    machine.msi(0, 0x61);
    assert!(machine.signalled(0));
    assert_eq!(machine.chip.take_interrupt(0), Some(0x61));
    assert_eq!(machine.read(0, 0x130), 1 << 1);
    machine.eoi(0);
    assert!(!machine.signalled(0), "53h is still in service");
    machine.eoi(0);
    assert!(
        machine.signalled(0),
        "an EOI announces what it lets through"
    );
    assert_eq!(machine.serve(0), [0x52, 0x41]);
}

#[test]
fn the_task_priority_holds_interrupts_back_until_it_falls() {
    let machine = Machine::new(1);
    machine.chip.set_cr8(0, 5);
    assert_eq!(
        (
            machine.chip.tpr(0),
            machine.chip.cr8(0),
            machine.read(0, 0x80)
        ),
        (0x50, 5, 0x50)
    );
    machine.msi(0, 0x5F);
    assert!(!machine.signalled(0) && !machine.chip.has_interrupt(0));
    assert_eq!(machine.chip.take_interrupt(0), None);
    machine.chip.set_cr8(0, 4);
    assert!(machine.signalled(0));
    machine.write(0, 0x80, 0x60);
    assert_eq!((machine.chip.cr8(0), machine.read(0, 0xA0)), (6, 0x60));
    machine.write(0, 0x80, 0);
    assert_eq!(machine.serve(0), [0x5F]);
}

#[test]
fn software_disabling_masks_the_lvt_and_refuses_interrupts_but_not_nmis() {
    let machine = Machine::new(1);
    machine.write(0, 0x320, 0x40);
    machine.write(0, 0xF0, 0xFF);
    assert_eq!(machine.read(0, 0x320), 0x1_0040);
    machine.write(0, 0x320, 0x40);
    assert_eq!(
        machine.read(0, 0x320),
        0x1_0040,
        "the mask cannot be cleared"
    );
    machine.msi(0, 0x41);
    assert!(!machine.chip.has_interrupt(0));
    machine.chip.send_msi(0xFEE0_0000, 0x400);
    assert!(machine.signalled(0) && machine.chip.has_nmi(0));
    assert!(machine.chip.take_nmi(0) && !machine.chip.take_nmi(0));
    machine.chip.nmi(0);
    assert!(machine.signalled(0) && machine.chip.take_nmi(0));
}

#[test]
fn errors_are_latched_and_interrupt() {
    let machine = Machine::new(1);
    machine.write(0, 0x370, 0xFE);
    machine.msi(0, 0x05);
    assert_eq!(machine.read(0, 0x280), 0, "shown only after a write");
    assert_eq!(machine.serve(0), [0xFE]);
    machine.write(0, 0x280, 0);
    assert_eq!(machine.read(0, 0x280), 0x40);
    machine.write(0, 0x300, 0x0004_0005);
    machine.read(0, 0x40);
    machine.write(0, 0x3F0, 0);
    machine.write(0, 0x280, 0);
    assert_eq!(machine.read(0, 0x280), 0xA0);
    machine.write(0, 0x280, 0);
    assert_eq!(machine.read(0, 0x280), 0);
    machine.serve(0);
    machine.write(0, 0x370, 0x0F);
    machine.msi(0, 0x05);
    assert_eq!(
        machine.serve(0),
        [],
        "an illegal error vector is an error itself, not a loop"
    );
}

#[test]
fn registers_answer_only_aligned_32_bit_writes_and_keep_reserved_bits_clear() {
    let machine = Machine::new(1);
    machine.chip.lapic_mmio_write(0, 0x84, 4, 0xFF);
    machine.chip.lapic_mmio_write(0, 0x80, 1, 0xFF);
    assert_eq!(machine.read(0, 0x80), 0);
    for (offset, kept) in [
        (0x320, 0x0007_00FF),
        (0x330, 0x0001_07FF),
        (0x340, 0x0001_07FF),
        (0x350, 0x0001_A7FF),
        (0x360, 0x0001_A7FF),
        (0x370, 0x0001_00FF),
        (0x3E0, 0xB),
        (0xD0, 0xFF00_0000),
        (0xE0, u32::MAX),
        (0x310, 0xFF00_0000),
        (0x20, 0),
        (0x30, 0x0105_0014),
    ] {
        machine.write(0, offset, u32::MAX);
        assert_eq!(machine.read(0, offset), kept, "register {offset:#x}");
    }
    assert_eq!(machine.chip.lapic_mmio_read(0, 0x32, 2), 0x0105);
    assert_eq!(machine.chip.lapic_mmio_read(0, 0x38, 4), 0);
}

#[test]
fn a_disabled_apic_is_not_there_and_comes_back_reset() {
    let machine = Machine::new(2);
    machine.msi(1, 0x41);
    machine.wrmsr(1, super::APIC_BASE, 0xFEE0_0000).unwrap();
    assert!(!machine.chip.has_interrupt(1));
    assert_eq!(machine.chip.lapic_mmio_read(1, 0x30, 4), 0xFFFF_FFFF);
    machine.forget_signals();
    machine.msi(1, 0x41);
    machine.chip.send_msi(0xFEE0_1000, 0x400);
    assert!(!machine.signalled(1));
    machine.wrmsr(1, super::APIC_BASE, 0xFEE0_0800).unwrap();
    assert_eq!(machine.read(1, 0xF0), 0xFF);
    machine.write(1, 0xF0, 0x1FF);
    assert!(!machine.chip.has_interrupt(1));
}

#[test]
fn init_resets_all_but_the_base() {
    let machine = Machine::new(1);
    machine.write(0, 0x80, 0x33);
    machine.write(0, 0x320, 0x40);
    machine.write(0, 0x380, 1000);
    machine.msi(0, 0x41);
    machine.wrmsr(0, super::APIC_BASE, 0xFED0_0800).unwrap();
    machine.chip.reset_lapic(0);
    assert_eq!(
        machine.chip.apic_base(0),
        0xFED0_0900,
        "the bootstrap bit is read-only"
    );
    assert_eq!((machine.chip.tpr(0), machine.read(0, 0x320)), (0, 0x1_0000));
    assert_eq!(machine.chip.next_deadline(0), u64::MAX);
    assert!(!machine.chip.has_interrupt(0));
}

#[test]
fn the_trigger_mode_register_tells_edges_from_levels() {
    let machine = Machine::new(1);
    machine.chip.send_msi(0xFEE0_0000, 0xC041);
    assert_eq!(machine.read(0, 0x1A0), 1 << 1);
    assert_eq!(machine.serve(0), [0x41]);
    machine.msi(0, 0x41);
    assert_eq!(machine.read(0, 0x1A0), 0);
}
