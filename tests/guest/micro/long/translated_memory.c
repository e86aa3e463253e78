// Loads and stores that go through what an engine remembers of earlier ones: rights withdrawn or never
// given, pages met again and again, one page after the other. SDM vol. 3A sections 4.6 and 4.10.
#include "micro.h"

#define PAGE 0x10000000000ull
#define NEXT (PAGE + 0x1000)
#define TURNS 60
#define MANY 40000

static u64 frames[3];

static struct frame at(u64 code, u64 address)
{
    struct frame f = kernel(code);
    f.rdi = address;
    run(&f);
    return f;
}

// The trap of the first of TURNS runs that does not end as it should.
static u64 often(u64 code, u64 address, u64 want)
{
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = at(code, address);
        if (trap_of(&f) != want) {
            return trap_of(&f);
        }
    }
    return want;
}

static void rights(void)
{
    *(volatile u64 *)frames[0] = 0;
    map(PAGE, frames[0], P_P);
    u64 both = K("mov rax, [rdi]; mov [rdi], rax");
    check("a load, then a store to a read-only page", often(both, PAGE, TRAP(V_PF, 3)),
          TRAP(V_PF, 3));
    check("what the page holds", *(u64 *)frames[0], 0);
    check("and by add", often(K("mov rax, [rdi]; add dword ptr [rdi], 1"), PAGE, TRAP(V_PF, 3)),
          TRAP(V_PF, 3));
    check("and by push", often(K("mov rsp, rdi; pop rax; push rax"), PAGE, TRAP(V_PF, 3)),
          TRAP(V_PF, 3));
    map(PAGE, frames[0], P_P | P_W);
    check("writable again", often(both, PAGE, ENDED), ENDED);
    map(PAGE, frames[0], P_P);
    check("read-only again", often(both, PAGE, TRAP(V_PF, 3)), TRAP(V_PF, 3));
}

// One load and one store at an address that is another page each time.
static void remapped(void)
{
    u64 load = K("mov rax, [rdi]"), store = K("mov [rdi+8], rax"), right = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        u64 frame = frames[i & 2];
        *(volatile u64 *)frame = 100 + i;
        map(PAGE, frame, P_P | P_W);
        struct frame f = at(load, PAGE);
        right += f.rax == 100 + i;
        f = kernel(store);
        f.rdi = PAGE, f.rax = i;
        run(&f);
        right += *(volatile u64 *)(frame + 8) == i;
    }
    check("a page that is another one each time", right, 2 * TURNS);
}

// Code that ring 0 and ring 3 both run on pages of ring 0, with what ring 0 left behind.
static void rings(void)
{
    volatile u64 here = 0; // on the stack of ring 0
    u64 stack = (ADDRESS(&here) & ~0xfffull) + 64;
    u64 bad = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = user(i & 1 ? U("push rax") : U("pop rax"));
        f.rsp = stack;
        run(&f);
        bad += trap_of(&f) != TRAP(V_PF, i & 1 ? 7 : 5) || f.rsp != stack;
    }
    check("ring 3 with the stack of ring 0", bad, 0);
}

static void smap(void)
{
    if (!(cpuid(7, 0).ebx >> 20 & 1)) {
        skip("a user page with and without AC", "smap");
        skip("stac and clac", "smap");
        return;
    }
    map(PAGE, frames[0], P_P | P_W | P_U);
    WRITE_CR(4, READ_CR(4) | CR4_SMAP);
    u64 bad = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        struct frame f = kernel(K("mov rax, [rdi]; mov [rdi], rax"));
        f.rdi = PAGE;
        f.rflags |= i & 1 ? F_AC : 0;
        run(&f);
        bad += trap_of(&f) != (i & 1 ? ENDED : TRAP(V_PF, 1));
    }
    check("a user page with and without AC", bad, 0);
    u64 code = K("stac; mov rax, [rdi]; mov rax, [rdi+8]; clac; mov rax, [rdi]");
    check("stac and clac", often(code, PAGE, TRAP(V_PF, 1)), TRAP(V_PF, 1));
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_SMAP);
}

// One load and one store that change pages all the time.
static void wandering(void)
{
    u64 code = K("1: mov rdx, [rdi]; mov [rdi], rdx; inc dword ptr [rdi+16]; xor rdi, rsi; dec rcx; "
                 "jnz 1b");
    map(PAGE, frames[0], P_P | P_W);
    map(NEXT, frames[2], P_P | P_W);
    *(u32 *)(frames[0] + 16) = *(u32 *)(frames[2] + 16) = 0;
    for (int round = 0; round < 4; round++) {
        struct frame f = kernel(code);
        f.rdi = PAGE, f.rsi = 0x1000, f.rcx = MANY;
        run(&f);
    }
    check("counted in the one page", *(u32 *)(frames[0] + 16), 2 * MANY);
    check("counted in the other", *(u32 *)(frames[2] + 16), 2 * MANY);
    *(u32 *)(frames[0] + 0xffc) = 0x11223344;
    *(u32 *)frames[2] = 0x55667788;
    *(u32 *)(frames[0] + 0x1000) = 0; // what lies behind the first page in physical memory
    struct frame f = kernel(K("mov rdx, [rdi]"));
    f = kernel(code);
    f.rdi = PAGE + 0xffc, f.rcx = 1;
    run(&f);
    check("the same load across the pages", f.rdx, 0x5566778811223344);
    map(PAGE, frames[0], P_P);
    f = kernel(code);
    f.rdi = PAGE, f.rcx = 1;
    run(&f);
    check("the same store to a page made read-only", trap_of(&f), TRAP(V_PF, 3));
    map(NEXT, 0, 0);
    f = kernel(code);
    f.rdi = NEXT, f.rcx = 1;
    run(&f);
    check("the same load from a page that is gone", trap_of(&f), TRAP(V_PF, 0));
}

// Accesses of every size at the end of a page, the next page lying elsewhere.
static void page_ends(void)
{
    map(PAGE, frames[0], P_P | P_W);
    map(NEXT, frames[2], P_P | P_W);
    u64 loads[] = {K("movzx eax, word ptr [rdi]"), K("mov eax, [rdi]"), K("mov rax, [rdi]")};
    u64 stores[] = {K("mov [rdi], ax"), K("mov [rdi], eax"), K("mov [rdi], rax")};
    u64 bad = 0;
    for (unsigned n = 0; n < 3; n++) {
        u64 size = 2ull << n, mask = ~0ull >> (64 - 8 * size);
        for (u64 before = 0; before <= size; before++) {
            u64 address = NEXT - before, value = 0x0123456789abcdef * (before + 1);
            struct frame f = kernel(stores[n]);
            f.rdi = address, f.rax = value;
            run(&f);
            u64 seen = 0;
            for (u64 i = 0; i < size; i++) {
                u64 byte = address + i;
                u64 physical = (byte < NEXT ? frames[0] : frames[2]) + (byte & 0xfff);
                seen |= (u64) * (u8 *)physical << 8 * i;
            }
            f = at(loads[n], address);
            bad += seen != (value & mask) || f.rax != seen;
        }
    }
    check("stores and loads across the end of a page", bad, 0);
}

void main(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(frames); i++) {
        frames[i] = new_page();
    }
    remapped();
    rights();
    rings();
    smap();
    wandering();
    page_ends();
}
