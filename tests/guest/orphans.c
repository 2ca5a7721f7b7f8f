// Leaves N processes behind for PID 1 to reap: each is a grandchild whose parent ends at once.
// Ends with the number of those it could not make (0 to 255).
//
//   orphans N
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int wanted = argc > 1 ? atoi(argv[1]) : 10000, failed = 0;
    for (int i = 0; i < wanted; i++) {
        pid_t parent = fork();
        if (parent == 0)
            _exit(fork() < 0);
        int status = 0;
        if (parent < 0 || waitpid(parent, &status, 0) != parent || status != 0)
            failed++;
    }
    printf("%d orphans, %d failed\n", wanted, failed);
    return failed > 255 ? 255 : failed;
}
