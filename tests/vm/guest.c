/*
 * A guest without a C library, for the tests of `vmx run`: PID 1 that talks to the backdoor the way
 * the protocol says, in both bandwidths, and powers off. What it does it reads from guestinfo:
 *
 *   guestinfo.test.mode   "echo"    guestinfo..test.low / .high = the value of guestinfo.test.in
 *                         "bench"   200 GETVERSION calls; guestinfo..test.ns = nanoseconds of one
 *                         "foreign" runs instructions of others at the backdoor's address first
 *                         "reboot"  reboots until guestinfo..test.boots says 10
 *                         "hang"    waits for ever
 *                         "panic"   ends, which PID 1 must not
 *                         "serial"  answers lines of the first serial port until "quit"
 */
typedef unsigned long u64;
typedef unsigned int u32;

struct registers {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rbp;
};

#define NOTE(label)                                                                                \
    ".pushsection .note.vmware-backdoor,\"a\",@note\n"                                             \
    ".balign 4\n"                                                                                  \
    ".long 9, 8, 1\n"                                                                              \
    ".asciz \"VMwBdoor\"\n"                                                                        \
    ".balign 4\n"                                                                                  \
    ".quad " label "\n"                                                                            \
    ".popsection\n"

/* rdi = registers: load them, do the instruction, store them. */
#define CALL(name, instruction)                                                                    \
    __asm__(".globl " #name "\n" #name ":\n"                                                       \
            "push %rbx\npush %rbp\npush %rdi\n"                                                    \
            "mov 0(%rdi),%rax\nmov 8(%rdi),%rbx\nmov 16(%rdi),%rcx\nmov 24(%rdi),%rdx\n"           \
            "mov 32(%rdi),%rsi\nmov 48(%rdi),%rbp\nmov 40(%rdi),%rdi\ncld\n"                       \
            "bd_" #name ": " instruction "\n" NOTE("bd_" #name)                                    \
            "xchg %rdi,(%rsp)\n"                                                                   \
            "mov %rax,0(%rdi)\nmov %rbx,8(%rdi)\nmov %rcx,16(%rdi)\nmov %rdx,24(%rdi)\n"           \
            "mov %rsi,32(%rdi)\nmov %rbp,48(%rdi)\npop %rax\nmov %rax,40(%rdi)\n"                  \
            "pop %rbp\npop %rbx\nret\n");                                                          \
    void name(struct registers *)

CALL(low, "in %dx,%eax");
CALL(high_out, "rep outsb");
CALL(high_in, "rep insb");

static long syscall6(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

enum { READ = 0, WRITE = 1, OPEN = 2, MMAP = 9, MPROTECT = 10, IOCTL = 16, FORK = 57, EXIT = 60,
       WAIT4 = 61, MKNOD = 133, REBOOT = 169, CLOCK_GETTIME = 228 };

void *memcpy(void *to, const void *from, u64 n)
{
    for (u64 i = 0; i < n; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

void *memset(void *to, int byte, u64 n)
{
    for (u64 i = 0; i < n; i++)
        ((volatile char *)to)[i] = byte;
    return to;
}

static u64 length(const char *text)
{
    u64 n = 0;
    while (text[n])
        n++;
    return n;
}

static int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static void say(const char *text)
{
    syscall6(WRITE, 1, (long)text, length(text), 0, 0, 0);
}

static void power(u32 how)
{
    syscall6(REBOOT, 0xfee1dead, 672274793, how, 0, 0, 0);
}

#define POWER_OFF 0x4321fedc
#define RESTART 0x01234567

static void fail(const char *what)
{
    say("guest: failed: ");
    say(what);
    say("\n");
    power(POWER_OFF);
}

static struct channel {
    u32 number, high, low;
} rpci;
static char reply[70000];
static u64 reply_length;

static struct registers message(u32 type, u64 argument)
{
    struct registers r = {0x564D5868, argument, 30 | type << 16, 0x5658 | rpci.number << 16,
                          rpci.high, rpci.low, 0};
    low(&r);
    if (!(r.rcx >> 16 & 1))
        fail("a message call");
    return r;
}

static void open_channel(void)
{
    rpci = (struct channel){0, 0, 0};
    struct registers r = message(0, 0x49435052 | 0x80000000);
    rpci = (struct channel){r.rdx >> 16 & 0xffff, r.rsi, r.rdi};
}

static void call(const char *request, u64 n, int high)
{
    message(1, n);
    if (high) {
        struct registers r = {0x564D5868, 1 << 16, n, 0x5659 | rpci.number << 16,
                              (u64)request, rpci.low, rpci.high};
        high_out(&r);
        if (r.rbx != 1 << 16 || r.rcx)
            fail("rep outsb");
    } else {
        for (u64 i = 0; i < n; i += 4) {
            u32 word = 0;
            for (u64 j = 0; j < 4 && i + j < n; j++)
                word |= (u32)(unsigned char)request[i + j] << 8 * j;
            message(2, word);
        }
    }
    struct registers r = message(3, 0);
    if (!(r.rcx >> 16 & 2))
        fail("no reply");
    reply_length = r.rbx;
    if (reply_length >= sizeof reply)
        fail("a long reply");
    memset(reply, 0, reply_length + 1);
    if (high) {
        struct registers r = {0x564D5868, 1 << 16, reply_length, 0x5659 | rpci.number << 16,
                              rpci.high, (u64)reply, rpci.low};
        high_in(&r);
        if (r.rbx != 1 << 16 || r.rcx)
            fail("rep insb");
    } else {
        for (u64 i = 0; i < reply_length; i += 4) {
            u32 word = message(4, 1).rbx;
            for (u64 j = 0; j < 4 && i + j < reply_length; j++)
                reply[i + j] = word >> 8 * j;
        }
    }
    message(5, 1);
}

static char request[70000];

static char *get(const char *key, int high)
{
    memcpy(request, "info-get ", 9);
    memcpy(request + 9, key, length(key));
    call(request, 9 + length(key), high);
    return reply[0] == '1' ? reply + 2 : "";
}

static void set(const char *key, const char *value, u64 n, int high)
{
    memcpy(request, "info-set ", 9);
    memcpy(request + 9, key, length(key));
    request[9 + length(key)] = ' ';
    memcpy(request + 10 + length(key), value, n);
    call(request, 10 + length(key) + n, high);
    if (reply[0] != '1')
        fail("info-set");
}

static void number(const char *key, u64 value)
{
    char digits[24];
    int at = 24;
    do
        digits[--at] = '0' + value % 10;
    while (value /= 10);
    set(key, digits + at, 24 - at, 0);
}

static u64 now(void)
{
    u64 time[2];
    syscall6(CLOCK_GETTIME, 1, (long)time, 0, 0, 0, 0);
    return time[0] * 1000000000 + time[1];
}

static void version(void)
{
    struct registers r = {0x564D5868, 0, 10, 0x5658, 0, 0, 0};
    low(&r);
    if (r.rbx != 0x564D5868 || r.rax != 6)
        fail("GETVERSION");
}

static void bench(void)
{
    enum { CALLS = 200 };
    u64 begin = now();
    for (int i = 0; i < CALLS; i++)
        version();
    number("guestinfo..test.ns", (now() - begin) / CALLS);
}

/* A child puts `nop; ret` where the backdoor instruction is, and runs it. */
extern char bd_low[];
static void foreign(void)
{
    long child = syscall6(FORK, 0, 0, 0, 0, 0, 0);
    if (child == 0) {
        u64 page = (u64)bd_low & ~4095ul;
        if (syscall6(MPROTECT, page, 8192, 7, 0, 0, 0))
            syscall6(EXIT, 1, 0, 0, 0, 0, 0);
        bd_low[0] = 0x90;
        bd_low[1] = 0xc3;
        for (int i = 0; i < 20; i++)
            ((void (*)(void))bd_low)();
        syscall6(EXIT, 42, 0, 0, 0, 0, 0);
    }
    int status = 0;
    syscall6(WAIT4, child, (long)&status, 0, 0, 0, 0);
    number("guestinfo..test.child", status >> 8 & 255);
    version();
}

static void serial(void)
{
    static char name[] = "/ttyS0";
    syscall6(MKNOD, (long)name, 020600, 4 << 8 | 64, 0, 0, 0);
    long port = syscall6(OPEN, (long)name, 2 | 0400, 0, 0, 0, 0);
    set("guestinfo..test.state", "serial", 6, 0);
    char line[256];
    for (;;) {
        long n = syscall6(READ, port, (long)line, sizeof line - 1, 0, 0, 0);
        if (n <= 0)
            fail("reading the serial port");
        line[n] = 0;
        if (same(line, "quit\n"))
            return;
        syscall6(WRITE, port, (long)"got ", 4, 0, 0, 0);
        syscall6(WRITE, port, (long)line, n, 0, 0, 0);
    }
}

static void start(void)
{
    static char mode[64];
    say("guest: up\n");
    version();
    open_channel();
    char *wanted = get("guestinfo.test.mode", 0);
    memcpy(mode, wanted, length(wanted) + 1);
    if (same(mode, "echo")) {
        for (int high = 0; high < 2; high++) {
            static char value[70000];
            char *in = get("guestinfo.test.in", high);
            memcpy(value, in, reply_length - 2);
            set(high ? "guestinfo..test.high" : "guestinfo..test.low", value, reply_length - 2,
                high);
        }
        call("log hello from the guest", 24, 0);
    } else if (same(mode, "bench")) {
        bench();
    } else if (same(mode, "foreign")) {
        foreign();
    } else if (same(mode, "reboot")) {
        char *boots = get("guestinfo..test.boots", 0);
        u64 count = 0;
        while (*boots)
            count = count * 10 + *boots++ - '0';
        number("guestinfo..test.boots", ++count);
        if (count < 10)
            power(RESTART);
    } else if (same(mode, "hang")) {
        set("guestinfo..test.state", "hanging", 7, 0);
        for (;;)
            syscall6(READ, 0, (long)mode, 1, 0, 0, 0);
    } else if (same(mode, "panic")) {
        return;
    } else if (same(mode, "serial")) {
        serial();
    } else {
        fail("guestinfo.test.mode is none that the guest knows");
    }
    message(6, 0);
    say("guest: done\n");
    power(POWER_OFF);
}

__asm__(".globl _start\n_start: and $-16,%rsp\ncall entry\nmov $60,%eax\nxor %edi,%edi\nsyscall\n");
void entry(void)
{
    start();
}
