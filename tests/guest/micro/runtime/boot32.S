// Multiboot-1 entry, trap stubs, run() and the trip to real mode of the 32-bit micro-guests.
#include "layout32.h"

    .section .multiboot, "ax"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .global start
start:
    cli
    cld
    mov $boot_stack_top, %esp
    call set_up
    call main
    call finish

    // void run(struct frame *f). Ring 0 frames must name the flat stack segment.
    .global run
run:
    pushal
    mov 36(%esp), %ebp
    mov %ebp, waiting
    mov %esp, saved_esp
    testb $3, 60(%ebp)
    jz 1f
    pushl 72(%ebp)
    pushl 68(%ebp)
    jmp 2f
1:  mov 68(%ebp), %esp
2:  pushl 64(%ebp)
    pushl 60(%ebp)
    pushl 56(%ebp)
    mov 16(%ebp), %edi
    mov 20(%ebp), %esi
    mov 32(%ebp), %ebx
    mov 36(%ebp), %edx
    mov 40(%ebp), %ecx
    mov 0(%ebp), %gs
    mov 4(%ebp), %fs
    mov 8(%ebp), %es
    pushl 12(%ebp)
    mov 44(%ebp), %eax
    mov 24(%ebp), %ebp
    pop %ds
    iret

common:
    pushal
    push %ds
    push %es
    push %fs
    push %gs
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    cld
    mov waiting, %edi
    test %edi, %edi
    jz 1f
    mov %esp, %esi
    mov $FRAME_WORDS, %ecx
    rep movsl
    lea FRAME_WORDS * 4(%esp), %eax
    mov %eax, 8(%edi)  // trap_esp, after esp and ss
    mov %cr2, %ecx
    mov %ecx, 12(%edi)
    testb $3, -8(%edi) // CS: did the CPU push ESP and SS?
    jz 2f
    movsl
    movsl
    addl $8, (%edi)
    jmp 3f
2:  mov %eax, (%edi)
    mov %ss, %eax
    mov %eax, 4(%edi)
3:  movl $0, waiting
    mov %ds, %eax
    mov %eax, %ss
    mov saved_esp, %esp
    pushl $2
    popfl
    popal
    ret
1:  push %esp
    call panic

    .align 16
    .global stubs
stubs:
    .set vector, 0
    .rept 256
    .align 16
    .if vector <> 8 && vector <> 17 && vector <> 21 && (vector < 10 || vector > 14)
    pushl $0
    .endif
    pushl $vector
    jmp common
    .set vector, vector + 1
    .endr

    // void real_mode(u32 segment_offset): far-call 16-bit code below 1 MiB in real mode.
    .global real_mode, real_begin, real_end
real_mode:
    pushal
    mov 36(%esp), %eax
    mov %eax, REAL_TARGET
    mov %esp, saved_esp
    ljmp $CODE16, $REAL_PLACE
    .global real_return
real_return:
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov saved_esp, %esp
    lidt idt_pointer
    popal
    ret

    // Copied to REAL_PLACE. SDM vol. 3A section 9.9.2, switching back to real-address mode.
real_begin:
    .code16
    mov $DATA16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    lidt REAL_PLACE + 2f - real_begin
    mov %cr0, %eax
    and $0xfe, %al
    mov %eax, %cr0
    ljmp $0, $REAL_PLACE + 1f - real_begin
1:  xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $REAL_STACK, %esp
    lcall *REAL_TARGET
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $KERNEL_CS, $real_return
2:  .word 0x3ff
    .long 0
real_end:
    .code32

    .data
    .align 4
    .global waiting
waiting: .long 0
saved_esp: .long 0
    .bss
    .balign 16
    .skip 16384
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
