/*
 * Small benchmarks that run natively and inside a guest; each prints "name value unit".
 *
 *   guestbench [SCALE [PROGRAM [ROW...]]]
 *
 * SCALE (default 1) multiplies the repetitions; the work of one repetition never changes. PROGRAM
 * (default /bin/busybox) is what fork+exec executes, as "true". Only the named rows are measured
 * (default: all), in the order of main. "start" and "elapsed" enclose them with the guest's own
 * idea of the time: compared with the host's clock they show whether it can be trusted.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)
enum { KEYS = 200000, SLOTS = 1 << 22, COPIED = 32 * MIB };

/* Results go here, so that the compiler cannot leave out the work. */
static volatile uint64_t sink;
static double scale = 1;
static const char *program = "/bin/busybox";
static char **wanted; /* names of rows; NULL: all */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int scaled(double repetitions)
{
    double n = repetitions * scale;
    return n < 1 ? 1 : (int)n;
}

static void report(const char *name, double value, const char *unit)
{
    printf("%s %.6g %s\n", name, value, unit);
    fflush(stdout);
}

static void require(int succeeded, const char *what)
{
    if (!succeeded) {
        perror(what);
        exit(1);
    }
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    require(memory != NULL, "guestbench: malloc");
    return memory;
}

/*
 * Tells whether to measure a row. Rows keep their memory, so that fork and fork+exec are measured
 * in a process of about 80 MiB; the memory of a row that is not wanted is therefore taken here.
 */
static int wants(const char *name, size_t memory)
{
    for (char **row = wanted; row == NULL || *row != NULL; row++)
        if (row == NULL || strcmp(*row, name) == 0)
            return 1;
    sink += (uintptr_t)memset(allocate(memory), 1, memory);
    return 0;
}

/* The linear congruential generator of Numerical Recipes: cheap and the same everywhere. */
static uint32_t next_random(uint32_t x)
{
    return x * 1664525u + 1013904223u;
}

static uint32_t crc32(const uint8_t *p, size_t n)
{
    static uint32_t table[256];
    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++)
                c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    uint32_t c = ~0u;
    while (n--)
        c = table[(c ^ *p++) & 255] ^ (c >> 8);
    return ~c;
}

static void bench_crc32(void)
{
    uint8_t *buffer = allocate(MIB);
    memset(buffer, 7, MIB);
    int n = scaled(20);
    double start = now_s();
    for (int i = 0; i < n; i++)
        sink += crc32(buffer, MIB);
    report("crc32", n / (now_s() - start), "MiB/s");
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void bench_qsort(void)
{
    uint32_t *keys = allocate(KEYS * sizeof *keys);
    int n = scaled(3);
    double start = now_s();
    for (int i = 0; i < n; i++) {
        uint32_t x = 1;
        for (int k = 0; k < KEYS; k++)
            keys[k] = x = next_random(x);
        qsort(keys, KEYS, sizeof *keys, compare);
    }
    report("qsort", (double)n * KEYS / (now_s() - start) / 1e6, "Mkey/s");
    sink += keys[KEYS / 2];
}

static void bench_fp_scalar(void)
{
    int n = scaled(2000000);
    double x = 0, y = 1, z = 2, start = now_s();
    for (int i = 0; i < n; i++) {
        x = x * 0.999 + y * 0.001;
        y = y - x * z * 1e-6;
        z = sqrt(z * z + 1e-9) + x / (y + 3);
    }
    report("fp-scalar", n / (now_s() - start) / 1e6, "Miter/s");
    sink += (uint64_t)(x + y + z);
}

static void bench_sgemm(void)
{
    enum { SIDE = 96 };
    static float a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = (float)(i * SIDE + j);
            b[i][j] = (float)(SIDE * SIDE - i * SIDE - j);
        }
    int n = scaled(10);
    double start = now_s();
    for (int r = 0; r < n; r++)
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++)
                for (int k = 0; k < SIDE; k++)
                    c[i][k] += a[i][j] * b[j][k];
    report("sgemm", n * 2.0 * SIDE * SIDE * SIDE / (now_s() - start) / 1e6, "MFLOP/s");
    sink += c[0][5] != 0;
}

/* Follows a random cycle through 16 MiB: the latency of a load that misses the caches. */
static void bench_chase(void)
{
    uint32_t *next = allocate(SLOTS * sizeof *next), x = 1, at = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        next[i] = i;
    for (uint32_t i = SLOTS - 1; i > 0; i--) { /* Sattolo's shuffle leaves a single cycle */
        x = next_random(x);
        uint32_t j = x % i, swapped = next[i];
        next[i] = next[j];
        next[j] = swapped;
    }
    int n = scaled(1000000);
    double start = now_s();
    for (int i = 0; i < n; i++)
        at = next[at];
    report("chase", (now_s() - start) / n * 1e9, "ns");
    sink += at;
}

static void bench_memcpy(void)
{
    char *from = allocate(COPIED), *to = allocate(COPIED);
    memset(from, 1, COPIED);
    memset(to, 1, COPIED);
    int n = scaled(5);
    double start = now_s();
    for (int i = 0; i < n; i++) {
        memcpy(to, from, COPIED);
        sink += (uint64_t)to[i];
    }
    report("memcpy", n * (double)COPIED / (now_s() - start) / 1e9, "GB/s");
}

static void bench_syscall(void)
{
    int n = scaled(100000);
    double start = now_s();
    for (int i = 0; i < n; i++)
        syscall(SYS_getppid);
    report("syscall", (now_s() - start) / n * 1e6, "us");
}

static void bench_pipe(void)
{
    int there[2], back[2], n = scaled(5000);
    char byte = 0;
    require(pipe(there) == 0 && pipe(back) == 0, "guestbench: pipe");
    pid_t child = fork();
    require(child >= 0, "guestbench: fork");
    if (child == 0) {
        for (int i = 0; i < n; i++)
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    double start = now_s();
    for (int i = 0; i < n; i++)
        require(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1,
                "guestbench: pipe-pp");
    report("pipe-pp", (now_s() - start) / n * 1e6, "us");
    waitpid(child, NULL, 0);
}

static void spawn(int executes)
{
    int status;
    pid_t child = fork();
    require(child >= 0, "guestbench: fork");
    if (child == 0) {
        if (executes)
            execl(program, "true", (char *)NULL);
        _exit(executes); /* after execl: it failed */
    }
    require(waitpid(child, &status, 0) == child && status == 0, "guestbench: child");
}

static void bench_spawn(const char *name, int executes, int repetitions)
{
    int n = scaled(repetitions);
    double start = now_s();
    for (int i = 0; i < n; i++)
        spawn(executes);
    report(name, (now_s() - start) / n * 1e6, "us");
}

static void bench_page_fault(void)
{
    size_t size = 64 * MIB;
    double start = now_s();
    volatile char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "guestbench: mmap");
    /* Refused by kernels without huge pages, which is just as good. */
    madvise((void *)memory, size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < size; i += 4096)
        memory[i] = 1;
    report("pagefault", (now_s() - start) / (size / 4096.0) * 1e6, "us");
    munmap((void *)memory, size);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        scale = atof(argv[1]);
    if (argc > 2)
        program = argv[2];
    wanted = argc > 3 ? argv + 3 : NULL;
    double start = now_s();
    report("start", 0, "s");
    if (wants("crc32", MIB))
        bench_crc32();
    if (wants("qsort", KEYS * sizeof(uint32_t)))
        bench_qsort();
    if (wants("fp-scalar", 0))
        bench_fp_scalar();
    if (wants("sgemm", 0))
        bench_sgemm();
    if (wants("chase", SLOTS * sizeof(uint32_t)))
        bench_chase();
    if (wants("memcpy", 2 * COPIED))
        bench_memcpy();
    if (wants("syscall", 0))
        bench_syscall();
    if (wants("pipe-pp", 0))
        bench_pipe();
    if (wants("fork", 0))
        bench_spawn("fork", 0, 300);
    if (wants("fork+exec", 0))
        bench_spawn("fork+exec", 1, 100);
    if (wants("pagefault", 0))
        bench_page_fault();
    report("elapsed", now_s() - start, "s");
    return 0;
}
