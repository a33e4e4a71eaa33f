#include "test/gpu/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, MAX_COPIES = 256 };

static void *copies[MAX_COPIES];
static int n_copies;

struct backend *device(void)
{
    static struct backend *be;
    static struct err err;

    if (!be && backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err))
        SKIP(err.msg);
    return be;
}

struct backend *reference(void)
{
    static struct backend *be;
    struct err err = { 0 };

    if (!be)
        CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    return be;
}

static size_t span_bytes(const struct tensor *t)
{
    return (size_t)(tensor_rows(t) * t->row_stride) * (size_t)dtype_info(t->dtype)->block_bytes;
}

struct tensor device_copy(const struct tensor *whole)
{
    size_t bytes = span_bytes(whole) + 2 * GUARD;
    struct tensor dev = *whole;
    void *memory = NULL;
    struct err err = { 0 };

    CHECK(n_copies < MAX_COPIES);
    CHECK_OK(device()->ops->mem_alloc(device(), bytes, &memory, &err), err);
    copies[n_copies++] = memory;
    CHECK_OK(device()->ops->upload(device(), memory, (const char *)whole->data - GUARD, bytes, &err), err);
    dev.data = (char *)memory + GUARD;
    return dev;
}

void device_fetch(const struct tensor *dev, const struct tensor *whole)
{
    struct err err = { 0 };

    CHECK_OK(device()->ops->download(device(), (char *)whole->data - GUARD, (const char *)dev->data - GUARD,
                                     span_bytes(whole) + 2 * GUARD, &err),
             err);
}

struct weight device_weight(const struct weight *host)
{
    struct weight w = { 0 };
    struct err err = { 0 };

    CHECK_OK(device()->ops->weight_load(device(), host, &w, &err), err);
    return w;
}

bool device_done(void)
{
    while (n_copies > 0)
        device()->ops->mem_free(device(), copies[--n_copies]);
    return sample_done();
}

void device_check(const char *what, const struct tensor *got, const struct tensor *want, double limit)
{
    double rel = sample_rel(got, want);

    if (got->dtype == DT_BF16 && want->dtype == DT_F32)
        limit += 0x1p-8;
    if (!(rel <= limit))
        test_fail(__FILE__, __LINE__, "%s, %s [%lld, %lld]: relative error %.3g, limit %.3g", what,
                  dtype_info(got->dtype)->name, (long long)tensor_rows(got), (long long)tensor_cols(got), rel, limit);
}

void device_check_same(const char *what, const struct tensor *a, const struct tensor *b)
{
    size_t bytes = (size_t)tensor_cols(a) * (size_t)dtype_info(a->dtype)->block_bytes;

    for (int64_t r = 0; r < tensor_rows(a); r++) {
        int64_t at = r * a->row_stride * dtype_info(a->dtype)->block_bytes;

        if (memcmp((const char *)a->data + at, (const char *)b->data + at, bytes) != 0)
            test_fail(__FILE__, __LINE__, "%s: row %lld differs from one run to the next", what, (long long)r);
    }
}
