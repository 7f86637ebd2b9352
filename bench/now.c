/* Prints when its first instruction ran: CLOCK_MONOTONIC, in nanoseconds. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;

    (void)argv;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    fflush(stdout);
    if (argc > 1)
        pause();
    return 0;
}
