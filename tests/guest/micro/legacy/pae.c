// PAE paging: PDPTE registers, 2 MiB pages, NX, reserved bits. SDM vol. 3A section 4.4.
// qemu-differs: reserved bit 62 -- TCG's error code lacks P
// qemu-differs: reserved bit 52 -- TCG's error code lacks P
// qemu-differs: 2 MiB page: reserved bit 13 -- TCG's error code lacks P
// qemu-differs: a PDPTE in memory counts only at mov cr3 -- TCG has no PDPTE registers: it walks memory and checks nothing at MOV CR3
// qemu-differs: #GP: PDPTE reserved bit 1 -- TCG has no PDPTE registers: it walks memory and checks nothing at MOV CR3
// qemu-differs: #GP: PDPTE reserved bit 5 -- TCG has no PDPTE registers: it walks memory and checks nothing at MOV CR3
// qemu-differs: #GP: PDPTE NX bit -- TCG has no PDPTE registers: it walks memory and checks nothing at MOV CR3
#include "micro32.h"

#define PAGE 0x40000000u // PDPTE 1
#define NX (1ull << 63)

static u64 pdpt[4] __attribute__((aligned(32)));
static u64 low_directory[512] __attribute__((aligned(4096)));
static u64 directory[512] __attribute__((aligned(4096)));
static u64 other_directory[512] __attribute__((aligned(4096)));
static u64 table[512] __attribute__((aligned(4096)));
static u32 memory[1024] __attribute__((aligned(4096)));

static u64 touch(u32 code, int ring3)
{
    struct frame f = ring3 ? user(code) : kernel(code);
    f.edi = PAGE;
    run(&f);
    return trap_of(&f);
}

static void translation(void)
{
    u32 read = C("mov al, [edi]"), write = C("mov [edi], al"), call = C("call edi");
    directory[0] = ADDRESS(table) | P_P | P_W | P_U;
    *(u8 *)memory = 0xc3;
    const struct {
        const char *name;
        u64 entry;
        u32 code;
        int ring3;
        u64 want;
    } rows[] = {
        {"absent", 0, read, 0, TRAP(V_PF, 0)},
        {"read-only, ring 3 write", P_P | P_U, write, 1, TRAP(V_PF, 7)},
        {"supervisor, ring 3 read", P_P | P_W, read, 1, TRAP(V_PF, 5)},
        {"read-only, ring 0 write without WP", P_P, write, 0, ENDED},
        {"NX, fetch", P_P | P_W | P_U | NX, call, 1, TRAP(V_PF, 0x15)},
        {"NX, read", P_P | P_W | P_U | NX, read, 1, ENDED},
        {"executable, fetch", P_P | P_U, call, 1, ENDED},
        {"absent, fetch", 0, call, 1, TRAP(V_PF, 0x14)},
        {"reserved bit 62", P_P | P_W | 1ull << 62, read, 0, TRAP(V_PF, 9)},
        {"reserved bit 52", P_P | P_W | 1ull << 52, write, 1, TRAP(V_PF, 0xf)},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        *(u8 *)memory = 0xc3;
        table[0] = (rows[i].entry ? ADDRESS(memory) : 0) | rows[i].entry;
        invlpg(PAGE);
        struct frame f = rows[i].ring3 ? user(rows[i].code) : kernel(rows[i].code);
        f.edi = PAGE, f.eax = 0xc3;
        run(&f);
        check(rows[i].name, trap_of(&f), rows[i].want);
    }
    table[0] = ADDRESS(memory) | P_P | P_W;
    invlpg(PAGE);
    touch(read, 0);
    check("A", table[0] & (P_A | P_D), P_A);
    touch(write, 0);
    check("D", table[0] & (P_A | P_D), P_A | P_D);
    directory[0] = P_P | P_W | P_PS;
    invlpg(PAGE);
    memory[3] = 0x1357;
    struct frame f = kernel(C("mov eax, [edi]"));
    f.edi = PAGE + ADDRESS(&memory[3]);
    run(&f);
    check("2 MiB page", f.eax, 0x1357);
    directory[0] = P_P | P_W | P_PS | 1 << 13;
    invlpg(PAGE);
    check("2 MiB page: reserved bit 13", touch(read, 0), TRAP(V_PF, 9));
}

static u64 load_pdptes(u64 entry)
{
    pdpt[1] = entry;
    struct frame f = kernel(C("mov cr3, eax"));
    f.eax = ADDRESS(pdpt);
    run(&f);
    pdpt[1] = ADDRESS(directory) | P_P;
    WRITE_CR(3, ADDRESS(pdpt));
    return trap_of(&f);
}

static void pdptes(void)
{
    directory[0] = ADDRESS(table) | P_P | P_W;
    table[0] = ADDRESS(memory) | P_P | P_W;
    memory[0] = 1;
    WRITE_CR(3, ADDRESS(pdpt));
    check("mov cr3 loads the PDPTEs", touch(C("mov al, [edi]"), 0), ENDED);
    pdpt[1] = 0;
    invlpg(PAGE);
    check("a PDPTE in memory counts only at mov cr3", touch(C("mov al, [edi]"), 0), ENDED);
    WRITE_CR(3, ADDRESS(pdpt));
    check("PDPTE not present", touch(C("mov al, [edi]"), 0), TRAP(V_PF, 0));
    pdpt[1] = ADDRESS(other_directory) | P_P;
    WRITE_CR(3, ADDRESS(pdpt));
    check("PDPTE to another directory", touch(C("mov al, [edi]"), 0), TRAP(V_PF, 0));
    check("#GP: PDPTE reserved bit 1", load_pdptes(ADDRESS(directory) | P_P | P_W), TRAP(V_GP, 0));
    check("#GP: PDPTE reserved bit 5", load_pdptes(ADDRESS(directory) | P_P | P_A), TRAP(V_GP, 0));
    check("#GP: PDPTE NX bit", load_pdptes(ADDRESS(directory) | P_P | NX), TRAP(V_GP, 0));
    check("reserved bits of an absent PDPTE", load_pdptes(ADDRESS(directory) | P_W), ENDED);
}

void main(void)
{
    for (u32 i = 0; i < 8; i++) {
        low_directory[i] = i << 21 | P_P | P_W | P_U | P_PS;
    }
    pdpt[0] = ADDRESS(low_directory) | P_P;
    pdpt[1] = ADDRESS(directory) | P_P;
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 << 11);
    WRITE_CR(4, READ_CR(4) | CR4_PAE);
    WRITE_CR(3, ADDRESS(pdpt));
    WRITE_CR(0, READ_CR(0) | CR0_PG);
    translation();
    pdptes();
}
