// What the CPU pushes for an interrupt or exception in 64-bit mode, and on which stack.
// SDM vol. 3A section 6.14.
// qemu-differs: fault pushes RF=1 -- TCG never sets RF in a pushed image
// qemu-differs: #PF pushes RF=1 -- TCG never sets RF in a pushed image
// qemu-differs: IST from ring 0 keeps SS -- TCG loads a null SS with every IST stack
#include "micro.h"

static void image(void)
{
    struct frame f = kernel(K("1: ud2"));
    f.rflags |= F_IF | F_CF | F_OF | F_DF | F_AC;
    const struct frame before = f;
    run(&f);
    check("fault pushes RIP of the instruction", f.rip, before.rip);
    check("fault pushes CS", f.cs, KERNEL_CS);
    check("fault pushes RSP unaligned", f.rsp, before.rsp);
    check("fault pushes SS", f.ss, KERNEL_DS);
    check("fault pushes the flags", f.rflags & ~(u64)F_RF, before.rflags);
    check("fault pushes RF=1", f.rflags & F_RF, F_RF);
    f = kernel(K("mov al, [rdi]"));
    f.rdi = 0x4000000000;
    run(&f);
    check("#PF pushes RF=1", f.rflags & F_RF, F_RF);
    f = kernel(K("int3"));
    run(&f);
    check("int3 pushes RF=0", f.rflags & F_RF, 0);
    check("int3 pushes RIP after it", *(u8 *)(f.rip - 1), 0xcc);
    f = user(U("ud2"));
    run(&f);
    check("ring 3 pushes CS", f.cs, USER_CS);
    check("ring 3 pushes SS", f.ss, USER_DS);
    f = user32(U32("mov esp, 0x12345678; ud2"));
    run(&f);
    check("compat pushes CS", f.cs, USER_CS32);
    check("compat pushes a zero-extended RSP", f.rsp, 0x12345678);
}

static void stacks(void)
{
    u64 block = ADDRESS(this_cpu());
    struct frame f = kernel(K("ud2"));
    run(&f);
    check("IST1 from ring 0", f.trap_rsp, block + CPU_IST1_TOP);
    check("IST from ring 0 keeps SS", f.trap_ss, KERNEL_DS);
    idt[V_UD].ist = 2;
    f = user(U("ud2"));
    run(&f);
    check("IST2 from ring 3", f.trap_rsp, block + CPU_IST2_TOP);
    check("SS is null after a ring change", f.trap_ss, 0);
    idt[V_UD].ist = 0;
    f = user(U("ud2"));
    run(&f);
    check("RSP0 from ring 3", f.trap_rsp, block + CPU_RSP0_TOP);
    u64 wrong = 0;
    for (unsigned low = 0; low < 32; low++) {
        f = kernel(K("ud2"));
        f.rsp -= low;
        u64 rsp = f.rsp;
        run(&f);
        wrong |= (f.trap_rsp != (rsp & ~15ull) || f.rsp != rsp) << low % 32;
    }
    check("no IST: same stack aligned down to 16, RSP kept", wrong, 0);
    this_cpu()->tss.rsp[0] -= 5;
    f = user(U("ud2"));
    run(&f);
    check("a crooked RSP0 is aligned down", f.trap_rsp, block + CPU_RSP0_TOP - 16);
    this_cpu()->tss.rsp[0] += 5;
    idt[V_UD].ist = 1;
}

// The handler is a snippet here; its own end trap (IST1) shows the flags it ran with.
static void flags_in_handler(void)
{
    u64 handler = K("mov eax, cs; nop");
    struct frame f = kernel(K("int 0x50; ud2"));
    set_gate(0x50, handler, KERNEL_CS, 0x8e, 2);
    f.rflags |= F_IF | F_AC | F_NT | F_CF;
    run(&f);
    check("interrupt gate clears IF, NT; keeps AC, CF", f.rflags, 2 | F_AC | F_CF);
    set_gate(0x50, handler, KERNEL_CS, 0x8f, 2);
    f = kernel(K("int 0x50; ud2"));
    f.rflags |= F_IF;
    run(&f);
    check("trap gate keeps IF", f.rflags, 2 | F_IF);
    set_gate(0x50, U("mov eax, cs; nop"), FREE_SEL, 0xee, 0);
    this_cpu()->gdt[FREE_SEL / 8] = 0x00af9f000000ffff; // conforming 64-bit code, DPL 0
    f = user(U("int 0x50; ud2"));
    u64 rsp = f.rsp;
    run(&f);
    check("conforming handler stays at ring 3", f.rax, FREE_SEL | 3);
    check("conforming handler stays on the stack", f.rsp, (rsp & ~15ull) - 40);
    set_gate(0x50, handler, KERNEL_CS, 0x8e, 2);
    f = kernel(K("int 0x50; ud2"));
    f.rflags |= F_TF;
    run(&f); // #DB cannot come first: INT clears TF before its trap
    check("int n clears TF before the step trap", trap_of(&f), ENDED);
}

static void bad_gates(void)
{
    u64 handler = K("nop"), go = K("int 0x50");
    set_gate(0x50, handler, 0, 0x8e, 2);
    check("gate to a null selector", kernel_trap(go), TRAP(V_GP, 0));
    set_gate(0x50, handler, KERNEL_CS32, 0x8e, 2);
    check("gate to 32-bit code", kernel_trap(go), TRAP(V_GP, KERNEL_CS32));
    set_gate(0x50, handler, KERNEL_DS, 0x8e, 2);
    check("gate to data", kernel_trap(go), TRAP(V_GP, KERNEL_DS));
    set_gate(0x50, handler, USER_CS & ~3, 0x8e, 2);
    check("gate to an outer ring", kernel_trap(go), TRAP(V_GP, USER_CS & ~3));
    set_gate(0x50, handler, 0x1008, 0x8e, 2);
    check("gate beyond the GDT", kernel_trap(go), TRAP(V_GP, 0x1008));
    this_cpu()->gdt[FREE_SEL / 8] = 0x00af1b000000ffff;
    set_gate(0x50, handler, FREE_SEL, 0x8e, 2);
    check("gate to absent code", kernel_trap(go), TRAP(V_NP, FREE_SEL));
    set_gate(0x50, 0x0000800000000000, KERNEL_CS, 0x8e, 2);
    check("gate to a non-canonical RIP", kernel_trap(go), TRAP(V_GP, 0));
    struct table_register idtr = {0x2ff, ADDRESS(idt)}; // vectors 0..0x2f
    asm volatile("lidt %0" : : "m"(idtr));
    u64 end = K(".byte 0xcd, 0x50");
    struct frame f = kernel(end);
    run(&f);
    check("vector beyond the IDT limit", f.vector, V_GP);
    idtr.limit = sizeof(idt) - 1;
    asm volatile("lidt %0" : : "m"(idtr));
}

void main(void)
{
    image();
    stacks();
    flags_in_handler();
    bad_gates();
}
