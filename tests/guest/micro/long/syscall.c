// SYSCALL, SYSRET, SYSENTER, SYSEXIT on an Intel CPU. SDM vol. 2, the pages of each.
// qemu-differs: syscall: FMASK clears its bits -- TCG loses the arithmetic flags
// qemu-differs: #UD: sysret in compat mode (Intel) -- TCG runs it as AMD does
// qemu-differs: #GP: it arrives in ring 0 -- TCG faults on the fetch, in ring 3, as AMD does
#include "micro.h"

static void set_up(u64 target)
{
    wrmsr(MSR_STAR, (u64)0x18 << 48 | (u64)KERNEL_CS << 32);
    wrmsr(MSR_LSTAR, target);
    wrmsr(MSR_FMASK, F_IF | F_DF | F_TF | F_AC);
}

static void syscall_in(void)
{
    set_up(K("mov eax, cs; mov ebx, ss; mov rdx, rsp; pushfq; pop rdi"));
    struct frame f = user(U("lea rsi, [rip+1f]; syscall; 1: nop"));
    f.rflags |= F_IF | F_DF | F_CF | F_AC;
    u64 flags = f.rflags, rsp = f.rsp;
    run(&f);
    check("syscall: CS", f.rax, KERNEL_CS);
    check("syscall: SS is CS+8", f.rbx, KERNEL_DS);
    check("syscall: RCX is the next RIP", f.rcx, f.rsi);
    check("syscall: R11 is RFLAGS", f.r11, flags);
    check("syscall: FMASK clears its bits", f.rdi, 2 | F_CF);
    check("syscall: RSP is kept", f.rdx, rsp);
    f = kernel(K("lea rsi, [rip+1f]; syscall; 1: nop"));
    run(&f);
    check("syscall from ring 0", f.rcx, f.rsi);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
    check("#UD: syscall without SCE", user_trap(U("syscall")), TRAP(V_UD, 0));
    check("#UD: sysret without SCE", kernel_trap(K("sysretq")), TRAP(V_UD, 0));
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
    f = user32(U32("syscall"));
    run(&f);
    check("#UD: syscall in compat mode (Intel)", trap_of(&f), TRAP(V_UD, 0));
    f = kernel(K32(".byte 0x0f, 0x07"));
    f.cs = KERNEL_CS32;
    run(&f);
    check("#UD: sysret in compat mode (Intel)", trap_of(&f), TRAP(V_UD, 0));
}

static void sysret_out(void)
{
    struct frame f = kernel(K("sysretq"));
    f.rcx = U("mov eax, cs; mov ebx, ss; pushfq; pop rdx");
    f.r11 = 2 | F_CF | F_IF | F_IOPL3 | F_RF;
    f.rsp = 0x5fe000;
    run(&f);
    check("sysretq: CS", f.rax, USER_CS);
    check("sysretq: SS", f.rbx, USER_DS);
    check("sysretq: RFLAGS from R11 without RF", f.rdx, 2 | F_CF | F_IF | F_IOPL3);
    check("sysretq: RSP is kept", f.rsp, 0x5fe000);
    f = kernel(K(".byte 0x0f, 0x07"));
    f.rcx = 0xabcd00000000 | U32("mov eax, 0xff; .byte 0x40; nop; mov ebx, cs");
    f.r11 = 2;
    f.rsp = 0x5fe000;
    run(&f);
    check("sysretl: runs 32-bit code at ECX", f.rax, 0x100);
    check("sysretl: CS", f.rbx, USER_CS32);
    f = kernel(K("sysretq"));
    f.rcx = 1ull << 47;
    f.r11 = 2;
    run(&f);
    check("#GP: sysretq to a non-canonical RCX (Intel)", trap_of(&f), TRAP(V_GP, 0));
    check("#GP: it arrives in ring 0", f.cs, KERNEL_CS);
}

static void sysenter(void)
{
    u64 kernel_stack = ADDRESS(this_cpu()) + CPU_SNIPPET_TOP;
    wrmsr(MSR_SYSENTER_CS, 0);
    check("#GP: sysenter with a null CS", user_trap(U("sysenter")), TRAP(V_GP, 0));
    check("#GP: sysexit with a null CS", kernel_trap(K(".byte 0x0f, 0x35")), TRAP(V_GP, 0));
    wrmsr(MSR_SYSENTER_CS, KERNEL_CS);
    wrmsr(MSR_SYSENTER_ESP, kernel_stack);
    wrmsr(MSR_SYSENTER_EIP, K("mov eax, cs; mov ebx, ss; mov rdx, rsp; pushfq; pop rdi"));
    struct frame f = user(U("sysenter"));
    f.rflags |= F_IF | F_CF | F_AC;
    run(&f);
    check("sysenter: CS", f.rax, KERNEL_CS);
    check("sysenter: SS", f.rbx, KERNEL_DS);
    check("sysenter: RSP", f.rdx, kernel_stack);
    check("sysenter: clears IF only", f.rdi, 2 | F_CF | F_AC);
    f = user32(U32("sysenter"));
    run(&f);
    check("sysenter from compat runs 64-bit code", f.rax << 32 | (u32)f.cs,
          (u64)KERNEL_CS << 32 | KERNEL_CS);
    f = kernel(K(".byte 0x0f, 0x35"));
    f.rdx = 0xff00000000 | U32("mov eax, 0xff; .byte 0x40; nop; mov ebx, cs; mov ecx, ss");
    f.rcx = 0x5fd000;
    run(&f);
    check("sysexit: 32-bit code at EDX", f.rax, 0x100);
    check("sysexit: CS is +16", f.rbx, USER_CS32);
    check("sysexit: SS is +24", f.rcx, USER_DS);
    check("sysexit: RSP is ECX", f.rsp, 0x5fd000);
    f = kernel(K(".byte 0x48, 0x0f, 0x35"));
    f.rdx = U("mov eax, cs; mov ebx, ss");
    f.rcx = 0x5fd000;
    run(&f);
    check("sysexitq: CS is +32", f.rax, USER_CS);
    check("sysexitq: SS is +40", f.rbx, 0x33);
    f = kernel(K(".byte 0x48, 0x0f, 0x35"));
    f.rdx = 1ull << 47;
    run(&f);
    check("#GP: sysexitq to a non-canonical RDX", trap_of(&f), TRAP(V_GP, 0));
}

void main(void)
{
    syscall_in();
    sysret_out();
    sysenter();
}
