// Far CALL, JMP and RET in 64-bit mode, call gates, conforming code, the LDT.
// SDM vol. 2 "CALL", "JMP", "RET"; vol. 3A section 5.8.
#include "micro.h"

#define GATE FREE_SEL                 // 16 bytes
#define CONFORMING (FREE_SEL + 16)    // conforming 64-bit code, DPL 0
#define ABSENT (FREE_SEL + 24)

struct far_pointer {
    u32 offset;
    u16 selector;
} __attribute__((packed));

static struct far_pointer target USER_DATA;

static void call_gate(u64 offset, u16 selector, u8 type)
{
    this_cpu()->gdt[GATE / 8] =
        (offset & 0xffff) | (u64)selector << 16 | (u64)type << 40 | (offset >> 16 & 0xffff) << 48;
    this_cpu()->gdt[GATE / 8 + 1] = offset >> 32;
}

static struct frame go(struct frame f, u64 offset, u16 selector)
{
    target = (struct far_pointer){(u32)offset, selector};
    f.rdi = ADDRESS(&target);
    run(&f);
    return f;
}

static void direct(void)
{
    u64 jump = K("jmp fword ptr [rdi]"), user_jump = U("jmp fword ptr [rdi]");
    u64 there = K("mov eax, cs");
    struct frame f = go(kernel(jump), there, KERNEL_CS);
    check("jmp far, same segment", f.rax, KERNEL_CS);
    f = go(kernel(jump), K32("mov eax, 1; .byte 0x40; nop"), KERNEL_CS32);
    check("jmp far to compat code", f.rax, 2);
    f = go(kernel(K("call fword ptr [rdi]")), K("mov eax, [rsp+4]; mov rbx, [rsp]"), KERNEL_CS);
    check("call far m16:32 pushes CS as 4 bytes", f.rax, KERNEL_CS);
    check("call far m16:32 pushes the next EIP", *(u8 *)(f.rbx & 0xffffffff), 0xcd);
    f = go(kernel(K("call fword ptr [rdi]; mov ebx, 7")), K("mov eax, 3; .byte 0xcb"), KERNEL_CS);
    check("retf returns", f.rax << 8 | f.rbx, 0x307);
    const struct {
        const char *name;
        u16 selector;
        u64 want;
    } rows[] = {
        {"jmp far null", 0, TRAP(V_GP, 0)},
        {"jmp far to data", KERNEL_DS, TRAP(V_GP, KERNEL_DS)},
        {"jmp far to a TSS", TSS_SEL, TRAP(V_GP, TSS_SEL)},
        {"jmp far to an outer ring", USER_CS & ~3, TRAP(V_GP, USER_CS & ~3)},
        {"jmp far beyond the GDT", 0x2008, TRAP(V_GP, 0x2008)},
        {"jmp far to absent code", ABSENT, TRAP(V_NP, ABSENT)},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        f = go(kernel(jump), there, rows[i].selector);
        check(rows[i].name, trap_of(&f), rows[i].want);
    }
    f = go(user(user_jump), there, KERNEL_CS);
    check("ring 3 jmp far to ring 0", trap_of(&f), TRAP(V_GP, KERNEL_CS));
    f = go(user(user_jump), U("mov eax, cs"), CONFORMING);
    check("ring 3 jmp far to conforming code keeps CPL 3", f.rax, CONFORMING | 3);
    f = go(kernel(K("mov rsi, [rdi+8]; push 0x10; retfq")), 0, 0);
    check("retfq to data", f.vector, V_GP);
    f = kernel(K("push 0x23; push 0x5fe000; push 0x2b; push rdi; retfq"));
    f.rdi = U("mov eax, cs; mov rbx, rsp");
    run(&f);
    check("retfq to ring 3", f.rax, USER_CS);
    check("retfq to ring 3 pops RSP", f.rbx, 0x5fe000);
    f = kernel(K("push 0x23; push 0x5fe000; push 1; push 2; push 0x2b; push rdi; retfq 16"));
    f.rdi = U("mov rbx, rsp");
    run(&f);
    check("retfq n to ring 3 adds n to both stacks", f.rbx, 0x5fe010);
}

static void gates(void)
{
    u64 call = U("call fword ptr [rdi]; mov r9d, 9");
    u64 handler = K("mov eax, cs; mov ebx, ss; mov rcx, [rsp+8]; mov rdx, [rsp+16]; "
                    "mov rsi, [rsp+24]; mov r8, rsp");
    call_gate(handler, KERNEL_CS, 0xec);
    struct frame f = user(call);
    u64 rsp = f.rsp;
    f = go(f, 0, GATE);
    check("call gate enters ring 0", f.rax, KERNEL_CS);
    check("call gate loads a null SS", f.rbx, 0);
    check("call gate pushes CS", f.rcx, USER_CS);
    check("call gate pushes RSP", f.rdx, rsp);
    check("call gate pushes SS", f.rsi, USER_DS);
    check("call gate uses RSP0", f.r8, this_cpu()->tss.rsp[0] - 32);
    call_gate(K("retfq"), KERNEL_CS, 0xec);
    f = go(user(call), 0, GATE);
    check("retfq from a call gate", f.cs << 8 | f.r9, USER_CS << 8 | 9);
    f = go(user(U("jmp fword ptr [rdi]")), 0, GATE);
    check("jmp through a gate cannot change ring", trap_of(&f), TRAP(V_GP, KERNEL_CS));
    f = go(kernel(K("call fword ptr [rdi]")), 0, GATE | 3);
    check("call gate from ring 0, RPL 3 allowed by DPL 3", trap_of(&f), ENDED);
    call_gate(handler, KERNEL_CS, 0x8c);
    f = go(user(call), 0, GATE);
    check("call gate DPL 0 from ring 3", trap_of(&f), TRAP(V_GP, GATE));
    call_gate(handler, KERNEL_CS, 0x6c);
    f = go(user(call), 0, GATE);
    check("call gate absent", trap_of(&f), TRAP(V_NP, GATE));
    call_gate(handler, KERNEL_CS32, 0xec);
    f = go(user(call), 0, GATE);
    check("call gate to 32-bit code", trap_of(&f), TRAP(V_GP, KERNEL_CS32));
    call_gate(handler, 0, 0xec);
    f = go(user(call), 0, GATE);
    check("call gate to a null selector", trap_of(&f), TRAP(V_GP, 0));
    call_gate(1ull << 47, KERNEL_CS, 0xec);
    f = go(user(call), 0, GATE);
    check("call gate to a non-canonical RIP", trap_of(&f), TRAP(V_GP, 0));
}

static void local_table(void)
{
    static u64 ldt[2] = {0, 0x00cff3000000ffff};
    u64 base = ADDRESS(ldt);
    u64 *gdt = this_cpu()->gdt;
    gdt[LDT_SEL / 8] = 15 | (base & 0xffffff) << 16 | 0x82ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[LDT_SEL / 8 + 1] = base >> 32;
    struct frame f = kernel(K("mov eax, 0x48; lldt ax; sldt ecx; mov eax, 0xf; mov ds, eax; "
                              "mov ebx, ds"));
    run(&f);
    check("lldt, sldt", f.rcx, LDT_SEL);
    check("a selector of the LDT", f.rbx, 0xf);
    check("beyond the LDT limit", kernel_trap(K("mov eax, 0x14; mov ds, eax")), TRAP(V_GP, 0x14));
    check("lldt null, then a selector of it",
          kernel_trap(K("xor eax, eax; lldt ax; mov eax, 0xf; mov ds, eax")), TRAP(V_GP, 0xc));
    check("the LDT descriptor in a data register", kernel_trap(K("mov eax, 0x48; mov ds, eax")),
          TRAP(V_GP, LDT_SEL));
    asm volatile("mov %w0, %%ds" : : "r"(USER_DS));
}

void main(void)
{
    this_cpu()->gdt[CONFORMING / 8] = 0x00af9f000000ffff;
    this_cpu()->gdt[ABSENT / 8] = 0x00af1b000000ffff;
    direct();
    gates();
    local_table();
}
