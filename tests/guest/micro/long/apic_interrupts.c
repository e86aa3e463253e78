// Inter-processor interrupts, priorities and the acceptance registers of the local APIC.
// SDM vol. 3A sections 10.6 (IPIs), 10.8 (priorities, EOI), 10.9 (spurious), 10.12 (x2APIC).
// cpus: 4
// qemu-differs: #GP: CR8 above 15 -- TCG ignores the upper bits
// qemu-differs: software-disabled: LVTs are masked -- QEMU's APIC does not set the mask bits
// qemu-differs: and stay so -- QEMU's APIC does not set the mask bits
// qemu-differs: ESR: illegal vector, sent or received -- QEMU's APIC delivers vectors below 16
// qemu-differs: the error LVT fires -- QEMU's APIC delivers vectors below 16
#include "apic.h"
#include "wait.h"

#define LOW 0x61
#define HIGH 0x91

static volatile u64 arrived[MAX_CPUS];
static volatile u32 ready;

// A job: take one interrupt in HLT and acknowledge it.
static void take_one(u64 cpu)
{
    apic_write(APIC_LDR, 1u << (24 + cpu));
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    arrived[cpu] = halt_for_vector();
    apic_eoi();
}

static void identity(void)
{
    check("this CPU's id", apic_read(APIC_ID) >> 24, 0);
    check("version is an integrated APIC", (apic_read(APIC_VERSION) & 0xf0) == 0x10, 1);
    check("at least 5 LVT entries above 0", (apic_read(APIC_VERSION) >> 16 & 0xff) >= 5, 1);
    check("CPUID has the same id", cpuid(1, 0).ebx >> 24, 0);
    check("APIC base MSR: enabled, BSP", rdmsr(0x1b), 0xfee00900);
    check("DFR is flat", apic_read(APIC_DFR), 0xffffffff);
}

static void self(void)
{
    apic_ipi(0, ICR_SELF | LOW | ICR_ASSERT);
    check("IF=0: it waits in IRR", apic_bit(APIC_IRR, LOW), 1);
    check("self shorthand", wait_vector(SHORT_WAIT), LOW);
    check("in service", apic_bit(APIC_ISR, LOW) << 1 | apic_bit(APIC_IRR, LOW), 2);
    check("PPR is the class in service", apic_read(APIC_PPR) & 0xf0, LOW & 0xf0);
    apic_eoi();
    check("PPR falls after EOI", apic_read(APIC_PPR), 0);
    apic_ipi(0, LOW | ICR_ASSERT);
    check("physical destination 0", wait_vector(SHORT_WAIT), LOW);
    check("edge: TMR is clear", apic_bit(APIC_TMR, LOW), 0);
    apic_eoi();
    apic_write(APIC_LDR, 1 << 24);
    apic_ipi(1, ICR_LOGICAL | LOW | ICR_ASSERT);
    check("logical destination", wait_vector(SHORT_WAIT), LOW);
    apic_eoi();
    apic_ipi(0xff, LOW | ICR_ASSERT);
    check("physical broadcast reaches oneself", wait_vector(SHORT_WAIT), LOW);
    apic_eoi();
    apic_ipi(0, ICR_SELF | LOW | ICR_ASSERT);
    apic_ipi(0, ICR_SELF | LOW | ICR_ASSERT);
    check("two of one vector", wait_vector(SHORT_WAIT), LOW);
    apic_eoi();
    check("are one", wait_vector(SHORT_WAIT), V_END);
}

static void priorities(void)
{
    apic_ipi(0, ICR_SELF | LOW | ICR_ASSERT);
    apic_ipi(0, ICR_SELF | HIGH | ICR_ASSERT);
    check("the higher vector comes first", wait_vector(SHORT_WAIT), HIGH);
    check("the lower one waits for EOI", wait_vector(SHORT_WAIT), V_END);
    apic_eoi();
    check("and comes after it", wait_vector(SHORT_WAIT), LOW);
    apic_ipi(0, ICR_SELF | HIGH | ICR_ASSERT);
    check("a higher class interrupts a lower one", wait_vector(SHORT_WAIT), HIGH);
    check("both are in service", apic_bit(APIC_ISR, LOW) << 1 | apic_bit(APIC_ISR, HIGH), 3);
    apic_eoi();
    check("EOI ends the higher one", apic_bit(APIC_ISR, LOW) << 1 | apic_bit(APIC_ISR, HIGH), 2);
    apic_ipi(0, ICR_SELF | (LOW + 1) | ICR_ASSERT);
    check("the same class does not interrupt", wait_vector(SHORT_WAIT), V_END);
    apic_eoi();
    check("until EOI", wait_vector(SHORT_WAIT), LOW + 1);
    apic_eoi();
    apic_write(APIC_TPR, 0x70);
    check("TPR shows in CR8", READ_CR(8), 7);
    check("TPR shows in PPR", apic_read(APIC_PPR), 0x70);
    apic_ipi(0, ICR_SELF | LOW | ICR_ASSERT);
    check("TPR holds back a lower class", wait_vector(SHORT_WAIT), V_END);
    apic_ipi(0, ICR_SELF | HIGH | ICR_ASSERT);
    check("TPR lets a higher class pass", wait_vector(SHORT_WAIT), HIGH);
    apic_eoi();
    struct frame f = kernel(K("sti; nop; xor eax, eax; mov cr8, rax; nop; nop"));
    u64 start = f.rip;
    run(&f);
    check("lowering CR8 lets it in", f.vector, LOW);
    check("right after the MOV", f.rip - start, 8);
    apic_eoi();
    WRITE_CR(8, 5);
    check("CR8 shows in TPR", apic_read(APIC_TPR), 0x50);
    WRITE_CR(8, 0);
    f = kernel(K("mov cr8, rax"));
    f.rax = 0x10;
    run(&f);
    check("#GP: CR8 above 15", trap_of(&f), TRAP(V_GP, 0));
    f = user(U("nop; 1: dec rcx; jnz 1b"));
    f.rcx = SHORT_WAIT;
    f.rflags |= F_IF;
    apic_ipi(0, ICR_SELF | LOW | ICR_ASSERT);
    start = f.rip;
    run(&f);
    check("ring 3 is interrupted before its first instruction", f.vector << 8 | (f.rip - start),
          LOW << 8);
    check("through a DPL 0 gate", f.cs, USER_CS);
    apic_eoi();
}

static void start_waiting(unsigned cpus)
{
    ready = 0;
    for (unsigned cpu = 1; cpu < cpus; cpu++) {
        arrived[cpu] = 0;
        start_job(cpu, take_one, cpu);
    }
    while (ready < cpus - 1) {
        pause();
    }
}

static u64 collect(unsigned cpus)
{
    u64 all = 0;
    for (unsigned cpu = 1; cpu < cpus; cpu++) {
        wait_job(cpu);
        all = all << 8 | arrived[cpu];
    }
    return all;
}

static void others(void)
{
    unsigned cpus = start_cpus(4);
    check("four CPUs run", cpus, 4);
    if (cpus < 4) {
        return;
    }
    start_waiting(4);
    for (unsigned cpu = 1; cpu < 4; cpu++) {
        apic_ipi(cpu, (0x60 + cpu) | ICR_ASSERT);
    }
    check("one IPI to each", collect(4), 0x616263);
    start_waiting(4);
    apic_ipi(0, ICR_OTHERS | HIGH | ICR_ASSERT);
    check("all but self", collect(4), 0x919191);
    check("not to self", wait_vector(SHORT_WAIT), V_END);
    start_waiting(4);
    apic_ipi(0, ICR_ALL | LOW | ICR_ASSERT);
    check("all", collect(4), 0x616161);
    check("all includes self", wait_vector(SHORT_WAIT), LOW);
    apic_eoi();
    start_waiting(2);
    apic_ipi(2, ICR_LOGICAL | ICR_LOWEST | HIGH | ICR_ASSERT);
    check("lowest priority among one", collect(2), HIGH);
    start_waiting(3);
    apic_ipi(6, ICR_LOGICAL | LOW | ICR_ASSERT);
    check("a logical destination of two", collect(3), 0x6161);
}

static void software_disable(void)
{
    apic_write(APIC_LVT_TIMER, 0x51);
    apic_write(APIC_SVR, SPURIOUS_VECTOR);
    check("software-disabled: LVTs are masked", apic_read(APIC_LVT_TIMER) & LVT_MASKED,
          LVT_MASKED);
    apic_write(APIC_LVT_TIMER, 0x51);
    check("and stay so", apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED);
    apic_enable();
    apic_write(APIC_LVT_ERROR, 0x52);
    apic_write(APIC_ESR, 0);
    apic_ipi(0, ICR_SELF | 5 | ICR_ASSERT);
    apic_write(APIC_ESR, 0);
    check("ESR: illegal vector, sent or received", !(apic_read(APIC_ESR) & 0x60), 0);
    check("the error LVT fires", wait_vector(SHORT_WAIT), 0x52);
    apic_eoi();
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
}

static void x2apic(void)
{
    if (!(cpuid(1, 0).ecx >> 21 & 1)) {
        skip("x2apic", "x2apic");
        return;
    }
    check("#GP: x2APIC MSR in xAPIC mode", kernel_trap(K("mov ecx, 0x802; rdmsr")), TRAP(V_GP, 0));
    wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
    check("x2APIC id", rdmsr(0x802), 0);
    check("x2APIC version", (rdmsr(0x803) & 0xf0) == 0x10, 1);
    check("x2APIC LDR is derived", rdmsr(0x80d), 1);
    wrmsr(0x83f, LOW);
    check("self-IPI register", wait_vector(SHORT_WAIT), LOW);
    wrmsr(0x80b, 0);
    wrmsr(0x830, HIGH | ICR_ASSERT);
    check("64-bit ICR to destination 0", wait_vector(SHORT_WAIT), HIGH);
    wrmsr(0x80b, 0);
    check("#GP: EOI other than 0", kernel_trap(K("mov ecx, 0x80b; mov eax, 1; xor edx, edx; wrmsr")),
          TRAP(V_GP, 0));
    check("#GP: reserved register 0x804", kernel_trap(K("mov ecx, 0x804; rdmsr")), TRAP(V_GP, 0));
    check("#GP: writing the id", kernel_trap(K("mov ecx, 0x802; xor eax, eax; xor edx, edx; wrmsr")),
          TRAP(V_GP, 0));
    check("#GP: back to xAPIC directly",
          kernel_trap(K("mov ecx, 0x1b; rdmsr; and eax, ~0x400; wrmsr")), TRAP(V_GP, 0));
}

void main(void)
{
    apic_enable();
    identity();
    self();
    priorities();
    others();
    software_disable();
    x2apic();
}
