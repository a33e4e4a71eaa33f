#include "kernels/base/out_file.h"

#include <glob.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

static void expect(const char *path, const char *text)
{
    struct err err = { 0 };
    struct span got = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    CHECK_OK(file_read(path, 4096, &a, &got, &err), err);
    CHECK_STR(got.ptr, text);
    arena_done(&a);
}

static void expect_files(const char *pattern, size_t n)
{
    glob_t found = { 0 };

    (void)glob(pattern, 0, NULL, &found);
    CHECK_INT(found.gl_pathc, n);
    globfree(&found);
}

TEST(out_file__appears_whole_or_not_at_all)
{
    const char *path = temp_path("out-file/a"), *all = temp_path("out-file/*");
    struct err err = { 0 };
    struct out_file *f;

    CHECK_OK(out_file_open(&f, path, &err), err);
    out_file_write(f, "one ", 4);
    CHECK(access(path, F_OK) != 0);
    out_file_write(f, "two", 3);
    out_file_write(f, NULL, 0);
    CHECK_OK(out_file_close(f, OUT_FILE_KEEP, &err), err);
    expect(path, "one two");
    CHECK_OK(out_file_open(&f, path, &err), err);
    out_file_write(f, "half", 4);
    CHECK_OK(out_file_close(f, OUT_FILE_DISCARD, &err), err);
    expect(path, "one two");
    CHECK_OK(out_file_open(&f, path, &err), err);
    CHECK_OK(out_file_close(f, OUT_FILE_KEEP, &err), err);
    expect(path, "");
    expect_files(all, 1);
}

TEST(out_file__names_the_path_and_the_reason)
{
    struct err err = { 0 };
    struct out_file *f;
    char text[8192] = { 0 };

    CHECK_INT(out_file_open(&f, "/nonexistent/x", &err), ERR_IO);
    CHECK_STR(err.msg, "/nonexistent/x: cannot be written: No such file or directory");
    memset(text, 'x', sizeof text - 1);
    CHECK_INT(out_file_open(&f, text, NULL), ERR_IO);
    if (access("/dev/full", W_OK) != 0)
        SKIP("no /dev/full");
    CHECK_INT(out_file_open(&f, "/dev/full", NULL), ERR_OK);
    err = (struct err){ 0 };
    CHECK_OK(out_file_check(f, &err), err);
    for (int i = 0; i < 4; i++)
        out_file_write(f, text, sizeof text);
    CHECK_INT(out_file_check(f, &err), ERR_IO); /* before the end */
    err = (struct err){ 0 };
    CHECK_INT(out_file_close(f, OUT_FILE_KEEP, &err), ERR_IO);
    CHECK(strstr(err.msg, "/dev/full: cannot be written: No space left"));
    CHECK(access("/dev/full", F_OK) == 0);
}
