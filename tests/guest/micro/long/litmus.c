// Memory-ordering litmus tests: outcomes that SDM vol. 3A section 8.2.3 forbids never show.
// Each CPU runs its side over an array of cells; the outcomes are counted afterwards.
// cpus: 4
#include "apic.h"
#include "micro.h"

#define CELLS 1500

struct cell {
    volatile u32 x, pad1[15], y, pad2[15];
};

static struct cell cells[CELLS];
static volatile u32 results[4][2][CELLS];
static volatile u32 gate;
static unsigned players;

#define STORE(place, value) asm volatile("movl %1, %0" : "=m"(place) : "i"(value) : "memory")
#define LOAD(result, place)                                                                        \
    do {                                                                                           \
        u32 value_;                                                                                \
        asm volatile("movl %1, %0" : "=r"(value_) : "m"(place) : "memory");                        \
        (result) = value_;                                                                         \
    } while (0)
#define MFENCE asm volatile("mfence" : : : "memory")

#define SIDE(name, body)                                                                           \
    static void name(u64 me)                                                                       \
    {                                                                                              \
        (void)me;                                                                                  \
        __atomic_fetch_add(&gate, 1, __ATOMIC_SEQ_CST);                                            \
        while (gate < players) {                                                                   \
            pause();                                                                               \
        }                                                                                          \
        for (unsigned i = 0; i < CELLS; i++) {                                                     \
            struct cell *c = &cells[i];                                                            \
            u32 a = 0, b = 0;                                                                      \
            body;                                                                                  \
            results[me][0][i] = a;                                                                 \
            results[me][1][i] = b;                                                                 \
        }                                                                                          \
    }

SIDE(sb_fence_x, STORE(c->x, 1); MFENCE; LOAD(a, c->y))
SIDE(sb_fence_y, STORE(c->y, 1); MFENCE; LOAD(a, c->x))
SIDE(sb_lock_x, STORE(c->x, 1); asm volatile("lock addl $0, (%%rsp)" ::: "memory"); LOAD(a, c->y))
SIDE(sb_lock_y, STORE(c->y, 1); asm volatile("lock addl $0, (%%rsp)" ::: "memory"); LOAD(a, c->x))
SIDE(sb_xchg_x, a = 1; asm volatile("xchgl %0, %1" : "+r"(a), "+m"(c->x)::"memory"); LOAD(a, c->y))
SIDE(sb_xchg_y, a = 1; asm volatile("xchgl %0, %1" : "+r"(a), "+m"(c->y)::"memory"); LOAD(a, c->x))
SIDE(write_x_y, STORE(c->x, 1); STORE(c->y, 1))
SIDE(read_y_x, LOAD(a, c->y); LOAD(b, c->x))
SIDE(read_x_y, LOAD(a, c->x); LOAD(b, c->y))
SIDE(lb_x, LOAD(a, c->x); STORE(c->y, 1))
SIDE(lb_y, LOAD(a, c->y); STORE(c->x, 1))
SIDE(write_x, STORE(c->x, 1))
SIDE(write_y, STORE(c->y, 1))
SIDE(read_x_x, LOAD(a, c->x); LOAD(b, c->x))
SIDE(two_x_y, STORE(c->x, 1); STORE(c->y, 2))
SIDE(two_y_x, STORE(c->y, 1); STORE(c->x, 2))
SIDE(forward_x, STORE(c->x, 1); LOAD(a, c->x); LOAD(b, c->y))
SIDE(forward_y, STORE(c->y, 1); LOAD(a, c->y); LOAD(b, c->x))
SIDE(wrc_middle, LOAD(a, c->x); STORE(c->y, 1))

typedef void side(u64);

static void play(side *s0, side *s1, side *s2, side *s3)
{
    side *sides[] = {s0, s1, s2, s3};
    for (unsigned i = 0; i < CELLS; i++) {
        cells[i].x = cells[i].y = 0;
    }
    players = s3 ? 4 : s2 ? 3 : 2;
    gate = 0;
    for (unsigned cpu = 1; cpu < players; cpu++) {
        start_job(cpu, sides[cpu], cpu);
    }
    s0(0);
    for (unsigned cpu = 1; cpu < players; cpu++) {
        wait_job(cpu);
    }
}

#define R(cpu, which) results[cpu][which][i]
// Count the cells where `condition` holds; it must be none.
#define NEVER(name, condition)                                                                     \
    do {                                                                                           \
        u64 count = 0;                                                                             \
        for (unsigned i = 0; i < CELLS; i++) {                                                     \
            count += !!(condition);                                                                \
        }                                                                                          \
        check(name, count, 0);                                                                     \
    } while (0)

void main(void)
{
    if (start_cpus(4) < 4) {
        skip("litmus", "4-cpus");
        return;
    }
    play(sb_fence_x, sb_fence_y, 0, 0);
    NEVER("SB with MFENCE: 0, 0", !R(0, 0) && !R(1, 0));
    play(sb_lock_x, sb_lock_y, 0, 0);
    NEVER("SB with a locked instruction: 0, 0", !R(0, 0) && !R(1, 0));
    play(sb_xchg_x, sb_xchg_y, 0, 0);
    NEVER("SB with XCHG: 0, 0", !R(0, 0) && !R(1, 0));
    play(write_x_y, read_y_x, 0, 0);
    NEVER("MP: new flag, old data", R(1, 0) && !R(1, 1));
    play(lb_x, lb_y, 0, 0);
    NEVER("LB: 1, 1", R(0, 0) && R(1, 0));
    play(write_x, write_y, read_x_y, read_y_x);
    NEVER("IRIW: two orders of two writes", R(2, 0) && !R(2, 1) && R(3, 0) && !R(3, 1));
    play(write_x, read_x_x, 0, 0);
    NEVER("CoRR: new, then old", R(1, 0) && !R(1, 1));
    play(two_x_y, two_y_x, 0, 0);
    NEVER("2+2W: both first writes last", cells[i].x == 1 && cells[i].y == 1);
    play(forward_x, forward_y, 0, 0);
    NEVER("a CPU sees its own write", !R(0, 0) || !R(1, 0));
    play(write_x, wrc_middle, read_y_x, 0);
    NEVER("WRC: causality", R(1, 0) && R(2, 0) && !R(2, 1));
}
