// Every exception a program can raise: vector, error code, and which one wins.
// SDM vol. 3A chapter 6 (table 6-1, table 6-2 priorities, sections 6.13 and 6.15).
// qemu-differs: #NP: gate of #UD not present -- TCG's error code is vector*16+2 and lacks EXT
// qemu-differs: #GP: gate of #UD has a bad type -- TCG's error code is vector*16+2 and lacks EXT
// qemu-differs: #UD: lock mov mem -- TCG ignores LOCK on MOV to memory
// qemu-differs: #DB: icebp -- TCG has no ICEBP
// qemu-differs: #GP: read that runs into the hole -- TCG checks the first byte's page only
// qemu-differs: #SS: non-canonical [rbp] -- TCG raises #GP or #PF whatever the segment
// qemu-differs: #SS: non-canonical [rsp] -- TCG raises #GP or #PF whatever the segment
// qemu-differs: #SS: non-canonical push -- TCG raises #GP or #PF whatever the segment
// qemu-differs: #SS: non-canonical pop -- TCG raises #GP or #PF whatever the segment
// qemu-differs: #PF: locked rmw is a write -- TCG with one CPU loads first, without intent to write
// qemu-differs: #UD beats #GP: lock hlt ring3 -- TCG checks the privilege first
// qemu-differs: #UD beats #NM: SSE with EM and TS -- TCG checks TS first
// qemu-differs: #XM: unmasked divide by zero -- TCG never raises #XM
// qemu-differs: #UD: the same without OSXMMEXCPT -- TCG never raises #XM
// qemu-differs: #GP: ldmxcsr reserved bit -- TCG ignores reserved MXCSR bits
// qemu-differs: #AC: dword -- TCG has no alignment checks
// qemu-differs: #AC: word write -- TCG has no alignment checks
// qemu-differs: #AC: qword at 4 -- TCG has no alignment checks
// qemu-differs: #AC: push on a crooked stack -- TCG has no alignment checks
#include "micro.h"

#define UNMAPPED 0x4000000000
#define NON_CANONICAL 0x0000800000000000

struct row {
    const char *name;
    u64 code;
    u64 want;
};

static void run_rows(const struct row *rows, unsigned count, int ring)
{
    for (unsigned i = 0; i < count; i++) {
        struct frame f = ring ? user(rows[i].code) : kernel(rows[i].code);
        f.rdi = UNMAPPED;
        f.rsi = NON_CANONICAL;
        f.rbx = ring ? f.rsp - 0x100 : ADDRESS(this_cpu()) + CPU_RSP0_TOP - 0x100; // good memory
        run(&f);
        check(rows[i].name, trap_of(&f), rows[i].want);
    }
}
#define RUN_ROWS(rows, ring) run_rows(rows, ARRAY_LENGTH(rows), ring)

static void invalid_opcodes(void)
{
    const struct row rows[] = {
        {"#UD: ud2", K("ud2"), TRAP(V_UD, 0)},
        {"#UD: ud1", K(".byte 0x0f, 0xb9, 0xc0"), TRAP(V_UD, 0)},
        {"#UD: push es", K(".byte 0x06"), TRAP(V_UD, 0)},
        {"#UD: daa", K(".byte 0x27"), TRAP(V_UD, 0)},
        {"#UD: aaa", K(".byte 0x37"), TRAP(V_UD, 0)},
        {"#UD: pusha", K(".byte 0x60"), TRAP(V_UD, 0)},
        {"#UD: group 1 alias 0x82", K(".byte 0x82, 0xc0, 0x00"), TRAP(V_UD, 0)},
        {"#UD: far call imm", K(".byte 0x9a, 0, 0, 0, 0, 8, 0"), TRAP(V_UD, 0)},
        {"#UD: far jmp imm", K(".byte 0xea, 0, 0, 0, 0, 8, 0"), TRAP(V_UD, 0)},
        {"#UD: into", K(".byte 0xce"), TRAP(V_UD, 0)},
        {"#UD: aam", K(".byte 0xd4, 0x0a"), TRAP(V_UD, 0)},
        {"#UD: salc", K(".byte 0xd6"), TRAP(V_UD, 0)},
        {"#UD: lea reg, reg", K(".byte 0x8d, 0xc0"), TRAP(V_UD, 0)},
        {"#UD: cmpxchg8b reg", K(".byte 0x0f, 0xc7, 0xc8"), TRAP(V_UD, 0)},
        {"#UD: mov cr1", K(".byte 0x0f, 0x20, 0xc8"), TRAP(V_UD, 0)},
        {"#UD: mov cr9", K(".byte 0x44, 0x0f, 0x20, 0xc8"), TRAP(V_UD, 0)},
        {"#UD: mov dr8", K(".byte 0x44, 0x0f, 0x21, 0xc0"), TRAP(V_UD, 0)},
        {"#UD: lock nop", K(".byte 0xf0, 0x90"), TRAP(V_UD, 0)},
        {"#UD: lock add reg", K(".byte 0xf0, 0x01, 0xc0"), TRAP(V_UD, 0)},
        {"#UD: lock mov mem", K(".byte 0xf0, 0x89, 0x03"), TRAP(V_UD, 0)},
        {"#UD: lock cmp mem", K(".byte 0xf0, 0x39, 0x03"), TRAP(V_UD, 0)},
        {"#UD: lgdt reg", K(".byte 0x0f, 0x01, 0xd7"), TRAP(V_UD, 0)},
        {"#UD: rsm outside SMM", K("rsm"), TRAP(V_UD, 0)},
        {"ok: long nop", K(".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0"), ENDED},
        {"ok: 15-byte instruction", K(".rept 14\n.byte 0x66\n.endr\nnop"), ENDED},
        {"#GP: 16-byte instruction", K(".rept 15\n.byte 0x66\n.endr\nnop"), TRAP(V_GP, 0)},
    };
    RUN_ROWS(rows, 0);
}

static void privileged(void)
{
    const struct row rows[] = {
        {"#GP ring3: hlt", U("hlt"), TRAP(V_GP, 0)},
        {"#GP ring3: in", U("in al, 0x80"), TRAP(V_GP, 0)},
        {"#GP ring3: out", U("mov dx, 0x80; out dx, al"), TRAP(V_GP, 0)},
        {"#GP ring3: rdmsr", U("mov ecx, 0x10; rdmsr"), TRAP(V_GP, 0)},
        {"#GP ring3: wrmsr", U("mov ecx, 0xc0000100; wrmsr"), TRAP(V_GP, 0)},
        {"#GP ring3: mov from cr0", U("mov rax, cr0"), TRAP(V_GP, 0)},
        {"#GP ring3: mov to cr8", U("mov cr8, rax"), TRAP(V_GP, 0)},
        {"#GP ring3: mov from dr0", U("mov rax, dr0"), TRAP(V_GP, 0)},
        {"#GP ring3: lgdt", U("lgdt [rbx]"), TRAP(V_GP, 0)},
        {"#GP ring3: lidt", U("lidt [rbx]"), TRAP(V_GP, 0)},
        {"#GP ring3: lldt", U("xor eax, eax; lldt ax"), TRAP(V_GP, 0)},
        {"#GP ring3: ltr", U("mov eax, 0x30; ltr ax"), TRAP(V_GP, 0)},
        {"#GP ring3: lmsw", U("lmsw ax"), TRAP(V_GP, 0)},
        {"#GP ring3: clts", U("clts"), TRAP(V_GP, 0)},
        {"#GP ring3: invlpg", U("invlpg [rbx]"), TRAP(V_GP, 0)},
        {"#GP ring3: invd", U("invd"), TRAP(V_GP, 0)},
        {"#GP ring3: wbinvd", U("wbinvd"), TRAP(V_GP, 0)},
        {"#GP ring3: swapgs", U("swapgs"), TRAP(V_GP, 0)},
        {"#GP ring3: sysret", U("sysretq"), TRAP(V_GP, 0)},
        {"#GP ring3: sysexit", U(".byte 0x0f, 0x35"), TRAP(V_GP, 0)},
        {"#UD beats #GP: lock hlt ring3", U(".byte 0xf0, 0xf4"), TRAP(V_UD, 0)},
    };
    RUN_ROWS(rows, 3);
    WRITE_CR(4, READ_CR(4) | CR4_TSD);
    check("#GP ring3: rdtsc with TSD", user_trap(U("rdtsc")), TRAP(V_GP, 0));
    check("ok ring0: rdtsc with TSD", kernel_trap(K("rdtsc")), ENDED);
    WRITE_CR(4, READ_CR(4) & ~CR4_TSD);
    check("ok ring3: rdtsc without TSD", user_trap(U("rdtsc")), ENDED);
    check("#GP ring3: rdpmc without PCE", user_trap(U("xor ecx, ecx; rdpmc")), TRAP(V_GP, 0));
}

// SDM vol. 1 section 18.5.2: one bit per port, TSS limit ends the bitmap.
static void io_bitmap(void)
{
    struct tss *tss = &this_cpu()->tss;
    u64 *descriptor = &this_cpu()->gdt[TSS_SEL / 8];
    for (unsigned i = 0; i < sizeof(tss->iomap); i++) {
        tss->iomap[i] = 0xff;
    }
    tss->iomap[0x80 / 8] = 0xfe; // port 0x80 only
    *descriptor = (*descriptor & ~0xffffull & ~(2ull << 40)) | (sizeof(struct tss) - 1);
    asm volatile("ltr %w0" : : "r"(TSS_SEL));
    check("I/O bitmap: open port", user_trap(U("in al, 0x80")), ENDED);
    check("I/O bitmap: closed port", user_trap(U("in al, 0x81")), TRAP(V_GP, 0));
    check("I/O bitmap: word over a closed port", user_trap(U("in ax, 0x80")), TRAP(V_GP, 0));
    check("I/O bitmap: beyond the limit", user_trap(U("mov dx, 0x400; in al, dx")), TRAP(V_GP, 0));
    struct frame f = user(U("in al, 0x81"));
    f.rflags |= F_IOPL3;
    run(&f);
    check("IOPL 3 opens every port", trap_of(&f), ENDED);
}

static void memory_faults(void)
{
    const struct row rows[] = {
        {"#DE: div by zero", K("xor ecx, ecx; div ecx"), TRAP(V_DE, 0)},
        {"#DE: div overflow", K("mov edx, 1; mov ecx, 1; div ecx"), TRAP(V_DE, 0)},
        {"#DE: idiv INT64_MIN / -1",
         K("mov rax, 1; shl rax, 63; cqo; mov rcx, -1; idiv rcx"), TRAP(V_DE, 0)},
        {"#BP: int3", K("int3"), TRAP(V_BP, 0)},
        {"#BP: int 3", K(".byte 0xcd, 3"), TRAP(V_BP, 0)},
        {"#DB: icebp", K(".byte 0xf1"), TRAP(V_DB, 0)},
        {"#GP: non-canonical read", K("mov rax, [rsi]"), TRAP(V_GP, 0)},
        {"#GP: non-canonical write", K("mov [rsi], rax"), TRAP(V_GP, 0)},
        {"#GP: read that runs into the hole", K("mov rax, [rsi-4]"), TRAP(V_GP, 0)},
        {"#SS: non-canonical [rbp]", K("mov rbp, rsi; mov rax, [rbp]"), TRAP(V_SS, 0)},
        {"#SS: non-canonical [rsp]", K("mov rsp, rsi; mov rax, [rsp]"), TRAP(V_SS, 0)},
        {"#SS: non-canonical push", K("lea rsp, [rsi+16]; push rax"), TRAP(V_SS, 0)},
        {"#SS: non-canonical pop", K("mov rsp, rsi; pop rax"), TRAP(V_SS, 0)},
        {"#GP: ds override beats [rbp]", K("mov rbp, rsi; mov rax, fs:[rbp]"), TRAP(V_GP, 0)},
        {"#GP: jmp non-canonical", K("jmp rsi"), TRAP(V_GP, 0)},
        {"#GP: ret non-canonical", K("push rsi; ret"), TRAP(V_GP, 0)},
        {"#GP: misaligned movaps", K("movaps xmm0, [rbx+4]"), TRAP(V_GP, 0)},
        {"ok: misaligned movups", K("movups xmm0, [rbx+4]"), ENDED},
        {"#GP: misaligned cmpxchg16b", K("cmpxchg16b [rbx+8]"), TRAP(V_GP, 0)},
        {"#GP beats #PF: misaligned movaps", K("movaps xmm0, [rdi+4]"), TRAP(V_GP, 0)},
        {"#PF: read", K("mov al, [rdi]"), TRAP(V_PF, 0)},
        {"#PF: write", K("mov [rdi], al"), TRAP(V_PF, 2)},
        {"#PF: locked rmw is a write", K("lock inc dword ptr [rdi]"), TRAP(V_PF, 2)},
        {"#PF: fetch", K("jmp rdi"), TRAP(V_PF, 0x10)},
        {"#PF beats #DE: div [unmapped]", K("div dword ptr [rdi]"), TRAP(V_PF, 0)},
        {"#NP: mov ds", K("mov eax, 0x58; mov ds, eax"), TRAP(V_NP, FREE_SEL)},
        {"#SS: mov ss not present", K("mov eax, 0x58; mov ss, eax"), TRAP(V_SS, FREE_SEL)},
        {"#GP: mov ss, code", K("mov eax, 8; mov ss, eax"), TRAP(V_GP, 8)},
        {"#GP: mov ss, wrong DPL", K("mov eax, 0x20; mov ss, eax"), TRAP(V_GP, 0x20)},
        {"#GP: mov ds, system descriptor", K("mov eax, 0x30; mov ds, eax"), TRAP(V_GP, 0x30)},
        {"#GP: mov ds beyond the GDT", K("mov eax, 0x1008; mov ds, eax"), TRAP(V_GP, 0x1008)},
        {"#GP: mov ds from the empty LDT", K("mov eax, 0xc; mov ds, eax"), TRAP(V_GP, 0xc)},
        {"#GP: ltr of a busy TSS", K("mov eax, 0x30; ltr ax"), TRAP(V_GP, 0x30)},
        {"#GP: lldt of a data segment", K("mov eax, 0x10; lldt ax"), TRAP(V_GP, 0x10)},
    };
    this_cpu()->gdt[FREE_SEL / 8] = 0x00cf13000000ffff; // writable data, not present
    RUN_ROWS(rows, 0);
    const struct row lgdt[] = {
        {"#GP: lgdt non-canonical base",
         K("mov word ptr [rbx], 255; mov [rbx+2], rsi; lgdt [rbx]"), TRAP(V_GP, 0)},
    };
    if (on_tcg()) {
        skip(lgdt->name, "lgdt-check-that-TCG-lacks");
    } else {
        RUN_ROWS(lgdt, 0);
    }
    struct frame f = kernel(K("mov al, [rdi+0x123]"));
    f.rdi = UNMAPPED;
    run(&f);
    check("#PF: CR2", f.cr2, UNMAPPED + 0x123);
    check("#PF: RIP is the instruction", *(u8 *)f.rip, 0x8a);
    f = kernel(K("mov rax, [rdi+0x1ffc]"));
    f.rdi = 0xff000000ull << 8; // any unmapped address
    run(&f);
    check("#PF: CR2 of a read across pages is its first unmapped byte", f.cr2, 0xff00001ffc);
}

static void legacy_traps(void)
{
    struct frame f = user32(U32("mov eax, 0x7fffffff; inc eax; into; nop"));
    run(&f);
    check("#OF: into, compat", trap_of(&f), TRAP(V_OF, 0));
    check("#OF: RIP is after into", *(u8 *)(f.rip - 1), 0xce);
    f = user32(U32("xor eax, eax; into"));
    run(&f);
    check("into without OF, compat", trap_of(&f), ENDED);
    static u32 bounds[2] USER_DATA = {10, 20};
    f = user32(U32("bound eax, [edi]"));
    f.rdi = ADDRESS(bounds);
    f.rax = 21;
    u64 at = f.rip;
    run(&f);
    check("#BR: bound, compat", trap_of(&f), TRAP(V_BR, 0));
    check("#BR: RIP is the bound", f.rip, at);
    f.rip = at, f.rax = 20;
    run(&f);
    check("bound inside, compat", trap_of(&f), ENDED);
}

static void floating_point(void)
{
    u64 cr0 = READ_CR(0);
    WRITE_CR(0, cr0 | CR0_TS);
    check("#NM: x87 with TS", kernel_trap(K("fld1")), TRAP(V_NM, 0));
    check("#NM: SSE with TS", kernel_trap(K("movaps xmm0, xmm1")), TRAP(V_NM, 0));
    check("#NM: wait with TS and MP", kernel_trap(K("wait")), TRAP(V_NM, 0));
    struct frame f = kernel(K("fld dword ptr [rdi]"));
    f.rdi = UNMAPPED;
    run(&f);
    check("#NM beats #PF", trap_of(&f), TRAP(V_NM, 0));
    WRITE_CR(0, (cr0 | CR0_TS) & ~CR0_MP);
    check("ok: wait with TS, no MP", kernel_trap(K("wait")), ENDED);
    WRITE_CR(0, cr0 | CR0_EM);
    check("#NM: x87 with EM", kernel_trap(K("fld1")), TRAP(V_NM, 0));
    check("#UD: SSE with EM", kernel_trap(K("movaps xmm0, xmm1")), TRAP(V_UD, 0));
    WRITE_CR(0, cr0 | CR0_EM | CR0_TS);
    check("#UD beats #NM: SSE with EM and TS", kernel_trap(K("movaps xmm0, xmm1")), TRAP(V_UD, 0));
    WRITE_CR(0, cr0);
    WRITE_CR(0, cr0 | CR0_TS);
    check("ok: clts", kernel_trap(K("clts; fld1; fninit")), ENDED);
    WRITE_CR(4, READ_CR(4) & ~CR4_OSFXSR);
    check("#UD: SSE without OSFXSR", kernel_trap(K("movaps xmm0, xmm1")), TRAP(V_UD, 0));
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR);
    // x87 errors wait for the next waiting x87 instruction (SDM vol. 1 section 8.7).
    f = kernel(K("fninit; push 0x37b; fldcw [rsp]; fld1; fldz; fdivp; nop; wait"));
    run(&f);
    check("#MF: at the next waiting instruction", trap_of(&f), TRAP(V_MF, 0));
    check("#MF: RIP is that instruction", *(u8 *)f.rip, 0x9b);
    check("ok: fnclex clears a pending #MF", kernel_trap(K("fnclex; wait; fninit")), ENDED);
    const char *name = "#XM: unmasked divide by zero";
    u64 code = K("push 0x1d80; ldmxcsr [rsp]; mov eax, 1; cvtsi2sd xmm0, eax; xorps xmm1, xmm1; "
                 "divsd xmm0, xmm1");
    check(name, kernel_trap(code), TRAP(V_XM, 0));
    WRITE_CR(4, READ_CR(4) & ~CR4_OSXMMEXCPT);
    check("#UD: the same without OSXMMEXCPT", kernel_trap(code), TRAP(V_UD, 0));
    WRITE_CR(4, READ_CR(4) | CR4_OSXMMEXCPT);
    check("#GP: ldmxcsr reserved bit", kernel_trap(K("push 0x10000; ldmxcsr [rsp]")),
          TRAP(V_GP, 0));
    check("ok: mxcsr default", kernel_trap(K("push 0x1f80; ldmxcsr [rsp]")), ENDED);
}

// SDM vol. 3A section 6.15, interrupt 17: only ring 3, with CR0.AM and RFLAGS.AC.
static void alignment(void)
{
    const struct row rows[] = {
        {"#AC: dword", U("mov eax, [rbx+2]"), TRAP(V_AC, 0)},
        {"#AC: word write", U("mov [rbx+1], ax"), TRAP(V_AC, 0)},
        {"#AC: qword at 4", U("mov rax, [rbx+4]"), TRAP(V_AC, 0)},
        {"#AC: push on a crooked stack", U("lea rsp, [rbx+4]; push rax"), TRAP(V_AC, 0)},
        {"ok: byte", U("mov al, [rbx+1]"), ENDED},
        {"ok: aligned qword", U("mov rax, [rbx+8]"), ENDED},
    };
    WRITE_CR(0, READ_CR(0) | CR0_AM);
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct frame f = user(rows[i].code);
        f.rflags |= F_AC;
        f.rbx = f.rsp - 0x100;
        run(&f);
        check(rows[i].name, trap_of(&f), rows[i].want);
    }
    check("ok: ring3 without AC", user_trap(U("mov eax, [rsp-0x102]")), ENDED);
    struct frame f = kernel(K("mov eax, [rsp-0x102]"));
    f.rflags |= F_AC;
    run(&f);
    check("ok: ring0 with AC", trap_of(&f), ENDED);
    WRITE_CR(0, READ_CR(0) & ~CR0_AM);
    f = user(U("mov eax, [rsp-0x102]"));
    f.rflags |= F_AC;
    run(&f);
    check("ok: AC without AM", trap_of(&f), ENDED);
}

// SDM vol. 3A table 6-5: what happens when delivering an exception raises another.
static void double_faults(void)
{
    struct frame f = kernel(K("mov rax, [rsi]"));
    f.rsi = NON_CANONICAL;
    struct frame gp = f;
    idt[V_GP].type = 0x0e;
    run(&f);
    check("#DF: #GP, then #NP", trap_of(&f), TRAP(V_DF, 0));
    idt[V_GP].type = 0x8e;
    idt[V_PF].type = 0x0e;
    f = kernel(K("mov al, [rdi]"));
    f.rdi = UNMAPPED;
    run(&f);
    check("#DF: #PF, then #NP", trap_of(&f), TRAP(V_DF, 0));
    idt[V_PF].type = 0x8e;
    idt[V_UD].type = 0x0e;
    check("#NP: gate of #UD not present", kernel_trap(K("ud2")), TRAP(V_NP, V_UD * 8 + 3));
    idt[V_UD].type = 0x82;
    check("#GP: gate of #UD has a bad type", kernel_trap(K("ud2")), TRAP(V_GP, V_UD * 8 + 3));
    idt[V_UD].type = 0x8e;
    this_cpu()->tss.ist[2] = UNMAPPED + 0x1000;
    idt[V_GP].ist = 3;
    f = gp;
    run(&f);
    check("#PF: pushing the frame of #GP", trap_of(&f), TRAP(V_PF, 2));
    check("#PF: CR2 is the stack", f.cr2, UNMAPPED + 0xff8);
    idt[V_GP].ist = 1;
    idt[V_PF].ist = 3;
    f = kernel(K("mov al, [rdi]"));
    f.rdi = UNMAPPED;
    run(&f);
    check("#DF: pushing the frame of #PF", trap_of(&f), TRAP(V_DF, 0));
    idt[V_PF].ist = 1;
    this_cpu()->tss.ist[2] = NON_CANONICAL + 0x1000;
    idt[V_UD].ist = 3;
    check("#SS: non-canonical IST", kernel_trap(K("ud2")) >> 32, V_SS);
    idt[V_UD].ist = 1;
}

void main(void)
{
    invalid_opcodes();
    memory_faults();
    privileged();
    io_bitmap();
    legacy_traps();
    floating_point();
    alignment();
    double_faults();
}
