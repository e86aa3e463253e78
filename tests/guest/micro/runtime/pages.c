// Page tables on demand for the 64-bit micro-guests (SDM vol. 3A section 4.5).
#include "micro.h"

static u8 pool[256][4096] __attribute__((aligned(4096)));
static unsigned used;

u64 new_page(void)
{
    if (used == ARRAY_LENGTH(pool)) {
        print("panic: no more pages\n");
        give_up();
    }
    return ADDRESS(pool[used++]);
}

u64 *entry_of(u64 address, int level)
{
    u64 *table = (u64 *)(READ_CR(3) & 0x000ffffffffff000);
    for (int at = 4;; at--) {
        u64 *entry = &table[address >> (12 + 9 * (at - 1)) & 511];
        if (at == level) {
            return entry;
        }
        if (!(*entry & P_P)) {
            *entry = new_page() | P_P | P_W | P_U;
        }
        table = (u64 *)(*entry & 0x000ffffffffff000);
    }
}

void map(u64 address, u64 physical, u64 flags)
{
    *entry_of(address, 1) = physical | flags;
    invlpg(address);
}
