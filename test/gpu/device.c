#include "test/gpu/device.h"

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GUARD = 64, MAX_COPIES = 256, MAX_BALLAST = 512, BALLAST_GRAIN = 2 << 20 /* the driver's */ };

static void *copies[MAX_COPIES];
static int n_copies;

static struct backend *opened;

void device_say(const char *line)
{
    (void)printf("  %s\n", line);
}

/* --- a smaller card --- */

static void *ballast[MAX_BALLAST];
static int n_ballast;

static void drop_ballast(void)
{
    while (n_ballast > 0)
        (void)cudaFree(ballast[--n_ballast]);
}

static void skip_for_memory(size_t there, size_t wanted)
{
    static char why[96];

    (void)snprintf(why, sizeof why, "%.2f GiB of the card are free, %.2f GiB are wanted", (double)there / 0x1p30,
                   (double)wanted / 0x1p30);
    SKIP(why);
}

void device_ballast(size_t leave)
{
    static const size_t largest = (size_t)1 << 30;
    size_t there = device_free_bytes();

    if (there < leave)
        skip_for_memory(there, leave);
    while (there >= leave + BALLAST_GRAIN) {
        size_t over = (there - leave) / BALLAST_GRAIN * BALLAST_GRAIN;

        CHECK(n_ballast < MAX_BALLAST);
        CHECK_INT(cudaMalloc(&ballast[n_ballast], over < largest ? over : largest), cudaSuccess);
        n_ballast++;
        there = device_free_bytes();
    }
}

/* --- whether there is a device --- */

/* A machine that has a card but no working driver must not pass. */
static enum test_go no_device(cudaError_t status, const char **ret_why)
{
    static char why[160];
    bool card = access("/dev/nvidiactl", F_OK) == 0;

    (void)snprintf(why, sizeof why, "%s: %s", card ? "there is a card that CUDA does not find" : "no GPU",
                   status ? cudaGetErrorName(status) : "no device");
    *ret_why = why;
    return card ? TEST_STOP : TEST_NONE;
}

/* Runs before each test: a failed test leaves its tensors and its ballast, and a fault of the device persists. */
static enum test_go gate(const char **ret_why)
{
    static struct err err;
    int n = 0;

    drop_ballast();
    if (!opened) {
        cudaError_t status = cudaGetDeviceCount(&n);

        if (status || n == 0)
            return no_device(status, ret_why);
        if (backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &opened, &err))
            goto stop;
        opened->warn = device_say;
    }
    if (opened->ops->sync(opened, &err))
        goto stop;
    (void)device_done();
    sample_seed(1); /* so that values do not depend on which tests ran before */
    return TEST_GO;
stop:
    *ret_why = err.msg;
    return TEST_STOP;
}

__attribute__((constructor)) static void set_gate(void)
{
    test_gate(gate);
}

struct backend *device(void)
{
    return opened;
}

void device_close(void)
{
    (void)device_done();
    backend_close(opened);
    opened = NULL;
}

bool device_is_dry(void)
{
    return getenv("GPU_TEST_DRY") != NULL;
}

size_t device_free_bytes(void)
{
    size_t n_free = 0, n_total = 0;

    CHECK_INT(cudaMemGetInfo(&n_free, &n_total), cudaSuccess);
    return n_free;
}

/* --- allocations: the linker puts these in front of the runtime's --- */

static int n_allocations;

cudaError_t __real_cudaMalloc(void **ret, size_t bytes);
cudaError_t __wrap_cudaMalloc(void **ret, size_t bytes);
cudaError_t __real_cudaMallocHost(void **ret, size_t bytes);
cudaError_t __wrap_cudaMallocHost(void **ret, size_t bytes);

cudaError_t __wrap_cudaMalloc(void **ret, size_t bytes)
{
    n_allocations++;
    return __real_cudaMalloc(ret, bytes);
}

cudaError_t __wrap_cudaMallocHost(void **ret, size_t bytes)
{
    n_allocations++;
    return __real_cudaMallocHost(ret, bytes);
}

int device_allocations(void)
{
    return n_allocations;
}

/* --- tensors --- */

struct flux_config one_head(int n_double, int n_single)
{
    return (struct flux_config){
        .in_channels = 384,
        .out_channels = 64,
        .hidden = 128,
        .mlp = 512,
        .context = 256,
        .pooled = 256,
        .head_dim = 128,
        .n_heads = 1,
        .n_double = n_double,
        .n_single = n_single,
        .guidance = true,
    };
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

/* --- comparisons --- */

struct furthest {
    double excess; /* its error divided by the largest that is allowed; NaN counts as the largest */
    int64_t row, col, n_over;
};

static struct furthest find_furthest(const struct tensor *got, const struct tensor *want, double limit, double rms)
{
    struct furthest f = { .excess = -1 };

    for (int64_t r = 0; r < tensor_rows(want); r++)
        for (int64_t c = 0; c < tensor_cols(want); c++) {
            double w = sample_at(want, r, c);
            double excess = fabs(sample_at(got, r, c) - w) / (DEVICE_SPREAD * limit * (rms + fabs(w)));

            f.n_over += !(excess <= 1);
            if (f.excess == f.excess && !(excess <= f.excess)) {
                f.excess = excess;
                f.row = r;
                f.col = c;
            }
        }
    return f;
}

static double rms_of(const struct tensor *t)
{
    double sum = 0;

    for (int64_t r = 0; r < tensor_rows(t); r++)
        for (int64_t c = 0; c < tensor_cols(t); c++)
            sum += (double)sample_at(t, r, c) * sample_at(t, r, c);
    return sqrt(sum / (double)tensor_count(t));
}

void device_check(const char *what, const struct tensor *got, const struct tensor *want, double limit)
{
    double rel = sample_rel(got, want);
    struct furthest f;

    if (got->dtype == DT_BF16 && want->dtype == DT_F32)
        limit += 0x1p-8;
    f = find_furthest(got, want, limit, rms_of(want));
    if (!(rel <= limit) || f.n_over)
        test_fail(
            __FILE__, __LINE__,
            "%s, %s [%lld, %lld]: relative error %.3g, limit %.3g; furthest off at [%lld, %lld]: %.9g, want %.9g; "
            "%lld values beyond %d limits",
            what, dtype_info(got->dtype)->name, (long long)tensor_rows(got), (long long)tensor_cols(got), rel, limit,
            (long long)f.row, (long long)f.col, (double)sample_at(got, f.row, f.col),
            (double)sample_at(want, f.row, f.col), (long long)f.n_over, DEVICE_SPREAD);
}

void device_check_values(const char *what, const float *got, const float *want, size_t n, double limit)
{
    struct tensor g = tensor_2d(DT_F32, 1, (int64_t)n, (void *)got), w = tensor_2d(DT_F32, 1, (int64_t)n, (void *)want);

    device_check(what, &g, &w, limit);
}

void device_check_same(const char *what, const struct tensor *a, const struct tensor *b)
{
    size_t bytes = (size_t)tensor_cols(a) * (size_t)dtype_info(a->dtype)->block_bytes;

    for (int64_t r = 0; r < tensor_rows(a); r++) {
        int64_t at = r * a->row_stride * dtype_info(a->dtype)->block_bytes;

        if (memcmp((const char *)a->data + at, (const char *)b->data + at, bytes) != 0)
            test_fail(__FILE__, __LINE__, "%s, %s [%lld, %lld]: row %lld is not the same in both", what,
                      dtype_info(a->dtype)->name, (long long)tensor_rows(a), (long long)tensor_cols(a), (long long)r);
    }
}
