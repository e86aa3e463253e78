// LOCK between CPUs: nothing is lost. Also the single-CPU results of the same instructions.
// SDM vol. 3A section 8.1, vol. 2 of each instruction.
// cpus: 4
#include "apic.h"
#include "micro.h"

#define ROUNDS 20000
#define CLAIMS 4096

static struct {
    u64 xadd, inc, byte, compare, spin_lock, guarded, xchg_sum;
    u64 pair[2] __attribute__((aligned(16)));
    u64 pair8;
    u64 bits[CLAIMS / 64];
    u64 claimed;
    u8 masks[8];
    u8 line[128];
} shared __attribute__((aligned(64)));
static volatile u32 gate;
static unsigned cpus;

static u64 *split(void)
{
    return (u64 *)(shared.line + 60); // crosses a cache line
}

static void work(u64 me)
{
    __atomic_fetch_add(&gate, 1, __ATOMIC_SEQ_CST);
    while (gate < cpus) {
        pause();
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        u64 one = 1;
        asm volatile("lock xaddq %0, %1" : "+r"(one), "+m"(shared.xadd));
        asm volatile("lock incq %0" : "+m"(shared.inc));
        asm volatile("lock addb $1, %0" : "+m"(shared.byte));
        u64 old = *(volatile u64 *)&shared.compare;
        u8 done;
        do {
            asm volatile("lock cmpxchgq %3, %1; setz %2"
                         : "+a"(old), "+m"(shared.compare), "=q"(done)
                         : "r"(old + 1));
        } while (!done);
        u64 low = ((volatile u64 *)shared.pair)[0], high = ((volatile u64 *)shared.pair)[1];
        do {
            asm volatile("lock cmpxchg16b %2; setz %3"
                         : "+a"(low), "+d"(high), "+m"(shared.pair), "=q"(done)
                         : "b"(low + 1), "c"(high + 3));
        } while (!done);
        asm volatile("lock addq $1, %0" : "+m"(*split()));
        u32 taken = 1; // XCHG needs no LOCK prefix
        for (;;) {
            asm volatile("xchgl %0, %1" : "+r"(taken), "+m"(shared.spin_lock) : : "memory");
            if (!taken) {
                break;
            }
            pause();
        }
        shared.guarded++;
        asm volatile("movl $0, %0" : "=m"(shared.spin_lock) : : "memory");
        asm volatile("lock xorb $1, %0" : "+m"(shared.masks[me]));
    }
    u64 mine = 0;
    for (u64 bit = 0; bit < CLAIMS; bit++) {
        u8 was;
        asm volatile("lock btsq %2, %0; setc %1" : "+m"(shared.bits), "=q"(was) : "r"(bit));
        mine += !was;
    }
    __atomic_fetch_add(&shared.claimed, mine, __ATOMIC_SEQ_CST);
    u32 lo = (u32)shared.pair8, hi = shared.pair8 >> 32;
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        u8 done;
        do {
            asm volatile("lock cmpxchg8b %2; setz %3"
                         : "+a"(lo), "+d"(hi), "+m"(shared.pair8), "=q"(done)
                         : "b"(lo + 1), "c"(hi + 1));
        } while (!done);
    }
}

static void together(void)
{
    cpus = start_cpus(4);
    check("four CPUs run", cpus, 4);
    for (unsigned cpu = 1; cpu < cpus; cpu++) {
        start_job(cpu, work, cpu);
    }
    work(0);
    for (unsigned cpu = 1; cpu < cpus; cpu++) {
        wait_job(cpu);
    }
    u64 total = (u64)cpus * ROUNDS;
    check("lock xadd", shared.xadd, total);
    check("lock inc", shared.inc, total);
    check("lock add byte keeps its neighbours", shared.byte, total & 0xff);
    check("lock cmpxchg", shared.compare, total);
    check("lock cmpxchg16b, low", shared.pair[0], total);
    check("lock cmpxchg16b, high", shared.pair[1], 3 * total);
    check("lock add across cache lines", *split(), total);
    check("xchg as a spin lock", shared.guarded, total);
    check("lock xor on adjacent bytes", *(u64 *)shared.masks, 0);
    check("lock bts: each bit has one owner", shared.claimed, CLAIMS);
    check("lock cmpxchg8b", shared.pair8, (u64)(cpus * (ROUNDS / 4)) * 0x100000001);
}

static void alone(void)
{
    static u64 cell[2] __attribute__((aligned(16)));
    struct frame f = kernel(K("lock xadd [rdi], rax"));
    f.rdi = ADDRESS(cell), f.rax = 5, cell[0] = 7;
    run(&f);
    check("xadd: old value and sum", f.rax << 8 | cell[0], 7 << 8 | 12);
    f = kernel(K("lock cmpxchg [rdi], rcx"));
    f.rdi = ADDRESS(cell), f.rax = 12, f.rcx = 40;
    run(&f);
    check("cmpxchg: equal", (f.rflags & F_ZF) << 8 | cell[0], F_ZF << 8 | 40);
    f = kernel(K("lock cmpxchg [rdi], rcx"));
    f.rdi = ADDRESS(cell), f.rax = 12, f.rcx = 50;
    run(&f);
    check("cmpxchg: unequal loads RAX", f.rax << 8 | cell[0], 40 << 8 | 40);
    f = kernel(K("lock cmpxchg dword ptr [rdi], ecx"));
    f.rdi = ADDRESS(cell), f.rax = ~0ull << 32 | 40, f.rcx = 60;
    run(&f);
    check("cmpxchg 32-bit: equal leaves the upper half of RAX", f.rax, ~0ull << 32 | 40);
    f = kernel(K("lock cmpxchg16b [rdi]"));
    cell[0] = 1, cell[1] = 2;
    f.rdi = ADDRESS(cell), f.rax = 1, f.rdx = 2, f.rbx = 3, f.rcx = 4;
    run(&f);
    check("cmpxchg16b: equal", (f.rflags & F_ZF) << 8 | cell[0] << 4 | cell[1], F_ZF << 8 | 0x34);
    f.rip = K("lock cmpxchg16b [rdi]; nop");
    f.rax = 9;
    run(&f);
    check("cmpxchg16b: unequal loads RDX:RAX", f.rdx << 4 | f.rax, 0x43);
    check("cmpxchg16b: ZF clear", f.rflags & F_ZF, 0);
    f = kernel(K("lock bts [rdi], rax"));
    f.rdi = ADDRESS(cell), f.rax = 64;
    cell[1] = 0;
    run(&f);
    check("bts: a register offset reaches beyond the operand", cell[1], 1);
    f = kernel(K("lock btr qword ptr [rdi], 64"));
    f.rdi = ADDRESS(cell), cell[0] = 1;
    run(&f);
    check("btr: an immediate offset wraps", cell[0] << 1 | (f.rflags & F_CF), 1);
}

void main(void)
{
    alone();
    together();
}
