// Runtime of the 32-bit micro-guests: flat protected mode without paging. Same idea as micro.h:
// a frame goes in, code runs until the next trap, the frame comes out.
//
//   C("asm") a 32-bit snippet, C16("asm") a 16-bit one; Intel syntax; both end with INT 0x40.
//            Ring does not matter: without paging any ring runs any code.
//   kernel(code), user(code), run(&f), trap_of(&f), TRAP(vector, error), ENDED as in micro.h
//   descriptor(base, limit, access, flags)   a GDT entry; `flags` = G D L AVL in bits 3..0
#ifndef MICRO32_H
#define MICRO32_H
#include "layout32.h"
#include "report.h"

enum vector { // SDM vol. 3A table 6-1
    V_DE = 0, V_DB = 1, V_NMI = 2, V_BP = 3, V_OF = 4, V_BR = 5, V_UD = 6, V_NM = 7, V_DF = 8,
    V_TS = 10, V_NP = 11, V_SS = 12, V_GP = 13, V_PF = 14, V_END = END_VECTOR,
};

enum flag {
    F_CF = 1, F_ZF = 0x40, F_TF = 0x100, F_IF = 0x200, F_DF = 0x400, F_OF = 0x800,
    F_IOPL3 = 0x3000, F_NT = 0x4000, F_RF = 0x10000,
};

struct frame { // the order is boot32.S's
    u32 gs, fs, es, ds;
    u32 edi, esi, ebp, pushal_esp, ebx, edx, ecx, eax;
    u32 vector, error;
    u32 eip, cs, eflags, esp, ss;
    u32 trap_esp; // ESP before the CPU pushed anything: the stack it chose
    u32 cr2;
};

struct tss { // SDM vol. 3A figure 7-2
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, gpr[8], segments[6], ldt;
    u16 trap, iomap_base;
};

struct table_register {
    u16 limit;
    u32 base;
} __attribute__((packed));

extern u64 gdt[32], idt[256];
extern struct tss tss;
extern struct table_register idt_pointer;
extern char stubs[], kernel_stack[], user_stack[];
#define STACK_SIZE 8192

#define SNIPPET(code, text)                                                                        \
    ({                                                                                             \
        u32 at_;                                                                                   \
        asm volatile(".pushsection .user.text,\"ax\"\n.intel_syntax noprefix\n" code "\n771:\n"    \
                     text "\nint 0x40\n.code32\n.att_syntax prefix\n.popsection\n"                 \
                     "mov $771b, %0"                                                               \
                     : "=r"(at_));                                                                 \
        at_;                                                                                       \
    })
#define C(text) SNIPPET(".code32", text)
#define C16(text) SNIPPET(".code16", text)

#define TRAP(vector, error) (((u64)(vector) << 32) | (u32)(error))
#define ENDED TRAP(V_END, 0)
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof(*(a)))
#define ADDRESS(object) ((u32)(object))

void run(struct frame *f);
struct frame kernel(u32 code);
struct frame user(u32 code);
u64 trap_of(const struct frame *f);
u64 kernel_trap(u32 code);
u64 user_trap(u32 code);
u64 descriptor(u32 base, u32 limit, u8 access, u8 flags);
void set_gate(unsigned vector, u32 handler, u16 selector, u8 type);
void real_mode(u32 segment_offset);

#define READ_CR(n)                                                                                 \
    ({                                                                                             \
        u32 value_;                                                                                \
        asm volatile("mov %%cr" #n ", %0" : "=r"(value_));                                         \
        value_;                                                                                    \
    })
#define WRITE_CR(n, value) asm volatile("mov %0, %%cr" #n : : "r"((u32)(value)) : "memory")

static inline u64 rdmsr(u32 index)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return ((u64)high << 32) | low;
}

static inline void wrmsr(u32 index, u64 value)
{
    asm volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline void invlpg(u32 address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#define MSR_EFER 0xc0000080
#define CR0_WP 0x10000
#define CR0_PG 0x80000000
#define CR4_PSE 0x10
#define CR4_PAE 0x20

enum page { P_P = 1, P_W = 2, P_U = 4, P_A = 32, P_D = 64, P_PS = 128, P_G = 256 };

#endif
