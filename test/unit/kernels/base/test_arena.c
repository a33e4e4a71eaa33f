#include <stdint.h>
#include <string.h>

#include "kernels/base/arena.h"
#include "test/support/check.h"

TEST(arena__rewinds_to_a_mark_and_runs_its_hooks_in_reverse)
{
    struct arena a;
    struct err err = { 0 };
    struct arena_mark mark;
    char *p = NULL;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(arena_alloc(&a, 10, 10, &p, &err), err);
    CHECK(((uintptr_t)p & 63) == 0);
    mark = arena_mark(&a);
    CHECK_OK(arena_alloc(&a, 1, 1000, &p, &err), err);
    arena_rewind(&a, mark);
    CHECK_INT(a.used, 128);
    arena_done(&a);
}

TEST(arena__refuses_what_does_not_fit_and_overflow)
{
    struct arena a;
    struct err err = { 0 };
    char *p = NULL;

    CHECK_OK(arena_init(&a, 4096, &err), err);
    CHECK_INT(arena_alloc(&a, 1, 4097, &p, &err), ERR_NOMEM);
    CHECK_INT(arena_alloc(&a, SIZE_MAX / 2, 3, &p, NULL), ERR_NOMEM);
    CHECK(p == NULL);
    err = (struct err){ 0 };
    CHECK_OK(arena_alloc(&a, 1, 4096, &p, &err), err);
    arena_done(&a);
}

/* Memory is zero whether or not pages were given back before, also next to memory that is kept. */
TEST(arena__memory_is_zero_however_often_it_was_used)
{
    static const size_t sizes[] = { 1, 100, 4096, 70000, 3 << 20, 100, 5 << 20, 64 };
    struct arena a;
    struct err err = { 0 };
    char *kept = NULL, *p = NULL;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct arena_mark mark;

        CHECK_OK(arena_alloc(&a, 3, 1000, &kept, &err), err);
        memset(kept, 1, 3000);
        mark = arena_mark(&a);
        for (int again = 0; again < 2; again++) {
            CHECK_OK(arena_alloc(&a, sizes[i], 1, &p, &err), err);
            for (size_t k = 0; k < sizes[i]; k++)
                CHECK(p[k] == 0);
            memset(p, 1, sizes[i]);
        }
        arena_rewind(&a, mark);
        for (size_t k = 0; k < 3000; k++)
            CHECK(kept[k] == 1);
    }
    arena_done(&a);
}

static void count(void *n)
{
    ++*(int *)n;
}

/* Fails after the block's allocations if `fail` is set. */
static enum err_code use_scratch(struct arena *a, int *n_hooks, bool fail, struct err *err)
{
    ARENA_SCRATCH(a);
    char *p = NULL;

    TRY(arena_alloc(a, 1, 5000, &p, err));
    TRY(arena_defer(a, count, n_hooks, err));
    if (fail)
        return err_set(err, ERR_INVALID, "as asked");
    return arena_alloc(a, 1, 5000, &p, err);
}

TEST(arena__scratch_is_given_back_on_every_path_out_of_the_block)
{
    struct arena a;
    struct err err = { 0 };
    char *kept = NULL;
    int n_hooks = 0;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(arena_alloc(&a, 1, 100, &kept, &err), err);
    for (int fail = 0; fail < 2; fail++) {
        size_t used = a.used;

        CHECK_INT(use_scratch(&a, &n_hooks, fail, &err), fail ? ERR_INVALID : ERR_OK);
        CHECK_INT(a.used, used);
        CHECK_INT(n_hooks, fail + 1);
    }
    arena_done(&a);
}
