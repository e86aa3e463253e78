// Device memory as the operand of everything that takes one: string instructions across pages,
// locked read-modify-writes, FPU and SSE loads and stores, XSAVE images. Where the value is known it
// is asserted; everywhere it is asserted that the instruction ends.
#include "apic.h"
#include "micro.h"

#define ECAM 0xb0000000ull // 00:00.0's configuration space, answered in Python
#define ECAM_NOBODY 0xb0100000ull // bus 1 has no device: all ones
#define HOLE 0xd0000000ull
#define CACHE_LINE (ECAM + 0x0c) // a byte that is read and written
#define SPACE 0x40000000ull // where pages are mapped

static u8 buffer[8192] __attribute__((aligned(64)));

// Runs `code` with RSI or RDI pointing at device memory and the other at RAM; the trap it ends in.
static u64 run_with(u64 code, u64 source, u64 destination, u64 count)
{
    struct frame f = kernel(code);
    f.rsi = source;
    f.rdi = destination;
    f.rcx = count;
    run(&f);
    return trap_of(&f);
}

static u32 word_at(u64 offset)
{
    return *(volatile u32 *)(buffer + offset);
}

static void clear(void)
{
    for (u64 i = 0; i < sizeof buffer; i++) {
        buffer[i] = 0;
    }
}

static void strings(void)
{
    u32 identity = *(volatile u32 *)ECAM;
    u64 ram = ADDRESS(buffer);
    clear();
    check("rep movsb from a device", run_with(K("rep movsb"), ECAM, ram, 64), ENDED);
    check("rep movsb: what it read", word_at(0), identity);
    clear();
    check("rep movsd from a device", run_with(K("rep movsd"), ECAM, ram, 16), ENDED);
    check("rep movsd: what it read", word_at(0), identity);
    clear();
    check("rep movsq from a device", run_with(K("rep movsq"), ECAM, ram, 8), ENDED);
    check("rep movsq: what it read", word_at(0), identity);
    check("rep movsb to a device", run_with(K("rep movsb"), ram, ECAM + 0x100, 64), ENDED);
    check("rep movsb, device to device", run_with(K("rep movsb"), ECAM, ECAM + 0x200, 64), ENDED);
    check("rep stosq to nobody", run_with(K("rep stosq"), 0, HOLE, 4096), ENDED);
    check("rep lodsb from a device", run_with(K("rep lodsb"), ECAM, 0, 64), ENDED);
    check("repe cmpsb, device and device", run_with(K("repe cmpsb"), ECAM, ECAM, 64), ENDED);
    check("repne scasb in a device", run_with(K("xor eax, eax; repne scasb"), 0, ECAM, 64), ENDED);
    check("backwards", run_with(K("std; rep movsb; cld"), ECAM + 63, ram + 63, 64), ENDED);
    check("backwards: what it read", word_at(0), identity);
    check("rep insb into a device", run_with(K("mov edx, 0x71; rep insb"), 0, HOLE, 32), ENDED);
    check("rep outsb out of a device", run_with(K("mov edx, 0x80; rep outsb"), ECAM, 0, 32), ENDED);
}

// Two pages that are neighbours as addresses and come from `low` and `high`.
static u64 neighbours(u64 low, u64 high)
{
    map(SPACE, low, P_P | P_W);
    map(SPACE + 4096, high, P_P | P_W);
    return SPACE + 4096;
}

static void crossings(void)
{
    u64 ram = new_page();
    static const char *names[] = {
        "ram to device", "device to ram", "device to nobody", "nobody to device",
        "device to I/O APIC", "local APIC to device",
    };
    u64 pairs[][2] = {
        {ram, ECAM}, {ECAM, ram}, {ECAM, HOLE}, {HOLE, ECAM}, {ECAM, 0xfec00000}, {0xfee00000, ECAM},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(pairs); i++) {
        u64 border = neighbours(pairs[i][0], pairs[i][1]);
        u64 bad = 0;
        for (u64 back = 1; back < 8; back++) {
            bad |= run_with(K("mov rax, [rsi]"), border - back, 0, 0) != ENDED;
            bad |= run_with(K("mov eax, [rsi]"), border - back, 0, 0) != ENDED;
            bad |= run_with(K("movsq"), border - back, ADDRESS(buffer), 0) != ENDED;
            bad |= run_with(K("lock xadd [rsi], rax"), border - back, 0, 0) != ENDED;
            bad |= run_with(K("lock cmpxchg [rsi], rcx"), border - back, 0, 0) != ENDED;
            bad |= run_with(K("xchg [rsi], eax"), border - back, 0, 0) != ENDED;
            bad |= run_with(K("push [rsi]; pop rax"), border - back, 0, 0) != ENDED;
        }
        bad |= run_with(K("rep movsb"), border - 32, ADDRESS(buffer), 64) != ENDED;
        check(names[i], bad, 0);
    }
}

static void locked(void)
{
    volatile u8 *line = (volatile u8 *)CACHE_LINE;
    *line = 5;
    check("lock or", run_with(K("lock or byte ptr [rsi], 0x50"), CACHE_LINE, 0, 0), ENDED);
    check("lock or: the result", *line, 0x55);
    check("lock inc", run_with(K("lock inc byte ptr [rsi]"), CACHE_LINE, 0, 0), ENDED);
    check("lock inc: the result", *line, 0x56);
    check("xchg", run_with(K("mov eax, 7; xchg [rsi], al"), CACHE_LINE, 0, 0), ENDED);
    check("xchg: the result", *line, 7);
    struct frame f = kernel(K("mov eax, 7; mov ecx, 9; lock cmpxchg [rsi], cl"));
    f.rsi = CACHE_LINE;
    run(&f);
    check("lock cmpxchg: equal", f.rflags & F_ZF, F_ZF);
    check("lock cmpxchg: the result", *line, 9);
    check("lock bts", run_with(K("lock bts dword ptr [rsi], 31"), ECAM + 0x10, 0, 0), ENDED);
    check("lock cmpxchg8b", run_with(K("lock cmpxchg8b [rsi]"), ECAM + 0x10, 0, 0), ENDED);
    check("lock cmpxchg16b", run_with(K("lock cmpxchg16b [rsi]"), ECAM + 0x10, 0, 0), ENDED);
    check("lock xadd on the local APIC", run_with(K("lock xadd [rsi], eax"), 0xfee000f0, 0, 0), ENDED);
    check("lock neg on the I/O APIC", run_with(K("lock neg dword ptr [rsi]"), 0xfec00000, 0, 0), ENDED);
    check("lock not on nobody", run_with(K("lock not qword ptr [rsi]"), HOLE, 0, 0), ENDED);
}

static void vectors(void)
{
    WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
    asm volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    static const char *where[] = {"device", "nobody", "I/O APIC", "local APIC"};
    u64 at[] = {ECAM_NOBODY, HOLE, 0xfec00000, 0xfee00000};
    for (unsigned i = 0; i < ARRAY_LENGTH(at); i++) {
        u64 bad = 0, p = at[i];
#define TRY(text) bad |= run_with(K(text), p, p, 0) != ENDED
        TRY("fninit; fld dword ptr [rsi]; fstp dword ptr [rdi]");
        TRY("fninit; fld qword ptr [rsi]; fstp qword ptr [rdi]");
        TRY("fninit; fld tbyte ptr [rsi]; fstp tbyte ptr [rdi]");
        TRY("fninit; fild qword ptr [rsi]; fistp qword ptr [rdi]");
        TRY("fninit; fbld [rsi]; fbstp [rdi]");
        TRY("fnsave [rdi]; fninit; fnstenv [rdi]; fnstcw [rdi]; fninit");
        TRY("movd mm0, [rsi]; movq [rdi], mm0; emms");
        TRY("movups xmm0, [rsi]; movups [rdi], xmm0");
        TRY("movups xmm0, [rsi + 3]; movups [rdi + 3], xmm0");
        TRY("movaps xmm0, [rsi]; movntdq [rdi], xmm0");
        TRY("paddd xmm0, [rsi]; pshufb xmm0, [rsi]; aesenc xmm0, [rsi]");
        TRY("vmovups ymm0, [rsi]; vmovups [rdi], ymm0");
        TRY("vpaddd ymm0, ymm0, [rsi]; vbroadcastss ymm1, [rsi]");
        TRY("vpcmpeqd ymm1, ymm1, ymm1; vpxor ymm2, ymm2, ymm2; vpgatherdd ymm0, [rsi + ymm2*4], ymm1");
        TRY("vpcmpeqd ymm1, ymm1, ymm1; vpmaskmovd ymm0, ymm1, [rsi]; vpmaskmovd [rdi], ymm1, ymm0");
        TRY("maskmovdqu xmm0, xmm1");
        TRY("fxsave64 [rdi]");
        TRY("mov eax, 7; xor edx, edx; xsave64 [rdi]");
        TRY("mov eax, 7; xor edx, edx; xsaveopt64 [rdi]");
        TRY("adc rax, [rsi]; imul rax, [rsi]; bt [rsi], rax; crc32 rax, qword ptr [rsi]");
        TRY("movbe rax, [rsi]; movbe [rdi], rax; shld [rdi], rax, 3; mulx rax, rbx, [rsi]");
#undef TRY
        check(where[i], bad, 0);
    }
    // Images of all ones are refused where they are no images.
    check("fxrstor of all ones", run_with(K("fxrstor64 [rsi]"), ECAM_NOBODY, 0, 0), TRAP(V_GP, 0));
    check("xrstor of all ones", run_with(K("mov eax, 7; xor edx, edx; xrstor64 [rsi]"), ECAM_NOBODY, 0, 0),
          TRAP(V_GP, 0));
}

static void system(void)
{
    static const char *where[] = {"device", "nobody", "local APIC"};
    u64 at[] = {ECAM_NOBODY, HOLE, 0xfee00000};
    for (unsigned i = 0; i < ARRAY_LENGTH(at); i++) {
        u64 p = at[i], bad = 0;
#define TRY(text) bad |= run_with(K(text), p, p, 0) != ENDED
        TRY("sgdt [rdi]; sidt [rdi]; str ax; smsw [rdi]; sldt [rdi]");
        TRY("clflush [rdi]; prefetcht0 [rsi]; invlpg [rdi]");
        TRY("mov rbx, rsp; mov rsp, rdi; mov rsp, rbx");
#undef TRY
        // These load what they find there: they fault or they do not, but they end.
        run_with(K("lss eax, [rsi]"), p, 0, 0);
        run_with(K("lfs eax, [rsi]"), p, 0, 0);
        run_with(K("lmsw [rsi]"), HOLE, 0, 0);
        run_with(K("mov rsp, rsi; iretq"), p, 0, 0);
        run_with(K("mov rsp, rsi; retfq"), p, 0, 0);
        run_with(K("jmp fword ptr [rsi]"), p, 0, 0);
        run_with(K("call fword ptr [rsi]"), p, 0, 0);
        run_with(K("mov rbp, rdi; mov rsp, rdi; enter 16, 31"), p, p + 0x800, 0);
        run_with(K("mov rsp, rsi; popfq"), p, 0, 0);
        check(where[i], bad, 0);
    }
}

void main(void)
{
    strings();
    crossings();
    locked();
    vectors();
    system();
}
