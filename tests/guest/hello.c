// /hello of the example container: greets, and says what had to work for the greeting to be seen.
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

int main(void)
{
    struct utsname kernel;
    if (uname(&kernel) != 0) {
        perror("hello: uname");
        return 1;
    }
    printf("\nHello from a container that is a virtual machine.\n\n"
           "For you to read this,\n"
           " 1. the machine booted bootstrap.iso (Linux %s, host name %s);\n"
           " 2. tether, its process 1, read from the hypervisor which container it is;\n"
           " 3. it mounted the container's own disk and started /hello, process %d here;\n"
           " 4. each byte of this text went over the first serial port to the appliance,\n"
           "    which kept it and says so to the machine; then the exit status follows.\n\n"
           "Something more ambitious:  make run CMD='/bin/sh -c \"cat /proc/cpuinfo; exit 3\"'\n\n",
           kernel.release, kernel.nodename, (int)getpid());
    return fflush(stdout) == 0 ? 0 : 1;
}
