// When a CPU that runs loops of its own code must look up: interrupts that arrive in loops of every
// shape, and instructions behind which the same code means something else.
// SDM vol. 3A sections 2.5, 6.8 and 11.5.
// qemu-differs: unmasked right before: #XM -- TCG raises no SIMD floating-point exceptions
#include "apic.h"
#include "wait.h"

#define TIMER 0x51
#define TURNS 60

// The vector of the timer's interrupt if it comes while the loop still has turns to go.
static u64 interrupted(u64 code)
{
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TIMER);
    apic_write(APIC_TIMER_INITIAL, 400000);
    struct frame f = kernel(code);
    f.rcx = LONG_WAIT;
    run(&f);
    if (f.vector == V_END) {
        apic_write(APIC_TIMER_INITIAL, 0);
        wait_vector(SHORT_WAIT);
    }
    apic_eoi();
    return f.rcx ? f.vector : V_END;
}

static void loops(void)
{
    check("a loop", interrupted(K("sti; 1: lea rcx, [rcx-1]; test rcx, rcx; jnz 1b; cli")), TIMER);
    check("a loop that carries flags",
          interrupted(K("sti; stc; 1: dec rcx; jnz 1b; setc al; cli")), TIMER);
    check("a loop that jumps back",
          interrupted(K("sti; 1: dec rcx; jz 2f; jmp 1b; 2: cli")), TIMER);
    check("a loop that jumps back with flags",
          interrupted(K("sti; stc; 1: dec rcx; jz 2f; jmp 1b; 2: setc al; cli")), TIMER);
    check("a loop through a register",
          interrupted(K("sti; lea rdx, [rip+1f]; 1: dec rcx; jz 2f; jmp rdx; 2: cli")), TIMER);
    check("a loop through memory",
          interrupted(K("sti; lea rdx, [rip+1f]; mov [rsp-8], rdx; 1: dec rcx; jz 2f; "
                        "jmp [rsp-8]; 2: cli")), TIMER);
    check("a loop of returns",
          interrupted(K("sti; lea rdx, [rip+1f]; 1: dec rcx; jz 2f; push rdx; ret; 2: cli")), TIMER);
    check("a loop of calls",
          interrupted(K("sti; jmp 1f; 3: add rsp, 8; dec rcx; jz 2f; 1: call 3b; 2: cli")), TIMER);
}

static u64 often(u64 code, u64 rdi, u64 want)
{
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(code);
        f.rdi = rdi;
        run(&f);
        if (trap_of(&f) != want) {
            return trap_of(&f);
        }
    }
    return want;
}

static void vectors(void)
{
    if (!(cpuid(1, 0).ecx >> 28 & 1)) {
        skip("vectors", "avx");
        return;
    }
    WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
    asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
    static u32 settings[16] __attribute__((aligned(16)));
    settings[0] = settings[2] = 0x1f80;
    settings[4] = settings[5] = settings[6] = settings[7] = 0x3f800000; // four times 1.0
    u64 divide = K("ldmxcsr [rdi]; movups xmm0, [rdi+16]; xorps xmm1, xmm1; divps xmm0, xmm1; "
                   "stmxcsr [rdi+4]; ldmxcsr [rdi+8]; movups [rdi+32], xmm0");
    check("division by zero, masked", often(divide, ADDRESS(settings), ENDED), ENDED);
    check("MXCSR notes it", settings[1], 0x1f84);
    check("and the result is infinite", settings[8], 0x7f800000);
    settings[0] = 0x1d80;
    check("unmasked right before: #XM", often(divide, ADDRESS(settings), TRAP(V_XM, 0)),
          TRAP(V_XM, 0));
    settings[0] = 0x1f80;
    check("masked again", often(divide, ADDRESS(settings), ENDED), ENDED);
    static u32 thirds[8] __attribute__((aligned(16)));
    u64 third = K("ldmxcsr [rdi]; mov eax, 1; cvtsi2ss xmm0, eax; mov eax, 3; cvtsi2ss xmm1, eax; "
                  "divss xmm0, xmm1; movd [rdi+4], xmm0; mov dword ptr [rdi], 0x1f80; ldmxcsr [rdi]");
    u64 got = 0;
    for (u32 rounding = 0; rounding < 4; rounding++) { // nearest, down, up, to zero
        thirds[0] = 0x1f80 | rounding << 13;
        struct frame f = kernel(third);
        f.rdi = ADDRESS(thirds);
        run(&f);
        got = got << 4 | (thirds[1] & 15);
    }
    check("1/3 in four roundings", got, 0xbaba);
    u64 function = K("movups xmm0, [rdi+16]; mov eax, 1; ret");
    u64 caller = K("call rsi"), stop = K("mov rax, cr0; or rax, 8; mov cr0, rax; call rsi");
    u64 ran = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(caller);
        f.rdi = ADDRESS(settings), f.rsi = function;
        run(&f);
        ran += f.rax;
    }
    check("a function with vectors", ran, TURNS);
    struct frame f = kernel(stop);
    f.rdi = ADDRESS(settings), f.rsi = function;
    run(&f);
    check("the same with CR0.TS: #NM", trap_of(&f), TRAP(V_NM, 0));
    check("at its first instruction", f.rip, function);
    WRITE_CR(0, READ_CR(0) & ~(u64)CR0_TS);
}

static void segments(void)
{
    u64 right = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(K("mov eax, 0x23; mov es, eax; mov ecx, es; mov eax, 0x10; "
                                  "mov es, eax; mov eax, es"));
        run(&f);
        right += f.rcx == USER_DS && f.rax == KERNEL_DS;
    }
    check("segment registers hold what was put there", right, TURNS);
}

void main(void)
{
    apic_enable();
    loops();
    vectors();
    segments();
}
