// The local APIC timer: one-shot, periodic, TSC-deadline. SDM vol. 3A section 10.5.4.
#include "apic.h"
#include "wait.h"

#define TIMER 0x51
#define MSR_TSC_DEADLINE 0x6e0

static u64 tsc(void)
{
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static void one_shot(void)
{
    apic_write(APIC_TIMER_DIVIDE, 0xb); // divide by 1
    apic_write(APIC_LVT_TIMER, TIMER);
    check("idle: current count is 0", apic_read(APIC_TIMER_CURRENT), 0);
    apic_write(APIC_TIMER_INITIAL, 0x10000000);
    u32 first = apic_read(APIC_TIMER_CURRENT);
    u32 second = first;
    for (u32 spin = 0; spin < 100000000 && second == first; spin++) {
        second = apic_read(APIC_TIMER_CURRENT);
    }
    check("counts down", first <= 0x10000000 && second < first, 1);
    check("initial count reads back", apic_read(APIC_TIMER_INITIAL), 0x10000000);
    apic_write(APIC_TIMER_INITIAL, 0);
    check("writing 0 stops it", apic_read(APIC_TIMER_CURRENT), 0);
    apic_write(APIC_TIMER_INITIAL, 100000);
    check("one-shot fires", wait_vector(LONG_WAIT), TIMER);
    check("ISR has the vector", apic_bit(APIC_ISR, TIMER), 1);
    check("IRR no longer has it", apic_bit(APIC_IRR, TIMER), 0);
    apic_eoi();
    check("EOI clears ISR", apic_bit(APIC_ISR, TIMER), 0);
    check("one-shot stops at 0", apic_read(APIC_TIMER_CURRENT), 0);
    check("one-shot fires once", wait_vector(SHORT_WAIT), V_END);
    apic_write(APIC_TIMER_INITIAL, 100000);
    check("one-shot ends a HLT", halt_for_vector(), TIMER);
    apic_eoi();
    apic_write(APIC_LVT_TIMER, TIMER | LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 1000);
    while (apic_read(APIC_TIMER_CURRENT)) {
        pause();
    }
    check("masked: counts, sets no IRR", apic_bit(APIC_IRR, TIMER), 0);
    check("masked: nothing arrives", wait_vector(SHORT_WAIT), V_END);
    apic_write(APIC_TIMER_DIVIDE, 0x3);
    check("divide configuration reads back", apic_read(APIC_TIMER_DIVIDE), 3);
}

static void periodic(void)
{
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TIMER | LVT_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 200000);
    u64 arrived = 0;
    for (int i = 0; i < 4; i++) {
        arrived += wait_vector(LONG_WAIT) == TIMER;
        apic_eoi();
    }
    check("periodic fires again and again", arrived, 4);
    check("periodic ends a HLT", halt_for_vector(), TIMER);
    apic_eoi();
    apic_write(APIC_TIMER_INITIAL, 0);
    wait_vector(SHORT_WAIT); // one may have been on its way
    apic_eoi();
    check("writing 0 stops it for good", wait_vector(SHORT_WAIT), V_END);
}

static void deadline(void)
{
    if (!(cpuid(1, 0).ecx >> 24 & 1)) {
        skip("deadline", "tsc-deadline");
        return;
    }
    apic_write(APIC_LVT_TIMER, TIMER | LVT_TSC_DEADLINE);
    asm volatile("mfence" : : : "memory");
    wrmsr(MSR_TSC_DEADLINE, 1);
    check("deadline in the past fires at once", wait_vector(LONG_WAIT), TIMER);
    apic_eoi();
    check("it disarms itself", rdmsr(MSR_TSC_DEADLINE), 0);
    u64 when = tsc() + 1000000;
    wrmsr(MSR_TSC_DEADLINE, when);
    check("deadline in the future fires", wait_vector(LONG_WAIT), TIMER);
    check("not before its time", tsc() >= when, 1);
    apic_eoi();
    when = tsc() + (1ull << 40);
    wrmsr(MSR_TSC_DEADLINE, when);
    check("deadline reads back while armed", rdmsr(MSR_TSC_DEADLINE), when);
    wrmsr(MSR_TSC_DEADLINE, 0);
    check("writing 0 disarms", rdmsr(MSR_TSC_DEADLINE), 0);
    check("nothing arrives", wait_vector(SHORT_WAIT), V_END);
    wrmsr(MSR_TSC_DEADLINE, tsc() + 1000000);
    check("deadline ends a HLT", halt_for_vector(), TIMER);
    apic_eoi();
    apic_write(APIC_TIMER_INITIAL, 1000);
    check("the initial count is ignored in this mode", apic_read(APIC_TIMER_CURRENT), 0);
    wrmsr(MSR_TSC_DEADLINE, tsc() + (1ull << 40));
    apic_write(APIC_LVT_TIMER, TIMER);
    check("leaving the mode disarms", rdmsr(MSR_TSC_DEADLINE), 0);
    wrmsr(MSR_TSC_DEADLINE, 1);
    check("in other modes the MSR is ignored", wait_vector(SHORT_WAIT), V_END);
}

void main(void)
{
    apic_enable();
    one_shot();
    periodic();
    deadline();
}
