#include "models/jail/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

enum { W = 9, H = 5 };

static uint8_t alpha[W * H];

/* The bytes that a jailed process would answer with, in a heap block of exactly their length; free() them. */
static char *answer(const struct reply *r, size_t *ret_len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    struct err err = { 0 };
    struct stat s;
    char *bytes;

    CHECK(fd >= 0);
    CHECK_OK(reply_write(fd, r, &err), err);
    CHECK(fstat(fd, &s) == 0);
    *ret_len = (size_t)s.st_size;
    bytes = malloc(*ret_len);
    CHECK(bytes && pread(fd, bytes, *ret_len, 0) == (ssize_t)*ret_len);
    CHECK(close(fd) == 0);
    return bytes;
}

static void sample(struct arena *a, struct reply *ret)
{
    *ret = (struct reply){ .notes = { .orientation = 6, .icc = SPAN("a profile"), .indexed = true, .alpha = alpha } };
    picture_of_noise(a, W, H, 3, 1, &ret->image);
    for (size_t i = 0; i < sizeof alpha; i++)
        alpha[i] = (uint8_t)(3 * i);
}

TEST(reply__carries_a_picture_and_its_notes)
{
    struct arena a;
    struct err err = { 0 };
    struct reply want, got;
    size_t len;
    char *bytes;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    sample(&a, &want);
    bytes = answer(&want, &len);
    CHECK(reply_read(bytes, len, &got) == NULL);
    CHECK_INT(got.err.code, ERR_OK);
    CHECK_SAME_PICTURE(&got.image, &want.image);
    CHECK_INT((uintptr_t)(got.image.pixels - (uint8_t *)bytes) % 64, 0);
    CHECK_INT(got.notes.orientation, 6);
    CHECK(got.notes.indexed);
    CHECK(span_is(got.notes.icc, "a profile"));
    CHECK(memcmp(got.notes.alpha, alpha, sizeof alpha) == 0);
    free(bytes);
    arena_done(&a);
}

TEST(reply__carries_an_error)
{
    struct reply want = { 0 }, got;
    size_t len;
    char *bytes;

    (void)err_set(&want.err, ERR_CORRUPT, "jpeg: row 5 is missing");
    bytes = answer(&want, &len);
    CHECK(reply_read(bytes, len, &got) == NULL);
    CHECK_INT(got.err.code, ERR_CORRUPT);
    CHECK_STR(got.err.msg, "jpeg: row 5 is missing");
    free(bytes);
}

TEST(reply__does_not_take_every_error)
{
    static const enum err_code not_theirs[] = { ERR_GPU, ERR_CANCELLED, ERR_NOT_FOUND, ERR_INTERNAL, ERR_MASK_EMPTY };

    for (size_t i = 0; i < sizeof not_theirs / sizeof *not_theirs; i++) {
        struct reply want = { 0 }, got;
        size_t len;
        char *bytes;

        (void)err_set(&want.err, not_theirs[i], "nonsense");
        bytes = answer(&want, &len);
        CHECK(reply_read(bytes, len, &got) != NULL);
        free(bytes);
    }
}

/* Reads every byte that an answer promises; a sanitizer or the end of the memory catches what is outside. */
static unsigned touch(const struct reply *r, const char *bytes, size_t len)
{
    const struct span parts[] = { { (const char *)r->image.pixels, image_bytes(&r->image) },
                                  { (const char *)r->notes.alpha,
                                    r->notes.alpha ? (size_t)r->image.width * (size_t)r->image.height : 0 },
                                  r->notes.icc };
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        CHECK(parts[i].len == 0 || (parts[i].ptr >= bytes && parts[i].len <= (size_t)(bytes + len - parts[i].ptr)));
        for (size_t k = 0; k < parts[i].len; k++)
            sum += (unsigned char)parts[i].ptr[k];
    }
    CHECK(r->notes.orientation >= 1 && r->notes.orientation <= 8);
    CHECK(r->image.channels == 1 || r->image.channels == 3);
    return sum;
}

static unsigned next(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* One to four changes, most of them in the header: a byte, or a word that is near a limit. */
static void mutate(char *bytes, size_t len, unsigned *state)
{
    static const int64_t words[] = { 0, 1, -1, 64, 4096, INT64_MAX, INT64_MIN, INT32_MAX, 1 << 20, ((int64_t)1 << 40) };

    for (unsigned n = 1 + next(state) % 4; n; n--) {
        size_t room = next(state) % 8 ? (len < 512 ? len : 512) : len, at = next(state) % (room - 8);

        if (next(state) % 2)
            bytes[at] = (char)next(state);
        else
            memcpy(bytes + (at & ~(size_t)3), &words[next(state) % 10], next(state) % 2 ? 8 : 4);
    }
}

TEST(reply__believes_nothing)
{
    struct arena a;
    struct err err = { 0 };
    struct reply want, got;
    unsigned state = 12, sum = 0;
    size_t len;
    char *bytes;
    int n_taken = 0;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    sample(&a, &want);
    bytes = answer(&want, &len);
    for (int i = 0; i < 20000; i++) {
        size_t n = next(&state) % 8 ? len : next(&state) % len;
        char *copy = exact_copy(bytes, n);

        if (n >= 16)
            mutate(copy, n, &state);
        if (reply_read(copy, n, &got) == NULL && got.err.code == ERR_OK) {
            sum += touch(&got, copy, n);
            n_taken++;
        }
        free(copy);
    }
    CHECK(n_taken > 100 && n_taken < 19000 && sum != 0); /* both happen */
    free(bytes);
    arena_done(&a);
}

/* The process that answers is killed at any byte: the header comes last. */
TEST(reply__half_an_answer_is_none)
{
    struct reply got;
    struct arena a;
    struct err err = { 0 };
    struct reply want;
    size_t len;
    char *bytes;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    sample(&a, &want);
    bytes = answer(&want, &len);
    for (size_t n = 0; n < len; n++)
        CHECK(reply_read(bytes, n, &got) != NULL);
    memset(bytes, 0, REPLY_PIXELS_AT);
    CHECK(reply_read(bytes, len, &got) != NULL);
    free(bytes);
    arena_done(&a);
}
