// IRETQ: where it can go, what it loads and what it refuses. SDM vol. 2 "IRET", 64-bit mode.
// qemu-differs: CS with L and D -- TCG ignores D in 64-bit code descriptors
// qemu-differs: null FS with RPL 3 becomes 0 -- TCG leaves a null FS alone; processors do not
// qemu-differs: null GS with RPL 3 becomes 0 -- TCG leaves a null GS alone; processors do not
#include "micro.h"

#define ABSENT_CODE FREE_SEL          // 64-bit code, DPL 0, not present
#define ABSENT_DATA (FREE_SEL + 8)    // data, DPL 3, not present
#define BOTH_L_AND_D (FREE_SEL + 16)  // code with L and D, which is reserved

static u64 landing, landing32;

static void pops(void)
{
    // rax..rdi are pushed as SS, RSP, RFLAGS, CS, RIP.
    u64 code = K("push rax; push rbx; push rcx; push rdx; push rdi; iretq");
    const struct {
        const char *name;
        u64 ss, flags, cs, rip, want;
    } rows[] = {
        {"to ring 0", KERNEL_DS, 2, KERNEL_CS, K("nop"), ENDED},
        {"to ring 0 with a null SS", 0, 2, KERNEL_CS, K("nop"), ENDED},
        {"to ring 3", USER_DS, 2, USER_CS, landing, ENDED},
        {"to compat", USER_DS, 2, USER_CS32, landing32, ENDED},
        {"null CS", KERNEL_DS, 2, 0, landing, TRAP(V_GP, 0)},
        {"null CS with RPL 3", USER_DS, 2, 3, landing, TRAP(V_GP, 0)},
        {"CS beyond the GDT", KERNEL_DS, 2, 0x1008, landing, TRAP(V_GP, 0x1008)},
        {"CS is data", KERNEL_DS, 2, KERNEL_DS, landing, TRAP(V_GP, KERNEL_DS)},
        {"CS is a TSS", KERNEL_DS, 2, TSS_SEL, landing, TRAP(V_GP, TSS_SEL)},
        {"CS DPL 3, RPL 0", KERNEL_DS, 2, USER_CS & ~3, landing, TRAP(V_GP, USER_CS & ~3)},
        {"CS DPL 0, RPL 3", USER_DS, 2, KERNEL_CS | 3, landing, TRAP(V_GP, KERNEL_CS)},
        {"CS absent", KERNEL_DS, 2, ABSENT_CODE, landing, TRAP(V_NP, ABSENT_CODE)},
        {"CS with L and D", KERNEL_DS, 2, BOTH_L_AND_D, landing, TRAP(V_GP, BOTH_L_AND_D)},
        {"SS null to ring 3", 0, 2, USER_CS, landing, TRAP(V_GP, 0)},
        {"SS null to compat ring 3", 3, 2, USER_CS32, landing32, TRAP(V_GP, 0)},
        {"SS wrong RPL", KERNEL_DS, 2, USER_CS, landing, TRAP(V_GP, KERNEL_DS)},
        {"SS is code", USER_CS, 2, USER_CS, landing, TRAP(V_GP, USER_CS & ~3)},
        {"SS absent", ABSENT_DATA | 3, 2, USER_CS, landing, TRAP(V_NP, ABSENT_DATA)},
        {"SS beyond the GDT", 0x100b, 2, USER_CS, landing, TRAP(V_GP, 0x1008)},
        {"RIP non-canonical", KERNEL_DS, 2, KERNEL_CS, 1ull << 47, TRAP(V_GP, 0)},
    };
    this_cpu()->gdt[ABSENT_CODE / 8] = 0x00af1b000000ffff;
    this_cpu()->gdt[ABSENT_DATA / 8] = 0x00cf73000000ffff;
    this_cpu()->gdt[BOTH_L_AND_D / 8] = 0x00ef9b000000ffff;
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct frame f = kernel(code);
        f.rax = rows[i].ss;
        f.rbx = rows[i].cs & 3 ? 0x5fe000 : f.rsp - 0x100;
        f.rcx = rows[i].flags;
        f.rdx = rows[i].cs;
        f.rdi = rows[i].rip;
        run(&f);
        check(rows[i].name, trap_of(&f), rows[i].want);
    }
    struct frame f = kernel(code);
    f.rflags |= F_NT;
    run(&f);
    check("NT in 64-bit mode", trap_of(&f), TRAP(V_GP, 0));
    check("NT: RIP is the iretq", *(u16 *)f.rip, 0xcf48);
}

static void modes(void)
{
    // 0x40 is INC EAX in 32-bit code and a REX prefix in 64-bit code.
    struct frame f = user32(U32("mov eax, 0xffffffff; .byte 0x40; nop"));
    f.rax = ~0ull;
    run(&f);
    check("compat ring 3 runs 32-bit code", f.rax & 0xffffffff, 0);
    f = kernel(K32("mov eax, 5; .byte 0x40; nop"));
    f.cs = KERNEL_CS32;
    run(&f);
    check("compat ring 0 runs 32-bit code", f.rax, 6);
    f = user(U("mov eax, 5; .byte 0x40; nop"));
    run(&f);
    check("ring 3 runs 64-bit code", f.rax, 5);
    f = user32(U32("push 0x11223344; mov eax, [esp]; pop ecx"));
    u64 rsp = f.rsp;
    run(&f);
    check("compat push is 4 bytes", f.rax, 0x11223344);
    check("compat pop restores ESP", f.rsp, rsp);
    f = user32(U32("mov eax, ds:[0x400000]; lea ebx, [eax*8+0x80000000]"));
    f.rax = 0;
    run(&f);
    check("compat moffs is 32-bit", f.rax, *(u32 *)0x400000);
}

static void flags(void)
{
    struct frame f = kernel(K("push 0x10; push rsp; push 0x3ad7; push 8; lea rax, [rip+1f]; "
                              "push rax; iretq; 1: pushfq; pop rbx"));
    f.rsp -= 0x20;
    run(&f);
    check("ring 0 loads IOPL and IF=0", f.rbx & 0x3fff, 0x38d7 | (f.rbx & F_IF));
    f = user(U("push 0x23; push rsp; push 0x3202; push 0x2b; lea rax, [rip+1f]; push rax; "
               "iretq; 1: pushfq; pop rbx"));
    run(&f);
    check("ring 3 cannot load IOPL or IF", f.rbx, 2);
    f = user(U("mov edx, 0x5ff000; push 0x23; push rdx; push 0x244ed7; push 0x2b; "
               "lea rax, [rip+1f]; push rax; iretq; 1: pushfq; pop rbx"));
    run(&f);
    check("ring 3 loads the rest", f.rbx & ~(u64)F_IF, 0x244cd7);
}

// Going outwards, data segments that the outer ring may not use become null.
static void outward(void)
{
    u64 inner = U("mov eax, ds; mov ebx, es; mov ecx, fs; mov edx, gs");
    u64 code = K("mov eax, 0x10; mov ds, eax; mov fs, eax; mov eax, 0x23; mov es, eax; "
                 "mov gs, eax; push 0x23; push 0x5fe000; push 2; push 0x2b; push rdi; iretq");
    struct frame f = kernel(code);
    f.rdi = inner;
    run(&f);
    check("DS of ring 0 becomes null", f.rax, 0);
    check("ES of ring 3 stays", f.rbx, USER_DS);
    check("FS of ring 0 becomes null", f.rcx, 0);
    check("GS of ring 3 stays", f.rdx, USER_DS);
    // A null selector has no use for its RPL either, and IRET clears it; the base of GS stays.
    code = K("mov eax, 3; mov ds, eax; mov es, eax; mov fs, eax; mov gs, eax; "
             "push 0x23; push 0x5fe000; push 2; push 0x2b; push rdi; iretq");
    f = kernel(code);
    f.rdi = inner;
    run(&f);
    check("null DS with RPL 3 becomes 0", f.rax, 0);
    check("null ES with RPL 3 becomes 0", f.rbx, 0);
    check("null FS with RPL 3 becomes 0", f.rcx, 0);
    check("null GS with RPL 3 becomes 0", f.rdx, 0);
    f = kernel(K("push 0x10; push rsp; push 2; push 8; lea rax, [rip+1f]; push rax; "
                 "mov ebx, 0x12345678; iretq; 1: mov rax, rsp"));
    u64 rsp = f.rsp;
    run(&f);
    check("same-ring IRETQ pops RSP too", f.rax, rsp - 8);
}

void main(void)
{
    landing = U("nop");
    landing32 = U32("nop");
    pops();
    modes();
    flags();
    outward();
}
