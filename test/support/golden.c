#include "test/support/golden.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/support/check.h"

enum { N_BUFFERS = 8, PATH_SIZE = 512 };

const char *golden(const char *fmt, ...)
{
    static char buffers[N_BUFFERS][PATH_SIZE];
    static unsigned n_calls;
    const char *dirs[] = { "test/golden", getenv("GOLDEN_DIR"), "../shared/golden" };
    char rel[PATH_SIZE / 2];
    char *path = buffers[n_calls++ % N_BUFFERS];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(rel, sizeof rel, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        if (!dirs[i])
            continue;
        (void)snprintf(path, PATH_SIZE, "%s/%s", dirs[i], rel);
        if (access(path, R_OK) == 0)
            return path;
    }
    (void)snprintf(path, PATH_SIZE, "golden file %s is not on this machine", rel);
    SKIP(path);
}
