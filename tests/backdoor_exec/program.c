/* What `vmx exec` must let through unchanged, and what it must answer, one case a word. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAGIC 0x564D5868u

struct call { uint32_t eax, ebx, ecx, edx; uint64_t esi, edi; };

static void low(struct call *c)
{
    __asm__ volatile("inl %%dx, %%eax"
                     : "+a"(c->eax), "+b"(c->ebx), "+c"(c->ecx), "+d"(c->edx), "+S"(c->esi), "+D"(c->edi)
                     :: "memory");
}

static int version(void)
{
    struct call c = { MAGIC, 0, 10, 0x5658, 0, 0 };
    low(&c);
    return c.ebx == MAGIC ? (int)c.eax : -1;
}

static int open_channel(void)
{
    struct call c = { MAGIC, 0x49435052u | 0x80000000u, 30, 0x5658, 0, 0 };
    low(&c);
    return (c.ecx >> 16) & 1;
}

static void *ask(void *unused)
{
    for (int i = 0; i < 50; i++)
        if (version() != 6)
            return (void *)1;
    return unused;
}

static void *sleep_long(void *unused)
{
    pause();
    return unused;
}

/* Real-time signals do the cancelling in glibc. */
static int threads(void)
{
    pthread_t asking[8], sleeping;
    void *result;
    int bad = 0;
    pthread_create(&sleeping, NULL, sleep_long, NULL);
    for (int i = 0; i < 8; i++)
        pthread_create(&asking[i], NULL, ask, NULL);
    for (int i = 0; i < 8; i++) {
        pthread_join(asking[i], &result);
        bad |= result != NULL;
    }
    pthread_cancel(sleeping);
    pthread_join(sleeping, &result);
    return bad || result != PTHREAD_CANCELED;
}

static void hypervisor(char *signature)
{
    uint32_t eax = 0x40000000, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    memcpy(signature, &ebx, 4);
    memcpy(signature + 4, &ecx, 4);
    memcpy(signature + 8, &edx, 4);
    signature[12] = 0;
}

/* The other leaves are the processor's: the same as what the test finds outside. */
static void vendor(char *signature)
{
    uint32_t eax = 0, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    memcpy(signature, &ebx, 4);
    memcpy(signature + 4, &edx, 4);
    memcpy(signature + 8, &ecx, 4);
    signature[12] = 0;
}

static volatile sig_atomic_t handled;

static void handler(int signal)
{
    (void)signal;
    handled = handled + 1;
    mprotect((void *)0x10000, 4096, PROT_READ | PROT_WRITE);
}

static int own_handler(void)
{
    volatile int *page = mmap((void *)0x10000, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    signal(SIGSEGV, handler);
    if (version() != 6 || handled != 0)
        return 1;
    *page = 1;
    return !(handled == 1 && version() == 6);
}

/* A buffer that is not there: the string instruction must fault as any other. */
static void bad_buffer(void)
{
    struct call c = { MAGIC, 0x49435052u, 30, 0x5658, 0, 0 };
    low(&c);
    uint32_t channel = c.edx & 0xffff0000u;
    struct call size = { MAGIC, 8, 30 | 1 << 16, 0x5658 | channel, 0, 0 };
    low(&size);
    uint32_t eax = MAGIC, ebx = 1 << 16, ecx = 8, edx = 0x5659 | channel;
    uint64_t rsi = 0x20000, rdi = 0;
    __asm__ volatile("cld; rep outsb" : "+a"(eax), "+b"(ebx), "+c"(ecx), "+d"(edx), "+S"(rsi), "+D"(rdi) :: "memory");
}

int main(int argc, char **argv)
{
    char signature[13];
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "version"))
        printf("%d\n", version());
    else if (!strcmp(what, "hypervisor"))
        hypervisor(signature), puts(signature);
    else if (!strcmp(what, "vendor"))
        vendor(signature), puts(signature);
    else if (!strcmp(what, "threads"))
        return threads();
    else if (!strcmp(what, "own-handler"))
        return own_handler();
    else if (!strcmp(what, "segv"))
        *(volatile int *)0 = 1;
    else if (!strcmp(what, "trap"))
        __asm__ volatile("int3");
    else if (!strcmp(what, "other-port"))
        __asm__ volatile("inb %%dx, %%al" :: "d"(0x5658), "a"(MAGIC));
    else if (!strcmp(what, "bad-buffer"))
        bad_buffer();
    else if (!strcmp(what, "leak"))
        _exit(!open_channel());
    else if (!strcmp(what, "vfork")) {
        int status = 1;
        pid_t pid = vfork();
        if (pid == 0) {
            execl(argv[0], argv[0], "hypervisor", (char *)NULL);
            _exit(9);
        }
        waitpid(pid, &status, 0);
        hypervisor(signature), puts(signature);
        return status;
    } else if (!strcmp(what, "stop")) {
        /* Job control: the child stops itself, the parent sees it, continues it, sees it end. */
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            raise(SIGSTOP);
            _exit(version() == 6 ? 5 : 9);
        }
        if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
            return 1;
        kill(pid, SIGCONT);
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
            return 2;
        return WEXITSTATUS(status);
    } else
        return 64;
    return 0;
}
