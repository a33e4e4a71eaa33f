#include <stdint.h>

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
