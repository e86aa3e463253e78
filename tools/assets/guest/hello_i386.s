# A static 32-bit program without a C library: proof that the guest runs compatibility mode and
# takes system calls through int 0x80 (Linux i386 ABI: number in eax; ebx, ecx, edx arguments).
        .globl  _start
        .text
_start:
        movl    $4, %eax                # write(1, message, length)
        movl    $1, %ebx
        movl    $message, %ecx
        movl    $length, %edx
        int     $0x80
        movl    $1, %eax                # exit(42)
        movl    $42, %ebx
        int     $0x80

        .section .rodata
message:
        .ascii  "hello from i386\n"
        .set    length, . - message
