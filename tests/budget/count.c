// A plugin for QEMU's emulation that counts what a boot takes up to the first instruction of the
// container, in instructions of the guest and in system calls.
//
//   -plugin count.so,init=ADDRESS,container=ADDRESS,out=FILE
//
// init and container are the entry points of process 1 and of the container's program: static, so at
// fixed addresses, and each at another. FILE gets lines `NAME NUMBER`: by where the instructions are, the
// firmware's (below 1 MiB, or at the end of the first 4 GiB), those that unpack the kernel (between), the
// kernel's, and from process 1 on all, those of programs, and system calls. QEMU's header for plugins
// is in no package of Debian; what is needed of it is declared here, as QEMU's documentation has it.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct tb;
struct insn;
typedef void (*tb_trans)(plugin_id, struct tb *);
typedef void (*exec)(unsigned int vcpu, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, tb_trans);
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *, exec, int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct insn *, exec, int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct tb *);
struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct insn *);
size_t qemu_plugin_insn_size(const struct insn *);
#if VERSION < 3
const void *qemu_plugin_insn_data(const struct insn *);
#else
size_t qemu_plugin_insn_data(const struct insn *, void *, size_t);
#endif

__attribute__((visibility("default"))) int qemu_plugin_version = VERSION;

static uint64_t init_entry, container_entry;
static const char *out;
// Since the start of the machine, then since process 1's first instruction.
enum { FIRMWARE, LOW, KERNEL, PLACES };
static uint64_t counts[PLACES], before[PLACES], system_calls;
static bool began, ended;

static unsigned int place(uint64_t address)
{
    // The kernel has the upper half of the addresses. What is low is a program's once there are any.
    if (address >> 63)
        return KERNEL;
    return address < 0x100000 || (address >= 0xfff00000 && address < 0x100000000) ? FIRMWARE : LOW;
}

static void block(unsigned int vcpu, void *data)
{
    (void)vcpu;
    uintptr_t block = (uintptr_t)data;
    if (!ended)
        counts[block % PLACES] += block / PLACES;
}

static void at_init(unsigned int vcpu, void *data)
{
    (void)vcpu, (void)data;
    if (began)
        return;
    began = true;
    memcpy(before, counts, sizeof counts);
    memset(counts, 0, sizeof counts);
    system_calls = 0;
}

static void at_container(unsigned int vcpu, void *data)
{
    (void)vcpu, (void)data;
    if (!began || ended)
        return;
    ended = true;
    FILE *file = fopen(out, "w");
    uint64_t user = counts[FIRMWARE] + counts[LOW];
    if (!file || fprintf(file, "firmware %" PRIu64 "\nunpack %" PRIu64 "\nkernel %" PRIu64 "\n"
                               "instructions %" PRIu64 "\nuser %" PRIu64 "\nsyscalls %" PRIu64 "\n",
                         before[FIRMWARE], before[LOW], before[KERNEL], user + counts[KERNEL], user, system_calls) < 0 ||
        fclose(file) != 0)
        perror(out);
}

static void at_syscall(unsigned int vcpu, void *data)
{
    (void)vcpu, (void)data;
    system_calls++;
}

static bool is_syscall(const struct insn *insn)
{
    unsigned char bytes[2] = {0};
    if (qemu_plugin_insn_size(insn) != sizeof bytes)
        return false;
#if VERSION < 3
    memcpy(bytes, qemu_plugin_insn_data(insn), sizeof bytes);
#else
    qemu_plugin_insn_data(insn, bytes, sizeof bytes);
#endif
    return bytes[0] == 0x0f && bytes[1] == 0x05;
}

static void translated(plugin_id id, struct tb *tb)
{
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(tb);
    unsigned int where = place(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0)));
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block, 0, (void *)(uintptr_t)(count * PLACES + where));
    if (where != LOW)
        return;
    for (size_t i = 0; i < count; i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        if (address == init_entry)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_init, 0, NULL);
        else if (address == container_entry)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_container, 0, NULL);
        else if (is_syscall(insn))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_syscall, 0, NULL);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "init=", 5) == 0)
            init_entry = strtoull(argv[i] + 5, NULL, 0);
        else if (strncmp(argv[i], "container=", 10) == 0)
            container_entry = strtoull(argv[i] + 10, NULL, 0);
        else if (strncmp(argv[i], "out=", 4) == 0)
            out = strdup(argv[i] + 4);
    }
    if (!init_entry || !container_entry || !out) {
        fprintf(stderr, "count: expected init=ADDRESS,container=ADDRESS,out=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
