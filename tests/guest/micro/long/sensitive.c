// The sensitive unprivileged instructions at ring 0 and ring 3, with UMIP off and on.
// SDM vol. 2 (each instruction's page), vol. 3A section 2.5 (UMIP).
// qemu-differs: lar ring3 16-bit tss -- TCG accepts the 16-bit system types in IA-32e mode
// qemu-differs: lsl ring3 16-bit tss -- TCG accepts the 16-bit system types in IA-32e mode
// qemu-differs: int n ring3 through a ring-0 gate -- TCG's error code is vector*16+2
#include "micro.h"

static struct table_register stored USER_DATA;

// Each stores to [rdi] or rax and must give the same at both rings without UMIP.
static void umip_group(void)
{
    const struct {
        const char *name;
        u64 kernel, user, want;
    } forms[] = {
        {"smsw rax", K("smsw rax"), U("smsw rax"), READ_CR(0)},
        {"smsw eax", K("smsw eax"), U("smsw eax"), READ_CR(0)},
        {"smsw ax", K("smsw ax"), U("smsw ax"), READ_CR(0) & 0xffff},
        {"sldt rax", K("sldt rax"), U("sldt rax"), 0},
        {"sldt eax", K("sldt eax"), U("sldt eax"), 0},
        {"str rax", K("str rax"), U("str rax"), TSS_SEL},
        {"str eax", K("str eax"), U("str eax"), TSS_SEL},
        {"smsw m16", K("mov eax, -1; mov [rdi], rax; smsw [rdi]; mov rax, [rdi]"),
         U("mov eax, -1; mov [rdi], rax; smsw [rdi]; mov rax, [rdi]"),
         0xffff0000 | (READ_CR(0) & 0xffff)},
        {"str m16", K("mov eax, -1; mov [rdi], rax; str [rdi]; mov rax, [rdi]"),
         U("mov eax, -1; mov [rdi], rax; str [rdi]; mov rax, [rdi]"), 0xffff0000 | TSS_SEL},
        {"sgdt base", K("sgdt [rdi]; mov rax, [rdi+2]"), U("sgdt [rdi]; mov rax, [rdi+2]"),
         ADDRESS(this_cpu()->gdt)},
        {"sgdt limit", K("sgdt [rdi]; movzx eax, word ptr [rdi]"),
         U("sgdt [rdi]; movzx eax, word ptr [rdi]"), 255},
        {"sidt base", K("sidt [rdi]; mov rax, [rdi+2]"), U("sidt [rdi]; mov rax, [rdi+2]"),
         ADDRESS(idt)},
        {"sidt limit", K("sidt [rdi]; movzx eax, word ptr [rdi]"),
         U("sidt [rdi]; movzx eax, word ptr [rdi]"), 4095},
    };
    char name[64];
    for (int umip = 0; umip < 2; umip++) {
        if (umip && !(cpuid(7, 0).ecx & 4)) {
            skip("umip", "umip");
            return;
        }
        WRITE_CR(4, (READ_CR(4) & ~CR4_UMIP) | (umip ? CR4_UMIP : 0));
        for (unsigned i = 0; i < ARRAY_LENGTH(forms); i++) {
            struct frame f = kernel(forms[i].kernel);
            f.rdi = ADDRESS(&stored);
            run(&f);
            join(name, forms[i].name, umip ? " ring0 umip" : " ring0");
            check(name, f.rax, forms[i].want);
            f = user(forms[i].user);
            f.rdi = ADDRESS(&stored);
            run(&f);
            join(name, forms[i].name, umip ? " ring3 umip" : " ring3");
            if (umip) {
                check(name, trap_of(&f), TRAP(V_GP, 0));
            } else {
                check(name, f.rax, forms[i].want);
            }
        }
    }
    WRITE_CR(4, READ_CR(4) & ~CR4_UMIP);
}

static void flags_group(void)
{
    struct frame f = kernel(K("pushfq; pop rax"));
    f.rflags = 2 | F_CF | F_IOPL3 | F_AC;
    run(&f);
    check("pushfq ring0", f.rax, 2 | F_CF | F_IOPL3 | F_AC);
    f = user(U("pushfq; pop rax"));
    f.rflags = 2 | F_CF | F_IF | F_IOPL3;
    run(&f);
    check("pushfq ring3 shows IF and IOPL", f.rax, 2 | F_CF | F_IF | F_IOPL3);
    f = user(U("push 0x3202; popfq; pushfq; pop rax"));
    run(&f);
    check("popfq ring3 IOPL0 keeps IF and IOPL", f.rax, 2);
    f = user(U("push 0x202; popfq; pushfq; pop rax"));
    f.rflags = 2 | F_IOPL3;
    run(&f);
    check("popfq ring3 IOPL3 changes IF, not IOPL", f.rax, 2 | F_IF | F_IOPL3);
    f = kernel(K("push 0x3002; popfq; pushfq; pop rax"));
    run(&f);
    check("popfq ring0 changes IOPL", f.rax, 2 | F_IOPL3);
    f = user(U("push 0x244ed7; popfq; pushfq; pop rax"));
    run(&f);
    check("popfq ring3 arithmetic, DF, NT, AC, ID", f.rax, 0x244cd7);
    f = user(U("push 0x10002; popfq; pushfq; pop rax"));
    run(&f);
    check("popfq clears RF", f.rax, 2);
    f = user(U("pushfw; mov rax, rsp; add rsp, 2"));
    u64 top = f.rsp;
    run(&f);
    check("pushf 16-bit moves RSP by 2", f.rax, top - 2);
    f = user(U("pushfq; or qword ptr [rsp], 0x40000; popfq; pushw 0x01; popfw; pushfq; pop rax"));
    run(&f);
    check("popf 16-bit keeps the upper flags", f.rax, 0x40003);
    check("cli ring3 IOPL0", user_trap(U("cli")), TRAP(V_GP, 0));
    check("sti ring3 IOPL0", user_trap(U("sti")), TRAP(V_GP, 0));
    f = user(U("sti; nop; cli; pushfq; pop rax"));
    f.rflags = 2 | F_IOPL3;
    run(&f);
    check("sti, cli ring3 IOPL3", f.rax, 2 | F_IOPL3);
}

// LAR, LSL, VERR, VERW on each kind of descriptor; SDM vol. 2 "LAR", "LSL", "VERR/VERW".
static void descriptor_group(void)
{
    u64 *gdt = this_cpu()->gdt;
    const u16 free = FREE_SEL;
    const struct {
        const char *name;
        u64 descriptor;
        u8 rpl, readable, writable; // as VERR/VERW see them from ring 3
        u32 rights, limit;          // 0xffffffff: ZF stays clear
    } rows[] = {
        {"data rw dpl3", 0x00cff3000000ffff, 3, 1, 1, 0xcff300, 0xffffffff},
        {"data ro dpl3", 0x0040f10000001234, 3, 1, 0, 0x40f100, 0x1234},
        {"data rw dpl0", 0x00cf93000000ffff, 3, 0, 0, 0, 0},
        {"code x dpl3", 0x0040f90000000fff, 3, 0, 0, 0x40f900, 0xfff},
        {"code xr dpl3", 0x0040fb0000000fff, 3, 1, 0, 0x40fb00, 0xfff},
        {"conforming dpl0", 0x00409f0000000fff, 3, 1, 0, 0x409f00, 0xfff},
        {"not present dpl3", 0x0040730000000fff, 3, 1, 1, 0x407300, 0xfff},
        {"ldt type", 0x0000e20000000fff, 3, 0, 0, 0x00e200, 0xfff},
        {"tss type", 0x0000e90000000fff, 3, 0, 0, 0x00e900, 0xfff},
        {"call gate", 0x0000ec0000080000, 3, 0, 0, 0x00ec00, 0xfffffffe},
        {"interrupt gate", 0x0000ee0000080000, 3, 0, 0, 0, 0},
        {"16-bit tss", 0x0000e10000000fff, 3, 0, 0, 0, 0},
    };
    char name[64];
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        gdt[free / 8] = rows[i].descriptor;
        gdt[free / 8 + 1] = 0;
        struct frame f = user(U("lar eax, ecx; setz bl; lsl edx, ecx; setz bh; verr cx; "
                                "setz sil; verw cx; setz dil"));
        f.rax = f.rdx = 0xdead;
        f.rcx = free | rows[i].rpl;
        run(&f);
        join(name, "lar ring3 ", rows[i].name);
        check(name, (f.rax & 0xf0ffff) << 8 | (f.rbx & 1), // bits 19:16 are undefined
              rows[i].rights ? (u64)(rows[i].rights & 0xf0ff00) << 8 | 1 : 0xdead00);
        join(name, "lsl ring3 ", rows[i].name);
        int has_limit = rows[i].rights && rows[i].limit != 0xfffffffe;
        check(name, f.rdx << 8 | (f.rbx >> 8 & 1),
              has_limit ? (u64)rows[i].limit << 8 | 1 : 0xdead00);
        join(name, "verr, verw ring3 ", rows[i].name);
        check(name, f.rsi << 8 | f.rdi, (u64)rows[i].readable << 8 | rows[i].writable);
    }
    struct frame f = kernel(K("mov ecx, 0x10; lar eax, ecx; lsl edx, ecx; verw cx; setz bl"));
    run(&f);
    check("lar ring0 dpl0", f.rax & 0xf0ff00, 0xc09300);
    check("lsl ring0 dpl0", f.rdx, 0xffffffff);
    check("verw ring0 dpl0", f.rbx, 1);
    f = user(U("xor ecx, ecx; cmp ecx, ecx; lar eax, ecx; setz bl"));
    run(&f);
    check("lar null selector", f.rbx, 0);
    f = user(U("mov ecx, 0xfff8; cmp ecx, ecx; verr cx; setz bl"));
    run(&f);
    check("verr beyond the GDT limit", f.rbx, 0);
}

static void selector_group(void)
{
    struct frame f = kernel(K("mov rax, -1; mov eax, cs; mov rbx, -1; mov bx, ss"));
    run(&f);
    check("mov r32, cs ring0 zero-extends", f.rax, KERNEL_CS);
    check("mov r16, ss ring0 keeps the rest", f.rbx, 0xffffffffffff0000 | KERNEL_DS);
    f = user(U("mov eax, cs; mov ebx, ss; mov ecx, 0x18; mov rdx, -1; mov rdx, ds"));
    run(&f);
    check("mov r32, cs ring3 shows the CPL", f.rax, USER_CS);
    check("mov r32, ss ring3", f.rbx, USER_DS);
    f = user(U("push fs; pop rax; xor ecx, ecx; push 0x23; pop gs; mov ecx, gs"));
    run(&f);
    check("push fs is 8 bytes", f.rax, USER_DS);
    check("pop gs", f.rcx, USER_DS);
    f = user(U("mov eax, 0x10; mov ds, eax"));
    run(&f);
    check("mov ds, ring-0 selector from ring3", trap_of(&f), TRAP(V_GP, KERNEL_DS));
    f = user(U("push 0x10; pop fs"));
    u64 top = f.rsp;
    run(&f);
    check("pop fs, ring-0 selector from ring3", trap_of(&f), TRAP(V_GP, KERNEL_DS));
    check("pop fs that faults leaves RSP", f.rsp, top - 8);
    check("mov ss, null ring3", user_trap(U("xor eax, eax; mov ss, eax")), TRAP(V_GP, 0));
    check("mov ss, null ring0 64-bit", kernel_trap(K("xor eax, eax; mov ss, eax")), ENDED);
    check("mov cs", kernel_trap(K(".byte 0x8e, 0xc8")), TRAP(V_UD, 0));
    check("int n ring3 through a ring-0 gate", user_trap(U("int 0x30")), TRAP(V_GP, 0x30 * 8 + 2));
    check("int n ring0", kernel_trap(K("int 0x30")), TRAP(0x30, 0));
    check("iret ring3 to ring0", user_trap(U("push 0x10; push rsp; push 2; push 8; push 0; iretq")),
          TRAP(V_GP, 8));
    check("retfq ring3 to ring0", user_trap(U("push 8; push 0; retfq")), TRAP(V_GP, 8));
}

void main(void)
{
    umip_group();
    flags_group();
    descriptor_group();
    selector_group();
}
