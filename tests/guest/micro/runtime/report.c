// The assertion printer (see report.h). Works at any width, with no state but two counters.
#include "report.h"

static unsigned assertions;
static unsigned failures;

void report_start(void)
{
    outb(PORT_COM1 + 1, 0);    // no interrupts
    outb(PORT_COM1 + 3, 0x80); // divisor latch: 115200 baud
    outb(PORT_COM1, 1);
    outb(PORT_COM1 + 1, 0);
    outb(PORT_COM1 + 3, 3); // 8N1
}

static void put(char c)
{
    while (!(inb(PORT_COM1 + 5) & 0x20)) {
    }
    outb(PORT_COM1, (u8)c);
}

void print(const char *text)
{
    while (*text) {
        put(*text++);
    }
}

void print_hex(u64 value)
{
    int shift = 60;
    while (shift && !(value >> shift)) {
        shift -= 4;
    }
    print("0x");
    for (; shift >= 0; shift -= 4) {
        put("0123456789abcdef"[(value >> shift) & 15]);
    }
}

static void print_count(unsigned value)
{
    char digits[11];
    int at = 10;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    print(digits + at);
}

void check(const char *name, u64 got, u64 want)
{
    assertions++;
    if (got == want) {
        print("ok ");
    } else {
        failures++;
        print("not ok ");
    }
    print_count(assertions);
    print(" ");
    print(name);
    if (got != want) {
        print(" got=");
        print_hex(got);
        print(" want=");
        print_hex(want);
    }
    print("\n");
}

void skip(const char *name, const char *feature)
{
    assertions++;
    print("skip ");
    print_count(assertions);
    print(" ");
    print(name);
    print(" needs=");
    print(feature);
    print("\n");
}

void finish(void)
{
    print("done ");
    print_count(assertions);
    print("\n");
    outb(PORT_DEBUG_EXIT, failures ? 1 : 0);
    for (;;) {
        asm volatile("cli; hlt");
    }
}

void give_up(void)
{
    outb(PORT_DEBUG_EXIT, 2);
    for (;;) {
        asm volatile("cli; hlt");
    }
}
