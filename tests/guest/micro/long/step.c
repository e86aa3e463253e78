// Single stepping with RFLAGS.TF. SDM vol. 3B sections 17.2.3 and 17.3.1.4; vol. 3A 6.8.3 for
// the MOV SS and POP SS shadow.
// qemu-differs: sti does not delay the trap -- TCG drops the trap in the STI shadow
#include "micro.h"

#define DR6_BS 0x4000
#define DR6_IDLE 0xffff0ff0

// Step `f` until another trap than #DB comes; count the #DBs and fold their RIP offsets.
static u64 step(struct frame *f, u64 *offsets)
{
    u64 start = f->rip, count = 0;
    *offsets = 0;
    WRITE_DR(6, DR6_IDLE);
    f->rflags |= F_TF;
    for (run(f); f->vector == V_DB && count < 100; run(f)) {
        count++;
        *offsets = *offsets << 8 | (f->rip - start);
    }
    return count;
}

static void check_steps(const char *name, struct frame f, u64 want)
{
    u64 offsets;
    step(&f, &offsets);
    check(name, offsets, want);
}

static void plain(void)
{
    struct frame f = kernel(K("nop; mov eax, 5; nop"));
    f.rflags |= F_TF;
    WRITE_DR(6, DR6_IDLE);
    u64 start = f.rip;
    run(&f);
    check("the first trap is after one instruction", trap_of(&f) << 8 | (f.rip - start),
          TRAP(V_DB, 0) << 8 | 1);
    check("DR6.BS is set", READ_DR(6), DR6_IDLE | DR6_BS);
    check("the pushed flags have TF, not RF", f.rflags & (F_TF | F_RF), F_TF);
    run(&f);
    check("IRET resumes stepping", f.rip - start, 6);
    check_steps("straight code", kernel(K("nop; mov eax, 5; nop")), 0x010607);
    check_steps("ring 3", user(U("nop; nop; nop")), 0x010203);
    check_steps("compat", user32(U32("inc eax; dec eax")), 0x0102);
    check_steps("taken branch", kernel(K("jmp 1f; nop; nop; 1: nop")), 0x0405);
    check_steps("call and ret", kernel(K("call 1f; jmp 2f; 1: ret; 2: nop")), 0x07050809);
    check_steps("a locked instruction", kernel(K("lock inc dword ptr [rsp-8]; nop")), 0x0506);
}

static void pushed_flags(void)
{
    struct frame f = kernel(K("pushfq; pop rax; nop"));
    u64 offsets;
    step(&f, &offsets);
    check("pushfq stores TF", f.rax & F_TF, F_TF);
    f = kernel(K("pushfq; or dword ptr [rsp], 0x100; popfq; nop; nop"));
    WRITE_DR(6, DR6_IDLE);
    u64 start = f.rip;
    run(&f);
    check("popfq with TF traps after the next instruction", f.rip - start, 10);
    f = kernel(K("pushfq; and dword ptr [rsp], ~0x100; popfq; nop; nop"));
    start = f.rip;
    check("popfq without TF still traps once", step(&f, &offsets) << 8 | (offsets & 0xff), 0x309);
}

static void shadows(void)
{
    check_steps("mov ss delays the trap by one instruction",
                kernel(K("mov eax, 0x10; mov ss, eax; nop; nop")), 0x050809);
    check_steps("sti does not delay the trap", kernel(K("sti; cli; nop")), 0x010203);
    struct frame f = user32(U32("push 0x23; pop ss; nop; nop"));
    check_steps("pop ss delays the trap, compat", f, 0x020405);
    check_steps("mov ds does not delay", kernel(K("mov eax, 0x23; mov ds, eax; nop")), 0x050708);
}

static void repeats(void)
{
    static u8 from[8], to[8];
    struct frame f = kernel(K("rep movsb; nop"));
    f.rcx = 3, f.rsi = ADDRESS(from), f.rdi = ADDRESS(to);
    check_steps("rep movsb traps after each element", f, 0x00000203);
    f.rflags |= F_TF;
    run(&f);
    check("rep movsb: state after one element",
          f.rcx << 32 | (f.rsi - ADDRESS(from)) << 8 | (f.rdi - ADDRESS(to)), 2ull << 32 | 0x101);
    f = kernel(K("rep movsb; nop"));
    check_steps("rep with RCX=0 traps once", f, 0x0203);
    f = kernel(K("repne scasb; nop"));
    f.rcx = 5, f.rdi = ADDRESS(to);
    check_steps("repne scasb ends at the match", f, 0x0203);
}

static void faults_and_gates(void)
{
    struct frame f = kernel(K("ud2"));
    f.rflags |= F_TF;
    WRITE_DR(6, DR6_IDLE);
    run(&f);
    check("a fault comes instead of the trap", trap_of(&f), TRAP(V_UD, 0));
    check("a fault leaves DR6 alone", READ_DR(6), DR6_IDLE);
    check("a fault pushes TF", f.rflags & F_TF, F_TF);
    f = kernel(K("int3"));
    f.rflags |= F_TF;
    run(&f);
    check("int3 pushes TF and traps as #BP", trap_of(&f) | (f.rflags & F_TF), TRAP(V_BP, F_TF));
    wrmsr(MSR_STAR, (u64)0x18 << 48 | (u64)KERNEL_CS << 32);
    wrmsr(MSR_LSTAR, K("mov rax, r11; nop; nop"));
    wrmsr(MSR_FMASK, F_TF | F_IF);
    f = user(U("syscall"));
    f.rflags |= F_TF;
    run(&f);
    check("syscall with TF masked: no trap in the kernel", trap_of(&f), ENDED);
    check("syscall: R11 has TF", f.rax & F_TF, F_TF);
    // Unlike IRET, SYSRET looks at the TF that it has just loaded: the trap comes at once.
    f = kernel(K("sysretq"));
    f.rcx = U("nop; nop"), f.r11 = 2 | F_TF, f.rsp = 0x5fe000;
    u64 landing = f.rcx;
    WRITE_DR(6, DR6_IDLE);
    run(&f);
    check("sysret with TF in R11 traps", trap_of(&f), TRAP(V_DB, 0));
    check("before the first user instruction", f.rip, landing);
    f = kernel(K("mov dr6, rax; nop"));
    f.rax = DR6_IDLE | DR6_BS;
    f.rflags |= F_TF;
    run(&f);
    check("DR6.BS is sticky", READ_DR(6) & DR6_BS, DR6_BS);
}

void main(void)
{
    plain();
    pushed_flags();
    shadows();
    repeats();
    faults_and_gates();
}
