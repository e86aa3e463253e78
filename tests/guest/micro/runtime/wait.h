// Waiting for interrupts without sleeping: a bounded spin with IF=1 in a snippet.
#ifndef MICRO_WAIT_H
#define MICRO_WAIT_H
#include "micro.h"

#define LONG_WAIT 200000000
#define SHORT_WAIT 2000

// The vector that arrives within `spins` rounds, or V_END.
static inline u64 wait_vector(u64 spins)
{
    struct frame f = kernel(K("sti; 1: dec rcx; jnz 1b; cli"));
    f.rcx = spins;
    run(&f);
    return f.vector;
}

// The vector that ends a HLT.
static inline u64 halt_for_vector(void)
{
    struct frame f = kernel(K("sti; hlt; cli"));
    run(&f);
    return f.vector;
}

#endif
