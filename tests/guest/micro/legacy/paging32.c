// 32-bit paging: rights, 4 MiB pages, CR4.PSE, accessed and dirty. SDM vol. 3A section 4.3.
// qemu-differs: 4 MiB page: reserved bit 21 -- TCG's error code lacks P
#include "micro32.h"

#define PAGE 0x40000000u
#define NO_FAULT 0xff

static u32 directory[1024] __attribute__((aligned(4096)));
static u32 low_table[1024] __attribute__((aligned(4096)));
static u32 table[1024] __attribute__((aligned(4096)));
static u32 memory[1024] __attribute__((aligned(4096)));

static u8 attempt(u32 code, int ring3)
{
    struct frame f = ring3 ? user(code) : kernel(code);
    f.edi = PAGE;
    run(&f);
    if (f.vector == V_PF) {
        return f.cr2 == PAGE ? (u8)f.error : 0xee;
    }
    return f.vector == V_END ? NO_FAULT : 0xdd;
}

static u8 rule(u32 flags, int ring3, int write, int wp)
{
    u8 error = (ring3 ? 4 : 0) | (write ? 2 : 0);
    if (!(flags & P_P)) {
        return error;
    }
    int denied = ring3 ? !(flags & P_U) || (write && !(flags & P_W))
                       : write && !(flags & P_W) && wp;
    return denied ? error | 1 : NO_FAULT;
}

static void rights(void)
{
    static const struct {
        const char *name;
        u32 directory, table;
    } rows[] = {
        {"absent", P_P | P_W | P_U, 0},
        {"supervisor read-only", P_P | P_W | P_U, P_P},
        {"supervisor writable", P_P | P_W | P_U, P_P | P_W},
        {"user read-only", P_P | P_W | P_U, P_P | P_U},
        {"user writable", P_P | P_W | P_U, P_P | P_W | P_U},
        {"user writable under a read-only PDE", P_P | P_U, P_P | P_W | P_U},
        {"user writable under a supervisor PDE", P_P | P_W, P_P | P_W | P_U},
        {"absent PDE", P_W | P_U, P_P | P_W | P_U},
    };
    u32 read = C("mov al, [edi]"), write = C("mov [edi], al");
    for (int wp = 0; wp < 2; wp++) {
        WRITE_CR(0, (READ_CR(0) & ~CR0_WP) | (wp ? CR0_WP : 0));
        for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
            directory[PAGE >> 22] = ADDRESS(table) | rows[i].directory;
            table[0] = ADDRESS(memory) | rows[i].table;
            invlpg(PAGE);
            u32 flags = rows[i].directory & rows[i].table, got = 0, want = 0;
            for (int ring3 = 0; ring3 < 2; ring3++) {
                for (int w = 0; w < 2; w++) {
                    got = got << 8 | attempt(w ? write : read, ring3);
                    want = want << 8 | rule(flags, ring3, w, wp);
                }
            }
            char name[64], *to = name;
            for (const char *s = rows[i].name; *s;) {
                *to++ = *s++;
            }
            for (const char *s = wp ? ", WP" : ""; (*to++ = *s++);) {
            }
            check(name, got, want);
        }
    }
}

static void bits(void)
{
    directory[PAGE >> 22] = ADDRESS(table) | P_P | P_W | P_U;
    table[0] = ADDRESS(memory) | P_P | P_W;
    invlpg(PAGE);
    attempt(C("mov al, [edi]"), 0);
    check("read sets A", table[0] & (P_A | P_D), P_A);
    check("read sets A in the PDE", directory[PAGE >> 22] & P_A, P_A);
    attempt(C("mov [edi], al"), 0);
    check("write sets D", table[0] & (P_A | P_D), P_A | P_D);
    struct frame f = user(C("jmp edi"));
    f.edi = PAGE;
    table[0] = ADDRESS(memory) | P_P;
    invlpg(PAGE);
    run(&f);
    check("fetch: the error code has no I/D bit without NXE", f.error, 5);
}

static void large(void)
{
    directory[PAGE >> 22] = 0 | P_P | P_W | P_PS;
    invlpg(PAGE);
    memory[5] = 0xabcdef01;
    struct frame f = kernel(C("mov eax, [edi]"));
    f.edi = PAGE + ADDRESS(&memory[5]);
    run(&f);
    check("4 MiB page: translation", f.eax, 0xabcdef01);
    check("4 MiB page: A", directory[PAGE >> 22] & (P_A | P_D), P_A);
    f = kernel(C("mov dword ptr [edi], 5"));
    f.edi = PAGE + ADDRESS(&memory[5]);
    run(&f);
    check("4 MiB page: D", directory[PAGE >> 22] & (P_A | P_D), P_A | P_D);
    directory[PAGE >> 22] = P_P | P_W | P_PS | 1u << 21;
    invlpg(PAGE);
    check("4 MiB page: reserved bit 21", attempt(C("mov al, [edi]"), 0), 9);
    WRITE_CR(4, READ_CR(4) & ~CR4_PSE);
    directory[PAGE >> 22] = ADDRESS(table) | P_P | P_W | P_PS;
    table[0] = ADDRESS(memory) | P_P;
    WRITE_CR(3, READ_CR(3));
    f = kernel(C("mov eax, [edi+20]"));
    f.edi = PAGE;
    run(&f);
    check("without CR4.PSE the PS bit is ignored", f.eax, 5);
    WRITE_CR(0, READ_CR(0) & ~CR0_PG);
    f = kernel(C("mov eax, [edi+20]"));
    f.edi = ADDRESS(memory);
    run(&f);
    check("paging off again", f.eax, 5);
}

void main(void)
{
    for (u32 i = 0; i < 1024; i++) {
        low_table[i] = i << 12 | P_P | P_W | P_U;
    }
    directory[0] = ADDRESS(low_table) | P_P | P_W | P_U;
    WRITE_CR(4, READ_CR(4) | CR4_PSE);
    WRITE_CR(3, ADDRESS(directory));
    WRITE_CR(0, READ_CR(0) | CR0_PG);
    check("paging is on", READ_CR(0) >> 31, 1);
    rights();
    bits();
    large();
}
