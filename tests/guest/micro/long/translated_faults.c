// What goes wrong easily where code is translated: transfers that fault, operands that are
// recomputed, entries of paging structures and pages that a processor forgets by itself when it
// raises #PF. SDM vol. 2A CALL, JMP, BT; vol. 3A sections 4.10.4.1 and 4.10.4.3.
// cpus: 2
// qemu-differs: CALL beyond the lower half, RIP -- TCG faults at the target
// qemu-differs: CALL beyond the lower half, RSP -- TCG faults at the target
// qemu-differs: CALL beyond the lower half, stack -- TCG faults at the target
// qemu-differs: JMP beyond the lower half, RIP -- TCG faults at the target
// qemu-differs: JE beyond the lower half, RIP -- TCG faults at the target
#include "micro.h"

#define PAGE 0x20000000000ull
#define LAST 0x7ffffffff000ull // the last page of the lower half

static u8 code_page[4096] __attribute__((aligned(4096)));

// Runs `code` with RDI = address until it is not stopped by #PF any more, at most three times.
static u64 insist(u64 code, u64 address)
{
    struct frame f;
    for (int tries = 0; tries < 3; tries++) {
        f = kernel(code);
        f.rdi = address;
        run(&f);
        if (f.vector != V_PF) {
            break;
        }
    }
    return trap_of(&f);
}

static u64 read_through(u64 code, u64 address)
{
    struct frame f = kernel(code);
    f.rdi = address;
    run(&f);
    return f.vector == V_END ? f.rax : ~0ull;
}

static void rights_raised_without_invlpg(void)
{
    u64 read = K("mov al, [rdi]"), write = K("mov [rdi], al");
    static const char *const levels[] = {"", "", "PDE", "PDPTE", "PML4E"};
    char name[64];
    for (int level = 2; level <= 4; level++) {
        u64 at = PAGE + ((u64)level << 32) + 0x5000;
        map(at, new_page(), P_P | P_W);
        u64 *entry = entry_of(at, level);
        *entry &= ~(u64)P_W;
        WRITE_CR(3, READ_CR(3));
        insist(read, at);
        join(name, levels[level], " without W");
        check(name, insist(write, at), TRAP(V_PF, 3));
        *entry |= P_W;
        join(name, levels[level], " with W again");
        check(name, insist(write, at), ENDED);
        WRITE_CR(3, READ_CR(3));
    }
}

static void another_page_table_without_invlpg(void)
{
    u64 read = K("mov rax, [rdi]");
    u64 at = PAGE + 0x900000000;
    u64 table = new_page(), memory = new_page();
    map(at, new_page(), P_P | P_W);
    read_through(read, at);
    check("not in the old page table", insist(read, at + 0x1000), TRAP(V_PF, 0));
    ((u64 *)table)[1] = memory | P_P | P_W;
    *(u64 *)memory = 0x1234;
    *entry_of(at, 2) = table | P_P | P_W;
    check("in the new page table", insist(read, at + 0x1000), ENDED);
    WRITE_CR(3, READ_CR(3));
}

static void put(u64 at, const void *bytes, unsigned length)
{
    for (unsigned n = 0; n < length; n++) {
        ((volatile u8 *)at)[n] = ((const u8 *)bytes)[n];
    }
}

static void another_page_after_a_write_fault(const char *time, u64 at)
{
    char name[64];
    static const u8 code[] = {0x48, 0x8b, 0x07, 0xcd, 0x40}; // mov rax, [rdi]; int 0x40
    u64 read = ADDRESS(code_page) + 0x900, write = K("mov byte ptr [rdi], 7");
    put(read, code, sizeof code);
    u64 before = new_page(), after = new_page();
    *(u64 *)before = 0x11;
    *(u64 *)after = 0x2200;
    map(at, before, P_P);
    for (int n = 0; n < 20; n++) {
        read_through(read, at);
    }
    struct frame f = kernel(write);
    f.rdi = at;
    run(&f);
    join(name, time, "write to a page without W");
    check(name, trap_of(&f), TRAP(V_PF, 3));
    *entry_of(at, 1) = after | P_P | P_W;
    join(name, time, "write to the copy");
    check(name, insist(write, at), ENDED);
    join(name, time, "read from the copy");
    check(name, read_through(read, at), 0x2207);
    WRITE_CR(3, READ_CR(3));
}

// INVLPG forgets the whole of a large page, however long ago and in whatever address space it was used.
static void large_page_after_many_address_spaces(void)
{
    static const u8 code[] = {0x48, 0x8b, 0x07, 0xcd, 0x40}; // mov rax, [rdi]; int 0x40
    u64 read = ADDRESS(code_page) + 0xa00, at = PAGE + 0xc00000000;
    put(read, code, sizeof code);
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    entry_of(at, 1);
    u64 *entry = entry_of(at, 2);
    *entry = P_P | P_W | P_PS | P_G;
    invlpg(at);
    read_through(read, at + 0x100000);
    read_through(read, at + 0x1ff000);
    for (int n = 0; n < 5000; n++) {
        WRITE_CR(3, READ_CR(3));
    }
    *entry = 0x2000000 | P_P | P_W | P_PS | P_G;
    *(volatile u64 *)0x21ff000 = 0x4321;
    invlpg(at);
    check("INVLPG forgets all of a large page", read_through(read, at + 0x1ff000), 0x4321);
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_PGE);
}

static void targets_that_are_not_canonical(void)
{
    static const u8 call[] = {0xe8, 0, 0x10, 0, 0}, jump[] = {0xe9, 0, 0x10, 0, 0};
    static const u8 jump_if[] = {0x0f, 0x84, 0, 0x10, 0, 0};
    static u64 stack[64];
    u64 memory = new_page();
    map(LAST, memory, P_P | P_W);
    struct {
        const char *name;
        const void *bytes;
        unsigned length;
    } cases[] = {{"CALL", call, 5}, {"JMP", jump, 5}, {"JE", jump_if, 6}};
    char name[64];
    for (unsigned n = 0; n < ARRAY_LENGTH(cases); n++) {
        u64 at = LAST + 0x100 * n;
        put(at, cases[n].bytes, cases[n].length);
        stack[31] = 0x55;
        struct frame f = kernel(at);
        f.rsp = ADDRESS(&stack[32]);
        f.rflags |= F_ZF;
        run(&f);
        join(name, cases[n].name, " beyond the lower half");
        check(name, trap_of(&f), TRAP(V_GP, 0));
        join(name, cases[n].name, " beyond the lower half, RIP");
        check(name, f.rip, at);
        join(name, cases[n].name, " beyond the lower half, RSP");
        check(name, f.rsp, ADDRESS(&stack[32]));
        join(name, cases[n].name, " beyond the lower half, stack");
        check(name, stack[31], 0x55);
    }
}

static void operands(void)
{
    static u32 bits[4];
    u64 f32 = K("bts [eax], ecx");
    // Where an address that did not wrap would lead.
    map(0x100000000 + (ADDRESS(bits) & ~0xfffull), new_page(), P_P | P_W);
    map(0x100000000 + (ADDRESS(bits) & ~0xfffull) + 0x1000, new_page(), P_P | P_W);
    u64 ended = 0;
    for (int n = 0; n < 3; n++) {
        struct frame f = kernel(f32);
        // The sum of address and offset wraps at 32 bits.
        f.rax = 0xffffffff00000000 | (u32)(ADDRESS(bits) - 0x1000);
        f.rcx = 0x1000 * 8 + 37;
        run(&f);
        ended += trap_of(&f) == ENDED;
        f = kernel(f32);
        f.rax = (u32)(ADDRESS(bits) + 0x10000);
        f.rcx = (u32)(-0x10000 * 8 + 5);
        run(&f);
        ended += trap_of(&f) == ENDED;
        f = kernel(f32);
        f.rax = 0xfffff000;
        f.rcx = (u32)((ADDRESS(bits) + 0x1000) * 8 + 9);
        run(&f);
        ended += trap_of(&f) == ENDED;
    }
    check("BTS with 32-bit addresses ends", ended, 9);
    check("bits set", bits[0] | (u64)bits[1] << 32, 1 << 5 | 1 << 9 | 1ull << 37);
}

static void call_through_the_slot_it_pushes_to(void)
{
    // call [rsp-8]; mov al, 1; int 0x40 … mov al, 2; int 0x40
    static const u8 code[] = {0xff, 0x54, 0x24, 0xf8, 0xb0, 1, 0xcd, 0x40};
    static const u8 target[] = {0xb0, 2, 0xcd, 0x40};
    u64 page = ADDRESS(code_page);
    put(page, code, sizeof code);
    put(page + 0x40, target, sizeof target);
    u64 reached = 0;
    for (int n = 0; n < 3; n++) {
        *(volatile u64 *)(page + 0x7f8) = page + 0x40;
        struct frame f = kernel(page);
        f.rsp = page + 0x800;
        run(&f);
        reached += (f.rax & 0xff) == 2 && *(volatile u64 *)(page + 0x7f8) == page + 4;
    }
    check("CALL [RSP-8] with the stack in a page of code", reached, 3);
}

void main(void)
{
    WRITE_CR(0, READ_CR(0) | CR0_WP);
    rights_raised_without_invlpg();
    another_page_table_without_invlpg();
    another_page_after_a_write_fault("first ", PAGE + 0xa00000000);
    another_page_after_a_write_fault("second ", PAGE + 0xb00005000);
    large_page_after_many_address_spaces();
    targets_that_are_not_canonical();
    operands();
    call_through_the_slot_it_pushes_to();
}
