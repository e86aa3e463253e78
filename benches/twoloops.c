/*
 * What a second CPU brings: a loop that computes alone on one CPU, against two such loops that
 * share nothing on two CPUs at the same time. Prints "name value unit", as guestbench does.
 *
 *   twoloops [SECONDS]
 *
 * The two cases take turns for SECONDS each (default 0.5), so that a host that slows down in
 * between slows down both.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CPUS = 2, TURNS = 3, STEPS = 4096 };

/* The result goes here, so that the compiler cannot leave out the work. */
static volatile double sink;
/* Long enough for the children to exist and stand on their CPUs when the measurement begins. */
static const double lead_s = 0.2;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void require(int succeeded, const char *what)
{
    if (!succeeded) {
        perror(what);
        exit(1);
    }
}

/* Keeps this process on one of the CPUs it may use, counted from 0. */
static void stay_on(int cpu)
{
    cpu_set_t allowed, one;
    require(sched_getaffinity(0, sizeof allowed, &allowed) == 0, "twoloops: sched_getaffinity");
    if (cpu >= CPU_COUNT(&allowed)) {
        fputs("twoloops: there are too few CPUs\n", stderr);
        exit(1);
    }
    int number = 0;
    while (!CPU_ISSET(number, &allowed) || cpu-- > 0)
        number++;
    CPU_ZERO(&one);
    CPU_SET(number, &one);
    require(sched_setaffinity(0, sizeof one, &one) == 0, "twoloops: sched_setaffinity");
}

/* Integer and floating-point work with loads and stores, in memory that nobody else has. */
static void compute(uint32_t *x, double *y)
{
    static double table[1024];
    for (int i = 0; i < STEPS; i++) {
        *x = *x * 1664525u + 1013904223u;
        *y = *y * 0.999 + table[*x >> 22];
        table[*x >> 22] = *y + (double)(*x & 255);
    }
}

/* Computes from `begin` to `end` on the clock; returns the steps done. */
static uint64_t steps_between(double begin, double end)
{
    uint32_t x = 1;
    double y = 0;
    uint64_t steps = 0;
    while (now_s() < begin)
        ;
    for (; now_s() < end; steps += STEPS)
        compute(&x, &y);
    sink = y;
    return steps;
}

/* Runs `loops` loops at the same time, one a CPU; returns the steps that all of them did. */
static uint64_t run(int loops, double seconds)
{
    uint64_t *steps = mmap(NULL, CPUS * sizeof *steps, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(steps != MAP_FAILED, "twoloops: mmap");
    double begin = now_s() + lead_s;
    for (int i = 0; i < loops; i++) {
        pid_t child = fork();
        require(child >= 0, "twoloops: fork");
        if (child == 0) {
            stay_on(i);
            steps[i] = steps_between(begin, begin + seconds);
            _exit(0);
        }
    }
    uint64_t sum = 0;
    for (int i = 0, status; i < loops; i++)
        if (wait(&status) < 0 || status != 0)
            exit(1);
    for (int i = 0; i < loops; i++)
        sum += steps[i];
    munmap(steps, CPUS * sizeof *steps);
    return sum;
}

static void report(const char *name, double value, const char *unit)
{
    printf("%s %.6g %s\n", name, value, unit);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.5, start = now_s();
    uint64_t alone = 0, together = 0;
    report("start", 0, "s");
    for (int i = 0; i < TURNS; i++) {
        alone += run(1, seconds);
        together += run(CPUS, seconds);
    }
    report("one-loop", alone / (TURNS * seconds) / 1e6, "Mstep/s");
    report("two-loops", together / (TURNS * seconds) / 1e6, "Mstep/s");
    report("elapsed", now_s() - start, "s");
    return 0;
}
