// The local APIC through its xAPIC page (SDM vol. 3A chapter 10).
#ifndef MICRO_APIC_H
#define MICRO_APIC_H
#include "report.h"

enum apic_register {
    APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0,
    APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180,
    APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR_LOW = 0x300, APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0,
};

enum icr { // SDM vol. 3A figure 10-12
    ICR_FIXED = 0, ICR_LOWEST = 0x100, ICR_NMI = 0x400, ICR_INIT = 0x500, ICR_STARTUP = 0x600,
    ICR_LOGICAL = 0x800, ICR_PENDING = 0x1000, ICR_ASSERT = 0x4000, ICR_SELF = 0x40000,
    ICR_ALL = 0x80000, ICR_OTHERS = 0xc0000,
};

#define LVT_MASKED 0x10000
#define LVT_PERIODIC 0x20000
#define LVT_TSC_DEADLINE 0x40000
#define SPURIOUS_VECTOR 0xff

static inline u32 apic_read(u32 reg)
{
    return *(volatile u32 *)(word)(0xfee00000 + reg);
}

static inline void apic_write(u32 reg, u32 value)
{
    *(volatile u32 *)(word)(0xfee00000 + reg) = value;
}

static inline void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

static inline void apic_enable(void)
{
    apic_write(APIC_SVR, 0x100 | SPURIOUS_VECTOR);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_TPR, 0);
}

static inline void apic_ipi(u32 destination, u32 command)
{
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR_LOW, command);
    while (apic_read(APIC_ICR_LOW) & ICR_PENDING) {
    }
}

// Is `vector` set in the 256-bit register that starts at `base` (ISR, TMR or IRR)?
static inline u32 apic_bit(u32 base, u32 vector)
{
    return apic_read(base + (vector / 32) * 0x10) >> (vector % 32) & 1;
}

#endif
