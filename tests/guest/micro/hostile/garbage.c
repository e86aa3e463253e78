// Garbage to every port and to every register page of the board, and every one of them read. Ports
// that end or reset the machine are left out: the bus fuzzer has those. The kernel command line
// ("kernel SEED") seeds the values.
#include "apic.h"
#include "micro.h"

#define SEED_DIGITS ((const char *)0x20007) // boot/memory_map.py, CMDLINE, behind "kernel "

static u64 state;

static u64 chance(void) // xorshift64
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static u64 garbage(void)
{
    static const u64 edges[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, ~0ull};
    u64 pick = chance();
    return pick & 1 ? edges[(pick >> 8) % ARRAY_LENGTH(edges)] : chance();
}

// COM1 carries the report; 0xF4 to 0xF7 and 0x604 end the machine, 0x64 and 0xCF9 reset it. An access
// of four bytes from three ports below reaches them too.
static int ends_the_machine(u32 port, u32 size)
{
    static const u16 kept[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0xf4,
                                 0xf5,  0xf6,  0xf7,  0x604, 0x605, 0x64, 0xcf9};
    for (unsigned i = 0; i < ARRAY_LENGTH(kept); i++) {
        if (port <= kept[i] && kept[i] < port + size) {
            return 1;
        }
    }
    return 0;
}

static void ports(void)
{
    for (u32 port = 0; port < 0x10000; port++) {
        for (u32 size = 1; size <= 4; size *= 2) {
            if (ends_the_machine(port, size)) {
                continue;
            }
            u32 value = (u32)garbage();
            if (size == 1) {
                asm volatile("outb %b0, %w1; inb %w1, %b0" : "+a"(value) : "d"(port));
            } else if (size == 2) {
                asm volatile("outw %w0, %w1; inw %w1, %w0" : "+a"(value) : "d"(port));
            } else {
                asm volatile("outl %0, %w1; inl %w1, %0" : "+a"(value) : "d"(port));
            }
        }
    }
}

static void touch(u64 address, u32 size)
{
    u64 value = garbage();
    switch (size) {
    case 1:
        *(volatile u8 *)address = (u8)value;
        (void)*(volatile u8 *)address;
        break;
    case 2:
        *(volatile u16 *)address = (u16)value;
        (void)*(volatile u16 *)address;
        break;
    case 4:
        *(volatile u32 *)address = (u32)value;
        (void)*(volatile u32 *)address;
        break;
    default:
        *(volatile u64 *)address = value;
        (void)*(volatile u64 *)address;
    }
}

static void memory(u64 base, u64 length, u64 step)
{
    for (u64 at = base; at < base + length; at += step) {
        for (u32 size = 1; size <= 8; size *= 2) {
            touch(at, size);
        }
    }
}

void main(void)
{
    for (const char *digit = SEED_DIGITS; *digit; digit++) {
        state = state * 10 + (u64)(*digit - '0');
    }
    state = state * 0x9e3779b97f4a7c15 + 1;
    ports();
    outb(0x43, 0x30); // the 8254 stands still, so that no entry of garbage becomes an INIT
    check("every port", 0, 0);
    memory(0xb0000000, 0x200, 1);
    check("the host bridge", 0, 0);
    memory(0xb0000000 + chance() % 0x1000, 0x10000000 - 0x2000, 0x34567);
    check("all of the configuration space", 0, 0);
    memory(0xc0000000 + chance() % 0x1000, 0x3ec00000 - 0x2000, 0x12345);
    check("the PCI hole", 0, 0);
    for (u32 round = 0; round < 256; round++) { // the index register, then the window behind it
        *(volatile u32 *)0xfec00000 = (u32)garbage();
        touch(0xfec00010, 4);
        *(volatile u32 *)0xfec00000 = round;
        touch(0xfec00010, 4);
    }
    memory(0xfec00000, 0x1000, 1);
    check("the I/O APIC", 0, 0);
    // INIT to oneself would end the guest: ICR writes go, physically, to a CPU that does not exist.
    for (u64 at = 0xfee00000; at < 0xfee01000; at++) {
        for (u32 size = 1; size <= 8; size *= 2) {
            u64 low = at & 0xff0, high = (at + size - 1) & 0xff0;
            if (low != 0x300 && high != 0x300) {
                touch(at, size);
            }
        }
    }
    for (u32 mode = 0; mode < 0x800; mode += 0x100) {
        apic_write(APIC_ICR_HIGH, 0xee000000);
        apic_write(APIC_ICR_LOW, ((u32)garbage() & 0xfff330ff) | mode);
    }
    check("the local APIC", 0, 0);
    memory(0xfee01000, 0x1000, 7);
    memory(0xfffff000, 0xff0, 7);
    check("what lies behind it", 0, 0);
}
