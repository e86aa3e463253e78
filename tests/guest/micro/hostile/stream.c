// Runs a module of random bytes as code, chunk by chunk, at ring 0. Whatever a chunk raises, traps
// into or is interrupted by starts the next chunk with new registers; a chunk may of course also
// destroy the machine. The module's first word seeds the registers.
#include "apic.h"
#include "micro.h"

#define MODULES (*(u32 *)(0x7000 + 24)) // boot/memory_map.py, INFO_PAGE; Multiboot 0.6.96 section 3.3
#define CHUNK 64
#define PROGRESS 4096 // chunks between two signs of life

struct stream {
    u64 stack, at, end, state;
} stream __attribute__((used));

// Where registers point: RAM, the module, every kind of device memory, nothing, no address at all.
static const u64 pool[] = {
    0, 1, ~0ull, 0x80, 0x200000, 0x300ff8, 0x3ffffc, 0x2fff, 0xb0000000, 0xb000003c,
    0xb0ffffff, 0xc0000000, 0xd0000ffe, 0xfec00000, 0xfec00010, 0xfee000b0, 0xfee00300,
    0xfee00ffc, 0xfffffff0, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000,
    0xffff800000000000, 0xc0000080, 0x1b, 0x6e0, 0x3f8, 0x64, 0x604, 0xcfc, 0x510,
};

u64 next_register(void)
{
    stream.state ^= stream.state << 13;
    stream.state ^= stream.state >> 7;
    stream.state ^= stream.state << 17;
    u64 pick = stream.state;
    return pick & 7 ? pool[(pick >> 8) % ARRAY_LENGTH(pool)] : pick;
}

// An NMI every 10 ms, from the 8254 through the I/O APIC, for chunks that loop with interrupts off.
static void watchdog(void)
{
    *(volatile u32 *)0xfec00000 = 0x14;
    *(volatile u32 *)0xfec00010 = 0x400;
    *(volatile u32 *)0xfec00000 = 0x15;
    *(volatile u32 *)0xfec00010 = 0;
    outb(0x43, 0x34);
    outb(0x40, 11932 & 0xff);
    outb(0x40, 11932 >> 8);
}

static u64 fresh_cr0, fresh_cr3, fresh_cr4;

// The next chunk: what it needs of the machine is put back, and everything else is as it is found.
static __attribute__((noreturn, used)) void next_chunk(void)
{
    WRITE_CR(0, fresh_cr0);
    WRITE_CR(3, fresh_cr3);
    WRITE_CR(4, fresh_cr4);
    WRITE_DR(7, 0);
    apic_write(APIC_SVR, 0x1ff);
    apic_write(APIC_TPR, 0);
    apic_eoi();
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, 0x61);
    apic_write(APIC_TIMER_INITIAL, 100000); // ends a chunk that loops with interrupts on
    watchdog();
    stream.at += CHUNK;
    if (stream.at >= stream.end) {
        outb(PORT_DEBUG_EXIT, 0);
    }
    if (stream.at % (CHUNK * PROGRESS) == 0) {
        outb(PORT_COM1, '.');
    }
    u64 words[20];
    for (unsigned i = 0; i < 15; i++) {
        words[i] = next_register();
    }
    words[15] = stream.at;
    words[16] = next_register() & 1 ? KERNEL_CS32 : KERNEL_CS;
    words[17] = 0x202 | (next_register() & 0xcd5);
    words[18] = 0x2ff000; // a stack of RAM
    words[19] = KERNEL_DS;
    asm volatile("mov %0, %%rsp\n"
                 "pop %%rax; pop %%rcx; pop %%rdx; pop %%rbx; pop %%rbp; pop %%rsi; pop %%rdi\n"
                 "pop %%r8; pop %%r9; pop %%r10; pop %%r11; pop %%r12; pop %%r13; pop %%r14; pop %%r15\n"
                 "iretq"
                 :
                 : "r"(words)
                 : "memory");
    __builtin_unreachable();
}

void main(void)
{
    u32 *module = (u32 *)(u64)MODULES;
    u64 handler;
    asm volatile("jmp 2f\n"
                 "1: mov %1, %%rsp\n"
                 "cld\n"
                 "call next_chunk\n"
                 "2: lea 1b(%%rip), %0"
                 : "=r"(handler)
                 : "m"(stream.stack));
    for (unsigned v = 0; v < 256; v++) {
        set_gate(v, handler, KERNEL_CS, 0x8e, 1);
    }
    for (unsigned i = 32; i < 2048; i++) {
        pd[i] |= P_NX; // a jump out of 64 MiB is a fault, not the end
    }
    WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
    asm volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    fresh_cr0 = READ_CR(0);
    fresh_cr3 = READ_CR(3);
    fresh_cr4 = READ_CR(4);
    stream = (struct stream){.stack = 0x3f0000, .at = module[0], .end = module[1]};
    stream.state = *(u64 *)stream.at | 1;
    next_chunk();
}
