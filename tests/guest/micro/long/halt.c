// HLT and the interrupt shadows of STI, MOV SS and POP SS. SDM vol. 2 "STI", "HLT"; 3A 6.8.3.
#include "apic.h"
#include "wait.h"

#define VECTOR 0x61

// Run `f` with an interrupt already pending; where, from the start, did it arrive?
static u64 arrives_at(struct frame f)
{
    u64 start = f.rip;
    apic_ipi(0, ICR_SELF | VECTOR | ICR_ASSERT);
    run(&f);
    if (f.vector != VECTOR) { // take it now, so that the next assertion starts clean
        u64 offset = TRAP(f.vector, f.rip - start);
        wait_vector(SHORT_WAIT);
        apic_eoi();
        return offset;
    }
    apic_eoi();
    return f.rip - start;
}

static struct frame with_if(struct frame f)
{
    f.rflags |= F_IF;
    return f;
}

void main(void)
{
    apic_enable();
    check("iret with IF=1: before the first instruction", arrives_at(with_if(kernel(K("nop")))), 0);
    check("sti: after the next instruction", arrives_at(kernel(K("sti; nop; nop; nop"))), 2);
    check("sti with IF=1 has no shadow", arrives_at(kernel(K("sti; sti; nop; nop"))), 2);
    check("sti; cli: never", arrives_at(kernel(K("sti; cli; nop"))), TRAP(V_END, 5));
    check("sti; hlt: after hlt", arrives_at(kernel(K("sti; hlt; nop; nop"))), 2);
    check("popfq: at once", arrives_at(kernel(K("push 0x202; popfq; nop; nop"))), 6);
    check("sti; mov ss: the shadows do not add up",
          arrives_at(kernel(K("mov eax, 0x10; sti; mov ss, eax; nop; nop; nop"))) <= 9, 1);
    check("iret to ring 3 with IF=1", arrives_at(with_if(user(U("nop; nop")))), 0);
    check("sti; ring 3 with IOPL 3",
          arrives_at((struct frame){.rip = U("sti; nop; nop; nop"), .cs = USER_CS, .ss = USER_DS,
                                    .rflags = 2 | F_IOPL3, .rsp = 0x5ff000}), 2);
    check("a fault in the shadow comes first",
          arrives_at(kernel(K("sti; ud2"))), TRAP(V_UD, 1));
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, 0x71);
    apic_write(APIC_TIMER_INITIAL, 200000);
    struct frame f = kernel(K("sti; hlt; nop; nop"));
    u64 start = f.rip;
    run(&f);
    apic_eoi();
    check("hlt wakes for the timer", f.vector, 0x71);
    check("the pushed RIP is after hlt", f.rip - start, 2);
    apic_write(APIC_TIMER_INITIAL, 200000);
    f = kernel(K("xor ecx, ecx; sti; 1: hlt; inc ecx; cmp ecx, 1; jne 1b; cli"));
    run(&f);
    apic_eoi();
    run(&f);
    check("the program goes on after hlt", f.vector << 8 | f.rcx, V_END << 8 | 1);
    apic_write(APIC_TIMER_INITIAL, 200000);
    apic_write(APIC_TPR, 0xf0);
    while (!apic_bit(APIC_IRR, 0x71)) {
        pause();
    }
    check("TPR holds the timer back", wait_vector(SHORT_WAIT), V_END);
    apic_write(APIC_TPR, 0);
    check("and lets it go", wait_vector(SHORT_WAIT), 0x71);
    apic_eoi();
    f = kernel(K("mov ecx, 5; 1: pause; loop 1b"));
    f.rflags |= F_IF;
    run(&f);
    check("nothing pending: runs through", f.vector, V_END);
}
