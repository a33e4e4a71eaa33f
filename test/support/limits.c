#include "test/support/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void limit_address_space(size_t more)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;
    struct rlimit limit;

    if (!f || fscanf(f, "%zu", &pages) != 1)
        abort();
    (void)fclose(f);
    limit.rlim_cur = limit.rlim_max = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    if (setrlimit(RLIMIT_AS, &limit))
        abort();
}

struct rlimit limit_files(void)
{
    struct rlimit was, none;
    int next = dup(0);

    if (next < 0 || close(next) || getrlimit(RLIMIT_NOFILE, &was))
        abort();
    none = was;
    none.rlim_cur = (rlim_t)next; /* the lowest number that is free */
    if (setrlimit(RLIMIT_NOFILE, &none))
        abort();
    return was;
}
