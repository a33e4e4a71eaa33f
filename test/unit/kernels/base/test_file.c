#include "kernels/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/support/check.h"

TEST(file__reads_what_it_wrote_and_keeps_the_limit)
{
    char dir[] = "/tmp/file-test-XXXXXX", path[64];
    struct arena a = { 0 };
    struct err err = { 0 };
    struct span body;

    CHECK(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/x", dir);
    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    CHECK_OK(file_write(path, SPAN("first"), &err), err);
    CHECK_OK(file_write(path, SPAN("second"), &err), err);
    CHECK_OK(file_read(path, 6, &a, &body, &err), err);
    CHECK(span_is(body, "second") && body.ptr[6] == 0);
    CHECK(file_read(path, 5, &a, &body, NULL) == ERR_TOO_LARGE);
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    CHECK(file_read(path, 5, &a, &body, NULL) == ERR_INVALID); /* and nobody waits for a writer */
    CHECK(unlink(path) == 0);
    CHECK(rmdir(dir) == 0); /* nothing else was left there */
    CHECK(file_read(path, 5, &a, &body, NULL) == ERR_NOT_FOUND);
    CHECK(file_write(path, SPAN("x"), NULL) == ERR_IO);
    CHECK(file_read("/tmp", 5, &a, &body, NULL) == ERR_INVALID);
    arena_done(&a);
}
