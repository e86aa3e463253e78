// String instructions: every operation, both directions, stopped by a page fault after five of
// ten elements and resumed once the page is there. SDM vol. 1 section 7.3.9.3, vol. 2 "REP".
#include "micro.h"

#define SOURCE 0x10000001000ull // one mapped page, holes on both sides
#define TARGET 0x10000011000ull
#define SCRATCH_PORT 0x3ff // the UART's scratch register

static u64 source, target, spare;

enum uses { RSI = 1, RDI = 2 };

struct operation {
    const char *name;
    u64 code;
    int size, uses;
    u64 error;
};

static void holes(void)
{
    for (int i = -1; i <= 1; i += 2) {
        map(SOURCE + i * 0x1000, 0, 0);
        map(TARGET + i * 0x1000, 0, 0);
    }
}

// Five elements lie in the page, the sixth is the first one outside it.
static void restart(const struct operation *op, int down, int uses, const char *suffix)
{
    char name[64];
    holes();
    u64 rsi = SOURCE + 0x800, rdi = TARGET + 0x800;
    u64 edge = down ? 4 * op->size : 0x1000 - 5 * op->size;
    if (uses & RSI) {
        rsi = SOURCE + edge;
    }
    if (uses & RDI) {
        rdi = TARGET + edge;
    }
    long step = down ? -op->size : op->size;
    struct frame f = kernel(op->code);
    f.rsi = rsi, f.rdi = rdi, f.rcx = 10, f.rdx = SCRATCH_PORT, f.rax = 0x5a5a5a5a5a5a5a5a;
    f.rflags |= down ? F_DF : 0;
    run(&f);
    u64 hole = uses & RSI ? rsi + 5 * step : rdi + 5 * step;
    u64 good = (f.vector == V_PF) | (f.error == (uses & RSI ? 0 : op->error)) << 1 |
               (f.cr2 == hole) << 2 | (f.rcx == 5) << 3 |
               (f.rsi == (op->uses & RSI ? rsi + 5 * step : rsi)) << 4 |
               (f.rdi == (op->uses & RDI ? rdi + 5 * step : rdi)) << 5;
    join(name, op->name, suffix);
    u64 end = 0;
    while (name[end]) {
        end++;
    }
    join(name + end, down ? " down" : " up", ": stops");
    check(name, good, 63);
    map(hole & ~0xfffull, spare, P_P | P_W);
    run(&f);
    join(name + end, down ? " down" : " up", ": resumes");
    good = (f.vector == V_END) | (f.rcx == 0) << 1 |
           (f.rsi == (op->uses & RSI ? rsi + 10 * step : rsi)) << 2 |
           (f.rdi == (op->uses & RDI ? rdi + 10 * step : rdi)) << 3;
    check(name, good, 15);
}

static void faults(void)
{
    const struct operation operations[] = {
        {"movsb", K("rep movsb"), 1, RSI | RDI, 2}, {"movsw", K("rep movsw"), 2, RSI | RDI, 2},
        {"movsd", K("rep movsd"), 4, RSI | RDI, 2}, {"movsq", K("rep movsq"), 8, RSI | RDI, 2},
        {"stosb", K("rep stosb"), 1, RDI, 2},       {"stosq", K("rep stosq"), 8, RDI, 2},
        {"lodsb", K("rep lodsb"), 1, RSI, 0},       {"lodsd", K("rep lodsd"), 4, RSI, 0},
        {"scasb", K("repe scasb"), 1, RDI, 0},      {"scasq", K("repe scasq"), 8, RDI, 0},
        {"cmpsb", K("repe cmpsb"), 1, RSI | RDI, 0}, {"cmpsd", K("repe cmpsd"), 4, RSI | RDI, 0},
        {"insb", K("rep insb"), 1, RDI, 2},         {"outsb", K("rep outsb"), 1, RSI, 0},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(operations); i++) {
        const struct operation *op = &operations[i];
        for (int down = 0; down < 2; down++) {
            for (u64 at = 0; at < 0x1000; at++) {
                ((u8 *)source)[at] = ((u8 *)target)[at] = ((u8 *)spare)[at] = 0x5a;
            }
            if (op->uses & RDI) {
                restart(op, down, RDI, op->uses & RSI ? " to a hole" : "");
            }
            if (op->uses & RSI) {
                restart(op, down, RSI, op->uses & RDI ? " from a hole" : "");
            }
        }
    }
}

static void results(void)
{
    char *bytes = (char *)target;
    map(TARGET, target, P_P | P_W);
    for (int i = 0; i < 16; i++) {
        bytes[i] = (char)('a' + i);
    }
    struct frame f = kernel(K("mov eax, 'f'; repne scasb"));
    f.rdi = TARGET, f.rcx = 16;
    run(&f);
    check("repne scasb stops after the match", f.rdi - TARGET, 6);
    check("repne scasb leaves the rest in RCX", f.rcx, 10);
    check("repne scasb sets ZF", f.rflags & F_ZF, F_ZF);
    f = kernel(K("repe cmpsb"));
    f.rsi = TARGET, f.rdi = TARGET + 1, f.rcx = 5;
    run(&f);
    check("repe cmpsb stops after the difference", f.rcx, 4);
    check("repe cmpsb compares [rsi] with [rdi]", f.rflags & (F_CF | F_ZF | F_SF), F_CF | F_SF);
    f = kernel(K("rep movsb"));
    f.rsi = TARGET, f.rdi = TARGET + 1, f.rcx = 8;
    run(&f);
    check("overlapping rep movsb repeats the first byte", *(u64 *)(bytes + 1), 0x6161616161616161);
    f = kernel(K("rep movsb"));
    f.rsi = f.rdi = 0x3000000000;
    run(&f);
    check("rep with RCX=0 touches nothing", trap_of(&f), ENDED);
    f = kernel(K("stc; repe cmpsb; setc al"));
    f.rsi = f.rdi = 0x3000000000;
    run(&f);
    check("repe with RCX=0 keeps the flags", f.rax, 1);
    f = kernel(K(".byte 0x67; rep stosb"));
    f.rdi = TARGET, f.rcx = 0x500000000;
    run(&f);
    check("67 rep counts in ECX", f.rcx & 0xffffffff, 0);
    f = kernel(K("mov al, 'x'; .byte 0x67; rep stosb"));
    f.rdi = 0xabc00000000 | 0x5fd000, f.rcx = 0x500000002;
    run(&f);
    check("67 rep stosb uses EDI and zero-extends it", f.rdi, 0x5fd002);
    check("67 rep stosb zero-extends RCX", f.rcx, 0);
    holes();
    f = kernel(K("stosq"));
    f.rdi = TARGET + 0xffc, f.rax = ~0ull;
    *(u32 *)(target + 0xffc) = 7;
    run(&f);
    check("stosq across the hole: CR2", f.cr2, TARGET + 0x1000);
    check("stosq across the hole stores nothing", *(u32 *)(target + 0xffc), 7);
    check("stosq across the hole keeps RDI", f.rdi, TARGET + 0xffc);
    f = kernel(K("movsb"));
    f.rsi = SOURCE - 1, f.rdi = TARGET - 1;
    run(&f);
    check("movsb reads before it writes", f.cr2 << 4 | f.error, (SOURCE - 1) << 4);
    f = user(U("rep movsb"));
    f.rsi = SOURCE, f.rdi = 0x5fd000, f.rcx = 4;
    run(&f);
    check("rep movsb ring 3 from a supervisor page", trap_of(&f), TRAP(V_PF, 5));
    check("rep movsb ring 3: nothing done", f.rcx << 32 | f.rdi, 4ull << 32 | 0x5fd000);
    f = kernel(K("std; lodsb; cld"));
    f.rsi = TARGET;
    run(&f);
    check("lodsb with DF", f.rsi, TARGET - 1);
    f = kernel(K(".byte 0x64, 0xf3, 0xa4"));
    f.rsi = 0x100, f.rcx = 1;
    wrmsr(MSR_FS_BASE, TARGET);
    *(u8 *)(target + 0x100) = 0x77;
    f.rdi = TARGET + 0x101;
    run(&f);
    check("fs: applies to the source of movsb", *(u8 *)(target + 0x101), 0x77);
}

void main(void)
{
    source = new_page();
    target = new_page();
    spare = new_page();
    map(SOURCE, source, P_P | P_W);
    map(TARGET, target, P_P | P_W);
    outb(SCRATCH_PORT, 0x5a);
    faults();
    results();
}
