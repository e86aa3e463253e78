// INIT and SIPI: the state of a CPU that starts in real mode. SDM vol. 3A sections 8.4 and 9.1.
// cpus: 2
#include "apic.h"
#include "micro.h"

#define PLACE 0x9000 // our own trampoline, SIPI vector 9
#define REPORT 0x9800

// What the trampoline stores, in order.
struct report {
    u16 cs, ds, ss, es, ip;
    u16 pad;
    u32 flags, cr0, edx, esp_after_push, count;
};

asm(".pushsection .text\n.code16\n.intel_syntax noprefix\n"
    "real_start:\n"
    "mov ax, cs\n mov ds, ax\n"
    "mov [0x800], ax\n"
    "mov ax, ss\n mov [0x804], ax\n"
    "mov ax, es\n mov [0x806], ax\n"
    "pushfd\n pop dword ptr [0x80c]\n"
    "call 1f\n1: pop ax\n sub ax, offset 1b - real_start\n mov [0x808], ax\n"
    "mov eax, cr0\n mov [0x810], eax\n"
    "mov [0x814], edx\n"
    "lock inc dword ptr [0x81c]\n"
    "1: jmp 1b\n"
    "real_end:\n"
    ".att_syntax prefix\n.code64\n.popsection\n");
extern char real_start[], real_end[];

static volatile struct report *const report = (volatile struct report *)REPORT;

static void wait_count(u32 count)
{
    for (u64 spin = 0; spin < 3000000 && report->count != count; spin++) {
        pause();
    }
}

static void idle(void)
{
    for (volatile int spin = 0; spin < 300000; spin++) {
    }
}

void main(void)
{
    apic_enable();
    for (long i = 0; i < real_end - real_start; i++) {
        ((char *)PLACE)[i] = real_start[i];
    }
    for (unsigned i = 0; i < sizeof(struct report); i++) {
        ((u8 *)REPORT)[i] = 0;
    }
    apic_ipi(1, ICR_INIT | ICR_ASSERT);
    idle();
    check("INIT alone runs nothing", report->count, 0);
    apic_ipi(1, ICR_STARTUP | (PLACE >> 12));
    wait_count(1);
    check("INIT, SIPI: it runs", report->count, 1);
    check("CS is the vector << 8", report->cs, PLACE >> 4);
    check("IP starts at 0", report->ip, 0);
    check("SS is 0", report->ss, 0);
    check("ES is 0", report->es, 0);
    check("FLAGS are 2", report->flags, 2);
    check("CR0: PE, PG clear, ET set", report->cr0 & 0x80000011, 0x10);
    check("EDX is the family, model and stepping", report->edx & 0xfff0ff0,
          cpuid(1, 0).eax & 0xfff0ff0);
    apic_ipi(1, ICR_STARTUP | (PLACE >> 12));
    idle();
    check("a SIPI to a running CPU is ignored", report->count, 1);
    apic_ipi(1, ICR_INIT | ICR_ASSERT);
    apic_ipi(1, ICR_STARTUP | (PLACE >> 12));
    wait_count(2);
    check("INIT stops a running CPU, SIPI starts it again", report->count, 2);
    apic_ipi(1, ICR_STARTUP | (PLACE >> 12));
    idle();
    check("a second SIPI is ignored", report->count, 2);
    apic_ipi(1, ICR_INIT | ICR_ASSERT);
    check("then the runtime starts it into long mode", start_cpus(2), 2);
}
