// Non-maskable interrupts: delivery, blocking until IRET, waking a halted CPU.
// SDM vol. 3A sections 6.7 and 6.7.1.
// cpus: 2
#include "apic.h"
#include "wait.h"

static volatile u64 arrived;
static volatile u32 ready;

static void send(u32 cpu)
{
    apic_ipi(cpu, ICR_NMI | ICR_ASSERT);
}

static void halt_without_if(u64 unused)
{
    (void)unused;
    struct frame f = kernel(K("mov dword ptr [rdi], 1; 1: hlt; jmp 1b"));
    f.rdi = ADDRESS(&ready);
    run(&f);
    arrived = f.vector;
}

static void spin_without_if(u64 unused)
{
    (void)unused;
    struct frame f = kernel(K("mov dword ptr [rdi], 1; 1: pause; jmp 1b"));
    f.rdi = ADDRESS(&ready);
    run(&f);
    arrived = f.vector;
}

static void own(void)
{
    // run() leaves the handler without IRET, so C code after an NMI runs with NMIs blocked.
    struct frame f = kernel(K("mov dword ptr [rdi], 0x4400; mov ecx, 20000; 1: dec ecx; jnz 1b"));
    f.rdi = 0xfee00300;
    apic_write(APIC_ICR_HIGH, 0);
    run(&f);
    check("an NMI arrives with IF=0", trap_of(&f), TRAP(V_NMI, 0));
    send(0); // blocked: a delivery here would panic
    send(0);
    for (volatile int spin = 0; spin < 1000; spin++) {
    }
    f = kernel(K("nop; nop"));
    u64 start = f.rip;
    run(&f);
    check("a blocked NMI arrives right after the next IRET", trap_of(&f), TRAP(V_NMI, 0));
    check("before the first instruction", f.rip - start, 0);
    run(&f);
    check("two blocked NMIs are one", trap_of(&f), ENDED);
    f = kernel(K("mov dword ptr [rdi], 0x4400; mov ecx, 20000; 1: dec ecx; jnz 1b"));
    f.rdi = 0xfee00300;
    run(&f);
    send(0);
    // An exception's IRET inside the handler unblocks NMIs too: run() of any frame does it.
    f = kernel(K("ud2"));
    run(&f);
    check("any IRET ends the blocking", f.vector, V_NMI);
    run(&f);
    check("and the interrupted code goes on", f.vector, V_UD);
}

static void other(const char *name, void (*job)(u64))
{
    ready = 0;
    arrived = 0;
    start_job(1, job, 0);
    while (!ready) {
        pause();
    }
    send(1);
    wait_job(1);
    check(name, arrived, V_NMI);
}

void main(void)
{
    apic_enable();
    own();
    if (start_cpus(2) < 2) {
        skip("NMI to another CPU", "2-cpus");
        return;
    }
    other("NMI ends a HLT with IF=0", halt_without_if);
    other("NMI reaches a spinning CPU with IF=0", spin_without_if);
    other("and again", spin_without_if);
}
