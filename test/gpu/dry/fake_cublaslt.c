/*
 * fake_cublaslt - the matrix product of cuBLASLt as its documentation describes it (column-major, transpositions,
 * epilogues), in plain loops, in place of kernels/cuda/cublaslt.c. FAKE_CUBLASLT names the products that it refuses:
 *   none      all: it finds no algorithm
 *   whole     those with an epilogue
 *   state     those with an epilogue, by a result whose state is a failure
 *   late      those with an epilogue, but only when they are to run
 *   sum       those that are added to a matrix
 *   run       all, but only when they are to run
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cublaslt.h"
#include "kernels/quant.h"
#include "test/gpu/dry/fake_cuda.h"

struct layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
};

struct op {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    cudaDataType_t bias_type;
    const void *bias;
};

static long n_products;

long fake_cublaslt_products(void)
{
    return n_products;
}

static cublasStatus_t fake_create(cublasLtHandle_t *ret)
{
    static int handle;

    *ret = (cublasLtHandle_t)&handle;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_destroy(cublasLtHandle_t handle)
{
    (void)handle;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_op_create(cublasLtMatmulDesc_t *ret, cublasComputeType_t compute, cudaDataType_t scale)
{
    struct op *op = calloc(1, sizeof *op);

    assert(op && ((compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F) || compute == CUBLAS_COMPUTE_32I));
    op->compute = compute;
    op->scale = scale;
    op->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    *ret = (cublasLtMatmulDesc_t)op;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_op_destroy(cublasLtMatmulDesc_t op)
{
    free(op);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_op_set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                  const void *value, size_t bytes)
{
    struct op *op = (struct op *)desc;
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        void *at;
        size_t bytes;
    } known[] = {
        { CUBLASLT_MATMUL_DESC_TRANSA, &op->a, sizeof op->a },
        { CUBLASLT_MATMUL_DESC_TRANSB, &op->b, sizeof op->b },
        { CUBLASLT_MATMUL_DESC_EPILOGUE, &op->epilogue, sizeof op->epilogue },
        { CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &op->bias_type, sizeof op->bias_type },
        { CUBLASLT_MATMUL_DESC_BIAS_POINTER, &op->bias, sizeof op->bias },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].attribute == attribute) {
            assert(bytes == known[i].bytes);
            memcpy(known[i].at, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        }
    return CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t fake_layout_create(cublasLtMatrixLayout_t *ret, cudaDataType type, uint64_t rows, uint64_t cols,
                                         int64_t ld)
{
    struct layout *l = malloc(sizeof *l);

    assert(l && ld >= (int64_t)rows && rows && cols);
    *l = (struct layout){ type, rows, cols, ld };
    *ret = (cublasLtMatrixLayout_t)l;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_layout_destroy(cublasLtMatrixLayout_t l)
{
    free(l);
    return CUBLAS_STATUS_SUCCESS;
}

/* The least alignment of the pointers: an algorithm found for this alignment may fail with a smaller one. */
struct alignments {
    uint32_t a, b, c, d;
    uint32_t bias;
};

static cublasStatus_t fake_preference_create(cublasLtMatmulPreference_t *ret)
{
    struct alignments *p = malloc(sizeof *p);

    assert(p);
    *p = (struct alignments){ 256, 256, 256, 256, 256 };
    *ret = (cublasLtMatmulPreference_t)p;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_preference_destroy(cublasLtMatmulPreference_t p)
{
    free(p);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_preference_set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute,
                                          const void *value, size_t bytes)
{
    struct alignments *aligned = (struct alignments *)p;
    uint32_t *at = attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES   ? &aligned->a
                   : attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES ? &aligned->b
                   : attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES ? &aligned->c
                   : attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES ? &aligned->d
                                                                             : NULL;

    assert(bytes == (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4));
    if (at)
        memcpy(at, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static bool refuses(const char *what)
{
    const char *refused = getenv("FAKE_CUBLASLT");

    return refused && !strcmp(refused, what);
}

static bool is_aligned(const void *p, uint32_t bytes)
{
    return (uintptr_t)p % bytes == 0;
}

/* The alignment of the bias is that of its pointer. */
static struct alignments promised(const struct op *op, cublasLtMatmulPreference_t pref)
{
    struct alignments p = *(const struct alignments *)pref;

    while (!is_aligned(op->bias, p.bias))
        p.bias /= 2;
    return p;
}

static cublasStatus_t fake_heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t op, cublasLtMatrixLayout_t a,
                                     cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                     cublasLtMatmulPreference_t pref, int n, cublasLtMatmulHeuristicResult_t *ret,
                                     int *ret_n)
{
    bool epilogue = ((const struct op *)op)->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
    struct alignments aligned = promised((const struct op *)op, pref);

    (void)handle, (void)a, (void)b, (void)c, (void)d;
    assert(n == 1);
    memset(ret, 0, sizeof *ret);
    memcpy(&ret->algo, &aligned, sizeof aligned);
    *ret_n = refuses("none") || (epilogue && refuses("whole")) ? 0 : 1;
    if (epilogue && refuses("state"))
        ret->state = CUBLAS_STATUS_NOT_SUPPORTED;
    return *ret_n ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static float value_at(const void *p, cudaDataType_t type, int64_t at)
{
    if (type == CUDA_R_8I)
        return ((const int8_t *)p)[at];
    return type == CUDA_R_32F ? ((const float *)p)[at] : bf16_to_f32(((const uint16_t *)p)[at]);
}

/* Copies op(matrix) column by column to f32, with the summed axis contiguous. */
static float *gather(const void *p, const struct layout *l, bool sum_is_rows)
{
    int64_t n_sum = (int64_t)(sum_is_rows ? l->rows : l->cols), n = (int64_t)(sum_is_rows ? l->cols : l->rows);
    float *values = malloc((size_t)(n * n_sum) * sizeof *values);

    assert(values && (l->type == CUDA_R_16BF || l->type == CUDA_R_8I));
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n_sum; k++)
            values[i * n_sum + k] = value_at(p, l->type, sum_is_rows ? k + i * l->ld : i + k * l->ld);
    return values;
}

/* Sums in several lanes, like those of a card. */
static float dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static float finish(const struct op *op, float x, int64_t row)
{
    bool bias = op->epilogue == CUBLASLT_EPILOGUE_BIAS || op->epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;

    if (bias)
        x += value_at(op->bias, op->bias_type, row);
    if (op->epilogue == CUBLASLT_EPILOGUE_GELU || op->epilogue == CUBLASLT_EPILOGUE_GELU_BIAS)
        x = 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    return x;
}

static float factor(const struct op *op, const void *p)
{
    return op->scale == CUDA_R_32I ? (float)*(const int32_t *)p : *(const float *)p;
}

static void store(void *d, cudaDataType_t type, int64_t at, float x)
{
    if (type == CUDA_R_32F)
        ((float *)d)[at] = x;
    else if (type == CUDA_R_32I)
        ((int32_t *)d)[at] = (int32_t)x;
    else if (type == CUDA_R_8I)
        ((int8_t *)d)[at] = (int8_t)fmaxf(-128, fminf(127, rintf(x)));
    else
        ((uint16_t *)d)[at] = f32_to_bf16(x);
}

/* The combinations of types in the documentation that are used here. */
static bool is_known(const struct op *op, const struct layout *in, const struct layout *out)
{
    if (op->compute == CUBLAS_COMPUTE_32F)
        return in->type == CUDA_R_16BF && (out->type == CUDA_R_16BF || out->type == CUDA_R_32F);
    return in->type == CUDA_R_8I && out->type == (op->scale == CUDA_R_32I ? CUDA_R_32I : CUDA_R_8I);
}

static cublasStatus_t fake_matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                                  cublasLtMatrixLayout_t a_desc, const void *b, cublasLtMatrixLayout_t b_desc,
                                  const void *beta, const void *c, cublasLtMatrixLayout_t c_desc, void *d,
                                  cublasLtMatrixLayout_t d_desc, const cublasLtMatmulAlgo_t *algo, void *workspace,
                                  size_t workspace_bytes, cudaStream_t stream)
{
    const struct op *op = (const struct op *)desc;
    const struct layout *la = (const struct layout *)a_desc, *lb = (const struct layout *)b_desc,
                        *lc = (const struct layout *)c_desc, *ld = (const struct layout *)d_desc;
    bool a_sums_rows = op->a == CUBLAS_OP_T, b_sums_rows = op->b == CUBLAS_OP_N;
    int64_t m = (int64_t)(a_sums_rows ? la->cols : la->rows), n = (int64_t)(b_sums_rows ? lb->cols : lb->rows);
    int64_t k = (int64_t)(a_sums_rows ? la->rows : la->cols);
    struct alignments aligned;
    float *va, *vb;

    memcpy(&aligned, algo, sizeof aligned);
    assert(is_aligned(a, aligned.a) && is_aligned(b, aligned.b) && is_aligned(c, aligned.c) &&
           is_aligned(d, aligned.d));
    assert(is_aligned(op->bias, aligned.bias));
    if (refuses("run") || (op->epilogue != CUBLASLT_EPILOGUE_DEFAULT && refuses("late")) ||
        (factor(op, beta) != 0 && refuses("sum")))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    va = gather(a, la, a_sums_rows);
    vb = gather(b, lb, b_sums_rows);
    (void)handle, (void)workspace_bytes, (void)stream;
    n_products++;
    assert(workspace && ld->rows == (uint64_t)m && ld->cols == (uint64_t)n && lc->ld == ld->ld);
    assert((int64_t)(b_sums_rows ? lb->rows : lb->cols) == k && is_known(op, la, ld) && la->type == lb->type);
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) {
            float x = factor(op, alpha) * dot(va + i * k, vb + j * k, k);

            if (factor(op, beta) != 0)
                x += factor(op, beta) * value_at(c, lc->type, i + j * lc->ld);
            x = finish(op, x, i);
            store(d, ld->type, i + j * ld->ld, x);
        }
    free(va);
    free(vb);
    return CUBLAS_STATUS_SUCCESS;
}

static size_t fake_version(void)
{
    return 130002;
}

static const char *fake_status(cublasStatus_t status)
{
    return status ? "an error" : "no error";
}

enum err_code cublaslt_open(struct cublaslt *ret, struct err *err)
{
    (void)err;
    *ret = (struct cublaslt){
        .cublasLtCreate = fake_create,
        .cublasLtDestroy = fake_destroy,
        .cublasLtMatmul = fake_matmul,
        .cublasLtMatmulAlgoGetHeuristic = fake_heuristic,
        .cublasLtMatmulDescCreate = fake_op_create,
        .cublasLtMatmulDescDestroy = fake_op_destroy,
        .cublasLtMatmulDescSetAttribute = fake_op_set,
        .cublasLtMatmulPreferenceCreate = fake_preference_create,
        .cublasLtMatmulPreferenceDestroy = fake_preference_destroy,
        .cublasLtMatmulPreferenceSetAttribute = fake_preference_set,
        .cublasLtMatrixLayoutCreate = fake_layout_create,
        .cublasLtMatrixLayoutDestroy = fake_layout_destroy,
        .cublasLtGetStatusString = fake_status,
        .cublasLtGetVersion = fake_version,
    };
    return ERR_OK;
}

void cublaslt_close(struct cublaslt *lt)
{
    *lt = (struct cublaslt){ 0 };
}
