#include <stdint.h>
#include <string.h>

#include "kernels/devarena.h"
#include "test/support/check.h"

static struct backend *cpu(void)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_DEFAULT, &be, &err), err);
    return be;
}

TEST(devarena__fixed_gives_aligned_memory_until_its_hard_end)
{
    struct backend *be = cpu();
    struct devarena a;
    struct tensor t;
    struct err err = { 0 };
    void *p = NULL, *q = NULL;
    size_t mark;

    CHECK_OK(devarena_init(&a, be, 4096, 0, &err), err);
    CHECK_OK(devarena_alloc(&a, 1, &p, &err), err);
    mark = devarena_mark(&a);
    CHECK_OK(devarena_3d(&a, DT_BF16, 2, 3, 5, &t, &err), err);
    CHECK(((uintptr_t)p & 255) == 0 && ((uintptr_t)t.data & 255) == 0);
    CHECK_INT(a.used, 512);
    CHECK_INT(tensor_rows(&t), 6);
    CHECK_INT(devarena_alloc(&a, 3585, &q, NULL), ERR_NOMEM);
    CHECK_INT(devarena_alloc(&a, SIZE_MAX, &q, NULL), ERR_NOMEM);
    CHECK_OK(devarena_alloc(&a, 3584, &q, &err), err);
    devarena_rewind(&a, mark);
    CHECK_INT(a.used, 256);
    CHECK_INT(a.peak, 4096);
    CHECK_INT(a.total, 4096);
    devarena_done(&a);
    backend_close(be);
}

TEST(devarena__growing_adds_slabs_and_keeps_what_it_gave)
{
    struct backend *be = cpu();
    struct devarena a;
    struct err err = { 0 };
    char *first = NULL;
    void *p = NULL;

    CHECK_OK(devarena_init(&a, be, 0, 8192, &err), err);
    CHECK_OK(devarena_alloc(&a, 8000, (void **)&first, &err), err);
    memset(first, 7, 8000);
    CHECK_OK(devarena_alloc(&a, 500, &p, &err), err);
    memset(p, 1, 500);
    CHECK_OK(devarena_alloc(&a, 100000, &p, &err), err);
    memset(p, 1, 100000);
    CHECK_INT(first[7999], 7);
    CHECK_INT(a.total, 8192 + 8192 + 100096);
    devarena_done(&a);
    devarena_done(&a);
    backend_close(be);
}

TEST(devarena__refuses_tensors_of_impossible_size)
{
    struct backend *be = cpu();
    struct devarena a;
    struct tensor t;
    struct err err = { 0 };

    CHECK_OK(devarena_init(&a, be, 1 << 20, 0, &err), err);
    CHECK_INT(devarena_1d(&a, DT_F32, 0, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_1d(&a, DT_F32, -1, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_1d(&a, DT_Q8_0, 33, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_2d(&a, DT_F32, 0, 5, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_3d(&a, DT_F32, INT64_MAX, INT64_MAX, 5, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_2d(&a, DT_F32, INT64_MAX, 5, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_1d(&a, DT_F32, INT64_MAX, &t, NULL), ERR_INVALID);
    CHECK_INT(devarena_2d(&a, DT_F32, 1 << 20, 1, &t, NULL), ERR_NOMEM);
    devarena_done(&a);
    backend_close(be);
}
