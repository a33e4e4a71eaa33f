/*
 * rate.c - products in every type of the tensor cores, and a copy, for bench_rate.h. They have descriptors of their
 * own, because product.c knows one type of operands.
 *
 * Work    2 side^3 operations; or 2 GiB of memory traffic
 * Memory  two operands of side^2 bytes or two bytes, a result of side^2 times one, two or four bytes; or 2 GiB
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/bench_rate.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cuda.h"
#include "kernels/quant.h"

enum { WORKSPACE_BYTES = 32 << 20, PATTERN_BYTES = 8 << 20 };
static const size_t copy_bytes = (size_t)1 << 30;

/* By enum rate_kind; the copy has no entry. */
static const struct product_type {
    cudaDataType_t in, out, scale;
    cublasComputeType_t compute;
    int in_bytes, out_bytes, oldest_sm;
    bool fast_sum;
} types[] = {
    [RATE_BF16] = { CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, 2, 2, 80, false },
    [RATE_FP8] = { CUDA_R_8F_E4M3, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1, 2, 89, true },
    [RATE_INT8] = { CUDA_R_8I, CUDA_R_32I, CUDA_R_32I, CUBLAS_COMPUTE_32I, 1, 4, 80, false },
    [RATE_INT8_NARROW] = { CUDA_R_8I, CUDA_R_8I, CUDA_R_32F, CUBLAS_COMPUTE_32I, 1, 1, 80, false },
};

struct bench_rate {
    struct cuda *cuda;
    enum rate_kind kind;
    int64_t side;
    struct cublaslt lt;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t in_layout, out_layout;
    cublasLtMatmulAlgo_t algo;
    char *a, *b, *d, *workspace; /* a and d for the copy */
};

/* --- values --- */

/* A nearly normal value of deviation 1: the sum of four uniform values. */
static float next_normal(uint64_t *state)
{
    float sum = 0;

    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*state >> 40) * 0x1p-24f - 0.5f;
    }
    return sum * 1.7320508f;
}

/* x rounded towards zero, with 4 bits of exponent (bias 7) and 3 of mantissa; values below 2^-6 become 0. */
static uint8_t to_e4m3(float x)
{
    uint32_t bits, sign;
    int exponent;

    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 31 << 7;
    exponent = (int)(bits >> 23 & 255) - 127 + 7;
    if (exponent < 1)
        return (uint8_t)sign;
    if (exponent > 14)
        exponent = 14;
    return (uint8_t)(sign | (uint32_t)exponent << 3 | (bits >> 20 & 7));
}

static void make_pattern(enum rate_kind kind, char *bytes, size_t n)
{
    uint64_t state = 1;

    if (kind == RATE_FP8)
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)to_e4m3(next_normal(&state));
    else if (kind == RATE_INT8 || kind == RATE_INT8_NARROW)
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(next_normal(&state) * 32.0f); /* within 127: four uniform values end at 3.5 deviations */
    else
        for (size_t i = 0; i + 1 < n; i += 2) {
            uint16_t value = f32_to_bf16(next_normal(&state));

            memcpy(bytes + i, &value, sizeof value);
        }
}

/* Repeats the same few megabytes, which makes no difference to a card. */
static enum err_code fill(struct bench_rate *r, char *dst, size_t bytes, struct err *err)
{
    struct backend *be = &r->cuda->base;
    char *pattern = malloc(PATTERN_BYTES);
    enum err_code rc = ERR_OK;

    if (!pattern)
        return err_set(err, ERR_NOMEM, "bench: no memory");
    make_pattern(r->kind, pattern, PATTERN_BYTES);
    for (size_t at = 0; at < bytes && !rc; at += PATTERN_BYTES)
        rc = cuda_upload(be, dst + at, pattern, bytes - at < PATTERN_BYTES ? bytes - at : PATTERN_BYTES, err);
    free(pattern);
    return rc;
}

static enum err_code allocate(struct bench_rate *r, char **ret, size_t bytes, struct err *err)
{
    void *p = NULL;

    TRY(cuda_mem_alloc(&r->cuda->base, bytes, &p, err));
    *ret = p;
    return ERR_OK;
}

static enum err_code allocate_values(struct bench_rate *r, char **ret, size_t bytes, struct err *err)
{
    TRY(allocate(r, ret, bytes, err));
    return fill(r, *ret, bytes, err);
}

/* --- products --- */

/* The summed axis is contiguous in both operands: types of 8 bits are computed in no other way. */
static cublasStatus_t describe_product(struct bench_rate *r, const struct product_type *t)
{
    const cublasOperation_t transposed = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const int8_t fast = 1;
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        const void *value;
        size_t bytes;
    } attributes[] = {
        { CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed },
        { CUBLASLT_MATMUL_DESC_TRANSB, &plain, sizeof plain },
        { CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast }, /* only for fast sums */
    };
    size_t n = sizeof attributes / sizeof *attributes - !t->fast_sum;
    cublasStatus_t status = r->lt.cublasLtMatmulDescCreate(&r->op, t->compute, t->scale);

    for (size_t i = 0; i < n && !status; i++)
        status = r->lt.cublasLtMatmulDescSetAttribute(r->op, attributes[i].attribute, attributes[i].value,
                                                      attributes[i].bytes);
    return status;
}

static cublasStatus_t describe_matrices(struct bench_rate *r, const struct product_type *t)
{
    uint64_t side = (uint64_t)r->side;
    cublasStatus_t status = r->lt.cublasLtMatrixLayoutCreate(&r->in_layout, t->in, side, side, r->side);

    return status ? status : r->lt.cublasLtMatrixLayoutCreate(&r->out_layout, t->out, side, side, r->side);
}

static cublasStatus_t ask_heuristics(struct bench_rate *r, cublasLtMatmulPreference_t pref)
{
    const uint64_t workspace = WORKSPACE_BYTES;
    cublasLtMatmulHeuristicResult_t found = { .state = CUBLAS_STATUS_NOT_SUPPORTED };
    int n = 0;
    cublasStatus_t status = r->lt.cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                       &workspace, sizeof workspace);

    if (status)
        return status;
    status = r->lt.cublasLtMatmulAlgoGetHeuristic(r->handle, r->op, r->in_layout, r->in_layout, r->out_layout,
                                                  r->out_layout, pref, 1, &found, &n);
    r->algo = found.algo;
    return status ? status : n ? found.state : CUBLAS_STATUS_NOT_SUPPORTED;
}

static cublasStatus_t choose(struct bench_rate *r)
{
    cublasLtMatmulPreference_t pref = NULL;
    cublasStatus_t status = r->lt.cublasLtMatmulPreferenceCreate(&pref);

    if (status)
        return status;
    status = ask_heuristics(r, pref);
    (void)r->lt.cublasLtMatmulPreferenceDestroy(pref);
    return status;
}

/* A type or shape that the library does not support is reported as ERR_UNSUPPORTED, not as a fault. */
static enum err_code rate_status(const struct bench_rate *r, cublasStatus_t status, struct err *err)
{
    if (cublaslt_refused(status))
        return err_set(err, ERR_UNSUPPORTED, "cuBLASLt, %s: %s", bench_rate_name(r->kind),
                       r->lt.cublasLtGetStatusString(status));
    return cublaslt_status(&r->lt, status, bench_rate_name(r->kind), err);
}

static enum err_code open_product(struct bench_rate *r, struct err *err)
{
    const struct product_type *t = &types[r->kind];
    size_t n = (size_t)(r->side * r->side);

    if (r->cuda->sm < t->oldest_sm)
        return err_set(err, ERR_UNSUPPORTED, "the card's tensor cores do not have this type");
    TRY(cublaslt_open(&r->lt, err));
    TRY(rate_status(r, r->lt.cublasLtCreate(&r->handle), err));
    TRY(rate_status(r, describe_product(r, t), err));
    TRY(rate_status(r, describe_matrices(r, t), err));
    TRY(rate_status(r, choose(r), err));
    TRY(allocate_values(r, &r->a, n * (size_t)t->in_bytes, err));
    TRY(allocate_values(r, &r->b, n * (size_t)t->in_bytes, err));
    TRY(allocate(r, &r->d, n * (size_t)t->out_bytes, err));
    return allocate(r, &r->workspace, WORKSPACE_BYTES, err);
}

static cublasStatus_t queue_product(const struct bench_rate *r)
{
    const float one_f = 1.0f / (float)r->side, zero_f = 0; /* keeps an int8 result in range */
    const int32_t one_i = 1, zero_i = 0;
    bool integers = types[r->kind].scale == CUDA_R_32I;
    const void *one = integers ? (const void *)&one_i : &one_f, *zero = integers ? (const void *)&zero_i : &zero_f;

    return r->lt.cublasLtMatmul(r->handle, r->op, one, r->a, r->in_layout, r->b, r->in_layout, zero, r->d,
                                r->out_layout, r->d, r->out_layout, &r->algo, r->workspace, WORKSPACE_BYTES,
                                r->cuda->stream);
}

/* --- products and copies --- */

static enum err_code open_copy(struct bench_rate *r, struct err *err)
{
    TRY(allocate_values(r, &r->a, copy_bytes, err));
    return allocate(r, &r->d, copy_bytes, err);
}

enum err_code bench_rate_open(struct backend *be, enum rate_kind kind, int64_t side, struct bench_rate **ret,
                              struct err *err)
{
    struct bench_rate *r;
    enum err_code rc;

    if (strcmp(be->name, "cuda") != 0)
        return err_set(err, ERR_UNAVAILABLE, "rates can only be measured on a card, and this is the backend '%s'%s%s",
                       be->name, be->without_cuda[0] ? ": " : "", be->without_cuda);
    r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, ERR_NOMEM, "bench: no memory");
    *r = (struct bench_rate){ .cuda = cuda_of(be), .kind = kind, .side = side };
    rc = kind == RATE_COPY ? open_copy(r, err) : open_product(r, err);
    if (rc)
        bench_rate_close(r);
    else
        *ret = r;
    return rc;
}

void bench_rate_close(struct bench_rate *r)
{
    if (!r)
        return;
    (void)cudaStreamSynchronize(r->cuda->stream);
    if (r->in_layout)
        (void)r->lt.cublasLtMatrixLayoutDestroy(r->in_layout);
    if (r->out_layout)
        (void)r->lt.cublasLtMatrixLayoutDestroy(r->out_layout);
    if (r->op)
        (void)r->lt.cublasLtMatmulDescDestroy(r->op);
    if (r->handle)
        (void)r->lt.cublasLtDestroy(r->handle);
    cublaslt_close(&r->lt);
    (void)cudaFree(r->a);
    (void)cudaFree(r->b);
    (void)cudaFree(r->d);
    (void)cudaFree(r->workspace);
    free(r);
}

enum err_code bench_rate_queue(struct bench_rate *r, struct err *err)
{
    if (r->kind == RATE_COPY)
        return cuda_status(cudaMemcpyAsync(r->d, r->a, copy_bytes, cudaMemcpyDeviceToDevice, r->cuda->stream), "copy",
                           err);
    return rate_status(r, queue_product(r), err);
}

double bench_rate_work(const struct bench_rate *r)
{
    double side = (double)r->side;

    return r->kind == RATE_COPY ? 2.0 * (double)copy_bytes : 2.0 * side * side * side;
}
