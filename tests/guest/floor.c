// The floor: the least that an init can do to get a container's output out. It loads the modules,
// mounts the disk, runs the command with ttyS0 as its output and powers off. What tether takes
// longer than this is what its promises cost; see tests/bench. -DCOMMAND and -DPORT make variants;
// -DALONE starts the command without a shell, -DRELAY puts a pipe between the command and the port.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef COMMAND
#define COMMAND "/hello"
#endif
#ifndef PORT
#define PORT "/dev/ttyS0"
#endif

int main(void)
{
    static const char *const disks[] = {"/dev/sda", "/dev/vda", "/dev/nvme0n1"};
    char line[256];
    mount("dev", "/dev", "devtmpfs", 0, "");
    FILE *order = fopen("/lib/modules/tether.order", "r");
    while (order && fgets(line, sizeof line, order)) {
        line[strcspn(line, "\n")] = 0;
        int module = open(line, O_RDONLY | O_CLOEXEC);
        syscall(SYS_finit_module, module, "", 0);
        close(module);
    }
    for (unsigned i = 0; mount(disks[i % 3], "/newroot", "ext4", 0, "") != 0; i++)
        usleep(1000);
    mount("/dev", "/newroot/dev", NULL, MS_MOVE, NULL);
    chdir("/newroot");
    chroot(".");
    struct termios mode;
    int port = open(PORT, O_RDWR | O_NOCTTY);
    if (tcgetattr(port, &mode) == 0) {
        cfmakeraw(&mode);
        cfsetspeed(&mode, B115200);
        tcsetattr(port, TCSANOW, &mode);
    }
    int output[2] = {-1, port};
#ifdef RELAY
    if (pipe(output) != 0)
        return 1;
#endif
    if (fork() == 0) {
        dup2(output[1], 1);
        dup2(output[1], 2);
        close(output[0]);
#ifdef ALONE
        execl(COMMAND, COMMAND, NULL);
#else
        execl("/bin/sh", "sh", "-c", COMMAND, NULL);
#endif
        _exit(127);
    }
#ifdef RELAY
    static char piece[32 << 10];
    close(output[1]);
    for (ssize_t got; (got = read(output[0], piece, sizeof piece)) > 0;)
        for (ssize_t sent = 0; sent < got;)
            sent += write(port, piece + sent, got - sent);
#endif
    wait(NULL);
    tcdrain(port);
    sync();
    return reboot(RB_POWER_OFF);
}
