// FXSAVE, FXRSTOR, XSAVE, XRSTOR: round trips, headers they refuse, page faults inside.
// SDM vol. 1 chapters 10.5 and 13.
// qemu-differs: #GP: fxrstor with reserved MXCSR bits -- TCG ignores reserved MXCSR bits
#include "micro.h"

#define PAGE 0x10000000000ull

static u8 area[4096] __attribute__((aligned(64)));
static u8 pattern[64] __attribute__((aligned(64)));

static struct frame with_area(u64 code, u64 at)
{
    struct frame f = kernel(code);
    f.rdi = at, f.rsi = ADDRESS(pattern), f.rax = 7;
    run(&f);
    return f;
}

static void clear(void)
{
    for (unsigned i = 0; i < sizeof(area); i++) {
        area[i] = 0;
    }
}

static void fx(void)
{
    clear();
    struct frame f = with_area(K("fninit; fld1; movups xmm5, [rsi]; fxsave64 [rdi]; xorps xmm5, xmm5; "
                                 "fninit; fxrstor64 [rdi]; movq rax, xmm5; push 0; "
                                 "fstp qword ptr [rsp]; pop rbx"), ADDRESS(area));
    check("fxsave: XMM5 comes back", f.rax, *(u64 *)pattern);
    check("fxsave: ST0 comes back", f.rbx, 0x3ff0000000000000);
    check("fxsave: FCW", *(u16 *)area, 0x37f);
    check("fxsave: abridged tag word", area[4], 0x80);
    check("fxsave: MXCSR", *(u32 *)(area + 24), 0x1f80);
    check("fxsave: XMM5 at 160+5*16", *(u64 *)(area + 240), *(u64 *)pattern);
    f = with_area(K("fxsave [rdi+8]"), ADDRESS(area));
    check("#GP: fxsave misaligned", trap_of(&f), TRAP(V_GP, 0));
    *(u32 *)(area + 24) = 0x10000;
    f = with_area(K("fxrstor [rdi]"), ADDRESS(area));
    check("#GP: fxrstor with reserved MXCSR bits", trap_of(&f), TRAP(V_GP, 0));
    map(PAGE, new_page(), P_P | P_W);
    f = with_area(K("fxsave [rdi+0xf00]"), PAGE);
    check("fxsave into a hole: #PF", trap_of(&f), TRAP(V_PF, 2));
    check("fxsave into a hole: CR2", f.cr2 & ~0xfffull, PAGE + 0x1000);
    f = with_area(K("fxrstor [rdi+0xf00]"), PAGE);
    check("fxrstor from a hole: #PF", trap_of(&f), TRAP(V_PF, 0));
    WRITE_CR(0, READ_CR(0) | CR0_TS);
    f = with_area(K("fxsave [rdi]"), ADDRESS(area));
    check("#NM: fxsave with TS", trap_of(&f), TRAP(V_NM, 0));
    WRITE_CR(0, READ_CR(0) & ~(u64)CR0_TS);
}

static void x(void)
{
    check("#UD: xsave without OSXSAVE", (u64)with_area(K("xsave [rdi]"), ADDRESS(area)).vector, V_UD);
    WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
    u32 all = cpuid(13, 0).eax & 7;
    check("CPUID 0Dh: x87 and SSE", all & 3, 3);
    struct frame f = kernel(K("xor ecx, ecx; xor edx, edx; xsetbv"));
    f.rax = all;
    run(&f);
    check("xsetbv of what CPUID offers", trap_of(&f), ENDED);
    check("CPUID 0Dh: size in use", cpuid(13, 0).ebx, all & 4 ? 832 : 576);
    clear();
    f = with_area(K("xor edx, edx; movups xmm3, [rsi]; xsave64 [rdi]; xorps xmm3, xmm3; "
                    "xrstor64 [rdi]; movq rax, xmm3"), ADDRESS(area));
    check("xsave: XMM3 comes back", f.rax, *(u64 *)pattern);
    check("xsave: XSTATE_BV has SSE", area[512] & 2, 2);
    if (all & 4) {
        clear();
        f = with_area(K("xor edx, edx; vmovups ymm9, [rsi]; xsave64 [rdi]; vxorps ymm9, ymm9, ymm9; "
                        "xrstor64 [rdi]; vextractf128 xmm1, ymm9, 1; movq rax, xmm1; vzeroupper"),
                      ADDRESS(area));
        check("xsave: upper half of YMM9 comes back", f.rax, *(u64 *)(pattern + 16));
        check("xsave: it lies at 576+9*16", *(u64 *)(area + 576 + 144), *(u64 *)(pattern + 16));
        f = with_area(K("xor edx, edx; vmovups ymm9, [rsi]; mov byte ptr [rdi+512], 3; xrstor64 [rdi]; "
                        "vextractf128 xmm1, ymm9, 1; movq rax, xmm1; vzeroupper"), ADDRESS(area));
        check("xrstor: a clear XSTATE_BV bit means the initial state", f.rax, 0);
        f = with_area(K("mov eax, 3; xor edx, edx; vmovups ymm9, [rsi]; xrstor64 [rdi]; "
                        "vextractf128 xmm1, ymm9, 1; movq rax, xmm1; vzeroupper"), ADDRESS(area));
        check("xrstor: a clear mask bit leaves the state", f.rax, *(u64 *)(pattern + 16));
    } else {
        skip("ymm", "avx");
    }
    area[512] = 3;
    area[512 + 7] = 0x80;
    f = with_area(K("xor edx, edx; xrstor [rdi]"), ADDRESS(area));
    check("#GP: xrstor with an unknown XSTATE_BV bit", trap_of(&f), TRAP(V_GP, 0));
    area[512 + 7] = 0;
    area[512 + 16] = 1;
    f = with_area(K("xor edx, edx; xrstor [rdi]"), ADDRESS(area));
    check("#GP: xrstor with reserved header bytes", trap_of(&f), TRAP(V_GP, 0));
    area[512 + 16] = 0;
    f = with_area(K("xor edx, edx; xsave [rdi+16]"), ADDRESS(area));
    check("#GP: xsave off a 64-byte boundary", trap_of(&f), TRAP(V_GP, 0));
    map(PAGE, new_page(), P_P | P_W);
    map(PAGE + 0x1000, 0, 0);
    f = with_area(K("xor edx, edx; xsave [rdi+0xf00]"), PAGE);
    check("xsave into a hole: #PF", f.vector, V_PF); // it may read XSTATE_BV first
    f = with_area(K("xor edx, edx; xrstor [rdi+0xf00]"), PAGE);
    check("xrstor from a hole: #PF", trap_of(&f), TRAP(V_PF, 0));
    map(PAGE + 0x1000, new_page(), P_P | P_W);
    f = with_area(K("xor edx, edx; movups xmm3, [rsi]; xsave64 [rdi+0xf00]; xorps xmm3, xmm3; "
                    "xrstor64 [rdi+0xf00]; movq rax, xmm3"), PAGE);
    check("xsave across two pages", f.rax, *(u64 *)pattern);
    if (all & 4) {
        f = kernel(K("xor ecx, ecx; xor edx, edx; mov eax, 3; xsetbv"));
        run(&f);
        check("#UD: AVX with XCR0.AVX clear", kernel_trap(K("vxorps ymm0, ymm0, ymm0")),
              TRAP(V_UD, 0));
    }
}

void main(void)
{
    for (unsigned i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (u8)(0x11 + 7 * i);
    }
    fx();
    if (cpuid(1, 0).ecx >> 26 & 1) {
        x();
    } else {
        skip("xsave", "xsave");
    }
}
