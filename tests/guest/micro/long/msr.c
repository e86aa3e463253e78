// Model-specific registers: which exist, what they refuse, and the FS/GS base family.
// SDM vol. 4; vol. 2 "WRMSR", "SWAPGS", "WRFSBASE"; vol. 3A section 2.2.1 (EFER).
// qemu-differs: #GP: rdmsr of an unknown MSR -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: wrmsr of an unknown MSR -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: rdmsr of index 0xffffffff -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: MTRR cap is read-only -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: LSTAR refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: CSTAR refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: FS base refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: GS base refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: kernel GS base refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: sysenter ESP refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: sysenter EIP refuses another -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: PAT type 2 -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: PAT reserved bits -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: APIC base reserved bit 0 -- TCG has no #GP for MSRs: unknown ones read 0, reserved bits and addresses are taken
// qemu-differs: #GP: EFER reserved bit 1 -- TCG takes any EFER and clears LME
// qemu-differs: #GP: EFER reserved bit 16 -- TCG takes any EFER and clears LME
// qemu-differs: #GP: EFER reserved bit 63 -- TCG takes any EFER and clears LME
// qemu-differs: #GP: clearing LME under paging -- TCG takes any EFER and clears LME
// qemu-differs: EFER is unchanged after them -- TCG takes any EFER and clears LME
// qemu-differs: #GP: wrfsbase non-canonical -- TCG does not check the address
#include "micro.h"

#define NON_CANONICAL 0x0000800000000000
#define MSR_PAT 0x277
#define MSR_APIC_BASE 0x1b
#define MSR_TSC 0x10
#define MSR_MISC_ENABLE 0x1a0

static u64 try_write(u32 msr, u64 value)
{
    struct frame f = kernel(K("wrmsr"));
    f.rcx = msr, f.rax = (u32)value, f.rdx = value >> 32;
    run(&f);
    return trap_of(&f);
}

static u64 try_read(u32 msr)
{
    struct frame f = kernel(K("rdmsr"));
    f.rcx = msr;
    run(&f);
    return trap_of(&f);
}

static void existence(void)
{
    check("#GP: rdmsr of an unknown MSR", try_read(0x4000beef), TRAP(V_GP, 0));
    check("#GP: wrmsr of an unknown MSR", try_write(0x4000beef, 0), TRAP(V_GP, 0));
    check("#GP: rdmsr of index 0xffffffff", try_read(0xffffffff), TRAP(V_GP, 0));
    struct frame f = kernel(K("rdmsr"));
    f.rcx = 0xdead00000000 | MSR_EFER, f.rax = f.rdx = ~0ull;
    run(&f);
    check("rdmsr looks at ECX only and zero-extends", f.rax >> 32 | f.rdx >> 32, 0);
    static const struct {
        const char *name;
        u32 msr;
        int feature; // bit of CPUID leaf 1 EDX
    } rows[] = {
        {"TSC", MSR_TSC, 4},        {"APIC base", MSR_APIC_BASE, 9}, {"PAT", MSR_PAT, 16},
        {"MTRR cap", 0xfe, 12},     {"MTRR default type", 0x2ff, 12}, {"MTRR base 0", 0x200, 12},
        {"MCG cap", 0x179, 14},     {"MCG status", 0x17a, 14}, {"sysenter CS", MSR_SYSENTER_CS, 11},
        {"microcode", 0x8b, 0},     {"misc enable", MSR_MISC_ENABLE, 0},
    };
    char name[64];
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        join(name, "exists as CPUID says: ", rows[i].name);
        check(name, try_read(rows[i].msr),
              cpuid(1, 0).edx >> rows[i].feature & 1 ? ENDED : TRAP(V_GP, 0));
    }
    check("#GP: MTRR cap is read-only", try_write(0xfe, 0), TRAP(V_GP, 0));
}

static void efer(void)
{
    u64 value = rdmsr(MSR_EFER);
    check("EFER: LMA and LME are set", value & 0x500, 0x500);
    check("#GP: EFER reserved bit 1", try_write(MSR_EFER, value | 2), TRAP(V_GP, 0));
    check("#GP: EFER reserved bit 16", try_write(MSR_EFER, value | 1 << 16), TRAP(V_GP, 0));
    check("#GP: EFER reserved bit 63", try_write(MSR_EFER, value | 1ull << 63), TRAP(V_GP, 0));
    check("#GP: clearing LME under paging", try_write(MSR_EFER, value & ~0x100ull), TRAP(V_GP, 0));
    check("EFER is unchanged after them", rdmsr(MSR_EFER), value);
    check("clearing LMA is ignored", try_write(MSR_EFER, value & ~0x400ull), ENDED);
    check("LMA still set", rdmsr(MSR_EFER), value);
}

static void canonical(void)
{
    static const struct {
        const char *name;
        u32 msr;
        int checked;
    } rows[] = {
        {"LSTAR", MSR_LSTAR, 1}, {"CSTAR", MSR_CSTAR, 1}, {"FS base", MSR_FS_BASE, 1},
        {"GS base", MSR_GS_BASE, 1}, {"kernel GS base", MSR_KERNEL_GS_BASE, 1},
        {"sysenter ESP", MSR_SYSENTER_ESP, 1}, {"sysenter EIP", MSR_SYSENTER_EIP, 1},
        {"STAR", MSR_STAR, 0},
    };
    char name[64];
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        u64 kept = rdmsr(rows[i].msr), value = 0xffff800000001234;
        join(name, rows[i].name, " holds a canonical address");
        try_write(rows[i].msr, value);
        check(name, rdmsr(rows[i].msr), value);
        join(name, rows[i].name, rows[i].checked ? " refuses another" : " takes anything");
        check(name, try_write(rows[i].msr, NON_CANONICAL),
              rows[i].checked ? TRAP(V_GP, 0) : ENDED);
        wrmsr(rows[i].msr, kept);
    }
    u64 pat = rdmsr(MSR_PAT);
    check("PAT at reset", pat, 0x0007040600070406);
    check("#GP: PAT type 2", try_write(MSR_PAT, 0x0007040600070402), TRAP(V_GP, 0));
    check("#GP: PAT reserved bits", try_write(MSR_PAT, 0x0007040600070486), TRAP(V_GP, 0));
    check("PAT takes type 1", try_write(MSR_PAT, 0x0007010600070106), ENDED);
    check("PAT reads back", rdmsr(MSR_PAT), 0x0007010600070106);
    wrmsr(MSR_PAT, pat);
    u64 base = rdmsr(MSR_APIC_BASE);
    check("#GP: APIC base reserved bit 0", try_write(MSR_APIC_BASE, base | 1), TRAP(V_GP, 0));
}

static void bases(void)
{
    static u64 a[2] USER_DATA = {0x1111, 0x2222}, b[2] USER_DATA = {0x3333, 0x4444};
    wrmsr(MSR_FS_BASE, ADDRESS(a));
    wrmsr(MSR_GS_BASE, ADDRESS(a));
    wrmsr(MSR_KERNEL_GS_BASE, ADDRESS(b));
    struct frame f = kernel(K("mov rax, fs:[0]; mov rbx, gs:[8]; swapgs; mov rcx, gs:[0]; swapgs; "
                              "mov rdx, gs:[0]"));
    run(&f);
    check("fs: uses its base", f.rax, 0x1111);
    check("gs: uses its base", f.rbx, 0x2222);
    check("swapgs exchanges", f.rcx, 0x3333);
    check("swapgs twice restores", f.rdx, 0x1111);
    f = kernel(K("mov eax, 0x23; mov gs, eax; mov ecx, 0xc0000101; rdmsr"));
    run(&f);
    check("loading GS sets the base from the descriptor", f.rdx << 32 | f.rax, 0);
    wrmsr(MSR_GS_BASE, ADDRESS(a));
    f = kernel(K("mov rdi, -8; mov rax, gs:[rdi+16]; lea rbx, [rdi]"));
    run(&f);
    check("gs: with a negative offset wraps", f.rax, 0x2222);
    check("lea ignores the base", f.rbx, -8ull);
    wrmsr(MSR_GS_BASE, 0xffff800000000000);
    f = kernel(K("mov rax, gs:[0]"));
    run(&f);
    check("gs: base of the upper half faults there", f.cr2, 0xffff800000000000);
    f = kernel(K("mov rdi, 0x00007fffffffffff; mov rax, gs:[rdi]"));
    run(&f);
    check("gs: the sum counts, not the offset", f.vector << 8 | (f.cr2 == 0xffffffffffffffff),
          V_PF << 8 | 1);
    if (!(cpuid(7, 0).ebx & 1)) {
        skip("fsgsbase", "fsgsbase");
        return;
    }
    check("#UD: rdfsbase without CR4.FSGSBASE", kernel_trap(K("rdfsbase rax")), TRAP(V_UD, 0));
    WRITE_CR(4, READ_CR(4) | CR4_FSGSBASE);
    f = user(U("wrfsbase rdi; rdfsbase rax; mov rbx, fs:[8]; wrgsbase rdi; rdgsbase rcx"));
    f.rdi = ADDRESS(b);
    run(&f);
    check("wrfsbase, rdfsbase ring 3", f.rax, ADDRESS(b));
    check("fs: follows wrfsbase", f.rbx, 0x4444);
    check("wrgsbase, rdgsbase ring 3", f.rcx, ADDRESS(b));
    check("the MSR shows it", rdmsr(MSR_FS_BASE), ADDRESS(b));
    f = user(U("wrfsbase rdi"));
    f.rdi = NON_CANONICAL;
    run(&f);
    check("#GP: wrfsbase non-canonical", trap_of(&f), TRAP(V_GP, 0));
    f = user(U("mov rdi, -1; wrfsbase edi; rdfsbase rax; rdgsbase ecx"));
    run(&f);
    check("wrfsbase 32-bit zero-extends", f.rax, 0xffffffff);
    f = user32(U32(".byte 0xf3, 0x0f, 0xae, 0xc0"));
    run(&f);
    check("#UD: rdfsbase in compat mode", trap_of(&f), TRAP(V_UD, 0));
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_FSGSBASE);
}

static void time(void)
{
    struct frame f = kernel(K("rdtsc; mov ebx, eax; mov esi, edx; rdtsc"));
    run(&f);
    check("rdtsc does not go back", (f.rdx << 32 | f.rax) >= (f.rsi << 32 | f.rbx), 1);
    u64 before = rdmsr(MSR_TSC);
    f = kernel(K("rdtsc"));
    run(&f);
    check("rdtsc and the TSC MSR agree in order", (f.rdx << 32 | f.rax) >= before, 1);
    if (!(cpuid(0x80000001, 0).edx >> 27 & 1)) {
        skip("rdtscp", "rdtscp");
        return;
    }
    wrmsr(0xc0000103, 0x1234);
    f = user(U("rdtscp"));
    run(&f);
    check("rdtscp returns TSC_AUX in ECX", f.rcx, 0x1234);
}

void main(void)
{
    existence();
    efer();
    canonical();
    bases();
    time();
}
