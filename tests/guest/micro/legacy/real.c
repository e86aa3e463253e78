// Real mode: addressing, the interrupt table, faults, 16-bit string and stack operations.
// SDM vol. 3A chapter 20. One 16-bit program runs; it leaves a dword per assertion.
// qemu-differs: #GP: beyond 64 KiB -- TCG has no segment limits
// qemu-differs: #GP: word at ffff -- TCG has no segment limits
#include "micro32.h"

#define PUT(index, reg) "mov dword ptr ds:[0xa000 + 4*" #index "], " #reg "\n"
#define AT(label) "(0x9000 + " label " - code)"
// Run `text`; a trap leaves its vector in CX, its IP in DX, and goes on behind it.
#define TRY(n, text)                                                                               \
    "mov word ptr ds:[0x9ff0], " AT("9" #n "f") "\n mov ecx, 0xff\n 8" #n ":\n" text               \
    "\n9" #n ": nop\n mov ax, ds:[0x9ff2]\n sub ax, " AT("8" #n "b") "\n"
#define HANDLER(vector)                                                                            \
    "h" #vector ": pop word ptr ds:[0x9ff2]\n add sp, 4\n mov ecx, " #vector                       \
    "\n jmp word ptr ds:[0x9ff0]\n"
#define HOOK(vector) "mov word ptr ds:[4*" #vector "], " AT("h" #vector) "\n"                      \
                     "mov word ptr ds:[4*" #vector "+2], 0\n"

asm(".pushsection .text\n.code16\n.intel_syntax noprefix\n"
    "code: jmp begin\n"
    HANDLER(0) HANDLER(1) HANDLER(4) HANDLER(5) HANDLER(6) HANDLER(13)
    "isr: push bp\n mov bp, sp\n mov bx, [bp+2]\n mov si, [bp+4]\n mov di, [bp+6]\n pushf\n"
    "pop ax\n pop bp\n iret\n"
    "far_sub: mov bp, sp\n mov ax, [bp+2]\n retf 2\n"
    "begin:\n"
    HOOK(0) HOOK(1) HOOK(4) HOOK(5) HOOK(6) HOOK(13)
    // addressing
    "mov ax, 0x0a80\n mov es, ax\n mov dword ptr es:[0x10], 0x11223344\n"
    "mov eax, ds:[0xa810]\n" PUT(0, eax)
    "mov ax, 0xffff\n mov es, ax\n mov eax, es:[0x10]\n" PUT(1, eax)
    "mov eax, cr0\n and eax, 1\n" PUT(2, eax)
    "smsw ax\n and eax, 1\n" PUT(3, eax)
    "mov eax, es\n" PUT(4, eax)
    // interrupts
    "mov word ptr ds:[0x21*4], " AT("isr") "\n mov word ptr ds:[0x21*4+2], 0\n"
    "sti\n mov cx, sp\n int 0x21\n 1: cli\n sub cx, sp\n"
    "sub bx, " AT("1b") "\n movzx ebx, bx\n" PUT(5, ebx)
    "movzx esi, si\n" PUT(6, esi)
    "movzx edi, di\n and edi, 0x200\n" PUT(7, edi)
    "movzx eax, ax\n and eax, 0x200\n" PUT(8, eax)
    "movzx ecx, cx\n" PUT(9, ecx)
    // faults
    TRY(0, "xor dx, dx\n div dl") "movzx eax, ax\n" PUT(10, ecx) PUT(11, eax)
    TRY(1, "ud2") PUT(12, ecx)
    TRY(2, "mov al, 0x7f\n inc al\n into") PUT(13, ecx)
    TRY(3, "mov dword ptr ds:[0x9fe0], 0x00050001\n mov ax, 6\n bound ax, ds:[0x9fe0]") PUT(14, ecx)
    TRY(4, "arpl ax, bx") PUT(15, ecx)
    TRY(5, "sldt ax") PUT(16, ecx)
    TRY(6, "str ax") PUT(17, ecx)
    TRY(7, "verr ax") PUT(18, ecx)
    TRY(8, "mov ebx, 0x10000\n mov al, [ebx]") PUT(19, ecx)
    TRY(9, "mov bx, 0xffff\n mov ax, [bx]") PUT(20, ecx)
    TRY(10, "mov bx, 0xffff\n mov al, [bx]") PUT(21, ecx)
    TRY(11, ".byte 0xf0, 0x90") PUT(22, ecx)
    TRY(12, "pushf\n or word ptr ss:[0x7fe8], 0\n mov bp, sp\n or word ptr [bp], 0x100\n popf\n nop")
    PUT(23, ecx)
    // far transfers and the stack
    "push 0x55\n mov cx, sp\n mov dword ptr ds:[0x9fe0], " AT("far_sub") "\n"
    "call dword ptr ds:[0x9fe0]\n sub cx, sp\n movsx ecx, cx\n movzx eax, ax\n" PUT(24, eax)
    PUT(25, ecx)
    "mov ax, 1\n mov cx, 2\n pusha\n mov ax, 0\n mov cx, 0\n popa\n movzx eax, ax\n movzx ecx, cx\n"
    PUT(26, eax) PUT(27, ecx)
    "mov bx, sp\n enter 16, 0\n sub bx, sp\n leave\n movzx ebx, bx\n" PUT(28, ebx)
    "mov eax, 0x12345678\n push eax\n pop bx\n pop cx\n shl ecx, 16\n mov cx, bx\n" PUT(29, ecx)
    // strings wrap SI and DI at 64 KiB
    "xor ax, ax\n mov es, ax\n mov ax, 0x2000\n mov ds, ax\n mov byte ptr [0xffff], 0x77\n"
    "mov byte ptr [0], 0x88\n mov si, 0xffff\n mov di, 0xa400\n mov cx, 2\n rep movsb\n"
    "movzx esi, si\n movzx ecx, cx\n xor ax, ax\n mov ds, ax\n" PUT(30, esi) PUT(31, ecx)
    "movzx eax, word ptr ds:[0xa400]\n" PUT(32, eax)
    "mov ecx, 0x10000\n xor ax, ax\n jcxz 1f\n inc ax\n 1: movzx eax, ax\n" PUT(33, eax)
    "mov ecx, 0x10001\n loop 1f\n 1: " PUT(34, ecx)
    "mov eax, 0xffffffff\n mov ax, 0x1234\n" PUT(35, eax)
    "xor eax, eax\n cpuid\n" PUT(36, ebx)
    "sgdt ds:[0x9fe0]\n movzx eax, word ptr ds:[0x9fe0]\n" PUT(37, eax)
    "sidt ds:[0x9fe0]\n movzx eax, word ptr ds:[0x9fe0]\n" PUT(38, eax)
    "retf\n"
    "code_end:\n.att_syntax prefix\n.code32\n.popsection\n");
extern char code[], code_end[];

void main(void)
{
    static const struct {
        const char *name;
        u32 want;
    } rows[] = {
        {"segment * 16 + offset", 0x11223344}, {"ffff:0010 is 1 MiB with A20", 0x1badb002},
        {"CR0.PE is clear", 0}, {"smsw sees it", 0}, {"a selector reads back", 0xffff},
        {"int: pushed IP", 0}, {"int: pushed CS", 0}, {"int: pushed FLAGS have IF", 0x200},
        {"int: IF is clear in the handler", 0}, {"iret restores SP", 0},
        {"#DE", 0}, {"#DE: IP is the instruction", 2}, {"#UD", 6}, {"#OF: into", 4},
        {"#BR: bound", 5}, {"#UD: arpl", 6}, {"#UD: sldt", 6}, {"#UD: str", 6}, {"#UD: verr", 6},
        {"#GP: beyond 64 KiB", 13}, {"#GP: word at ffff", 13}, {"byte at ffff", 0xff},
        {"#UD: lock nop", 6}, {"#DB: TF", 1},
        {"far call: pushed CS", 0}, {"retf n drops the argument", -2u}, {"popa: AX", 1},
        {"popa: CX", 2}, {"enter: BP and 16 bytes", 18}, {"push of a dword", 0x12345678},
        {"movsb: SI wraps", 1}, {"movsb: CX", 0}, {"movsb: both bytes", 0x8877},
        {"jcxz looks at CX", 0}, {"loop counts CX", 0x10000}, {"mov ax keeps the upper half", 0xffff1234},
        {"cpuid", 0x756e6547}, {"sgdt: limit", 255}, {"sidt: limit", 0x3ff},
    };
    volatile u32 *results = (u32 *)REAL_DATA;
    for (long i = 0; i < code_end - code; i++) {
        ((char *)REAL_CODE)[i] = code[i];
    }
    real_mode(REAL_CODE);
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        check(rows[i].name, results[i], rows[i].want);
    }
    check("back in protected mode", READ_CR(0) & 1, 1);
}
