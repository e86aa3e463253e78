// CR0, CR3, CR4, CR8, XCR0: reserved bits, illegal combinations, what reads back.
// SDM vol. 3A section 2.5, vol. 2 "MOV—Move to/from Control Registers", "LMSW", "XSETBV".
// qemu-differs: #GP: NW without CD -- TCG stores what it is given in CR0
// qemu-differs: #GP: upper half -- TCG stores what it is given in CR0
// qemu-differs: reserved low bits are ignored -- TCG stores what it is given in CR0
// qemu-differs: CR4 follows CPUID: PCIDE -- TCG takes the bit without the feature
#include "micro.h"

static u64 try_cr0(u64 value)
{
    struct frame f = kernel(K("mov cr0, rax"));
    f.rax = value;
    run(&f);
    return trap_of(&f);
}

static u64 try_cr4(u64 value)
{
    struct frame f = kernel(K("mov cr4, rax"));
    f.rax = value;
    run(&f);
    return trap_of(&f);
}

static u64 try_cr3(u64 value)
{
    struct frame f = kernel(K("mov cr3, rax"));
    f.rax = value;
    run(&f);
    return trap_of(&f);
}

static void cr0(void)
{
    u64 kept = READ_CR(0);
    if (on_tcg()) {
        skip("#GP: PG without PE", "cr0-check-that-TCG-lacks");
    } else {
        check("#GP: PG without PE", try_cr0(kept & ~(u64)CR0_PE), TRAP(V_GP, 0));
    }
    check("#GP: NW without CD", try_cr0(kept | CR0_NW), TRAP(V_GP, 0));
    check("#GP: upper half", try_cr0(kept | 1ull << 32), TRAP(V_GP, 0));
    check("nothing changed", READ_CR(0), kept);
    check("CD alone is legal", try_cr0(kept | CR0_CD), ENDED);
    check("CD reads back", READ_CR(0), kept | CR0_CD);
    WRITE_CR(0, kept);
    try_cr0(kept & ~0x10ull);
    check("ET is always one", READ_CR(0) & 0x10, 0x10);
    try_cr0(kept | 0x40);
    check("reserved low bits are ignored", READ_CR(0), kept);
    struct frame f = kernel(K("mov eax, 0x8; lmsw ax; mov rbx, cr0; clts; mov rcx, cr0"));
    run(&f);
    check("lmsw sets TS, cannot clear PE", f.rbx & 0xf, 9);
    check("clts", f.rcx & 0xf, 1);
    WRITE_CR(0, kept);
    f = kernel(K("mov rax, -1; smsw eax; mov ebx, eax"));
    run(&f);
    check("smsw r32 shows all of CR0", f.rbx, kept);
    f = kernel(K32("mov eax, cr0"));
    f.cs = KERNEL_CS32;
    run(&f);
    check("mov r32, cr0 in compat", f.rax, kept);
    f = kernel(K(".byte 0x0f, 0x20, 0x03")); // the mod field is ignored: mov rbx, cr0
    run(&f);
    check("mov from CR ignores mod", f.rbx, kept);
    f = kernel(K(".byte 0x66, 0x0f, 0x20, 0xc0"));
    f.rax = ~0ull;
    run(&f);
    check("mov from CR ignores 66", f.rax, kept);
}

static void cr3(void)
{
    u64 kept = READ_CR(3);
    if (on_tcg()) {
        skip("#GP: CR3 bit 63", "cr3-check-that-TCG-lacks");
        skip("#GP: CR3 above MAXPHYADDR", "cr3-check-that-TCG-lacks");
    } else {
        check("#GP: CR3 bit 63", try_cr3(kept | 1ull << 63), TRAP(V_GP, 0));
        check("#GP: CR3 above MAXPHYADDR", try_cr3(kept | 1ull << 51), TRAP(V_GP, 0));
    }
    check("CR3 is unchanged", READ_CR(3), kept);
    WRITE_CR(3, kept | 0x18);
    check("PWT and PCD read back", READ_CR(3), kept | 0x18);
    WRITE_CR(3, kept);
}

static void cr4(void)
{
    u64 kept = READ_CR(4);
    const struct {
        const char *name;
        u64 value;
    } illegal[] = {
        {"#GP: clearing PAE in long mode", kept & ~(u64)CR4_PAE},
        {"#GP: CR4 reserved bit 15", kept | 1 << 15},
        {"#GP: CR4 reserved bit 31", kept | 1ull << 31},
        {"#GP: CR4 upper half", kept | 1ull << 32},
        {"#GP: SMXE without SMX", kept | 0x4000},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(illegal); i++) {
        if (on_tcg()) {
            skip(illegal[i].name, "cr4-check-that-TCG-lacks");
        } else {
            check(illegal[i].name, try_cr4(illegal[i].value), TRAP(V_GP, 0));
        }
    }
    check("CR4 is unchanged", READ_CR(4), kept);
    static const struct {
        const char *name;
        u32 bit, leaf, shift;
        char reg;
    } features[] = {
        {"UMIP", CR4_UMIP, 7, 2, 'c'},      {"FSGSBASE", CR4_FSGSBASE, 7, 0, 'b'},
        {"PCIDE", CR4_PCIDE, 1, 17, 'c'},   {"OSXSAVE", CR4_OSXSAVE, 1, 26, 'c'},
        {"SMEP", CR4_SMEP, 7, 7, 'b'},      {"SMAP", CR4_SMAP, 7, 20, 'b'},
        {"PGE", CR4_PGE, 1, 13, 'd'},       {"DE", CR4_DE, 1, 2, 'd'},
        {"PKE", 1 << 22, 7, 3, 'c'},        {"LA57", 1 << 12, 7, 16, 'c'},
    };
    char name[64];
    for (unsigned i = 0; i < ARRAY_LENGTH(features); i++) {
        struct cpuid c = cpuid(features[i].leaf, 0);
        u32 word = features[i].reg == 'b' ? c.ebx : features[i].reg == 'c' ? c.ecx : c.edx;
        int present = word >> features[i].shift & 1;
        join(name, "CR4 follows CPUID: ", features[i].name);
        if (features[i].bit == 1 << 12 && present) { // LA57 must not change in long mode
            present = 0;
        }
        check(name, try_cr4(kept | features[i].bit), present ? ENDED : TRAP(V_GP, 0));
        WRITE_CR(4, kept);
    }
}

static void xcr0(void)
{
    if (!(cpuid(1, 0).ecx >> 26 & 1)) {
        skip("xcr0", "xsave");
        return;
    }
    check("#UD: xgetbv without OSXSAVE", kernel_trap(K("xor ecx, ecx; xgetbv")), TRAP(V_UD, 0));
    check("CPUID.OSXSAVE is clear", cpuid(1, 0).ecx >> 27 & 1, 0);
    WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
    check("CPUID.OSXSAVE follows CR4", cpuid(1, 0).ecx >> 27 & 1, 1);
    const struct {
        const char *name;
        u64 code, want;
    } rows[] = {
        {"xsetbv x87 and SSE", K("xor ecx, ecx; xor edx, edx; mov eax, 3; xsetbv"), ENDED},
        {"#GP: xsetbv without x87", K("xor ecx, ecx; xor edx, edx; mov eax, 2; xsetbv"),
         TRAP(V_GP, 0)},
        {"#GP: xsetbv AVX without SSE", K("xor ecx, ecx; xor edx, edx; mov eax, 5; xsetbv"),
         TRAP(V_GP, 0)},
        {"#GP: xsetbv bit 63", K("xor ecx, ecx; mov edx, 0x80000000; mov eax, 3; xsetbv"),
         TRAP(V_GP, 0)},
        {"#GP: xsetbv index 1", K("mov ecx, 1; xor edx, edx; mov eax, 3; xsetbv"), TRAP(V_GP, 0)},
        {"#GP: xgetbv index 7", K("mov ecx, 7; xgetbv"), TRAP(V_GP, 0)},
        {"xgetbv ring 0", K("xor ecx, ecx; xgetbv"), ENDED},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        check(rows[i].name, kernel_trap(rows[i].code), rows[i].want);
    }
    struct frame f = user(U("xor ecx, ecx; xgetbv"));
    run(&f);
    check("xgetbv ring 3", f.rdx << 32 | f.rax, 3);
    check("#GP: xsetbv ring 3", user_trap(U("xor ecx, ecx; xor edx, edx; mov eax, 3; xsetbv")),
          TRAP(V_GP, 0));
}

void main(void)
{
    cr0();
    cr3();
    cr4();
    xcr0();
}
