// x87 and MMX state that an engine may hold elsewhere while code runs: across faults of operands,
// rings, interrupts, and instructions that look at all of it. SDM vol. 1 chapters 8 and 9.
#include "micro.h"

#define PAGE 0x10000000000ull
#define MANY 40000
#define TURNS 60

static u64 frames[3];
static u8 area[512] __attribute__((aligned(16)));
static u64 result[2];

static struct frame with(u64 code, u64 rcx)
{
    struct frame f = kernel(code);
    f.rdi = ADDRESS(area), f.rsi = ADDRESS(result), f.rcx = rcx;
    run(&f);
    return f;
}

static void sums(void)
{
    with(K("fninit; fldz; 1: fld1; faddp; dec rcx; jnz 1b; fistp qword ptr [rsi]; fnstsw ax"), MANY);
    check("a sum of ones", result[0], MANY);
    struct frame f = with(K("fninit; fld1; fldz; mov eax, 0x11223344; 1: fcomi st, st(1); jae 2f; "
                            "fadd st, st(1); 2: fnstsw ax; dec rcx; jnz 1b; fistp qword ptr [rsi]"),
                          MANY);
    check("compared with FCOMI", result[0], 1);
    check("FNSTSW leaves the upper bits of EAX", f.rax & ~0xffffull, 0x11220000);
    check("FNSTSW: TOP", f.rax >> 11 & 7, 6);
    result[0] = 0x10000;
    f = with(K("emms; movq mm0, [rsi]; movq mm1, mm0; 1: paddq mm0, mm1; dec rcx; jnz 1b; "
               "movq rax, mm0; fnstsw ax; emms"),
             MANY);
    check("MMX: TOP is zero", f.rax >> 11 & 7, 0);
    check("MMX: the sum", f.rax >> 16, MANY + 1);
}

// The control word is taken from memory, as conversions to integers do.
static void rounding(void)
{
    u64 code = K("fninit; push 2; fild qword ptr [rsp]; push 3; fild qword ptr [rsp]; fdivrp; "
                 "mov dword ptr [rsp], 0x0f7f037f; 1: fldcw [rsp+2]; fld st(0); "
                 "fistp qword ptr [rsi]; fldcw [rsp]; fld st(0); fistp qword ptr [rsi+8]; "
                 "dec rcx; jnz 1b; fnstcw [rsp]; pop rax; pop rdx");
    struct frame f = with(code, MANY);
    check("truncated", result[0], 1);
    check("rounded", result[1], 2);
    check("the control word", f.rax & 0xffff, 0x37f);
    u64 unmasks = K("fninit; push 0x37b; mov ecx, 60; 1: fldcw [rsp]; fld1; fldz; fdivp; fwait; "
                    "fninit; dec ecx; jnz 1b");
    u64 bad = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame trapped = with(unmasks, 0);
        bad += trap_of(&trapped) != TRAP(V_MF, 0);
    }
    with(K("fninit"), 0);
    check("FLDCW unmasks division by zero", bad, 0);
}

// A store that pops happens once, and not at all when its page refuses.
static void faults(void)
{
    map(PAGE, frames[0], P_P);
    u64 store = K("fstp tbyte ptr [rdi]"), bad = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        with(K("fninit; fld1; fldpi"), 0);
        struct frame f = kernel(store);
        f.rdi = PAGE + 0x100;
        run(&f);
        bad += trap_of(&f) != TRAP(V_PF, 3);
        f = with(K("fistp qword ptr [rsi]; fistp qword ptr [rsi+8]; fnstsw ax"), 0);
        bad += result[0] != 3 || result[1] != 1 || f.rax & 0x3841;
    }
    check("FSTP to a read-only page changes nothing", bad, 0);
    map(PAGE, frames[0], P_P | P_W);
    map(PAGE + 0x1000, frames[2], P_P | P_W);
    bad = 0;
    u64 twice = K("fninit; fld1; fldpi; fstp tbyte ptr [rdi]; fld tbyte ptr [rdi]; "
                  "fistp qword ptr [rsi]; fistp qword ptr [rsi+8]; fnstsw ax");
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(twice);
        f.rdi = PAGE + 0x1000 - i % 11, f.rsi = ADDRESS(result);
        run(&f);
        bad += trap_of(&f) != ENDED || result[0] != 3 || result[1] != 1 || f.rax & 0x3841;
    }
    check("FSTP over the end of a page pops once", bad, 0);
}

// Everything that saves the state sees what ran before, and no addresses that are not the guest's.
static void images(void)
{
    struct frame f = with(K("fninit; fldz; 1: fld1; faddp; fxsave64 [rdi]; fld1; faddp; "
                            "fld1; fxrstor64 [rdi]; dec rcx; jnz 1b; fistp qword ptr [rsi]"),
                          MANY / 10);
    check("FXSAVE and FXRSTOR between", result[0], MANY / 10);
    u64 rip = *(u64 *)(area + 8), data = *(u64 *)(area + 16);
    check("the instruction pointer in the image", rip == 0 || rip - (f.rip - 64) < 64, 1);
    check("the data pointer in the image", data == 0 || data == ADDRESS(result), 1);
    f = with(K("fninit; fld1; mov rax, cr0; 1: dec ecx; or rax, 8; mov cr0, rax; "
               "and rax, -9; mov cr0, rax; fld1; faddp; test ecx, ecx; jnz 1b; "
               "or rax, 8; mov cr0, rax; fld1; 2: jmp 2b"),
             100);
    check("#NM behind translated x87 code", trap_of(&f), TRAP(V_NM, 0));
    WRITE_CR(0, READ_CR(0) & ~8ull);
    with(K("fistp qword ptr [rsi]"), 0);
    check("and the state before it", result[0], 101);
}

void main(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(frames); i++) {
        frames[i] = new_page();
    }
    sums();
    rounding();
    faults();
    images();
}
