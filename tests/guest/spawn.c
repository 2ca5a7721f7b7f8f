// Starts a program again and again, each time by fork, exec and wait: prints the milliseconds of one.
//
//   spawn TIMES PROGRAM
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    int times = argc == 3 ? atoi(argv[1]) : 0;
    double begin = now();
    for (int i = 0; i < times; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl(argv[2], argv[2], (char *)NULL);
            _exit(127);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child || status)
            return 1;
    }
    if (times < 1)
        return 2;
    printf("%.2f\n", (now() - begin) / times);
    return 0;
}
