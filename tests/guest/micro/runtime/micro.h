// Runtime of the 64-bit micro-guests. A test is: put a CPU state into a frame, run it until the
// next trap, look at the frame that comes back. Interrupts are traps too: C code runs with IF=0
// and only snippets ever take an interrupt.
//
//   K("asm")  a ring-0 snippet, U("asm") one in the ring-3 page; Intel syntax; both end with
//             INT 0x40 (END_VECTOR). K32/U32 assemble 32-bit code.
//   kernel(code), user(code), user32(code)   a frame that would run `code`, registers zero
//   run(&f)          load the CPU from f; at the next trap f holds the state it pushed
//   trap_of(&f)      vector and error code as one number, compared with TRAP(vector, error)
//   kernel_trap(code), user_trap(code)       make a frame, run it, trap_of() it
//   check(name, got, want)                   one assertion (report.h)
#ifndef MICRO_H
#define MICRO_H
#include "layout.h"
#include "report.h"

enum vector { // SDM vol. 3A table 6-1
    V_DE = 0, V_DB = 1, V_NMI = 2, V_BP = 3, V_OF = 4, V_BR = 5, V_UD = 6, V_NM = 7, V_DF = 8,
    V_TS = 10, V_NP = 11, V_SS = 12, V_GP = 13, V_PF = 14, V_MF = 16, V_AC = 17, V_MC = 18,
    V_XM = 19, V_END = END_VECTOR,
};

enum flag { // RFLAGS
    F_CF = 1, F_PF = 4, F_ZF = 0x40, F_SF = 0x80, F_TF = 0x100, F_IF = 0x200, F_DF = 0x400,
    F_OF = 0x800, F_IOPL3 = 0x3000, F_NT = 0x4000, F_RF = 0x10000, F_AC = 0x40000,
};

// The first 22 words are what the stubs push; the order is boot64.S's.
struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
    u64 cr2;      // CR2 when the trap arrived
    u64 trap_rsp; // RSP before the CPU pushed SS: the stack it chose
    u64 trap_ss;  // SS in the handler
};

struct tss { // SDM vol. 3A figure 7-11, with room for the I/O bitmap of ports 0..0x3ff
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, iomap_base;
    u8 iomap[129];
} __attribute__((packed));

struct cpu { // the start of a CPU's block; offsets 8 and 16 are known to boot64.S
    u64 index;
    struct frame *frame;
    u64 saved_rsp;
    void (*volatile job)(u64 argument);
    u64 argument;
    u64 gdt[32];
    struct tss tss;
};

struct gate { // SDM vol. 3A figure 6-8
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_mid;
    u32 offset_high, zero;
} __attribute__((packed));

struct table_register {
    u16 limit;
    u64 base;
} __attribute__((packed));

extern struct gate idt[256];
extern char cpu_blocks[], stubs[], run_iretq[];
extern u64 pml4[], pdpt[], pd[];

#define SNIPPET(section, code, text)                                                               \
    ({                                                                                             \
        u64 at_;                                                                                   \
        asm volatile(".pushsection " section "\n.intel_syntax noprefix\n" code "\n771:\n" text     \
                     "\nint 0x40\n.code64\n.att_syntax prefix\n.popsection\n"                      \
                     "lea 771b(%%rip), %0"                                                         \
                     : "=r"(at_));                                                                 \
        at_;                                                                                       \
    })
#define K(text) SNIPPET(".text.snippet,\"ax\"", ".code64", text)
#define K32(text) SNIPPET(".text.snippet,\"ax\"", ".code32", text)
#define U(text) SNIPPET(".user.text,\"ax\"", ".code64", text)
#define U32(text) SNIPPET(".user.text,\"ax\"", ".code32", text)
#define USER_DATA __attribute__((section(".user.data")))

#define TRAP(vector, error) (((u64)(vector) << 32) | (u32)(error))
#define ENDED TRAP(V_END, 0)
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof(*(a)))
#define ADDRESS(object) ((u64)(object))

void run(struct frame *f);
struct frame kernel(u64 code);
struct frame user(u64 code);
struct frame user32(u64 code);
u64 trap_of(const struct frame *f);
u64 kernel_trap(u64 code);
u64 user_trap(u64 code);
struct cpu *this_cpu(void);
struct cpu *cpu_at(u64 index);
void set_gate(unsigned vector, u64 handler, u16 selector, u8 type, u8 ist);
void join(char *buffer, const char *first, const char *second);

// Other CPUs (smp.c). start_cpus() returns how many run; each waits for jobs.
unsigned start_cpus(unsigned wanted);
void start_job(unsigned cpu, void (*job)(u64), u64 argument);
void wait_job(unsigned cpu);

// Page tables (pages.c). Entries of 4 KiB pages at any address, made on demand.
enum page { // SDM vol. 3A section 4.5
    P_P = 1, P_W = 2, P_U = 4, P_PWT = 8, P_PCD = 16, P_A = 32, P_D = 64, P_PS = 128, P_G = 256,
};
#define P_NX (1ull << 63)
u64 new_page(void);                      // physical address of a zeroed page
u64 *entry_of(u64 address, int level);   // level 1 = PTE … 4 = PML4E
void map(u64 address, u64 physical, u64 flags);
static inline void invlpg(u64 address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#define READ_CR(n)                                                                                 \
    ({                                                                                             \
        u64 value_;                                                                                \
        asm volatile("mov %%cr" #n ", %0" : "=r"(value_));                                         \
        value_;                                                                                    \
    })
#define WRITE_CR(n, value) asm volatile("mov %0, %%cr" #n : : "r"((u64)(value)) : "memory")
#define READ_DR(n)                                                                                 \
    ({                                                                                             \
        u64 value_;                                                                                \
        asm volatile("mov %%dr" #n ", %0" : "=r"(value_));                                         \
        value_;                                                                                    \
    })
#define WRITE_DR(n, value) asm volatile("mov %0, %%dr" #n : : "r"((u64)(value)) : "memory")

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

struct cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    return r;
}

// QEMU TCG names itself. Only for assertions that would take QEMU down with them.
static inline int on_tcg(void)
{
    return cpuid(0x40000000, 0).ebx == 0x54474354; // "TCGT"
}

static inline void pause(void)
{
    asm volatile("pause" : : : "memory");
}

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_FMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

#define CR0_PE 0x1
#define CR0_MP 0x2
#define CR0_EM 0x4
#define CR0_TS 0x8
#define CR0_NE 0x20
#define CR0_WP 0x10000
#define CR0_AM 0x40000
#define CR0_NW 0x20000000
#define CR0_CD 0x40000000
#define CR0_PG 0x80000000
#define CR4_TSD 0x4
#define CR4_DE 0x8
#define CR4_PSE 0x10
#define CR4_PAE 0x20
#define CR4_PGE 0x80
#define CR4_PCE 0x100
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define CR4_UMIP 0x800
#define CR4_FSGSBASE 0x10000
#define CR4_PCIDE 0x20000
#define CR4_OSXSAVE 0x40000
#define CR4_SMEP 0x100000
#define CR4_SMAP 0x200000

#endif
