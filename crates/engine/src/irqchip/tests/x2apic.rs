use super::{APIC_BASE, Gp, Machine, TSC_DEADLINE};

#[test]
fn only_the_legal_mode_changes_are_possible() {
    let machine = Machine::new(1);
    let base = 0xFEE0_0900;
    let (disabled, xapic, x2apic) = (base & !0x800, base, base | 0x400);
    assert_eq!(machine.wrmsr(0, APIC_BASE, disabled | 0x400), Err(Gp));
    assert_eq!(machine.wrmsr(0, APIC_BASE, base | 1), Err(Gp));
    assert_eq!(machine.wrmsr(0, APIC_BASE, base | 1 << 9), Err(Gp));
    assert_eq!(machine.wrmsr(0, APIC_BASE, base | 1 << 52), Err(Gp));
    assert_eq!(machine.wrmsr(0, APIC_BASE, x2apic), Ok(()));
    assert_eq!(machine.rdmsr(0, APIC_BASE), Ok(x2apic));
    assert_eq!(machine.wrmsr(0, APIC_BASE, xapic), Err(Gp));
    assert_eq!(machine.wrmsr(0, APIC_BASE, x2apic), Ok(()));
    assert_eq!(machine.wrmsr(0, APIC_BASE, disabled), Ok(()));
    assert_eq!(machine.wrmsr(0, APIC_BASE, x2apic), Err(Gp));
    assert_eq!(machine.wrmsr(0, APIC_BASE, xapic), Ok(()));
}

#[test]
fn msrs_exist_only_in_x2apic_mode_and_memory_only_in_xapic_mode() {
    let machine = Machine::new(1);
    assert_eq!(machine.rdmsr(0, 0x802), Err(Gp));
    assert_eq!(machine.wrmsr(0, 0x80B, 0), Err(Gp));
    let machine = Machine::x2apic(1);
    assert_eq!(machine.rdmsr(0, 0x802), Ok(0));
    assert_eq!(machine.read(0, 0x30), u32::MAX);
    machine.write(0, 0x80, 0x50);
    assert_eq!(machine.rdmsr(0, 0x808), Ok(0));
}

#[test]
fn every_register_faults_where_the_manual_says_so() {
    let machine = Machine::x2apic(1);
    let mut readable = vec![
        0x02, 0x03, 0x08, 0x0A, 0x0D, 0x0F, 0x28, 0x30, 0x38, 0x39, 0x3E,
    ];
    readable.extend(0x10..=0x27);
    readable.extend(0x32..=0x37);
    let mut writable = vec![0x08, 0x0B, 0x0F, 0x28, 0x30, 0x38, 0x3E, 0x3F];
    writable.extend(0x32..=0x37);
    for register in 0..=0xFF {
        let msr = 0x800 + register;
        assert_eq!(
            machine.rdmsr(0, msr).is_ok(),
            readable.contains(&register),
            "{msr:#x}"
        );
        assert_eq!(
            machine.wrmsr(0, msr, 0).is_ok(),
            writable.contains(&register),
            "{msr:#x}"
        );
        if register != 0x30 {
            assert_eq!(machine.wrmsr(0, msr, 1 << 32), Err(Gp), "{msr:#x}");
        }
    }
    for (register, reserved) in [
        (0x08, 1 << 8),
        (0x0B, 1),
        (0x0F, 1 << 10),
        (0x28, 1),
        (0x30, 1 << 13),
        (0x30, 1 << 20),
        (0x32, 1 << 19),
        (0x33, 1 << 13),
        (0x35, 1 << 11),
        (0x37, 1 << 8),
        (0x3E, 1 << 2),
        (0x3F, 1 << 8),
    ] {
        assert_eq!(
            machine.wrmsr(0, 0x800 + register, reserved),
            Err(Gp),
            "{register:#x}"
        );
    }
    assert_eq!(machine.rdmsr(0, 0x900), Err(Gp));
    assert_eq!(machine.wrmsr(0, 0x7FF, 0), Err(Gp));
}

#[test]
fn the_logical_id_follows_from_the_id() {
    let machine = Machine::x2apic(18);
    assert_eq!(machine.rdmsr(3, 0x80D), Ok(0x8));
    assert_eq!(machine.rdmsr(17, 0x80D), Ok(0x1_0002));
    machine.wrmsr(0, 0x830, 0x0001_0003 << 32 | 0x850).unwrap();
    assert_eq!(machine.serve(16), [0x50]);
    assert_eq!(machine.serve(17), [0x50]);
    assert_eq!(machine.serve(0), []);
    machine.msi(17, 0x51);
    assert_eq!(machine.serve(17), [0x51]);
}

#[test]
fn an_ipi_is_one_write_and_a_self_ipi_is_shorter() {
    let machine = Machine::x2apic(3);
    machine.wrmsr(0, 0x830, 2 << 32 | 0x4060).unwrap();
    assert_eq!(machine.rdmsr(0, 0x830), Ok(2 << 32 | 0x4060));
    assert_eq!(machine.serve(2), [0x60]);
    machine.wrmsr(0, 0x830, 0xFF << 32 | 0x4061).unwrap();
    assert_eq!(machine.serve(2), [], "an id of 255 is no broadcast here");
    machine.wrmsr(0, 0x830, 0xFFFF_FFFF << 32 | 0x4062).unwrap();
    assert_eq!(
        (0..3).map(|vcpu| machine.serve(vcpu)).collect::<Vec<_>>(),
        [[0x62]; 3]
    );
    machine.wrmsr(1, 0x83F, 0x77).unwrap();
    assert_eq!(machine.serve(1), [0x77]);
    machine.wrmsr(1, 0x83F, 0x07).unwrap();
    machine.wrmsr(1, 0x828, 0).unwrap();
    assert_eq!(machine.rdmsr(1, 0x828), Ok(0x20));
}

#[test]
fn init_keeps_the_mode() {
    let machine = Machine::x2apic(2);
    machine.wrmsr(1, 0x808, 0x20).unwrap();
    machine.chip.reset_lapic(1);
    assert_eq!(machine.rdmsr(1, 0x808), Ok(0));
    assert_eq!(machine.rdmsr(1, 0x80D), Ok(2));
}

#[test]
fn tsc_deadline_is_an_msr_in_every_mode() {
    let machine = Machine::new(1);
    assert_eq!(machine.wrmsr(0, TSC_DEADLINE, 5), Ok(()));
    assert_eq!(machine.rdmsr(0, TSC_DEADLINE), Ok(0));
    assert_eq!(machine.rdmsr(0, 0x10), Err(Gp));
}
