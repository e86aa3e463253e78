// Code that changes under a CPU which holds it in translated pieces that refer to each other: stores to
// code, pages remapped, address spaces that differ. Everything is run often enough to be hot first.
// SDM vol. 3A sections 4.10.4 and 11.6.
#include "micro.h"

#define AREA 0x10000000000ull // two pages of code that reach each other with a short displacement
#define NEXT (AREA + 0x1000)
#define DATA (AREA + 0x2000)
#define TURNS 60

static struct frame state;

// RAX after a call in ring 0, or the trap.
static u64 call(u64 address)
{
    struct frame f = kernel(K("call rbx"));
    f.rbx = address;
    run(&f);
    state = f;
    return f.vector == V_END ? f.rax : trap_of(&f);
}

// What `TURNS` calls returned, if it was always the same.
static u64 call_often(u64 address)
{
    u64 first = call(address);
    for (unsigned i = 1; i < TURNS; i++) {
        if (call(address) != first) {
            return 0xbad;
        }
    }
    return first;
}

static u64 copy(u64 to, u64 snippet, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        ((volatile u8 *)to)[i] = ((u8 *)snippet)[i];
    }
    return to;
}

static void stores(void)
{
    u64 page = new_page();
    u64 at = copy(page, K("lea rdx, [rip+1f]; cmp edi, edi; mov rcx, [rsp]; jmp 1f; .skip 40, 0x90; "
                          "1: xor eax, eax; ret"), 96);
    check("code behind a jump that needs no flags", call_often(at), 0);
    copy(state.rdx, K("setz al; movzx eax, al; ret"), 7);
    check("stored to: now it needs them", call_often(at), 1);
    at = copy(page + 0x100, K("lea rdx, [rip+2f]; cmp edi, edi; mov rcx, [rsp]; jnz 1f; "
                              "test edi, edi; jnz 1f; 2: xor eax, eax; ret; nop; nop; nop; nop; nop; "
                              "1: ud2"), 96);
    check("code that falls through", call_often(at), 0);
    copy(state.rdx, K("setz al; movzx eax, al; ret"), 7);
    check("and is stored to", call_often(at), 1);
    at = copy(page + 0x200, K("lea rdx, [rip+2f]; jmp 1f; .skip 40, 0x90; "
                              "1: xor eax, eax; mov ecx, eax; 2: mov eax, 3; ret"), 96);
    check("a jump straight to code", call_often(at), 3);
    ((volatile u8 *)state.rdx)[1] = 4;
    check("that is stored to where the jump did not look", call_often(at), 4);
    at = copy(page + 0x300, K("lea rdx, [rip+2f]; call 1f; inc eax; ret; .skip 40, 0x90; "
                              "1: xor eax, eax; mov ecx, eax; 2: mov eax, 5; ret"), 96);
    check("a call straight to code", call_often(at), 6);
    ((volatile u8 *)state.rdx)[1] = 7;
    check("that is stored to in its middle", call_often(at), 8);
    struct frame f = kernel(K("mov eax, [rdi+1]; add eax, 4; mov [rdi+1], eax"));
    f.rdi = state.rdx;
    run(&f);
    check("loaded from, then stored to", call_often(at), 12);
}

// The return address goes to the page that the call is in.
static void stack_beside_code(void)
{
    u64 page = new_page();
    u64 code = K("mov rdx, rsp; lea rsp, [rip+2f]; call 1f; mov rsp, rdx; ret; 1: mov eax, 5; ret; "
                 ".skip 64, 0x90; 2: nop");
    check("a call whose stack is beside its code", call_often(copy(page, code, 128)), 5);
    map(AREA, page, P_P | P_W);
    check("the same above 4 GiB", call_often(AREA), 5);
    code = K("mov rdx, rsp; lea rsp, [rip+2f]; lea rbx, [rip+1f]; call rbx; mov rsp, rdx; ret; "
             "1: mov eax, 6; ret; .skip 64, 0x90; 2: nop");
    check("an indirect one", call_often(copy(page + 0x400, code, 128)), 6);
}

static const u8 to_next[] = {0xe9, 0xfb, 0x0f, 0, 0}; // jmp +0x1000

// Three pages: one that jumps to the next, and two that may be there.
static void make_pages(u64 *first, u64 *one, u64 *two)
{
    *first = new_page(), *one = new_page(), *two = new_page();
    copy(*first, ADDRESS(to_next), 5);
    copy(*first + 0x100, K("mov rcx, [rsp]; .byte 0xe9; .long 0xef7"), 9);
    copy(*first + 0x200, K("jmp rdi"), 2);
}

static void remapping(void)
{
    u64 first, one, two;
    make_pages(&first, &one, &two);
    copy(one, K("mov eax, 1; ret"), 6);
    copy(two, K("mov eax, 2; ret"), 6);
    map(AREA, first, P_P | P_W);
    for (u64 entry = 0; entry < 0x200; entry += 0x100) {
        map(NEXT, one, P_P | P_W);
        u64 got = call_often(AREA + entry) << 8;
        map(NEXT, two, P_P | P_W);
        got = (got | call_often(AREA + entry)) << 8;
        map(NEXT, one, P_P | P_W);
        got |= call_often(AREA + entry);
        check(entry ? "a jump to a page that is remapped, flags saved"
                    : "a jump to a page that is remapped", got, 0x010201);
    }
    map(NEXT, 0, 0);
    check("a jump to a page that is gone: #PF", call(AREA), TRAP(V_PF, 0x10));
    check("CR2 is where it led", state.cr2, NEXT);
}

static u64 roots[2];

// Makes a second address space in which the pages of AREA may differ. What is of ring 0 elsewhere is
// global, as in a real kernel: a change of spaces then leaves what was made of its code.
static void make_spaces(void)
{
    for (unsigned i = 0; i < 2048; i++) {
        pd[i] |= pd[i] & P_U ? 0 : P_G;
    }
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    roots[0] = READ_CR(3);
    roots[1] = new_page();
    copy(roots[1], roots[0], 4096);
    ((u64 *)roots[1])[AREA >> 39 & 511] = 0;
}

static void map_in(int space, u64 address, u64 page, u64 flags)
{
    WRITE_CR(3, roots[space]);
    map(address, page, flags);
    WRITE_CR(3, roots[0]);
}

// How often, of TURNS runs in turns of the two spaces, `code` in ring 3 left in RAX which it was.
static u64 right_in_turns(u64 code)
{
    u64 right = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        WRITE_CR(3, roots[i & 1]);
        struct frame f = user(code);
        f.rdi = NEXT, f.rsi = DATA;
        run(&f);
        right += f.vector == V_END && f.rax == 1 + (i & 1);
    }
    WRITE_CR(3, roots[0]);
    return right;
}

static void spaces(void)
{
    u64 first, pages[2];
    make_spaces();
    make_pages(&first, &pages[0], &pages[1]);
    copy(first + 0x300, K("mov rax, [rsi]; int 0x40"), 5);
    for (int i = 0; i < 2; i++) {
        u64 data = new_page();
        *(u64 *)data = 1 + i;
        map_in(i, AREA, first, P_P | P_U);
        map_in(i, NEXT, pages[i], P_P | P_U);
        map_in(i, DATA, data, P_P | P_U);
        copy(pages[i], i ? K("mov eax, 2; int 0x40") : K("mov eax, 1; int 0x40"), 7);
        copy(pages[i] + 0x100, i ? K("mov eax, 2; ret") : K("mov eax, 1; ret"), 6);
        copy(pages[i] + 0x200, i ? K("mov cr3, rbp; mov edx, 2; mov cr3, rbx; mov eax, 2; ret")
                                 : K("mov cr3, rbp; mov edx, 1; mov cr3, rbx; mov eax, 1; ret"), 17);
    }
    check("ring 3 jumps to a page that differs", right_in_turns(AREA), TURNS);
    check("ring 3 jumps there, flags saved", right_in_turns(AREA + 0x100), TURNS);
    check("ring 3 jumps there through a register", right_in_turns(AREA + 0x200), TURNS);
    check("ring 3 loads from a page that differs", right_in_turns(AREA + 0x300), TURNS);
    for (int i = 0; i < 2; i++) {
        map_in(i, AREA, first, P_P);
        map_in(i, NEXT, pages[i], P_P);
    }
    u64 right = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(K("mov cr3, rbp; call rdi; mov cr3, rbx"));
        f.rbp = roots[i & 1], f.rbx = roots[0], f.rdi = NEXT + 0x100;
        run(&f);
        right += f.rax == 1 + (i & 1);
    }
    check("ring 0 calls a page that differs", right, TURNS);
    right = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(K("call rdi"));
        f.rbp = roots[1], f.rbx = roots[0], f.rdi = NEXT + 0x200;
        run(&f);
        right += f.rax == 1 && f.rdx == 2;
    }
    check("code behind mov cr3 is the other space's", right, TURNS);
}

void main(void)
{
    stores();
    stack_beside_code();
    remapping();
    spaces();
}
