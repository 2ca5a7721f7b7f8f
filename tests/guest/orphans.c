// Leaves N processes behind for PID 1 to reap, each a grandchild whose parent ends at once; then looks
// through /proc until none of them is left as a zombie, for a minute at most.
// Ends with 0, 1 (a process could not be made) or 2 (zombies are left).
//
//   orphans N
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int zombies(void)
{
    int found = 0;
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc))) {
        char path[300], state = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *stat = atoi(entry->d_name) > 0 ? fopen(path, "r") : NULL;
        if (!stat)
            continue;
        if (fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z')
            found++;
        fclose(stat);
    }
    if (proc)
        closedir(proc);
    return proc ? found : -1;
}

int main(int argc, char **argv)
{
    int wanted = argc > 1 ? atoi(argv[1]) : 10000, failed = 0, left = 0;
    for (int i = 0; i < wanted; i++) {
        pid_t parent = fork();
        if (parent == 0)
            _exit(fork() < 0);
        int status = 0;
        if (parent < 0 || waitpid(parent, &status, 0) != parent || status != 0)
            failed++;
    }
    for (int i = 0; i < 60 && (left = zombies()) != 0; i++)
        sleep(1);
    printf("%d orphans, %d failed, %d zombies\n", wanted, failed, left);
    return failed ? 1 : left ? 2 : 0;
}
