// Flags between pieces of code that an engine may translate one by one: across loads, jumps that have
// or have not been taken before, page boundaries and loops.
#include "micro.h"

#define AREA 0x10000000000ull
#define TURNS 60
#define ARITHMETIC 0x8d5 // OF, SF, ZF, AF, PF, CF

// RAX of every one of TURNS runs, if it is always the same.
static u64 often(u64 code)
{
    u64 first = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(code);
        run(&f);
        if (f.vector != V_END || (i && f.rax != first)) {
            return 0xbad;
        }
        first = f.rax;
    }
    return first;
}

static void jumps(void)
{
    check("adc behind a jump",
          often(K("stc; mov rdx, [rsp-8]; jmp 1f; nop; 1: adc eax, 0")), 1);
    check("adc right behind a jump", often(K("stc; jmp 1f; nop; 1: adc eax, 0")), 1);
    check("a load, then adc, behind a jump",
          often(K("stc; jmp 1f; nop; 1: mov rdx, [rsp-8]; adc eax, 0")), 1);
    check("rcl behind a jump", often(K("stc; mov rdx, [rsp-8]; jmp 1f; nop; 1: rcl eax, 1")), 1);
    check("cmc behind a jump",
          often(K("mov rdx, [rsp-8]; jmp 1f; nop; 1: cmc; adc eax, 0")), 1);
    check("sete where a conditional jump leads",
          often(K("cmp edi, edi; mov rdx, [rsp-8]; stc; jc 1f; xor eax, eax; jmp 2f; 1: sete al; "
                  "2: nop")), 1);
    check("sete where it does not lead",
          often(K("cmp edi, edi; mov rdx, [rsp-8]; stc; jnc 1f; sete al; jmp 2f; 1: xor eax, eax; "
                  "2: nop")), 1);
    check("inc keeps CF across a store",
          often(K("stc; inc dword ptr [rsp-8]; adc eax, 0")), 1);
    check("a shift by 0 keeps CF", often(K("stc; mov rdx, [rsp-8]; shl edi, 0; adc eax, 0")), 1);
    check("a shift by CL = 0 keeps CF",
          often(K("stc; mov rdx, [rsp-8]; xchg ecx, ecx; shl edi, cl; adc eax, 0")), 1);
    check("a shift by CL = 32 keeps CF",
          often(K("mov ecx, 32; stc; mov rdx, [rsp-8]; shr edi, cl; adc eax, 0")), 1);
}

static void loops(void)
{
    check("a carry made and used in two blocks of a loop",
          often(K("mov ecx, 100; 1: xor edi, edi; stc; jmp 2f; nop; 2: adc eax, 0; dec ecx; "
                  "jnz 1b")), 100);
    check("the same behind a load",
          often(K("mov ecx, 100; 1: xor edi, edi; stc; jmp 2f; nop; 2: mov rdx, [rsp-8]; adc eax, 0; "
                  "dec ecx; jnz 1b")), 100);
    check("a carry taken from turn to turn",
          often(K("mov ecx, 64; stc; 1: rcl rax, 1; dec ecx; jnz 1b")), 1ull << 63);
    check("overflow taken from turn to turn",
          often(K("mov ecx, 50; mov edi, 0x7fffffff; add edi, 1; 1: mov rdx, [rsp-8]; "
                  "lea rax, [rax+1]; jno 2f; lea ecx, [rcx-1]; jecxz 2f; jmp 1b; 2: nop")), 50);
}

static void pages(void)
{
    u64 first = new_page(), next = new_page();
    const u8 code[] = {0xf9, 0x48, 0x8b, 0x54, 0x24, 0xf8, 0xe9, 0xf5, 0x0f, 0, 0};
    for (unsigned i = 0; i < sizeof(code); i++) { // stc; mov rdx, [rsp-8]; jmp +0x1000
        ((u8 *)first)[i] = code[i];
    }
    const u8 code_there[] = {0x83, 0xd0, 0, 0xcd, 0x40}; // adc eax, 0; int 0x40
    for (unsigned i = 0; i < sizeof(code_there); i++) {
        ((u8 *)next)[i] = code_there[i];
    }
    map(AREA, first, P_P | P_W);
    map(AREA + 0x1000, next, P_P | P_W);
    check("adc behind a jump to another page", often(AREA), 1);
}

static void every_combination(void)
{
    u64 codes[] = {
        K("mov rdx, [rsp-16]; pushfq; pop rax"),
        K("jmp 1f; nop; 1: pushfq; pop rax"),
        K("jc 1f; nop; 1: jo 2f; nop; 2: pushfq; pop rax"),
        K("call 1f; pushfq; pop rax; jmp 2f; 1: ret; 2: nop"),
        K("lahf; seto dl; mov rcx, [rsp-16]; add dl, 127; sahf; pushfq; pop rax"),
    };
    static const char *const names[] = {"all flags across a load", "across a jump",
                                        "across conditional jumps", "across call and ret",
                                        "through lahf and sahf"};
    for (unsigned n = 0; n < ARRAY_LENGTH(codes); n++) {
        u64 wrong = 0;
        for (unsigned turn = 0; turn < 128; turn++) {
            u64 flags = (turn & 1) | (turn & 2) << 1 | (turn & 4) << 2 | (turn & 0x18) << 3 |
                        (turn & 0x20) << 6;
            struct frame f = kernel(codes[n]);
            f.rflags |= flags;
            run(&f);
            wrong += (f.rax & ARITHMETIC) != flags || (f.rflags & ARITHMETIC) != flags;
        }
        check(names[n], wrong, 0);
    }
}

void main(void)
{
    jumps();
    loops();
    pages();
    every_combination();
}
