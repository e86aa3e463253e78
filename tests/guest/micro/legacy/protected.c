// 32-bit protected mode: segment limits and types, rings, stack switches, gates.
// SDM vol. 3A chapters 5 and 6.
// qemu-differs: limit: one beyond -- TCG checks neither segment limits nor segment types on access
// qemu-differs: limit: dword over the end -- TCG checks neither segment limits nor segment types on access
// qemu-differs: limit: one beyond a granular one -- TCG checks neither segment limits nor segment types on access
// qemu-differs: expand-down: at the limit -- TCG checks neither segment limits nor segment types on access
// qemu-differs: expand-down 16-bit: above 64 KiB -- TCG checks neither segment limits nor segment types on access
// qemu-differs: limit: SS raises #SS -- TCG checks neither segment limits nor segment types on access
// qemu-differs: limit: push raises #SS -- TCG checks neither segment limits nor segment types on access
// qemu-differs: read-only: write -- TCG checks neither segment limits nor segment types on access
// qemu-differs: readable code: write -- TCG checks neither segment limits nor segment types on access
// qemu-differs: null DS: use -- TCG checks neither segment limits nor segment types on access
// qemu-differs: cs: write -- TCG checks neither segment limits nor segment types on access
// qemu-differs: CS limit: fetch beyond it -- TCG checks neither segment limits nor segment types on access
#include "micro32.h"

#define SEG FREE_SEL            // descriptors that the rows below rewrite
#define GATE (FREE_SEL + 8)
#define CONFORMING (FREE_SEL + 16)
#define RING1_CS (FREE_SEL + 24)
#define RING1_DS (FREE_SEL + 32)

static u32 buffer[64] __attribute__((aligned(4096))) = {0x11111111, 0x22222222, 0x33333333};

static u64 with_segment(u64 entry, u32 code)
{
    gdt[SEG / 8] = entry;
    struct frame f = user(code);
    f.eax = SEG | 3;
    run(&f);
    return trap_of(&f);
}

static void limits(void)
{
    u32 at = ADDRESS(buffer);
    const struct {
        const char *name;
        u64 entry;
        u32 code;
        u64 want;
    } rows[] = {
        {"limit: last byte", descriptor(at, 15, 0xf3, 4), C("mov ds, eax; mov al, [15]"), ENDED},
        {"limit: one beyond", descriptor(at, 15, 0xf3, 4), C("mov ds, eax; mov al, [16]"),
         TRAP(V_GP, 0)},
        {"limit: dword over the end", descriptor(at, 15, 0xf3, 4), C("mov ds, eax; mov ebx, [13]"),
         TRAP(V_GP, 0)},
        {"limit: dword at the end", descriptor(at, 15, 0xf3, 4), C("mov ds, eax; mov ebx, [12]"),
         ENDED},
        {"limit: a granular segment ends at fff", descriptor(at, 0, 0xf3, 0xc),
         C("mov ds, eax; mov al, [0xfff]"), ENDED},
        {"limit: one beyond a granular one", descriptor(at, 0, 0xf3, 0xc),
         C("mov ds, eax; mov al, [0x1000]"), TRAP(V_GP, 0)},
        {"expand-down: at the limit", descriptor(at, 15, 0xf7, 4), C("mov ds, eax; mov al, [15]"),
         TRAP(V_GP, 0)},
        {"expand-down: above the limit", descriptor(at, 15, 0xf7, 4),
         C("mov ds, eax; mov al, [16]"), ENDED},
        {"expand-down 16-bit: above 64 KiB", descriptor(at, 15, 0xf7, 0),
         C("mov ds, eax; mov al, [0x10000]"), TRAP(V_GP, 0)},
        {"limit: SS raises #SS", descriptor(at, 15, 0xf3, 4),
         C("mov ss, eax; mov ebp, 20; mov al, [ebp]"), TRAP(V_SS, 0)},
        {"limit: push raises #SS", descriptor(at, 15, 0xf3, 4),
         C("mov ss, eax; mov esp, 20; push eax"), TRAP(V_SS, 0)},
        {"read-only: write", descriptor(at, 15, 0xf1, 4), C("mov ds, eax; mov [0], al"),
         TRAP(V_GP, 0)},
        {"read-only: read", descriptor(at, 15, 0xf1, 4), C("mov ds, eax; mov al, [0]"), ENDED},
        {"execute-only: load into DS", descriptor(at, 15, 0xf9, 4), C("mov ds, eax"),
         TRAP(V_GP, SEG)},
        {"readable code: read", descriptor(at, 15, 0xfb, 4), C("mov ds, eax; mov al, [0]"), ENDED},
        {"readable code: write", descriptor(at, 15, 0xfb, 4), C("mov ds, eax; mov [0], al"),
         TRAP(V_GP, 0)},
        {"read-only SS", descriptor(at, 15, 0xf1, 4), C("mov ss, eax"), TRAP(V_GP, SEG)},
        {"absent DS", descriptor(at, 15, 0x73, 4), C("mov ds, eax"), TRAP(V_NP, SEG)},
        {"absent SS", descriptor(at, 15, 0x73, 4), C("mov ss, eax"), TRAP(V_SS, SEG)},
        {"DPL 0 DS from ring 3", descriptor(at, 15, 0x93, 4), C("mov ds, eax"), TRAP(V_GP, SEG)},
        {"null DS: load", 0, C("xor eax, eax; mov ds, eax"), ENDED},
        {"null DS: use", 0, C("xor eax, eax; mov ds, eax; mov al, [0]"), TRAP(V_GP, 0)},
        {"null SS: load", 0, C("xor eax, eax; mov ss, eax"), TRAP(V_GP, 0)},
        {"cs: write", 0, C("mov cs:[0x100000], al"), TRAP(V_GP, 0)},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        check(rows[i].name, with_segment(rows[i].entry, rows[i].code), rows[i].want);
    }
    gdt[SEG / 8] = descriptor(at + 4, 15, 0xf2, 4);
    struct frame f = user(C("mov fs, eax; mov ebx, fs:[0]; mov ecx, fs:[4]"));
    f.eax = SEG | 3;
    run(&f);
    check("base: fs:[0]", f.ebx, 0x22222222);
    check("base: fs:[4]", f.ecx, 0x33333333);
    check("accessed bit is set", gdt[SEG / 8] >> 40 & 1, 1);
    gdt[SEG / 8] = descriptor(C("nop; nop"), 0, 0xfb, 4);
    f = user(0);
    f.cs = SEG | 3;
    run(&f);
    check("CS limit: fetch beyond it", trap_of(&f) | f.eip, TRAP(V_GP, 1));
}

static void stack16(void)
{
    gdt[SEG / 8] = descriptor(ADDRESS(user_stack), 0x1fff, 0xf3, 0); // B=0: SP, not ESP
    struct frame f = user(C("mov ss, eax; mov esp, 0xabcd1000; push 0x12345678; mov ebx, esp; "
                            "pop ecx"));
    f.eax = SEG | 3;
    run(&f);
    check("16-bit stack: push moves SP only", f.ebx, 0xabcd0ffc);
    check("16-bit stack: pop", f.ecx, 0x12345678);
    gdt[SEG / 8] = descriptor(0, 0xfffff, 0xfb, 8); // 16-bit code, flat
    f = user(C16("mov ax, 0x1234; mov ebx, 0x56789abc; push ax; mov ecx, esp; pop dx"));
    f.cs = SEG | 3;
    f.eax = 0xffff0000;
    u32 esp = f.esp;
    run(&f);
    check("16-bit code: default operand size", f.eax, 0xffff1234);
    check("16-bit code: 66 prefix", f.ebx, 0x56789abc);
    check("16-bit code: push ax on a 32-bit stack", f.ecx, esp - 2);
    check("16-bit code: pop", f.edx & 0xffff, 0x1234);
}

static void frames(void)
{
    struct frame f = user(C("ud2"));
    u32 esp = f.esp;
    run(&f);
    check("ring 3: stack from the TSS", f.trap_esp, tss.esp0);
    check("ring 3: pushed CS, SS", f.cs << 16 | f.ss, USER_CS << 16 | USER_DS);
    check("ring 3: pushed ESP", f.esp, esp);
    f = kernel(C("ud2"));
    esp = f.esp;
    run(&f);
    check("ring 0: same stack", f.esp, esp);
    f = kernel(C("int3"));
    u32 eip = f.eip;
    run(&f);
    check("int3: EIP after it", f.eip, eip + 1);
    check("int 0x30 from ring 3", user_trap(C("int 0x30")), TRAP(V_GP, 0x30 * 8 + 2));
    check("into", user_trap(C("mov al, 0x7f; inc al; into")), TRAP(V_OF, 0));
    check("bound", user_trap(C("push 5; push 1; mov eax, 6; bound eax, [esp]")), TRAP(V_BR, 0));
    check("bound inside", user_trap(C("push 5; push 1; mov eax, 5; bound eax, [esp]")), ENDED);
    check("iret to an inner ring", user_trap(C("pushfd; push 8; push 0; iretd")), TRAP(V_GP, 8));
    check("salc", user_trap(C("stc; .byte 0xd6; cmp al, 0xff; je 1f; ud2; 1:")), ENDED);
    f = user(C("aaa; mov ax, 0x0c; aam; mov ebx, eax; aad; mov ecx, eax; mov eax, 0x3b; daa"));
    run(&f);
    check("aam, aad", f.ebx << 8 | f.ecx, 0x010200 | 0x0c);
    check("daa", f.eax & 0xff, 0x41);
    f = user(C("pushad; mov eax, [esp+12]; add esp, 32; mov ebx, esp"));
    run(&f);
    check("pushad stores the old ESP", f.eax, f.ebx);
    f = user(C("les edi, [esi]; mov eax, es"));
    static struct {
        u32 offset;
        u16 selector;
    } pointer = {0x1234, USER_DS};
    f.esi = ADDRESS(&pointer), f.es = 0;
    run(&f);
    check("les", f.edi << 8 | f.eax, 0x1234 << 8 | USER_DS);
}

static void gates(void)
{
    gdt[RING1_CS / 8] = descriptor(0, 0xfffff, 0xbb, 0xc);
    gdt[RING1_DS / 8] = descriptor(0, 0xfffff, 0xb3, 0xc);
    gdt[CONFORMING / 8] = descriptor(0, 0xfffff, 0x9f, 0xc);
    u32 handler = C("mov eax, cs; mov ebx, [esp]; mov ecx, [esp+4]; mov edx, [esp+8]; "
                    "mov esi, [esp+12]; mov edi, [esp+16]; nop");
    u64 gate = (u64)((handler & 0xffff0000) | 0xec02) << 32 | KERNEL_CS << 16 | (handler & 0xffff);
    gdt[GATE / 8] = gate; // DPL 3, two parameters
    struct frame f = user(C("push 0x77; push 0x88; call 0x48:0; nop"));
    u32 esp = f.esp;
    run(&f);
    check("call gate: ring 0", f.eax, KERNEL_CS);
    check("call gate: pushed CS", f.ecx, USER_CS);
    check("call gate: copied parameters", f.edx << 8 | f.esi, 0x8877);
    check("call gate: pushed ESP", f.edi, esp - 8);
    handler = C("retf 8");
    gdt[GATE / 8] = (gate & 0x0000ffffffff0000) | (handler & 0xffff) |
                    (u64)(handler & 0xffff0000) << 32;
    f = user(C("push 0x77; push 0x88; call 0x48:0; mov eax, cs; mov ebx, esp"));
    run(&f);
    check("retf n: back in ring 3", f.eax, USER_CS);
    check("retf n: parameters dropped from both stacks", f.ebx, esp);
    gdt[GATE / 8] = gate & ~(0x60ull << 40);
    check("call gate DPL 0", user_trap(C("call 0x48:0")), TRAP(V_GP, GATE));
    gdt[GATE / 8] = gate & ~(0x80ull << 40);
    check("call gate absent", user_trap(C("call 0x48:0")), TRAP(V_NP, GATE));
    gdt[GATE / 8] = (gate & ~(0xffffull << 16)) | (u64)RING1_CS << 16;
    tss.ss1 = 0;
    check("#TS: null SS1", user_trap(C("call 0x48:0")), TRAP(V_TS, 0));
    tss.ss1 = USER_DS;
    check("#TS: SS1 with the wrong RPL", user_trap(C("call 0x48:0")), TRAP(V_TS, USER_DS & ~3));
    tss.ss1 = KERNEL_CS | 1;
    check("#TS: SS1 is code", user_trap(C("call 0x48:0")), TRAP(V_TS, KERNEL_CS));
    tss.ss1 = RING1_DS | 1, tss.esp1 = ADDRESS(kernel_stack) + 1024;
    u32 inner = C("mov eax, cs; mov ebx, ss; nop");
    gdt[GATE / 8] = (u64)((inner & 0xffff0000) | 0xec00) << 32 | (u32)RING1_CS << 16 |
                    (inner & 0xffff);
    f = user(C("call 0x48:0"));
    run(&f);
    check("call gate to ring 1", f.eax << 16 | f.ebx, (RING1_CS | 1) << 16 | RING1_DS | 1);
    f = user(C("jmp 0x50:1f; 1: mov eax, cs"));
    run(&f);
    check("conforming code keeps CPL 3", f.eax, CONFORMING | 3);
    check("far jmp to ring 0", user_trap(C("jmp 8:1f; 1: nop")), TRAP(V_GP, KERNEL_CS));
    check("far call beyond the GDT", user_trap(C("call 0x1008:0")), TRAP(V_GP, 0x1008));
    f = kernel(C("push 0x23; push esi; push 0x1b; push edi; retf"));
    f.edi = C("mov eax, cs; mov ebx, ds"), f.esi = ADDRESS(user_stack) + 1024;
    run(&f);
    check("retf to ring 3", f.eax, USER_CS);
    check("retf to ring 3 makes DS of ring 0 null", f.ebx, 0);
}

void main(void)
{
    limits();
    stack16();
    frames();
    gates();
}
