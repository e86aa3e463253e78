// Output of a micro-guest: one line per assertion on COM1, then the exit status.
//   check(name, got, want)   one assertion
//   skip(name, feature)      one assertion this CPU cannot make
//   finish()                 prints the count and ends: status 1 = all ok, 3 = some failed
#ifndef MICRO_REPORT_H
#define MICRO_REPORT_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word; // the width of a general register in this guest

#define PORT_COM1 0x3f8
#define PORT_DEBUG_EXIT 0xf4

static inline void outb(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u8 inb(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void report_start(void); // called by the runtime before main()
void check(const char *name, u64 got, u64 want);
void skip(const char *name, const char *feature);
void print(const char *text);
void print_hex(u64 value);
void finish(void) __attribute__((noreturn));
void give_up(void) __attribute__((noreturn));

#endif
