#include "test/support/golden.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/support/check.h"

enum { N_BUFFERS = 8, PATH_SIZE = 512 };

/* Skips or fails the test for a file "SET/..." that was not found. */
__attribute__((noreturn)) static void leave_test(const char *file)
{
    static const char *const in_repository[] = { "small", "gguf", "common", "pictures", "demo", "lora" };
    static char why[PATH_SIZE];
    size_t len = strcspn(file, "/");

    for (size_t i = 0; i < sizeof in_repository / sizeof *in_repository; i++)
        if (len == strlen(in_repository[i]) && !strncmp(file, in_repository[i], len) && check_is_ci())
            test_fail(__FILE__, __LINE__, "test/golden/%s is part of the repository and is missing here", file);
    (void)snprintf(why, sizeof why, "no golden set \"%.*s\" (GOLDEN_DIR)", (int)len, file);
    SKIP(why);
}

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
    leave_test(rel);
}
