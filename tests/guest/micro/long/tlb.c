// Translation caching: what INVLPG, MOV CR3, CR4.PGE, INVPCID and PCIDs must make visible.
// Only what the SDM promises is asserted: an entry must go, never that one must stay.
// SDM vol. 3A section 4.10; vol. 2 "INVPCID".
// cpus: 2
#include "micro.h"

#define PAGE 0x10000000000ull
#define NO_FLUSH (1ull << 63)

static u64 one, two; // pages that hold 1 and 2

static u64 peek(void)
{
    return *(volatile u64 *)PAGE;
}

// Cache a translation of PAGE to `one`, then point it at `two` behind the CPU's back.
static void make_stale(u64 flags)
{
    u64 *pte = entry_of(PAGE, 1);
    *pte = one | flags;
    invlpg(PAGE);
    *(volatile u64 *)PAGE;
    *pte = two | flags;
}

static void basics(void)
{
    make_stale(P_P | P_W);
    invlpg(PAGE);
    check("invlpg drops a translation", peek(), 2);
    make_stale(P_P | P_W);
    invlpg(PAGE + 0xfff);
    check("invlpg takes any address in the page", peek(), 2);
    make_stale(P_P | P_W);
    WRITE_CR(3, READ_CR(3));
    check("mov cr3 drops a translation", peek(), 2);
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    make_stale(P_P | P_W | P_G);
    invlpg(PAGE);
    check("invlpg drops a global translation", peek(), 2);
    make_stale(P_P | P_W | P_G);
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_PGE);
    check("clearing CR4.PGE drops a global translation", peek(), 2);
    make_stale(P_P | P_W | P_G);
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    check("setting CR4.PGE drops translations", peek(), 2);
    make_stale(P_P | P_W | P_G);
    WRITE_CR(0, READ_CR(0) & ~(u64)CR0_WP);
    WRITE_CR(0, READ_CR(0) | CR0_WP);
    invlpg(PAGE);
    check("CR0.WP toggled", peek(), 2);
    u64 *pte = entry_of(PAGE, 1);
    *pte = 0;
    invlpg(PAGE);
    struct frame f = kernel(K("mov rax, [rdi]"));
    f.rdi = PAGE;
    run(&f);
    check("not present after invlpg", trap_of(&f), TRAP(V_PF, 0));
    *pte = one | P_P;
    run(&f);
    struct frame again = kernel(K("mov rax, [rdi]"));
    again.rdi = PAGE;
    run(&again);
    check("present again needs no invalidation", again.rax, 1);
    f = kernel(K("mov [rdi], rax"));
    f.rdi = PAGE, f.rax = 1;
    *pte = one | P_P | P_W;
    invlpg(PAGE);
    run(&f);
    *pte = one | P_P;
    invlpg(PAGE);
    f = kernel(K("mov [rdi], rax"));
    f.rdi = PAGE;
    run(&f);
    check("write right withdrawn", trap_of(&f), TRAP(V_PF, 3));
    u64 *pde = entry_of(PAGE, 2), kept = *pde;
    make_stale(P_P | P_W);
    *pde = 0;
    invlpg(PAGE);
    f = kernel(K("mov rax, [rdi]"));
    f.rdi = PAGE;
    run(&f);
    check("invlpg drops the PDE of the page too", trap_of(&f), TRAP(V_PF, 0));
    *pde = kept;
    invlpg(PAGE);
    *pte = one | P_P | P_W;
    invlpg(PAGE);
    *(u8 *)(one + 16) = 0xc3;
    *(u32 *)(two + 16) = 0xc3c0ff90; // nop; inc eax; ret
    f = kernel(K("lea rdx, [rdi+16]; call rdx; mov [rsi], rbx; invlpg [rdi]; call rdx"));
    f.rdi = PAGE, f.rsi = ADDRESS(pte), f.rbx = two | P_P;
    run(&f);
    check("invlpg drops a translation of code", f.rax, 1);
}

static u64 remote_value;

static void remote_read(u64 unused)
{
    (void)unused;
    remote_value = peek();
}

static void remote_invalidate(u64 unused)
{
    (void)unused;
    invlpg(PAGE);
    remote_value = peek();
}

static void shootdown(void)
{
    if (start_cpus(2) < 2) {
        skip("shootdown", "2-cpus");
        return;
    }
    u64 *pte = entry_of(PAGE, 1);
    *pte = one | P_P | P_W;
    start_job(1, remote_read, 0);
    wait_job(1);
    check("another CPU reads the page", remote_value, 1);
    *pte = two | P_P | P_W;
    start_job(1, remote_invalidate, 0);
    wait_job(1);
    check("another CPU sees the change after its own invlpg", remote_value, 2);
}

static u64 invpcid(u64 type, u64 pcid, u64 address)
{
    u64 descriptor[2] = {pcid, address};
    struct frame f = kernel(K("invpcid rax, [rdi]"));
    f.rax = type;
    f.rdi = ADDRESS(descriptor);
    run(&f);
    return trap_of(&f);
}

static void invpcid_group(void)
{
    check("#GP: invpcid ring 3", user_trap(U("xor eax, eax; invpcid rax, [rsp-16]")),
          TRAP(V_GP, 0));
    check("#GP: invpcid type 4", invpcid(4, 0, 0), TRAP(V_GP, 0));
    check("#GP: invpcid reserved descriptor bits", invpcid(1, 0x1000, 0), TRAP(V_GP, 0));
    check("#GP: invpcid non-canonical address", invpcid(0, 0, 1ull << 47), TRAP(V_GP, 0));
    check("#GP: invpcid PCID 1 without PCIDE", invpcid(0, 1, 0), TRAP(V_GP, 0));
    static const char *const names[] = {"invpcid address", "invpcid context", "invpcid all",
                                        "invpcid all but globals"};
    for (u64 type = 0; type < 4; type++) {
        make_stale(P_P | P_W);
        invpcid(type, 0, PAGE);
        check(names[type], peek(), 2);
    }
    make_stale(P_P | P_W | P_G);
    invpcid(2, 0, 0);
    check("invpcid all drops globals", peek(), 2);
}

static void pcid_group(void)
{
    u64 root = READ_CR(3), other = new_page();
    struct frame f = kernel(K("mov cr3, rax"));
    f.rax = root | NO_FLUSH;
    run(&f);
    check("#GP: CR3 bit 63 without PCIDE", trap_of(&f), TRAP(V_GP, 0));
    WRITE_CR(3, root | 0x18);
    f = kernel(K("mov cr4, rax"));
    f.rax = READ_CR(4) | CR4_PCIDE;
    run(&f);
    check("#GP: PCIDE while CR3 has low bits", trap_of(&f), TRAP(V_GP, 0));
    WRITE_CR(3, root);
    WRITE_CR(4, READ_CR(4) | CR4_PCIDE);
    WRITE_CR(3, root | 5 | NO_FLUSH);
    check("CR3 keeps the PCID, not bit 63", READ_CR(3), root | 5);
    for (unsigned i = 0; i < 512; i++) {
        ((u64 *)other)[i] = ((u64 *)root)[i];
    }
    ((u64 *)other)[PAGE >> 39 & 511] = 0;
    WRITE_CR(3, root | 1);
    *entry_of(PAGE, 1) = one | P_P | P_W;
    invlpg(PAGE);
    WRITE_CR(3, other | 2);
    *entry_of(PAGE, 1) = two | P_P | P_W;
    invlpg(PAGE);
    u64 seen = 0;
    for (unsigned i = 0; i < 4; i++) {
        WRITE_CR(3, root | 1 | NO_FLUSH);
        seen = seen << 4 | peek();
        WRITE_CR(3, other | 2 | NO_FLUSH);
        seen = seen << 4 | peek();
    }
    check("two PCIDs, two mappings of one address", seen, 0x12121212);
    *entry_of(PAGE, 1) = one | P_P | P_W;
    WRITE_CR(3, other | 2);
    check("mov cr3 without NOFLUSH drops its PCID", peek(), 1);
    *entry_of(PAGE, 1) = two | P_P | P_W;
    invpcid(1, 2, 0);
    check("invpcid context drops the current PCID", peek(), 2);
    *entry_of(PAGE, 1) = one | P_P | P_W;
    WRITE_CR(3, root | 1 | NO_FLUSH);
    invpcid(0, 2, PAGE);
    WRITE_CR(3, other | 2 | NO_FLUSH);
    check("invpcid drops an address of another PCID", peek(), 1);
    *entry_of(PAGE, 1) = two | P_P | P_W;
    WRITE_CR(3, root | 1 | NO_FLUSH);
    invpcid(3, 0, 0);
    WRITE_CR(3, other | 2 | NO_FLUSH);
    check("invpcid all reaches every PCID", peek(), 2);
    check("#GP: clearing CR0.PG with PCIDE",
          kernel_trap(K("mov rax, cr0; btr rax, 31; mov cr0, rax")), TRAP(V_GP, 0));
    WRITE_CR(3, root);
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_PCIDE);
}

void main(void)
{
    one = new_page();
    two = new_page();
    *(u64 *)one = 1;
    *(u64 *)two = 2;
    map(PAGE, one, P_P | P_W);
    basics();
    shootdown();
    if (cpuid(7, 0).ebx >> 10 & 1) {
        invpcid_group();
    } else {
        skip("invpcid", "invpcid");
    }
    if ((cpuid(1, 0).ecx >> 17 & 1) && (cpuid(7, 0).ebx >> 10 & 1)) {
        pcid_group();
    } else {
        skip("pcid", "pcid");
    }
}
