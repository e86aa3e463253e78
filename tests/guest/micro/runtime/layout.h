// Constants shared by the assembly and the C half of the runtime.
#ifndef MICRO_LAYOUT_H
#define MICRO_LAYOUT_H

// Segment selectors. The order 0x18/0x20/0x28 is what SYSRET and SYSEXIT want (SDM vol. 2B).
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_CS32 0x1b
#define USER_DS 0x23
#define USER_CS 0x2b
#define TSS_SEL 0x30
#define KERNEL_CS32 0x40
#define LDT_SEL 0x48
#define FREE_SEL 0x58 // the first descriptor that belongs to the guest

// One block per CPU, aligned to its size, so a stub finds its CPU from RSP alone.
#define CPU_BLOCK 0x10000
#define CPU_FRAME 0x08      // where run() wants the next trap; 0 = nobody is waiting
#define CPU_SAVED_RSP 0x10  // run()'s own stack
#define CPU_MAIN_TOP 0x8000 // C code of this CPU
#define CPU_IST1_TOP 0xa000 // every vector uses IST1 unless a guest says otherwise
#define CPU_IST2_TOP 0xc000
#define CPU_RSP0_TOP 0xe000
#define CPU_SNIPPET_TOP 0xfff0 // stack of ring-0 snippets

#define TRAMPOLINE 0x8000 // where APs start in real mode (SIPI vector 8)
#define END_VECTOR 0x40   // a snippet that runs to its end raises INT 0x40
#define MAX_CPUS 4
#define FRAME_WORDS 22 // words the stubs leave on the stack (see struct frame)

#endif
