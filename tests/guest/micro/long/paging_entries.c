// Paging-structure entries: not present, reserved bits, accessed and dirty, 2 MiB and 1 GiB
// pages, canonical addresses. SDM vol. 3A sections 4.5, 4.7 and 4.8.
// qemu-differs: PTE reserved bit 51 -- TCG's error code lacks P
// qemu-differs: PDE reserved bit 51 -- TCG's error code lacks P
// qemu-differs: PDPTE reserved bit 51 -- TCG's error code lacks P
// qemu-differs: PML4E reserved bit 51 -- TCG's error code lacks P
// qemu-differs: PML4E with PS -- TCG's error code lacks P
// qemu-differs: 2 MiB page with address bit 13 -- TCG's error code lacks P
// qemu-differs: XD without EFER.NXE is reserved -- TCG's error code lacks P
// qemu-differs: reserved bit, ring 3 read -- TCG's error code lacks P
// qemu-differs: 1 GiB page with address bit 21 -- TCG's error code lacks P
#include "micro.h"

#define PAGE 0x10000000000ull

static struct frame touch(u64 code, u64 address)
{
    struct frame f = kernel(code);
    f.rdi = address;
    run(&f);
    return f;
}

static void reserved_bits(void)
{
    u64 read = K("mov al, [rdi]"), write = K("mov [rdi], al");
    u64 memory = new_page();
    char name[64];
    static const char *const levels[] = {"", "PTE ", "PDE ", "PDPTE ", "PML4E "};
    map(PAGE, memory, P_P | P_W | P_U);
    for (int level = 1; level <= 4; level++) {
        u64 *entry = entry_of(PAGE, level), kept = *entry;
        *entry = kept & ~(u64)P_P;
        invlpg(PAGE);
        struct frame f = touch(read, PAGE);
        join(name, levels[level], "not present");
        check(name, trap_of(&f), TRAP(V_PF, 0));
        *entry = kept | 1ull << 51; // above any MAXPHYADDR that a model has
        invlpg(PAGE);
        f = touch(write, PAGE);
        join(name, levels[level], "reserved bit 51");
        check(name, trap_of(&f), TRAP(V_PF, 0xb));
        *entry = (kept | 1ull << 51) & ~(u64)P_P;
        invlpg(PAGE);
        f = touch(read, PAGE);
        join(name, levels[level], "not present beats reserved");
        check(name, trap_of(&f), TRAP(V_PF, 0));
        *entry = kept;
        invlpg(PAGE);
    }
    u64 *entry = entry_of(PAGE, 4), kept = *entry;
    *entry |= P_PS;
    invlpg(PAGE);
    struct frame f = touch(read, PAGE);
    check("PML4E with PS", trap_of(&f), TRAP(V_PF, 9));
    *entry = kept;
    entry = entry_of(PAGE, 2), kept = *entry;
    *entry = P_P | P_W | P_PS | 0x2000;
    invlpg(PAGE);
    f = touch(read, PAGE);
    check("2 MiB page with address bit 13", trap_of(&f), TRAP(V_PF, 9));
    *entry = kept;
    entry = entry_of(PAGE, 1), kept = *entry;
    *entry |= P_NX;
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(1ull << 11));
    invlpg(PAGE);
    f = touch(read, PAGE);
    check("XD without EFER.NXE is reserved", trap_of(&f), TRAP(V_PF, 9));
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 << 11);
    *entry = kept;
    invlpg(PAGE);
    f = user(U("mov al, [rdi]"));
    f.rdi = PAGE;
    *entry |= 1ull << 51;
    invlpg(PAGE);
    run(&f);
    check("reserved bit, ring 3 read", trap_of(&f), TRAP(V_PF, 0xd));
    *entry = kept;
    invlpg(PAGE);
}

static void accessed_and_dirty(void)
{
    u64 page = PAGE + 0x200000 * 3;
    u64 memory = new_page();
    const u64 both = P_A | P_D;
    *(u8 *)memory = 0xc3;
    map(page, memory, P_P | P_W | P_U);
    u64 *pte = entry_of(page, 1), *pde = entry_of(page, 2);
    *pde &= ~both;
    touch(K("mov al, [rdi]"), page);
    check("A: read sets A, not D", *pte & both, P_A);
    check("A: the PDE gets A", *pde & both, P_A);
    touch(K("mov byte ptr [rdi+8], 1"), page);
    check("D: a write after a cached read sets D", *pte & both, both);
    check("D: the PDE gets no D", *pde & both, P_A);
    map(page, memory, P_P | P_W | P_U);
    touch(K("call rdi"), page);
    check("A: fetch sets A", *pte & both, P_A);
    map(page, memory, P_P | P_W | P_U);
    touch(K("mov byte ptr [rdi+8], 1"), page);
    check("D: a write sets A and D", *pte & both, both);
    map(page, memory, P_P | P_W | P_U);
    touch(K("xor eax, eax; mov edx, 1; cmpxchg [rdi], edx"), page);
    check("D: a cmpxchg that fails sets D", *pte & both, both);
    map(page, memory, P_P);
    touch(K("mov byte ptr [rdi], 1"), page);
    check("A: a write that faults sets no D", *pte & P_D, 0);
    map(page, memory, P_P | P_W);
    struct frame f = user(U("mov al, [rdi]"));
    f.rdi = page;
    run(&f);
    check("A: a read that faults leaves the PTE alone", *pte & both, 0);
    map(page, memory, P_P | P_W);
    touch(K("prefetcht0 [rdi]; nop"), page);
    check("D: prefetch sets no D", *pte & P_D, 0);
    check("A: hardware left the other bits", *pte & ~both, memory | P_P | P_W);
    f = touch(K("prefetcht0 [rdi]"), PAGE + 0x40000000);
    check("prefetch of an unmapped page", trap_of(&f), ENDED);
    *(u32 *)(memory + 0xffc) = 0;
    map(page, memory, P_P | P_W);
    map(page + 0x1000, new_page(), P_P | P_W);
    touch(K("mov dword ptr [rdi+0xffe], 5"), page);
    check("D: a write across two pages marks both", (*pte & P_D) | (pte[1] & P_D) << 1, P_D * 3);
}

static void large_pages(void)
{
    u64 page = PAGE + 0x80000000;
    *entry_of(page, 2) = 0x400000 | P_P | P_W | P_PS;
    u64 *pde = entry_of(page, 2);
    *(u32 *)(0x5ff000) = 0x12345678;
    struct frame f = touch(K("mov eax, [rdi+0x1ff000]"), page);
    check("2 MiB page: translation", f.rax, 0x12345678);
    check("2 MiB page: A", *pde & (P_A | P_D), P_A);
    touch(K("mov dword ptr [rdi+0x1ff000], 9"), page);
    check("2 MiB page: D", *pde & (P_A | P_D), P_A | P_D);
    check("2 MiB page: the write arrived", *(u32 *)0x5ff000, 9);
    if (!(cpuid(0x80000001, 0).edx >> 26 & 1)) {
        skip("1 GiB page: translation", "pdpe1gb");
        return;
    }
    u64 huge = PAGE + 0xc0000000;
    u64 *pdpte = entry_of(huge, 3);
    *pdpte = P_P | P_W | P_PS;
    f = touch(K("mov eax, [rdi+0x5ff000]"), huge);
    check("1 GiB page: translation", f.rax, 9);
    check("1 GiB page: A", *pdpte & (P_A | P_D), P_A);
    *pdpte = P_P | P_W | P_PS | 0x200000;
    invlpg(huge);
    f = touch(K("mov eax, [rdi]"), huge);
    check("1 GiB page with address bit 21", trap_of(&f), TRAP(V_PF, 9));
}

static void addresses(void)
{
    u64 high = 0xffff800000000000, low = 0x00007ffffffff000;
    u64 memory = new_page();
    map(high, memory, P_P | P_W);
    map(low, memory, P_P | P_W);
    *(u32 *)(memory + 0xffc) = 77;
    struct frame f = touch(K("mov eax, [rdi+0xffc]"), high);
    check("the lowest upper-half page", f.rax, 77);
    f = touch(K("mov eax, [rdi+0xffc]"), low);
    check("the highest lower-half page", f.rax, 77);
    f = touch(K("mov eax, [rdi+0x1000]"), low);
    check("the byte after it", trap_of(&f), TRAP(V_GP, 0));
    f = touch(K("mov al, [rdi-1]"), high);
    check("the byte before the upper half", trap_of(&f), TRAP(V_GP, 0));
    map(0xfffffffffffff000, memory, P_P | P_W);
    f = touch(K("mov eax, [rdi]"), 0xfffffffffffffffc);
    check("the last dword of the address space", f.rax, 77);
    f = touch(K(".byte 0x67; mov eax, [rdi]"), 0xffffffff00000000 + 0x5ff000);
    check("32-bit address size drops the upper half", f.rax, 9);
    f = kernel(K("jmp rdi"));
    *(u16 *)(memory + 0xffe) = 0x40cd;
    f.rdi = low + 0xffe;
    run(&f);
    check("an INT whose next RIP leaves the lower half", f.rip, 0x0000800000000000);
}

void main(void)
{
    reserved_bits();
    accessed_and_dirty();
    large_pages();
    addresses();
}
