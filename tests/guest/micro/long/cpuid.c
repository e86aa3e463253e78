// CPUID: shape of the leaves, and features against what the CPU does. SDM vol. 2 "CPUID".
// qemu-differs: feature bit and behaviour agree: RDSEED -- TCG runs RDSEED without the bit
#include "micro.h"

void main(void)
{
    struct cpuid basic = cpuid(0, 0), one = cpuid(1, 0), seven = cpuid(7, 0);
    check("vendor is GenuineIntel",
          basic.ebx == 0x756e6547 && basic.edx == 0x49656e69 && basic.ecx == 0x6c65746e, 1);
    check("at least 13 basic leaves", basic.eax >= 13, 1);
    check("x86-64-v2 in leaf 1 ECX: SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT", one.ecx & 0x982201,
          0x982201);
    check("leaf 1 EDX: FPU TSC MSR PAE CX8 APIC PGE CMOV FXSR SSE SSE2", one.edx & 0x700a371,
          0x700a371 & (one.edx | 0xa371 | 0x7000000));
    struct cpuid extended = cpuid(0x80000000, 0), more = cpuid(0x80000001, 0);
    check("extended leaves reach 80000008h", extended.eax >= 0x80000008, 1);
    check("long mode, NX, SYSCALL", more.edx & 0x20100800, 0x20100800);
    check("LAHF in 64-bit mode", more.ecx & 1, 1);
    struct cpuid sizes = cpuid(0x80000008, 0);
    check("48-bit linear addresses", sizes.eax >> 8 & 0xff, seven.ecx >> 16 & 1 ? 57 : 48);
    check("physical addresses of 36 to 52 bits", (sizes.eax & 0xff) >= 36 && (sizes.eax & 0xff) <= 52,
          1);
    check("hypervisor bit", one.ecx >> 31, 1);
    struct cpuid beyond = cpuid(7, 200);
    check("an unknown subleaf of 7 is zero", beyond.eax | beyond.ebx | beyond.ecx | beyond.edx, 0);
    struct frame f = kernel(K("mov rax, -1; mov rcx, -1; mov rbx, -1; mov rdx, -1; mov eax, 0; "
                              "mov ecx, 0; cpuid; mov rsi, rax; or rsi, rbx; or rsi, rcx; "
                              "or rsi, rdx; shr rsi, 32"));
    run(&f);
    check("results are zero-extended", f.rsi, 0);
    f = user(U("xor eax, eax; cpuid"));
    run(&f);
    check("ring 3 sees the same", f.rbx << 32 | f.rax, (u64)basic.ebx << 32 | basic.eax);
    f = user32(U32("xor eax, eax; cpuid"));
    run(&f);
    check("compat sees the same", f.rbx << 32 | f.rax, (u64)basic.ebx << 32 | basic.eax);
    check("ID flag can be changed", kernel_trap(K("pushfq; pop rax; btc rax, 21; push rax; popfq; "
                                                  "pushfq; pop rbx; cmp rax, rbx; je 1f; ud2; 1:")),
          ENDED);
    const struct {
        const char *name;
        int present;
        u64 code;
    } rows[] = {
        {"POPCNT", one.ecx >> 23 & 1, K("popcnt eax, eax")},
        {"MOVBE", one.ecx >> 22 & 1, K("movbe eax, [rsp-8]")},
        {"RDRAND", one.ecx >> 30 & 1, K("rdrand eax")},
        {"AESNI", one.ecx >> 25 & 1, K("aesenc xmm0, xmm1")},
        {"PCLMULQDQ", one.ecx >> 1 & 1, K("pclmulqdq xmm0, xmm1, 0")},
        {"SSE4.2", one.ecx >> 20 & 1, K("pcmpgtq xmm0, xmm1")},
        {"BMI1", seven.ebx >> 3 & 1, K("andn eax, eax, eax")},
        {"BMI2", seven.ebx >> 8 & 1, K("shlx eax, eax, eax")},
        {"ADX", seven.ebx >> 19 & 1, K("adcx eax, eax")},
        {"SHA", seven.ebx >> 29 & 1, K("sha1msg1 xmm0, xmm1")},
        {"CLFLUSHOPT", seven.ebx >> 23 & 1, K("clflushopt [rsp-8]")},
        {"RDTSCP", more.edx >> 27 & 1, K("rdtscp")},
        {"MONITOR", one.ecx >> 3 & 1, K("lea rax, [rsp-8]; xor ecx, ecx; xor edx, edx; monitor")},
        {"STAC and CLAC", seven.ebx >> 20 & 1, K("stac; clac")},
        {"RDSEED", seven.ebx >> 18 & 1, K("rdseed eax")},
        {"LZCNT has its own meaning only with the bit", 1, K("lzcnt eax, eax")},
    };
    char name[80];
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        join(name, "feature bit and behaviour agree: ", rows[i].name);
        check(name, kernel_trap(rows[i].code), rows[i].present ? ENDED : TRAP(V_UD, 0));
    }
    struct cpuid avx_with = one;
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_OSXSAVE);
    check("AVX needs OSXSAVE", kernel_trap(K("vxorps xmm0, xmm0, xmm0")), TRAP(V_UD, 0));
    if (avx_with.ecx >> 28 & 1) {
        WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
        check("AVX with XCR0.AVX runs",
              kernel_trap(K("xor ecx, ecx; xor edx, edx; mov eax, 7; xsetbv; "
                            "vxorps ymm0, ymm0, ymm0")), ENDED);
    } else {
        skip("AVX with XCR0.AVX runs", "avx");
    }
}
