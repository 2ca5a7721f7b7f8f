// Dies as it is told, after it has looked at what it was started with.
//
//   deaths ORPHANS exit N      leaves ORPHANS grandchildren whose parents end at once, then ends with N
//   deaths ORPHANS signal N    the same, by signal N (with 201 where it survives that)
//
// Ends with 202 to 206 when it was not started as a program should be: a signal is blocked, one is ignored,
// a descriptor is open that it was not given, it has no session of its own, an orphan could not be made.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNALS 64

static int inherited(void)
{
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int number = 1; number <= SIGNALS; number++) {
        struct sigaction action;
        if (sigismember(&blocked, number) == 1)
            return 202;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            return 203;
    }
    for (int fd = 3; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) != -1)
            return 204;
    return getsid(0) == getpid() ? 0 : 205;
}

// A child. Where every process number is taken it is made when one is given back, within two minutes: those who
// hold them have ended, and whoever reaps them may be late on a busy machine.
static pid_t forked(void)
{
    for (int turn = 0; turn < 12000; turn++) {
        pid_t child = fork();
        if (child >= 0 || errno != EAGAIN)
            return child;
        usleep(10000);
    }
    return -1;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int wrong = inherited(), number = atoi(argv[3]);
    if (wrong)
        return wrong;
    for (int orphans = atoi(argv[1]); orphans > 0; orphans--) {
        pid_t parent = forked();
        if (parent == 0)
            _exit(forked() < 0);
        int status = 0;
        if (parent < 0 || waitpid(parent, &status, 0) != parent || status)
            return 206;
    }
    if (strcmp(argv[2], "exit") == 0)
        _exit(number);
    raise(number);
    return 201;
}
