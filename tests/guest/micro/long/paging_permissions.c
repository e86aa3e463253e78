// Every combination of page rights, ring, kind of access, CR0.WP, SMEP, SMAP and RFLAGS.AC in
// 4-level paging, against the rules of SDM vol. 3A section 4.6 written down once more below.
// One assertion per (settings, page) row; each row makes 6 accesses.
#include "micro.h"

#define PAGE 0x10000000000ull
#define NO_FAULT 0xff

enum access { READ, WRITE, FETCH };

// The error code that the rules want, or NO_FAULT. `flags` are the page's effective rights.
static u8 rule(u64 flags, int user, enum access kind, u64 cr0, u64 cr4, int ac)
{
    u8 error = (user ? 4 : 0) | (kind == WRITE ? 2 : 0) | (kind == FETCH ? 16 : 0);
    if (!(flags & P_P)) {
        return error;
    }
    int denied;
    if (user) {
        denied = !(flags & P_U) || (kind == WRITE && !(flags & P_W)) ||
                 (kind == FETCH && (flags & P_NX));
    } else if (flags & P_U) {
        int smap = (cr4 & CR4_SMAP) && !ac;
        denied = kind == FETCH ? (flags & P_NX) || (cr4 & CR4_SMEP)
                               : smap || (kind == WRITE && !(flags & P_W) && (cr0 & CR0_WP));
    } else {
        denied = kind == FETCH ? !!(flags & P_NX)
                               : kind == WRITE && !(flags & P_W) && (cr0 & CR0_WP);
    }
    return denied ? error | 1 : NO_FAULT;
}

static u64 snippets[2][3];
static u64 frame_page;

static u8 attempt(int user_ring, enum access kind, int ac)
{
    struct frame f = user_ring ? user(snippets[1][kind]) : kernel(snippets[0][kind]);
    f.rdi = PAGE;
    f.rflags |= ac ? F_AC : 0;
    run(&f);
    if (f.vector == V_PF) {
        return f.cr2 == PAGE ? (u8)f.error : 0xee;
    }
    return f.vector == V_END ? NO_FAULT : 0xdd;
}

static void name_row(char *name, u64 flags, int wp, int smep, int smap, int ac)
{
    const char *parts[] = {
        flags & P_P ? "p" : "-", flags & P_U ? "u" : "s", flags & P_W ? "w" : "r",
        flags & P_NX ? "-" : "x", wp ? " wp" : "", smep ? " smep" : "", smap ? " smap" : "",
        ac ? " ac" : "",
    };
    *name = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(parts); i++) {
        char *end = name;
        while (*end) {
            end++;
        }
        join(end, "", parts[i]);
    }
}

static void row(u64 flags, int wp, int smep, int smap, int ac)
{
    u64 cr0 = (READ_CR(0) & ~(u64)CR0_WP) | (wp ? CR0_WP : 0);
    u64 cr4 = (READ_CR(4) & ~(u64)(CR4_SMEP | CR4_SMAP)) | (smep ? CR4_SMEP : 0) |
              (smap ? CR4_SMAP : 0);
    WRITE_CR(0, cr0);
    WRITE_CR(4, cr4);
    map(PAGE, frame_page, flags);
    u64 got = 0, want = 0;
    for (int user_ring = 0; user_ring < 2; user_ring++) {
        for (enum access kind = READ; kind <= FETCH; kind++) {
            got = got << 8 | attempt(user_ring, kind, ac);
            want = want << 8 | rule(flags, user_ring, kind, cr0, cr4, ac);
        }
    }
    WRITE_CR(4, cr4 & ~(u64)(CR4_SMEP | CR4_SMAP));
    char name[64];
    name_row(name, flags, wp, smep, smap, ac);
    check(name, got, want);
}

// The strictest level wins for U/S, R/W and XD alike; section 4.6.
static void upper_levels(void)
{
    static const struct {
        const char *name;
        u64 clear, set;
    } limits[] = {{"supervisor", P_U, 0}, {"read-only", P_W, 0}, {"no-execute", 0, P_NX}};
    static const char *const levels[] = {"", "", "PDE ", "PDPTE ", "PML4E "};
    char name[64];
    map(PAGE, frame_page, P_P | P_W | P_U);
    for (int level = 2; level <= 4; level++) {
        for (unsigned i = 0; i < ARRAY_LENGTH(limits); i++) {
            u64 *entry = entry_of(PAGE, level);
            u64 kept = *entry;
            *entry = (kept & ~limits[i].clear) | limits[i].set;
            invlpg(PAGE);
            u64 effective = ((P_P | P_W | P_U) & ~limits[i].clear) | limits[i].set;
            u64 got = 0, want = 0;
            for (int user_ring = 0; user_ring < 2; user_ring++) {
                for (enum access kind = READ; kind <= FETCH; kind++) {
                    got = got << 8 | attempt(user_ring, kind, 0);
                    want = want << 8 |
                           rule(effective, user_ring, kind, READ_CR(0), READ_CR(4), 0);
                }
            }
            *entry = kept;
            invlpg(PAGE);
            join(name, levels[level], limits[i].name);
            check(name, got, want);
        }
    }
}

// Accesses that the CPU makes itself are supervisor accesses at any CPL, and SMAP ignores
// RFLAGS.AC for them (section 4.6.1, "implicit supervisor-mode access"). Here: an LDT.
static void implicit(int has_smap)
{
    u64 *gdt = this_cpu()->gdt, table = new_page();
    ((u64 *)table)[1] = 0x00cff3000000ffff;
    gdt[LDT_SEL / 8] = 15 | (PAGE & 0xffffff) << 16 | 0x82ull << 40 | (PAGE >> 24 & 0xff) << 56;
    gdt[LDT_SEL / 8 + 1] = PAGE >> 32;
    asm volatile("lldt %w0" : : "r"(LDT_SEL));
    map(PAGE, table, P_P | P_W);
    check("ring 3 loads a segment from a supervisor page", user_trap(U("mov eax, 0xf; mov fs, eax")),
          ENDED);
    check("the CPU sets the descriptor's accessed bit", ((u64 *)table)[1] >> 40 & 1, 1);
    struct frame f = user(U("mov rax, [rdi]"));
    f.rdi = PAGE;
    run(&f);
    check("ring 3 cannot read that page itself", trap_of(&f), TRAP(V_PF, 5));
    if (!has_smap) {
        skip("SMAP: an LDT in a user page faults in spite of AC", "smap");
        return;
    }
    map(PAGE, table, P_P | P_W | P_U);
    WRITE_CR(4, READ_CR(4) | CR4_SMAP);
    f = user(U("mov eax, 0xf; mov fs, eax"));
    f.rflags |= F_AC;
    run(&f);
    WRITE_CR(4, READ_CR(4) & ~(u64)CR4_SMAP);
    check("SMAP: an LDT in a user page faults in spite of AC", trap_of(&f), TRAP(V_PF, 1));
    check("SMAP: CR2 is the descriptor", f.cr2, PAGE + 8);
}

void main(void)
{
    snippets[0][READ] = K("mov al, [rdi]");
    snippets[0][WRITE] = K("mov byte ptr [rdi], 0xc3");
    snippets[0][FETCH] = K("call rdi");
    snippets[1][READ] = U("mov al, [rdi]");
    snippets[1][WRITE] = U("mov byte ptr [rdi], 0xc3");
    snippets[1][FETCH] = U("call rdi");
    frame_page = new_page();
    *(u8 *)frame_page = 0xc3; // FETCH calls this RET; WRITE stores the same byte
    struct cpuid features = cpuid(7, 0);
    int has_smep = features.ebx >> 7 & 1, has_smap = features.ebx >> 20 & 1;
    static const u64 pages[] = {
        0, P_P, P_P | P_W, P_P | P_U, P_P | P_U | P_W,
        P_P | P_NX, P_P | P_W | P_NX, P_P | P_U | P_NX, P_P | P_U | P_W | P_NX,
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(pages); i++) {
        row(pages[i], 0, 0, 0, 0);
        row(pages[i], 1, 0, 0, 0);
        if (has_smep) {
            row(pages[i], 1, 1, 0, 0);
        }
        if (has_smap && pages[i] & P_U) {
            row(pages[i], 1, 0, 1, 0);
            row(pages[i], 1, 0, 1, 1);
            row(pages[i], 0, 1, 1, 0);
            row(pages[i], 0, 1, 1, 1);
        }
    }
    if (!has_smep) {
        skip("smep rows", "smep");
    }
    if (!has_smap) {
        skip("smap rows", "smap");
    }
    WRITE_CR(0, READ_CR(0) | CR0_WP);
    upper_levels();
    implicit(has_smap);
}
