// Multiboot-1 entry, the switch to long mode, the AP trampoline, the trap stubs and run().
// Runs from the 32-bit state of the Multiboot specification 0.6.96, section 3.2.
#include "layout.h"

    .section .multiboot, "ax"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .global start
start:
    cli
    cld
    mov $boot_stack_top, %esp
    // Identity map of 4 GiB in 2 MiB pages; 4..6 MiB is the only page ring 3 may touch.
    movl $pdpt + 7, pml4
    mov $pd + 7, %eax
    mov $pdpt, %edi
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b
    mov $0x83, %eax
    mov $pd, %edi
    mov $2048, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    orl $4, pd + 16
    call enter_long_mode
    ljmp $KERNEL_CS, $1f
    .code64
1:  mov $cpu_blocks + CPU_MAIN_TOP, %rsp
    xor %edi, %edi
    call cpu_init
    call main
    call finish

    // CR4 = PAE|OSFXSR|OSXMMEXCPT, EFER = SCE|LME|NXE, CR0 = PG|WP|NE|ET|MP|PE.
    .code32
enter_long_mode:
    mov $0x620, %eax
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    mov $0x901, %eax
    xor %edx, %edx
    wrmsr
    mov $0x80010033, %eax
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ret

    // Copied to TRAMPOLINE by start_cpus(); a SIPI starts it with CS = TRAMPOLINE >> 4.
    .global trampoline, trampoline_end
    .code16
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + trampoline_gdt - trampoline
    mov $0x11, %eax
    mov %eax, %cr0
    ljmpl $0x18, $ap_start32
trampoline_gdt:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
trampoline_end:

    .code32
ap_start32:
    mov $KERNEL_DS, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $1, %edi
    lock xadd %edi, ap_count
    inc %edi
    mov %edi, %eax
    shl $16, %eax
    lea cpu_blocks + CPU_MAIN_TOP(%eax), %esp
    call enter_long_mode
    ljmp $KERNEL_CS, $1f
    .code64
1:  mov %edi, %edi
    mov %esp, %esp
    call cpu_init
    call ap_main
1:  cli
    hlt
    jmp 1b

    // void run(struct frame *f): load the CPU from *f, come back at the next trap.
    .global run
run:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rax
    and $-CPU_BLOCK, %rax
    mov %rdi, CPU_FRAME(%rax)
    mov %rsp, CPU_SAVED_RSP(%rax)
    pushq 168(%rdi)
    pushq 160(%rdi)
    pushq 152(%rdi)
    pushq 144(%rdi)
    pushq 136(%rdi)
    mov 0(%rdi), %r15
    mov 8(%rdi), %r14
    mov 16(%rdi), %r13
    mov 24(%rdi), %r12
    mov 32(%rdi), %r11
    mov 40(%rdi), %r10
    mov 48(%rdi), %r9
    mov 56(%rdi), %r8
    mov 72(%rdi), %rsi
    mov 80(%rdi), %rbp
    mov 88(%rdi), %rbx
    mov 96(%rdi), %rdx
    mov 104(%rdi), %rcx
    mov 112(%rdi), %rax
    mov 64(%rdi), %rdi
    .global run_iretq
run_iretq:
    iretq

common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rbx
    and $-CPU_BLOCK, %rbx
    mov CPU_FRAME(%rbx), %rdi
    test %rdi, %rdi
    jz 1f
    mov %rsp, %rsi
    mov $FRAME_WORDS, %ecx
    cld
    rep movsq
    mov %cr2, %rax
    mov %rax, (%rdi)
    lea FRAME_WORDS * 8(%rsp), %rax
    mov %rax, 8(%rdi)
    mov %ss, %eax
    mov %rax, 16(%rdi)
    movq $0, CPU_FRAME(%rbx)
    mov CPU_SAVED_RSP(%rbx), %rsp
    mov $KERNEL_DS, %eax
    mov %eax, %ss
    pushq $2 // a snippet's flags (AC, DF) must not leak into C
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
1:  mov %rsp, %rdi
    and $-16, %rsp
    call panic

    // One 16-byte stub per vector; those without an error code push a zero.
    .align 16
    .global stubs
stubs:
    .set vector, 0
    .rept 256
    .align 16
    .if vector <> 8 && vector <> 17 && vector <> 21 && (vector < 10 || vector > 14)
    pushq $0
    .endif
    pushq $vector
    jmp common
    .set vector, vector + 1
    .endr

    .data
    .align 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .long 0
    .global ap_count
    .align 4
ap_count:
    .long 0

    .bss
    .align 4096
    .global pml4, pdpt, pd
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4 * 4096
    .skip 1024
boot_stack_top:
    .balign CPU_BLOCK
    .global cpu_blocks
cpu_blocks: .skip MAX_CPUS * CPU_BLOCK
    .section .note.GNU-stack, "", @progbits
