// Frames and descriptor tables of the 32-bit micro-guests (see micro32.h).
#include "micro32.h"

u64 gdt[32], idt[256];
struct tss tss;
struct table_register idt_pointer = {sizeof(idt) - 1, 0};
char kernel_stack[STACK_SIZE] __attribute__((aligned(4096)));
char user_stack[STACK_SIZE] __attribute__((aligned(4096)));
static char trap_stack[STACK_SIZE] __attribute__((aligned(16)));
extern char real_begin[], real_end[];

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

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
    u32 low = (base & 0xffff) << 16 | (limit & 0xffff);
    u32 high = (base & 0xff000000) | (u32)flags << 20 | (limit & 0xf0000) | (u32)access << 8 |
               (base >> 16 & 0xff);
    return (u64)high << 32 | low;
}

void set_gate(unsigned vector, u32 handler, u16 selector, u8 type)
{
    idt[vector] = (u64)((handler & 0xffff0000) | (u32)type << 8) << 32 |
                  (handler & 0xffff) | (u32)selector << 16;
}

void set_up(void)
{
    report_start();
    gdt[KERNEL_CS / 8] = descriptor(0, 0xfffff, 0x9b, 0xc);
    gdt[KERNEL_DS / 8] = descriptor(0, 0xfffff, 0x93, 0xc);
    gdt[USER_CS / 8] = descriptor(0, 0xfffff, 0xfb, 0xc);
    gdt[USER_DS / 8] = descriptor(0, 0xfffff, 0xf3, 0xc);
    gdt[TSS_SEL / 8] = descriptor(ADDRESS(&tss), sizeof(tss) - 1, 0x89, 0);
    gdt[CODE16 / 8] = descriptor(0, 0xffff, 0x9b, 0);
    gdt[DATA16 / 8] = descriptor(0, 0xffff, 0x93, 0);
    tss.ss0 = KERNEL_DS;
    tss.esp0 = ADDRESS(trap_stack) + STACK_SIZE;
    tss.iomap_base = sizeof(tss);
    for (unsigned v = 0; v < 256; v++) {
        int open = v == V_BP || v == V_OF || v == END_VECTOR; // ring 3 may INT these
        set_gate(v, ADDRESS(stubs) + 16 * v, KERNEL_CS, open ? 0xee : 0x8e);
    }
    idt_pointer.base = ADDRESS(idt);
    struct table_register gdtr = {sizeof(gdt) - 1, ADDRESS(gdt)};
    asm volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idt_pointer));
    asm volatile("ljmp %0, $1f; 1: mov %w1, %%ds; mov %w1, %%es; mov %w1, %%fs; mov %w1, %%gs; "
                 "mov %w1, %%ss; ltr %w2; lldt %w3"
                 :
                 : "i"(KERNEL_CS), "r"(KERNEL_DS), "r"(TSS_SEL), "r"(0));
    memcpy((void *)REAL_PLACE, real_begin, (unsigned long)(real_end - real_begin));
}

struct frame kernel(u32 code)
{
    return (struct frame){
        .gs = KERNEL_DS, .fs = KERNEL_DS, .es = KERNEL_DS, .ds = KERNEL_DS,
        .eip = code, .cs = KERNEL_CS, .eflags = 2,
        .esp = ADDRESS(kernel_stack) + STACK_SIZE - 64, .ss = KERNEL_DS,
    };
}

struct frame user(u32 code)
{
    return (struct frame){
        .gs = USER_DS, .fs = USER_DS, .es = USER_DS, .ds = USER_DS,
        .eip = code, .cs = USER_CS, .eflags = 2,
        .esp = ADDRESS(user_stack) + STACK_SIZE - 64, .ss = USER_DS,
    };
}

u64 trap_of(const struct frame *f)
{
    return TRAP(f->vector, f->error);
}

u64 kernel_trap(u32 code)
{
    struct frame f = kernel(code);
    run(&f);
    return trap_of(&f);
}

u64 user_trap(u32 code)
{
    struct frame f = user(code);
    run(&f);
    return trap_of(&f);
}

void panic(const struct frame *f)
{
    print("panic vector=");
    print_hex(f->vector);
    print(" error=");
    print_hex(f->error);
    print(" eip=");
    print_hex(f->eip);
    print(" cr2=");
    print_hex(READ_CR(2));
    print("\n");
    give_up();
}
