// Guests that put what a CPU lives on where it cannot live. The kernel command line names the case.
// Each prints "ready" and then most of them triple-fault; one that survives exits with status 1.
#include "apic.h"
#include "micro.h"

#define COMMAND_LINE ((const char *)0x20000) // boot/memory_map.py, CMDLINE: "kernel CASE"
#define PROGRAM_LENGTH 7 
#define ECAM 0xb0000000ull     // answered in Python
#define IOAPIC 0xfec00000ull   // answered by the engine
#define PCI_HOLE 0xd0000000ull // answered by nobody
#define BEYOND 0x3f00000000 // no memory there either, above 4 GiB
#define FAR 0x4000000000    // a virtual address that nothing else uses

static void load_idt(u64 base, u16 limit)
{
    struct table_register idtr = {limit, base};
    asm volatile("lidt %0" : : "m"(idtr));
}

static void load_gdt(u64 base)
{
    struct table_register gdtr = {0xff, base};
    asm volatile("lgdt %0" : : "m"(gdtr));
}

static void jump(u64 target)
{
    asm volatile("jmp *%0" : : "r"(target));
}

static void triple_fault(void)
{
    load_idt(0, 0);
    asm volatile("ud2");
}

static void jump_ecam(void) { jump(ECAM); }
static void jump_ioapic(void) { jump(IOAPIC); }
static void jump_lapic(void) { jump(0xfee00000); }
static void jump_hole(void) { jump(PCI_HOLE); }

static void jump_beyond(void)
{
    map(FAR, BEYOND, P_P | P_W);
    jump(FAR);
}

// The last instruction before the end of RAM needs bytes from behind it.
static void run_out_of_ram(void)
{
    u64 page = new_page();
    u8 *code = (u8 *)page;
    for (int i = 0; i < 4096; i++) {
        code[i] = 0x90;
    }
    code[4095] = 0x48; // REX.W, and the rest of the instruction is in no memory
    map(FAR, page, P_P | P_W);
    map(FAR + 4096, BEYOND, P_P | P_W);
    jump(FAR + 4090);
}

static void walk(u64 table) // page tables of one level in device memory
{
    *entry_of(FAR, 2) = table | P_P | P_W;
    asm volatile("mov (%0), %%rax" : : "r"(FAR) : "rax", "memory");
}

static void walk_ecam(void) { walk(ECAM); }
static void walk_ioapic(void) { walk(IOAPIC); }
static void walk_hole(void) { walk(PCI_HOLE); }
static void walk_beyond(void) { walk(BEYOND); }

static void cr3_ecam(void) { WRITE_CR(3, ECAM); }
static void cr3_hole(void) { WRITE_CR(3, PCI_HOLE); }
static void cr3_beyond(void) { WRITE_CR(3, BEYOND); }

static void idt_at(u64 base)
{
    load_idt(base, 0xfff);
    asm volatile("ud2");
}

static void idt_ecam(void) { idt_at(ECAM); }
static void idt_lapic(void) { idt_at(0xfee00000); }
static void idt_hole(void) { idt_at(PCI_HOLE); }

// An interrupt, not an exception, finds its gate in device memory.
static void irq_through_ecam(void)
{
    apic_enable();
    load_idt(ECAM, 0xfff);
    apic_ipi(0, ICR_SELF | 0x61 | ICR_ASSERT);
    asm volatile("sti; 1: hlt; jmp 1b");
}

static void nmi_through_ecam(void)
{
    apic_enable();
    load_idt(ECAM, 0xfff);
    apic_ipi(0, ICR_NMI | ICR_ASSERT);
    asm volatile("1: hlt; jmp 1b");
}

static void gdt_at(u64 base)
{
    load_gdt(base);
    asm volatile("mov %w0, %%fs; ud2" : : "r"(KERNEL_DS));
}

static void gdt_ecam(void) { gdt_at(ECAM); }
static void gdt_hole(void) { gdt_at(PCI_HOLE); }

static void stack_at(u64 top)
{
    for (unsigned v = 0; v < 256; v++) {
        idt[v].ist = 0; // the handlers take the stack they find
    }
    asm volatile("mov %q0, %%rsp; push %%rax; call 1f; 1: pop %%rax; ud2" : : "r"(top));
}

static void stack_ecam(void) { stack_at(ECAM + 0x1000); }
static void stack_lapic(void) { stack_at(0xfee01000); }
static void stack_hole(void) { stack_at(PCI_HOLE + 0x1000); }
static void stack_border(void) { stack_at(ECAM + 4); } // half in the hole below, half in ECAM

static void irq_stack_ecam(void)
{
    apic_enable();
    for (unsigned v = 0; v < 256; v++) {
        idt[v].ist = 0;
    }
    apic_ipi(0, ICR_SELF | 0x61 | ICR_ASSERT);
    asm volatile("mov %q0, %%rsp; sti; 1: hlt; jmp 1b" : : "r"(ECAM + 0x1000));
}

static void tss_ecam(void)
{
    struct cpu *cpu = this_cpu();
    cpu->gdt[TSS_SEL / 8] = 0x0000890000000067 | (ECAM & 0xffffffull) << 16 | 0xb0ull << 56;
    cpu->gdt[TSS_SEL / 8 + 1] = 0;
    asm volatile("ltr %w0; ud2" : : "r"(TSS_SEL));
}

static void halt_for_ever(void) { asm volatile("cli; 1: hlt; jmp 1b"); }
static void spin_for_ever(void) { asm volatile("cli; 1: jmp 1b"); }
static void repeat_for_ever(void) // one instruction, from device to device
{
    asm volatile("1: mov $-1, %%rcx; mov %0, %%rsi; mov %0, %%rdi; rep movsb; jmp 1b" : : "r"((u64)ECAM));
}

// A handler that asks for its own interrupt again before it returns.
static void interrupt_storm(void)
{
    u64 handler;
    apic_enable();
    asm volatile("jmp 2f\n"
                 "1: mov $0xfee00000, %%ecx\n" // the interrupted code has nothing in RCX
                 "movl $0x44061, 0x300(%%rcx)\n"
                 "movl $0, 0xb0(%%rcx)\n"
                 "iretq\n"
                 "2: lea 1b(%%rip), %0"
                 : "=r"(handler));
    set_gate(0x61, handler, KERNEL_CS, 0x8e, 1);
    apic_ipi(0, ICR_SELF | 0x61 | ICR_ASSERT);
    asm volatile("sti; 1: hlt; jmp 1b");
}

// A timer that is due again before its handler has returned.
static void timer_storm(void)
{
    u64 handler;
    apic_enable();
    asm volatile("jmp 2f\n"
                 "1: mov $0xfee00000, %%ecx\n"
                 "movl $0, 0xb0(%%rcx)\n"
                 "iretq\n"
                 "2: lea 1b(%%rip), %0"
                 : "=r"(handler));
    set_gate(0x61, handler, KERNEL_CS, 0x8e, 1);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | 0x61);
    apic_write(APIC_TIMER_INITIAL, 1);
    asm volatile("sti; 1: hlt; jmp 1b");
}

static void init_self(void)
{
    apic_enable();
    apic_ipi(0, ICR_INIT | ICR_ASSERT);
    asm volatile("1: jmp 1b");
}

// The others are put into INIT and started again and again while they do the same to each other.
static void storm_job(u64 self)
{
    for (u32 i = 0; i < 300; i++) {
        u32 target = 1 + (i + (u32)self) % 3;
        apic_write(APIC_ICR_HIGH, target << 24);
        apic_write(APIC_ICR_LOW, i & 1 ? ICR_STARTUP | (TRAMPOLINE >> 12) : ICR_INIT | ICR_ASSERT);
        apic_write(APIC_ICR_LOW, ICR_NMI | ICR_ASSERT);
    }
}

static void init_storm(void)
{
    unsigned cpus = start_cpus(4);
    for (unsigned cpu = 1; cpu < cpus; cpu++) {
        start_job(cpu, storm_job, cpu);
    }
    storm_job(0);
    outb(PORT_DEBUG_EXIT, 0);
}

// Every CPU halts with interrupts off, and nothing can wake any of them.
static void halt_job(u64 unused)
{
    (void)unused;
    halt_for_ever();
}

static void halt_everywhere(void)
{
    unsigned cpus = start_cpus(4);
    for (unsigned cpu = 1; cpu < cpus; cpu++) {
        start_job(cpu, halt_job, 0);
    }
    halt_for_ever();
}

// One CPU's page tables change under an instruction that waits for a device: source and
// destination share a TLB slot, so it looks them up anew each time.
static volatile u32 stop_flipping;

static void flip_job(u64 address)
{
    volatile u64 *entry = entry_of(address, 1);
    for (u64 i = 0; !stop_flipping; i++) {
        *entry = (i & 64 ? ECAM : ECAM + 0x1000) | P_P | P_W;
    }
}

static void remap_under_access(void)
{
    u64 from = FAR, to = FAR + (1ull << 36);
    map(from, ECAM, P_P | P_W);
    map(to, ECAM + 0x2000, P_P | P_W);
    start_cpus(2);
    start_job(1, flip_job, from);
    for (int i = 0; i < 300; i++) {
        u64 source = from, target = to;
        asm volatile("movsq" : "+S"(source), "+D"(target) : : "memory");
        invlpg(from);
    }
    stop_flipping = 1;
    wait_job(1);
    outb(PORT_DEBUG_EXIT, 0);
}

#define CASE(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    CASE(triple_fault), CASE(jump_ecam), CASE(jump_ioapic), CASE(jump_lapic), CASE(jump_hole),
    CASE(jump_beyond), CASE(run_out_of_ram), CASE(walk_ecam), CASE(walk_ioapic), CASE(walk_hole),
    CASE(walk_beyond), CASE(cr3_ecam), CASE(cr3_hole), CASE(cr3_beyond), CASE(idt_ecam),
    CASE(idt_lapic), CASE(idt_hole), CASE(irq_through_ecam), CASE(nmi_through_ecam),
    CASE(gdt_ecam), CASE(gdt_hole), CASE(stack_ecam), CASE(stack_lapic), CASE(stack_hole),
    CASE(stack_border), CASE(irq_stack_ecam), CASE(tss_ecam), CASE(halt_for_ever),
    CASE(spin_for_ever), CASE(repeat_for_ever), CASE(interrupt_storm), CASE(timer_storm),
    CASE(init_self), CASE(init_storm), CASE(halt_everywhere), CASE(remap_under_access),
};

static int equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++, b++;
    }
    return *a == *b;
}

void main(void)
{
    print("ready\n");
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (equal(cases[i].name, COMMAND_LINE + PROGRAM_LENGTH)) {
            cases[i].run();
        }
    }
    give_up();
}
