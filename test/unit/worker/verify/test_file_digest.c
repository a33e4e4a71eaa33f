#include "worker/verify/file_digest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "test/support/bytes.h"
#include "test/support/check.h"

/* FIPS 180-4's examples, and the digest of nothing. */
TEST(file_digest__is_as_published)
{
    static const struct {
        const char *text;
        size_t times;
        const char *want;
    } cases[] = {
        { "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };
        char got[FILE_DIGEST_SIZE];
        int64_t bytes = -1;
        struct err err = { 0 };

        for (size_t k = 0; k < cases[i].times; k++)
            bytes_text(&b, cases[i].text);
        CHECK_OK(file_digest(temp_file("digest", b.ptr ? b.ptr : "", b.len), NULL, got, &bytes, &err), err);
        CHECK_STR(got, cases[i].want);
        CHECK_INT(bytes, (long long)b.len);
        bytes_done(&b);
    }
}

struct told {
    int64_t done, total;
    int times;
    atomic_bool stop;
};

static void tell(void *ctx, const char *path, int64_t done, int64_t total)
{
    struct told *t = ctx;

    CHECK(path && done >= t->done && total == 3 << 20);
    t->done = done;
    t->total = total;
    t->stop = ++t->times == 2;
}

TEST(file_digest__says_how_far_it_has_come_and_can_be_ended)
{
    char *zeros = calloc(3, 1 << 20), got[FILE_DIGEST_SIZE];
    const char *path = temp_file("digest", zeros, 3 << 20);
    struct told told = { 0 };
    struct file_digest_watch watch = { .progress = tell, .ctx = &told };
    int64_t bytes;
    struct err err = { 0 };

    CHECK_OK(file_digest(path, &watch, got, &bytes, &err), err);
    CHECK_INT(told.done, told.total);
    told = (struct told){ 0 };
    watch.stop = &told.stop;
    CHECK_INT(file_digest(path, &watch, got, &bytes, &err), ERR_CANCELLED);
    CHECK_INT(told.times, 2);
    free(zeros);
}

TEST(file_digest__refuses_what_is_no_file)
{
    char got[FILE_DIGEST_SIZE];
    int64_t bytes;
    const char *pipe = temp_path("pipe");

    CHECK_INT(file_digest(temp_path("nothing"), NULL, got, &bytes, NULL), ERR_NOT_FOUND);
    CHECK_INT(file_digest("/tmp", NULL, got, &bytes, NULL), ERR_INVALID);
    CHECK_INT(file_digest("/dev/zero", NULL, got, &bytes, NULL), ERR_INVALID);
    CHECK(mkfifo(pipe, 0600) == 0);
    CHECK_INT(file_digest(pipe, NULL, got, &bytes, NULL), ERR_INVALID);
}
