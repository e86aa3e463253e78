// Self-modifying and cross-modifying code. SDM vol. 3A sections 8.1.3 and 11.6.
// cpus: 2
// qemu-differs: another CPU meets every patch -- TCG with one thread per CPU can keep stale code
#include "micro.h"

#define ALIAS 0x10000000000ull // second mapping of the code page
#define SPINS 20000000

// A page of our own code bytes, run at its identity address.
static u8 *code;

static void emit(const u8 *bytes, unsigned length, unsigned at)
{
    for (unsigned i = 0; i < length; i++) {
        code[at + i] = bytes[i];
    }
}

static u64 call(u64 address)
{
    struct frame f = kernel(K("call rdi"));
    f.rdi = address;
    run(&f);
    return f.vector == V_END ? f.rax : trap_of(&f);
}

static const u8 returns_1[] = {0xb8, 1, 0, 0, 0, 0xc3}; // mov eax, 1; ret

static void one_cpu(void)
{
    struct frame f = kernel(K("lea rdi, [rip+1f]; mov byte ptr [rdi+1], 7; jmp 1f; 1: mov eax, 5"));
    run(&f);
    check("patch ahead, then jump", f.rax, 7);
    f = kernel(K("lea rdi, [rip+1f]; mov byte ptr [rdi+1], 9; 1: mov eax, 5"));
    run(&f);
    check("patch the next instruction", f.rax, 9);
    emit(returns_1, sizeof(returns_1), 0);
    u64 sum = 0;
    for (u8 i = 1; i <= 50; i++) {
        code[1] = i;
        sum += call(ADDRESS(code));
    }
    check("patched 50 times, called each time", sum, 50 * 51 / 2);
    f = kernel(K("xor eax, eax; lea rdi, [rip+2f]; mov ecx, 3; 1: 2: add eax, 1; "
                 "inc byte ptr [rdi+2]; dec ecx; jnz 1b"));
    run(&f);
    check("a loop that patches itself", f.rax, 1 + 2 + 3);
    const u8 replacement[] = {0xb8, 0x44, 0x33, 0x22, 0x11, 0xc3};
    f = kernel(K("call rdx; rep movsb; call rdx"));
    f.rdx = f.rdi = ADDRESS(code), f.rsi = ADDRESS(replacement), f.rcx = sizeof(replacement);
    run(&f);
    check("rep movsb over code", f.rax, 0x11223344);
    f = kernel(K("call rdx; lock cmpxchg [rdx+1], ecx; call rdx"));
    f.rdx = ADDRESS(code), f.rcx = 0x55;
    run(&f);
    check("lock cmpxchg over code", f.rax, 0x55);
    f = kernel(K("call rdx; mov rbx, rsp; lea rsp, [rdx+8]; push rcx; mov rsp, rbx; call rdx"));
    f.rdx = ADDRESS(code), f.rcx = 0xc300000066b8;
    run(&f);
    check("push over code", f.rax, 0x66);
    f = kernel(K("call rdx; movups xmm0, [rsi]; movups [rdx], xmm0; call rdx"));
    static u8 vector[16] = {0xb8, 0x21, 0, 0, 0, 0xc3};
    f.rdx = ADDRESS(code), f.rsi = ADDRESS(vector);
    run(&f);
    check("movups over code", f.rax, 0x21);
    f = kernel(K("xor eax, eax; mov ecx, 100; 1: inc dword ptr [rip+3f]; dec ecx; jnz 1b; "
                 "mov eax, [rip+3f]; jmp 2f; .align 4; 3: .long 0; 2: nop"));
    run(&f);
    check("data beside code", f.rax, 100);
    f = user(U("lea rdi, [rip+1f]; mov byte ptr [rdi+1], 8; jmp 1f; 1: mov eax, 5"));
    run(&f);
    check("ring 3 patches itself", f.rax, 8);
}

// The return address goes to the page that the call is in.
static void stack_beside_code(void)
{
    u64 at = ADDRESS(code) + 0x200, sum = 0;
    u64 from = K("mov rdx, rsp; lea rsp, [rip+2f]; call 1f; mov rsp, rdx; ret; 1: mov eax, 5; ret; "
                 ".skip 64, 0x90; 2: nop");
    emit((const u8 *)from, 128, 0x200);
    map(ALIAS, ADDRESS(code), P_P | P_W);
    for (unsigned i = 0; i < 40; i++) {
        sum += call(i & 1 ? at : ALIAS + 0x200);
    }
    check("calls whose stack is beside their code", sum, 40 * 5);
}

static void aliases(void)
{
    map(ALIAS, ADDRESS(code), P_P | P_W);
    emit(returns_1, sizeof(returns_1), 0);
    check("alias: both run", call(ADDRESS(code)) << 8 | call(ALIAS), 0x101);
    ((volatile u8 *)ALIAS)[1] = 2;
    cpuid(0, 0);
    check("write through the alias, run the identity", call(ADDRESS(code)), 2);
    code[1] = 3;
    cpuid(0, 0);
    check("write the identity, run through the alias", call(ALIAS), 3);
    struct frame f = kernel(K("call rdi; mov byte ptr [rsi+1], 4; cpuid; call rdi"));
    f.rdi = ADDRESS(code), f.rsi = ALIAS;
    run(&f);
    check("call, write through the alias, call", f.rax, 4);
}

// mov eax, imm32 begins two bytes before a page boundary of two virtually adjacent pages.
static void crossing(void)
{
    u64 first = ALIAS + 0x10000, a = new_page(), b = new_page(), c = new_page();
    map(first, a, P_P | P_W);
    map(first + 0x1000, b, P_P | P_W);
    u8 *at = (u8 *)first + 0xffe;
    for (unsigned i = 0; i < sizeof(returns_1); i++) {
        at[i] = returns_1[i];
    }
    check("an instruction across pages", call(ADDRESS(at)), 1);
    at[1] = 2;
    check("patched in the first page", call(ADDRESS(at)), 2);
    at[3] = 3;
    check("patched in the second page", call(ADDRESS(at)), 0x30002);
    *(u8 *)(b + 2) = 4;
    cpuid(0, 0);
    check("patched in the second page through an alias", call(ADDRESS(at)), 0x4030002);
    *(u32 *)c = 0xc3090000;
    map(first + 0x1000, c, P_P | P_W);
    check("the second page remapped", call(ADDRESS(at)), 0x9000002);
    map(first + 0x1000, 0, 0);
    struct frame f = kernel(K("jmp rdi"));
    f.rdi = ADDRESS(at);
    run(&f);
    check("the second page gone: #PF", trap_of(&f), TRAP(V_PF, 0x10));
    check("CR2 is the second page", f.cr2, first + 0x1000);
    check("RIP is the instruction's start", f.rip, ADDRESS(at));
}

static volatile u32 seen, wanted;

static void spin_until_wanted(u64 address)
{
    u32 (*function)(void) = (u32(*)(void))address;
    for (u32 i = 0; i < SPINS && seen != wanted; i++) {
        seen = function();
    }
}

static void two_cpus(void)
{
    if (start_cpus(2) < 2) {
        skip("another CPU meets every patch", "2-cpus");
        return;
    }
    emit(returns_1, sizeof(returns_1), 0x100);
    u64 met = 0;
    for (u8 value = 2; value < 40 && met == value - 2u; value++) {
        seen = 0;
        wanted = value;
        start_job(1, spin_until_wanted, ADDRESS(code) + 0x100);
        for (u32 i = 0; i < SPINS && seen != value - 1u; i++) { // it runs the old code for sure
            pause();
        }
        *(volatile u8 *)((value & 1 ? ALIAS : ADDRESS(code)) + 0x101) = value;
        wait_job(1);
        met += seen == value;
    }
    check("another CPU meets every patch", met, 38);
}

void main(void)
{
    code = (u8 *)new_page();
    one_cpu();
    stack_beside_code();
    aliases();
    crossing();
    two_cpus();
}
