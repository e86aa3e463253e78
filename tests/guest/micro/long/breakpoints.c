// Debug registers: execution, write and read/write breakpoints, RF, general detect.
// SDM vol. 3B sections 17.2 and 17.3.
// qemu-differs: execute: suppressed in the MOV SS shadow -- TCG has no such suppression
// qemu-differs: is held until after the next instruction -- TCG delivers at once
// qemu-differs: INT1 after it is the only one -- TCG delivers the watch before INT1
// qemu-differs: GD: #DB -- TCG has no general detect
// qemu-differs: GD: DR6.BD -- TCG has no general detect
// qemu-differs: GD: RIP is the access -- TCG has no general detect
// qemu-differs: GD: cleared in the handler -- TCG has no general detect
#include "micro.h"

#define DR6_IDLE 0xffff0ff0
#define DR6_BD 0x2000
#define DR6_BS 0x4000
#define DR7_IDLE 0x400
#define DR7_GD 0x2000

enum kind { EXECUTE = 0, WRITE = 1, IO = 2, ACCESS = 3 };
enum length { ONE = 0, TWO = 1, FOUR = 3, EIGHT = 2 };

static u64 watched[4] USER_DATA;

// Arm breakpoint `n` globally and run `f`: 0 = no #DB, else DR6's low bits plus 0x100.
static u64 hit(int n, enum kind kind, enum length length, u64 address, struct frame *f)
{
    switch (n) {
    case 0: WRITE_DR(0, address); break;
    case 1: WRITE_DR(1, address); break;
    case 2: WRITE_DR(2, address); break;
    default: WRITE_DR(3, address); break;
    }
    WRITE_DR(6, DR6_IDLE);
    WRITE_DR(7, DR7_IDLE | 2ull << 2 * n | (u64)(length << 2 | kind) << (16 + 4 * n));
    run(f);
    u64 status = READ_DR(6);
    WRITE_DR(7, DR7_IDLE);
    return f->vector == V_DB ? 0x100 | (status & 0xe00f) : 0;
}

static void execution(void)
{
    struct frame f = kernel(K("nop; nop; nop"));
    u64 start = f.rip;
    check("execute: DR0", hit(0, EXECUTE, ONE, start + 1, &f), 0x101);
    check("execute: a fault, RIP is the instruction", f.rip - start, 1);
    f = kernel(start);
    check("execute: DR3", hit(3, EXECUTE, ONE, start + 2, &f), 0x108);
    f = kernel(start);
    hit(1, EXECUTE, ONE, start + 1, &f);
    f.rflags |= F_RF;
    check("RF suppresses it once", hit(1, EXECUTE, ONE, start + 1, &f), 0);
    f = kernel(K("mov ecx, 2; 1: nop; loop 1b"));
    start = f.rip;
    hit(0, EXECUTE, ONE, start + 5, &f);
    f.rflags |= F_RF;
    check("RF lasts one instruction: the loop hits again", hit(0, EXECUTE, ONE, start + 5, &f),
          0x101);
    check("RF: in the second round", f.rcx, 1);
    f = user(U("nop; nop"));
    check("execute: ring 3", hit(0, EXECUTE, ONE, f.rip + 1, &f), 0x101);
    f = kernel(K("mov eax, 0x10; mov ss, eax; nop; nop"));
    start = f.rip;
    check("execute: suppressed in the MOV SS shadow", hit(0, EXECUTE, ONE, start + 7, &f), 0);
    f = kernel(K("nop; ud2"));
    start = f.rip;
    check("execute beats #UD", hit(0, EXECUTE, ONE, start + 1, &f), 0x101);
    f = kernel(start);
    f.rflags |= F_TF;
    run(&f);
    check("execute: not enabled, not hit", f.rip - start, 1);
}

static void data(void)
{
    u64 at = ADDRESS(watched);
    const struct {
        const char *name;
        u64 code;
        enum kind kind;
        enum length length;
        int offset;
        u64 want;
    } rows[] = {
        {"write hits a write watch", K("mov [rdi], al"), WRITE, ONE, 0, 0x101},
        {"read misses a write watch", K("mov al, [rdi]"), WRITE, ONE, 0, 0},
        {"read hits an access watch", K("mov al, [rdi]"), ACCESS, ONE, 0, 0x101},
        {"write hits an access watch", K("mov [rdi], al"), ACCESS, ONE, 0, 0x101},
        {"fetch misses an access watch", K("nop"), ACCESS, ONE, 0, 0},
        {"byte below a dword watch", K("mov [rdi+3], al"), WRITE, FOUR, 4, 0},
        {"first byte of a dword watch", K("mov [rdi+4], al"), WRITE, FOUR, 4, 0x101},
        {"last byte of a dword watch", K("mov [rdi+7], al"), WRITE, FOUR, 4, 0x101},
        {"byte above a dword watch", K("mov [rdi+8], al"), WRITE, FOUR, 4, 0},
        {"word that overlaps a byte watch", K("mov [rdi+7], ax"), WRITE, ONE, 8, 0x101},
        {"qword over a word watch", K("mov [rdi], rax"), WRITE, TWO, 6, 0x101},
        {"qword watch", K("mov [rdi+15], al"), WRITE, EIGHT, 8, 0x101},
        {"push hits", K("lea rsp, [rdi+8]; push rax"), WRITE, EIGHT, 0, 0x101},
        {"rmw hits a write watch", K("inc dword ptr [rdi]"), WRITE, FOUR, 0, 0x101},
        {"failing cmpxchg hits a write watch", K("mov eax, 99; lock cmpxchg [rdi], ecx"), WRITE,
         FOUR, 0, 0x101},
        {"stosq hits", K("stosq"), WRITE, FOUR, 4, 0x101},
        {"prefetch misses", K("prefetcht0 [rdi]"), ACCESS, FOUR, 0, 0},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct frame f = kernel(rows[i].code);
        f.rdi = at;
        check(rows[i].name, hit(0, rows[i].kind, rows[i].length, at + rows[i].offset, &f),
              rows[i].want);
    }
    struct frame f = kernel(K("mov [rdi], al; nop"));
    u64 start = f.rip;
    f.rdi = at;
    hit(2, WRITE, ONE, at, &f);
    check("data: a trap, RIP is after the write", f.rip - start, 2);
    check("data: the write was done, RF is clear", f.rflags & F_RF, 0);
    f = kernel(K("rep stosb"));
    f.rdi = at, f.rcx = 6;
    check("rep stosb hits", hit(0, WRITE, ONE, at + 2, &f), 0x101);
    check("rep stosb stops after the element", f.rcx, 3);
    f = user(U("mov [rdi], eax; nop"));
    f.rdi = at;
    check("data: ring 3", hit(1, WRITE, FOUR, at, &f), 0x102);
    f = kernel(K("mov [rdi], al; nop"));
    f.rdi = at;
    f.rflags |= F_TF;
    check("a watch and a step give one #DB", hit(0, WRITE, ONE, at, &f), 0x101 | DR6_BS);
    *(u16 *)at = KERNEL_DS;
    f = kernel(K("mov ss, [rdi]; nop; nop"));
    f.rdi = at;
    start = f.rip;
    check("a watch hit by MOV SS", hit(0, ACCESS, TWO, at, &f), 0x101);
    check("is held until after the next instruction", f.rip - start, 3);
    // INT1 drops it: taken by the first instruction of the handler, it would come in over its frame.
    f = user(U("mov ss, [rdi]; .byte 0xf1; nop"));
    f.rdi = at;
    *(u16 *)at = USER_DS;
    start = f.rip;
    check("INT1 after it is a trap", hit(0, ACCESS, TWO, at, &f) >> 8, 1);
    check("INT1 after it is the only one", f.rip - start, 3);
}

static void control(void)
{
    WRITE_DR(6, 0);
    check("DR6 reserved bits", READ_DR(6) & ~0x10000ull, DR6_IDLE & ~0x10000ull);
    WRITE_DR(7, 0);
    check("DR7 bit 10 is one", READ_DR(7), DR7_IDLE);
    struct frame f = kernel(K("mov dr7, rax"));
    f.rax = 1ull << 32;
    run(&f);
    check("#GP: upper half of DR7", trap_of(&f), TRAP(V_GP, 0));
    f = kernel(K("mov dr6, rax"));
    f.rax = 1ull << 32;
    run(&f);
    check("#GP: upper half of DR6", trap_of(&f), TRAP(V_GP, 0));
    f = kernel(K("mov dr0, rax; mov rbx, dr0"));
    f.rax = 0x123456789abcdef0 & 0x00007fffffffffff;
    run(&f);
    check("DR0 holds 64 bits", f.rbx, f.rax);
    WRITE_DR(6, DR6_IDLE);
    f = kernel(K(".byte 0x0f, 0x21, 0xe0")); // mov rax, dr4
    run(&f);
    check("DR4 is DR6 without CR4.DE", f.rax, READ_DR(6));
    WRITE_CR(4, READ_CR(4) | CR4_DE);
    check("#UD: DR4 with CR4.DE", kernel_trap(K(".byte 0x0f, 0x21, 0xe0")), TRAP(V_UD, 0));
    f = kernel(K("mov dx, 0x80; out dx, al; nop"));
    check("I/O breakpoint", hit(0, IO, ONE, 0x80, &f), 0x101);
    f = kernel(K("mov dx, 0x80; in al, dx; nop"));
    check("I/O breakpoint on another port", hit(0, IO, ONE, 0x81, &f), 0);
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_DE);
}

// DR7.GD: any access to a debug register faults first, and the fault clears GD.
static void general_detect(void)
{
    WRITE_DR(6, DR6_IDLE);
    struct frame f = kernel(K("mov dr7, rax; mov rbx, dr0; nop"));
    f.rax = DR7_IDLE | DR7_GD;
    u64 start = f.rip;
    run(&f);
    check("GD: #DB", trap_of(&f), TRAP(V_DB, 0));
    check("GD: DR6.BD", READ_DR(6) & DR6_BD, DR6_BD);
    check("GD: RIP is the access", f.rip - start, 3);
    check("GD: cleared in the handler", READ_DR(7), DR7_IDLE);
}

void main(void)
{
    execution();
    data();
    control();
    general_detect();
}
