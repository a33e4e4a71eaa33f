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

TEST(file__says_what_is_no_file_and_waits_for_nobody)
{
    static const struct {
        const char *path, *kind;
    } cases[] = { { "/tmp", "a folder" }, { "/dev/zero", "a device" }, { NULL, "a pipe" } };
    char dir[] = "/tmp/file-test-XXXXXX", path[64];
    struct stat st;
    int fd = -1;

    CHECK(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/pipe", dir);
    CHECK_INT(mkfifo(path, 0600), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = { 0 };
        char want[128];

        (void)snprintf(want, sizeof want, "%s is %s, not a regular file", cases[i].path ? cases[i].path : path,
                       cases[i].kind);
        CHECK_INT(file_open(cases[i].path ? cases[i].path : path, &fd, &st, &err), ERR_INVALID);
        CHECK_STR(err.msg, want);
    }
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
    CHECK_INT(file_open(path, &fd, &st, NULL), ERR_NOT_FOUND);
}

TEST(file__names_the_folder_of_a_path)
{
    static const char *const pairs[][2] = {
        { "x", "." }, { "./x", "." }, { "/x", "/" }, { "/a/b/x", "/a/b" }, { "a/x", "a" }, { "a/", "a" },
    };
    struct arena a = { 0 };
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *folder = NULL;

        CHECK_OK(file_folder(pairs[i][0], &a, &folder, &err), err);
        CHECK_STR(folder, pairs[i][1]);
    }
    arena_done(&a);
}

TEST(file__knows_a_folder_and_one_file_by_two_paths)
{
    char dir[] = "/tmp/file-test-XXXXXX", path[64], link[64], other[64];
    struct err err = { 0 };

    CHECK(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/x", dir);
    (void)snprintf(link, sizeof link, "%s/link", dir);
    (void)snprintf(other, sizeof other, "%s/other", dir);
    CHECK_OK(file_write(path, SPAN("one"), &err), err);
    CHECK_OK(file_write(other, SPAN("one"), &err), err);
    CHECK(symlink("x", link) == 0);
    CHECK(file_is_folder(dir) && !file_is_folder(path) && !file_is_folder("/nowhere/at/all"));
    CHECK(file_is_same(path, path) && file_is_same(path, link) && file_is_same(link, path));
    CHECK(!file_is_same(path, other) && !file_is_same(path, "/nowhere/at/all"));
    CHECK(file_is_same("/nowhere/at/all", "/nowhere/at/all"));
    CHECK(unlink(link) == 0 && unlink(path) == 0 && unlink(other) == 0 && rmdir(dir) == 0);
}
