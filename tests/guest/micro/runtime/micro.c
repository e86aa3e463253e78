// Frames, descriptor tables and CPU bring-up of the 64-bit micro-guests (see micro.h).
#include "micro.h"

struct gate idt[256];

void *memset(void *at, int value, unsigned long length)
{
    u8 *byte = at;
    while (length--) {
        *byte++ = (u8)value;
    }
    return at;
}

void *memcpy(void *to, const void *from, unsigned long length)
{
    u8 *out = to;
    const u8 *in = from;
    while (length--) {
        *out++ = *in++;
    }
    return to;
}

struct cpu *cpu_at(u64 index)
{
    return (struct cpu *)(cpu_blocks + index * CPU_BLOCK);
}

struct cpu *this_cpu(void)
{
    u64 rsp;
    asm volatile("mov %%rsp, %0" : "=r"(rsp));
    return (struct cpu *)(rsp & -(u64)CPU_BLOCK);
}

void set_gate(unsigned vector, u64 handler, u16 selector, u8 type, u8 ist)
{
    idt[vector] = (struct gate){
        .offset_low = (u16)handler,
        .selector = selector,
        .ist = ist,
        .type = type,
        .offset_mid = (u16)(handler >> 16),
        .offset_high = (u32)(handler >> 32),
    };
}

void cpu_init(u64 index)
{
    struct cpu *cpu = cpu_at(index);
    u64 block = ADDRESS(cpu), tss = ADDRESS(&cpu->tss);
    cpu->index = index;
    cpu->gdt[KERNEL_CS / 8] = 0x00af9b000000ffff;
    cpu->gdt[KERNEL_DS / 8] = 0x00cf93000000ffff;
    cpu->gdt[USER_CS32 / 8] = 0x00cffb000000ffff;
    cpu->gdt[USER_DS / 8] = 0x00cff3000000ffff;
    cpu->gdt[USER_CS / 8] = 0x00affb000000ffff;
    cpu->gdt[KERNEL_CS32 / 8] = 0x00cf9b000000ffff;
    cpu->gdt[TSS_SEL / 8] = 0x0000890000000067 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
    cpu->gdt[TSS_SEL / 8 + 1] = tss >> 32;
    cpu->tss.rsp[0] = block + CPU_RSP0_TOP;
    cpu->tss.ist[0] = block + CPU_IST1_TOP;
    cpu->tss.ist[1] = block + CPU_IST2_TOP;
    cpu->tss.iomap_base = 104;
    if (index == 0) {
        report_start();
        outb(0x21, 0xff); // mask the 8259 pair, whatever firmware left unmasked
        outb(0xa1, 0xff);
        for (unsigned v = 0; v < 256; v++) {
            int open = v == V_BP || v == V_OF || v == END_VECTOR; // ring 3 may INT these
            set_gate(v, ADDRESS(stubs) + 16 * v, KERNEL_CS, open ? 0xee : 0x8e, 1);
        }
    }
    struct table_register gdtr = {sizeof(cpu->gdt) - 1, ADDRESS(cpu->gdt)};
    struct table_register idtr = {sizeof(idt) - 1, ADDRESS(idt)};
    asm volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
    asm volatile("ltr %w0; mov %w1, %%ss; mov %w2, %%ds; mov %w2, %%es; mov %w2, %%fs; "
                 "mov %w2, %%gs; lldt %w3"
                 :
                 : "r"(TSS_SEL), "r"(KERNEL_DS), "r"(USER_DS), "r"(0));
}

struct frame kernel(u64 code)
{
    return (struct frame){
        .rip = code,
        .cs = KERNEL_CS,
        .rflags = 2,
        .rsp = ADDRESS(this_cpu()) + CPU_SNIPPET_TOP,
        .ss = KERNEL_DS,
    };
}

struct frame user(u64 code)
{
    return (struct frame){
        .rip = code,
        .cs = USER_CS,
        .rflags = 2,
        .rsp = 0x600000 - 0x1000 * (this_cpu()->index + 1),
        .ss = USER_DS,
    };
}

struct frame user32(u64 code)
{
    struct frame f = user(code);
    f.cs = USER_CS32;
    return f;
}

u64 trap_of(const struct frame *f)
{
    return TRAP(f->vector, f->error);
}

u64 kernel_trap(u64 code)
{
    struct frame f = kernel(code);
    run(&f);
    return trap_of(&f);
}

u64 user_trap(u64 code)
{
    struct frame f = user(code);
    run(&f);
    return trap_of(&f);
}

void join(char *buffer, const char *first, const char *second)
{
    while (*first) {
        *buffer++ = *first++;
    }
    while ((*buffer++ = *second++)) {
    }
}

// A trap that no run() waits for is a bug of the guest or of the engine.
void panic(const struct frame *f)
{
    print("panic vector=");
    print_hex(f->vector);
    print(" error=");
    print_hex(f->error);
    print(" rip=");
    print_hex(f->rip);
    print(" rsp=");
    print_hex(f->rsp);
    print(" cr2=");
    print_hex(READ_CR(2));
    print("\n");
    give_up();
}
