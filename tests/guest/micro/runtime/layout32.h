// Constants shared by the assembly and the C half of the 32-bit runtime.
#ifndef MICRO_LAYOUT32_H
#define MICRO_LAYOUT32_H

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_CS 0x1b
#define USER_DS 0x23
#define TSS_SEL 0x28
#define CODE16 0x30 // base 0, limit 64 KiB, ring 0: the way to real mode
#define DATA16 0x38
#define FREE_SEL 0x40 // the first descriptor that belongs to the guest

#define END_VECTOR 0x40
#define FRAME_WORDS 17 // gs .. eflags

// Real mode lives below 64 KiB.
#define REAL_PLACE 0x8000
#define REAL_TARGET 0x8ff0 // far pointer that the trampoline calls
#define REAL_STACK 0x7ff0
#define REAL_CODE 0x9000 // a guest's own 16-bit code
#define REAL_DATA 0xa000

#endif
