// The 8259 pair, the 8254 and the I/O APIC, with the 8254 and the UART as sources.
// Intel 8259A, 8254 and 82093AA data sheets; SDM vol. 3A section 10.5.1 (LVT LINT0).
#include "apic.h"
#include "wait.h"

#define MASTER 0x20
#define SLAVE 0xa0
#define PIC_BASE 0x70
#define IOAPIC_VECTOR 0x81
#define UART 0x3f8
#define LVT_EXTINT 0x700

static u32 ioapic_read(u32 index)
{
    *(volatile u32 *)0xfec00000 = index;
    return *(volatile u32 *)0xfec00010;
}

static void ioapic_write(u32 index, u32 value)
{
    *(volatile u32 *)0xfec00000 = index;
    *(volatile u32 *)0xfec00010 = value;
}

static void route(u32 pin, u32 low)
{
    ioapic_write(0x11 + 2 * pin, 0);
    ioapic_write(0x10 + 2 * pin, low);
}

static void pic_set_up(u8 mask)
{
    outb(MASTER, 0x11);
    outb(MASTER + 1, PIC_BASE);
    outb(MASTER + 1, 4);
    outb(MASTER + 1, 1);
    outb(SLAVE, 0x11);
    outb(SLAVE + 1, PIC_BASE + 8);
    outb(SLAVE + 1, 2);
    outb(SLAVE + 1, 1);
    outb(MASTER + 1, mask);
    outb(SLAVE + 1, 0xff);
}

static void pit_program(u8 mode, u16 count)
{
    outb(0x43, 0x30 | mode << 1);
    outb(0x40, (u8)count);
    outb(0x40, (u8)(count >> 8));
}

static u16 pit_count(void)
{
    outb(0x43, 0);
    u16 low = inb(0x40);
    return low | (u16)(inb(0x40) << 8);
}

static u8 pic_read(u16 port, u8 what)
{
    outb(port, what); // OCW3: 0x0a = IRR, 0x0b = ISR
    return inb(port);
}

static void pit(void)
{
    pit_program(2, 0xffff);
    u16 first = pit_count(), second = first;
    for (u32 spin = 0; spin < 10000000 && second == first; spin++) {
        second = pit_count();
    }
    check("8254: mode 2 counts down", second < first, 1);
    outb(0x43, 0xe2); // read-back: latch the status of counter 0
    check("8254: read-back status has mode 2, access 3", inb(0x40) & 0x3e, 0x34);
    outb(0x61, (inb(0x61) & 0xfc) | 1); // gate 2 on, speaker off
    outb(0x43, 0xb0);                   // counter 2, mode 0
    outb(0x42, 0);
    outb(0x42, 2);
    u32 low_first = !(inb(0x61) & 0x20), spin = 0;
    while (!(inb(0x61) & 0x20) && spin < 10000000) {
        spin++;
    }
    check("8254: counter 2 output starts low in mode 0", low_first, 1);
    check("8254: and goes high at terminal count", spin < 10000000, 1);
}

static void pic(void)
{
    pic_set_up(0xff);
    check("8259: mask reads back", inb(MASTER + 1) << 8 | inb(SLAVE + 1), 0xffff);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    pit_program(0, 2000);
    for (u32 spin = 0; spin < 1000000 && !(pic_read(MASTER, 0x0a) & 1); spin++) {
        pause();
    }
    check("8259: masked request shows in IRR", pic_read(MASTER, 0x0a) & 1, 1);
    check("8259: and is not delivered", wait_vector(SHORT_WAIT), V_END);
    outb(MASTER + 1, 0xfe);
    check("8259: unmasked, it arrives", wait_vector(LONG_WAIT), PIC_BASE);
    check("8259: in service", pic_read(MASTER, 0x0b), 1);
    pit_program(0, 2000);
    pit_program(0, 2000);
    check("8259: no second one before EOI", wait_vector(SHORT_WAIT), V_END);
    outb(MASTER, 0x20);
    check("8259: EOI clears ISR", pic_read(MASTER, 0x0b) & 1, 0);
    check("8259: then it comes", wait_vector(LONG_WAIT), PIC_BASE);
    outb(MASTER, 0x60); // specific EOI of IRQ 0
    check("8259: specific EOI", pic_read(MASTER, 0x0b) & 1, 0);
    pit_program(0, 2000);
    check("8259: ends a HLT", halt_for_vector(), PIC_BASE);
    outb(MASTER, 0x20);
    pit_program(2, 2000);
    u64 arrived = 0;
    for (int i = 0; i < 3; i++) {
        arrived += wait_vector(LONG_WAIT) == PIC_BASE;
        outb(MASTER, 0x20);
    }
    check("8254: mode 2 fires again and again", arrived, 3);
    check("the local APIC sees no ISR for ExtINT", apic_bit(APIC_ISR, PIC_BASE), 0);
    outb(MASTER + 1, 0xff);
    pit_program(0, 0xffff);
    outb(MASTER + 1, 0xef); // IRQ 4: the UART's transmitter-empty interrupt
    outb(UART + 4, 0x08);   // OUT2 connects the interrupt line
    outb(UART + 1, 0x02);
    check("8259: UART on IRQ 4", wait_vector(LONG_WAIT), PIC_BASE + 4);
    check("UART: IIR says transmitter empty", inb(UART + 2) & 0x0f, 2);
    outb(UART + 1, 0);
    outb(MASTER, 0x20);
    outb(MASTER + 1, 0xff);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
}

static void ioapic(void)
{
    check("IOAPIC: 24 pins", ioapic_read(1) >> 16 & 0xff, 23);
    check("IOAPIC: entries start masked", ioapic_read(0x10 + 2 * 10) & 0x10000, 0x10000);
    route(2, IOAPIC_VECTOR | 0x10000);
    check("IOAPIC: an entry reads back", ioapic_read(0x14), IOAPIC_VECTOR | 0x10000);
    route(2, IOAPIC_VECTOR);
    pit_program(0, 2000);
    check("IOAPIC: 8254 on pin 2, edge", wait_vector(LONG_WAIT), IOAPIC_VECTOR);
    check("IOAPIC: edge leaves TMR clear", apic_bit(APIC_TMR, IOAPIC_VECTOR), 0);
    apic_eoi();
    pit_program(0, 2000);
    check("IOAPIC: ends a HLT", halt_for_vector(), IOAPIC_VECTOR);
    apic_eoi();
    route(2, IOAPIC_VECTOR | 0x10000);
    pit_program(0, 200);
    for (volatile int spin = 0; spin < 100000; spin++) {
    }
    check("IOAPIC: masked pin is silent", wait_vector(SHORT_WAIT), V_END);
    route(4, (IOAPIC_VECTOR + 0x10) | 0x8000); // level, active high
    outb(UART + 1, 0x02);
    check("IOAPIC: UART on pin 4, level", wait_vector(LONG_WAIT), IOAPIC_VECTOR + 0x10);
    check("IOAPIC: level sets TMR", apic_bit(APIC_TMR, IOAPIC_VECTOR + 0x10), 1);
    check("IOAPIC: remote IRR", ioapic_read(0x18) >> 14 & 1, 1);
    apic_eoi();
    check("IOAPIC: a line still high comes again", wait_vector(LONG_WAIT), IOAPIC_VECTOR + 0x10);
    outb(UART + 1, 0);
    apic_eoi();
    check("IOAPIC: EOI clears remote IRR", ioapic_read(0x18) >> 14 & 1, 0);
    check("IOAPIC: line low, silence", wait_vector(SHORT_WAIT), V_END);
    route(4, 0x10000);
}

void main(void)
{
    apic_enable();
    pit();
    pic();
    ioapic();
}
