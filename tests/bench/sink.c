// The other end of a raw serial port, for the floor: takes one connection on 127.0.0.1, counts what
// comes, and says when the first and the last byte came.
//
//   sink PORT [FILE]     prints FIRST LAST BYTES: seconds since 1970 with nanoseconds, and a count;
//                        what came is kept in FILE. "listening" is printed once it can be dialled.
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(argv[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int file = argc > 2 ? open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) {
        perror("sink");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    int connection = accept(listener, NULL, NULL);
    static char buffer[1 << 16];
    double first = 0, last = 0;
    unsigned long long bytes = 0;
    ssize_t got;
    while ((got = read(connection, buffer, sizeof buffer)) > 0) {
        last = now();
        if (bytes == 0)
            first = last;
        bytes += (unsigned long long)got;
        if (file >= 0 && write(file, buffer, (size_t)got) != got)
            return 1;
    }
    printf("%.6f %.6f %llu\n", first, last, bytes);
    return 0;
}
