// Starting the other CPUs and giving them work (SDM vol. 3A section 8.4: INIT, SIPI, SIPI).
#include "apic.h"
#include "micro.h"

extern char trampoline[], trampoline_end[];
extern volatile u32 ap_count;

// An AP's life: wait for a job, do it, say so by clearing the pointer.
void ap_main(void)
{
    struct cpu *cpu = this_cpu();
    apic_enable();
    for (;;) {
        while (!cpu->job) {
            pause();
        }
        cpu->job(cpu->argument);
        cpu->job = 0;
    }
}

unsigned start_cpus(unsigned wanted)
{
    char *low = (char *)TRAMPOLINE;
    for (long i = 0; i < trampoline_end - trampoline; i++) {
        low[i] = trampoline[i];
    }
    apic_enable();
    for (unsigned cpu = 1; cpu < wanted; cpu++) {
        apic_ipi(cpu, ICR_INIT | ICR_ASSERT);
        apic_ipi(cpu, ICR_STARTUP | (TRAMPOLINE >> 12));
        for (u64 spin = 0; ap_count < cpu && spin < 50000000; spin++) {
            pause();
        }
    }
    return ap_count + 1;
}

void start_job(unsigned cpu, void (*job)(u64), u64 argument)
{
    cpu_at(cpu)->argument = argument;
    asm volatile("" : : : "memory");
    cpu_at(cpu)->job = job;
}

void wait_job(unsigned cpu)
{
    while (cpu_at(cpu)->job) {
        pause();
    }
    asm volatile("" : : : "memory");
}
