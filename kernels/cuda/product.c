#include "kernels/cuda/product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/gpu/product_kernels.h"

/* NVIDIA recommends a workspace of 32 MiB for Hopper; Ada needs less. The f32 sums of a refused product are computed in
 * parts of PART_STEP rows, which are whole tiles. */
enum { WORKSPACE_BYTES = 32 << 20, SUMS_BYTES = 16 << 20, PART_STEP = 128, PLANS_MAX = 1024, ALIGN_MAX = 256 };

/* Everything that the choice of an algorithm depends on. It is compared as bytes, so it is zeroed before it is filled.
 */
struct key {
    int64_t m, n, k, a_stride, b_stride, d_stride;
    int32_t d_type, b_transposed, gelu_tanh, add, bias;
    int32_t a_align, b_align, d_align, add_align, bias_align; /* cuBLASLt finds bias_align from the bias pointer */
};

struct plan {
    bool used;
    cublasStatus_t refused; /* the status with which cuBLASLt refused the shape; else success */
    struct key key;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
};

struct cuda_products {
    struct cublaslt lt;
    cublasLtHandle_t handle;
    void *workspace;
    float *sums; /* right after the workspace */
    int n_plans;
    struct plan plans[PLANS_MAX]; /* open addressing by the key's hash */
};

enum err_code cuda_products_open(struct cuda *cuda, struct err *err)
{
    struct cuda_products *ps = calloc(1, sizeof *ps);

    if (!ps)
        return err_set(err, ERR_NOMEM, "cuda: no memory for the plans of products");
    cuda->products = ps;
    TRY(cublaslt_open(&ps->lt, err));
    TRY(cublaslt_status(&ps->lt, ps->lt.cublasLtCreate(&ps->handle), "cublasLtCreate", err));
    TRY(cuda_status(cudaMalloc(&ps->workspace, WORKSPACE_BYTES + SUMS_BYTES), "workspace of products", err));
    ps->sums = (float *)((char *)ps->workspace + WORKSPACE_BYTES);
    return ERR_OK;
}

static void plan_done(const struct cublaslt *lt, struct plan *p)
{
    if (p->a)
        (void)lt->cublasLtMatrixLayoutDestroy(p->a);
    if (p->b)
        (void)lt->cublasLtMatrixLayoutDestroy(p->b);
    if (p->d)
        (void)lt->cublasLtMatrixLayoutDestroy(p->d);
    if (p->op)
        (void)lt->cublasLtMatmulDescDestroy(p->op);
    *p = (struct plan){ 0 };
}

static void forget_plans(struct cuda_products *ps)
{
    for (int i = 0; i < PLANS_MAX; i++)
        plan_done(&ps->lt, &ps->plans[i]);
    ps->n_plans = 0;
}

void cuda_products_close(struct cuda *cuda)
{
    struct cuda_products *ps = cuda->products;

    if (!ps)
        return;
    forget_plans(ps);
    (void)cudaFree(ps->workspace);
    if (ps->handle)
        (void)ps->lt.cublasLtDestroy(ps->handle);
    cublaslt_close(&ps->lt);
    free(ps);
    cuda->products = NULL;
}

size_t cuda_products_version(const struct cuda *cuda)
{
    return cuda->products->lt.cublasLtGetVersion();
}

static int32_t alignment(const void *p)
{
    uintptr_t address = (uintptr_t)p, low = address & -address;

    return !low || low > ALIGN_MAX ? ALIGN_MAX : (int32_t)low;
}

static struct key key_of(const struct cuda_product *p)
{
    struct key key;

    memset(&key, 0, sizeof key);
    key.m = p->m;
    key.n = p->n;
    key.k = p->k;
    key.a_stride = p->a_stride;
    key.b_stride = p->b_stride;
    key.d_stride = p->d_stride;
    key.d_type = p->d_type;
    key.b_transposed = p->b_transposed;
    key.gelu_tanh = p->gelu_tanh;
    key.add = p->add != NULL;
    key.bias = p->bias != NULL;
    key.a_align = alignment(p->a);
    key.b_align = alignment(p->b);
    key.d_align = alignment(p->d);
    key.add_align = alignment(p->add);
    key.bias_align = alignment(p->bias);
    return key;
}

/* FNV-1a */
static uint32_t hash(const struct key *key)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < sizeof *key; i++)
        h = (h ^ ((const unsigned char *)key)[i]) * 16777619u;
    return h;
}

/* Indexed by [there is a bias][GELU follows]. The epilogue's GELU is the one with tanh: PyTorch pull request 104061
 * made the rest of PyTorch agree with it. */
static const cublasLtEpilogue_t epilogues[2][2] = {
    { CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_GELU },
    { CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS },
};

static cudaDataType_t type_of_d(const struct key *key)
{
    return key->d_type == DT_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

/*
 * cuBLASLt is column-major: our rows are its columns, so it computes d' = b a'. Its A is our b, its B our a, its M our
 * n, and its bias, one value for a row of d', is ours for a column of d.
 */
static cublasStatus_t describe_product(const struct cublaslt *lt, struct plan *p)
{
    const struct key *key = &p->key;
    const cublasOperation_t op_b = key->b_transposed ? CUBLAS_OP_N : CUBLAS_OP_T, op_a = CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = epilogues[key->bias][key->gelu_tanh];
    const cudaDataType_t d_type = type_of_d(key);
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        const void *value;
        size_t bytes;
    } attributes[] = {
        { CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b },
        { CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a },
        { CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue },
        { CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &d_type, sizeof d_type }, /* only with a bias */
    };
    size_t n = sizeof attributes / sizeof *attributes - !key->bias;
    cublasStatus_t status = lt->cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    for (size_t i = 0; i < n && !status; i++)
        status = lt->cublasLtMatmulDescSetAttribute(p->op, attributes[i].attribute, attributes[i].value,
                                                    attributes[i].bytes);
    return status;
}

static cublasStatus_t describe_matrices(const struct cublaslt *lt, struct plan *p)
{
    const struct key *key = &p->key;
    const struct {
        cublasLtMatrixLayout_t *layout;
        cudaDataType_t type;
        int64_t rows, cols, stride;
    } matrices[] = {
        { &p->b, CUDA_R_16BF, key->b_transposed ? key->n : key->k, key->b_transposed ? key->k : key->n, key->b_stride },
        { &p->a, CUDA_R_16BF, key->k, key->m, key->a_stride },
        { &p->d, type_of_d(key), key->n, key->m, key->d_stride },
    };
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

    for (size_t i = 0; i < sizeof matrices / sizeof *matrices && !status; i++)
        status = lt->cublasLtMatrixLayoutCreate(matrices[i].layout, matrices[i].type, (uint64_t)matrices[i].rows,
                                                (uint64_t)matrices[i].cols, matrices[i].stride);
    return status;
}

static cublasStatus_t describe(const struct cublaslt *lt, struct plan *p)
{
    cublasStatus_t status = describe_product(lt, p);

    return status ? status : describe_matrices(lt, p);
}

/* Where an algorithm splits sums, the parts are joined in f32. */
static cublasStatus_t prefer(const struct cublaslt *lt, cublasLtMatmulPreference_t pref, const struct key *key)
{
    const uint64_t workspace = WORKSPACE_BYTES;
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint32_t a = (uint32_t)key->a_align, b = (uint32_t)key->b_align, d = (uint32_t)key->d_align;
    const uint32_t c = (uint32_t)(key->add ? key->add_align : key->d_align);
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } wishes[] = {
        { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace },
        { CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b, sizeof b },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a, sizeof a },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d, sizeof d },
    };
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && !status; i++)
        status = lt->cublasLtMatmulPreferenceSetAttribute(pref, wishes[i].attribute, wishes[i].value, wishes[i].bytes);
    return status;
}

/* The fields of a result are valid only where its own state is a success. */
static cublasStatus_t ask_heuristics(struct cuda_products *ps, struct plan *p, cublasLtMatmulPreference_t pref)
{
    cublasLtMatmulHeuristicResult_t found = { .state = CUBLAS_STATUS_NOT_SUPPORTED };
    int n_found = 0;
    cublasStatus_t status = prefer(&ps->lt, pref, &p->key);

    if (status)
        return status;
    status =
        ps->lt.cublasLtMatmulAlgoGetHeuristic(ps->handle, p->op, p->b, p->a, p->d, p->d, pref, 1, &found, &n_found);
    if (status || !n_found || found.state)
        return status ? status : n_found ? found.state : CUBLAS_STATUS_NOT_SUPPORTED;
    p->algo = found.algo;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t choose(struct cuda_products *ps, struct plan *p)
{
    cublasLtMatmulPreference_t pref = NULL;
    cublasStatus_t status = ps->lt.cublasLtMatmulPreferenceCreate(&pref);

    if (status)
        return status;
    status = ask_heuristics(ps, p, pref);
    (void)ps->lt.cublasLtMatmulPreferenceDestroy(pref);
    return status;
}

static cublasStatus_t set_bias(const struct cublaslt *lt, const struct plan *p, const void *bias)
{
    if (!p->key.bias)
        return CUBLAS_STATUS_SUCCESS;
    return lt->cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
}

static cublasStatus_t make_plan(struct cuda_products *ps, struct plan *p, const void *bias)
{
    cublasStatus_t status = describe(&ps->lt, p);

    if (!status)
        status = set_bias(&ps->lt, p, bias); /* the heuristics may look at the bias */
    return status ? status : choose(ps, p);
}

static void refuse(struct cuda *cuda, struct plan *p, cublasStatus_t status)
{
    const struct key *k = &p->key;
    char line[ERR_MESSAGE_MAX];

    p->refused = status;
    cuda->base.refused.shapes++;
    if (!cuda->base.warn)
        return;
    (void)snprintf(
        line, sizeof line,
        "cuda: cuBLASLt refuses a product: m %lld n %lld k %lld, strides %lld %lld %lld, aligned %d %d %d %d, "
        "%s%s%s%s%s: %s",
        (long long)k->m, (long long)k->n, (long long)k->k, (long long)k->a_stride, (long long)k->b_stride,
        (long long)k->d_stride, k->a_align, k->b_align, k->d_align, k->add_align,
        dtype_info((enum dtype)k->d_type)->name, k->b_transposed ? ", transposed" : "", k->add ? ", sum" : "",
        k->bias ? ", bias" : "", k->gelu_tanh ? ", gelu" : "", cuda->products->lt.cublasLtGetStatusString(status));
    cuda->base.warn(line);
}

static enum err_code find_plan(struct cuda *cuda, const struct key *key, const void *bias, struct plan **ret,
                               struct err *err)
{
    struct cuda_products *ps = cuda->products;
    uint32_t at = hash(key) % PLANS_MAX;
    cublasStatus_t status;
    struct plan *p;

    for (; ps->plans[at].used; at = (at + 1) % PLANS_MAX)
        if (!memcmp(&ps->plans[at].key, key, sizeof *key)) {
            *ret = &ps->plans[at];
            return ERR_OK;
        }
    /*
     * Drops all plans when the table is half full: most belong to earlier requests, and the current one's are soon made
     * again.
     */
    if (ps->n_plans >= PLANS_MAX / 2) {
        forget_plans(ps);
        at = hash(key) % PLANS_MAX;
    }
    p = &ps->plans[at];
    p->key = *key;
    status = make_plan(ps, p, bias);
    if (status && cublaslt_refused(status)) {
        refuse(cuda, p, status);
    } else if (status) {
        plan_done(&ps->lt, p);
        return cublaslt_status(&ps->lt, status, "plan of a product", err);
    }
    p->used = true;
    ps->n_plans++;
    *ret = p;
    return ERR_OK;
}

/* --- one product --- */

/* The product by cuBLASLt in one call; *ret_done is false where cuBLASLt refuses. */
static enum err_code run_whole(struct cuda *cuda, const struct cuda_product *p, bool *ret_done, struct err *err)
{
    struct cuda_products *ps = cuda->products;
    const float one = 1, add = p->add ? 1 : 0;
    const struct key key = key_of(p);
    struct plan *plan = NULL;
    cublasStatus_t status;

    *ret_done = false;
    TRY(find_plan(cuda, &key, p->bias, &plan, err));
    if (plan->refused)
        return ERR_OK;
    *ret_done = true;
    status = set_bias(&ps->lt, plan, p->bias);
    if (!status)
        status = ps->lt.cublasLtMatmul(ps->handle, plan->op, &one, p->b, plan->b, p->a, plan->a, &add,
                                       p->add ? p->add : p->d, plan->d, p->d, plan->d, &plan->algo, ps->workspace,
                                       WORKSPACE_BYTES, cuda->stream);
    if (!cublaslt_refused(status))
        return cublaslt_status(&ps->lt, status, "product", err);
    refuse(cuda, plan, status);
    *ret_done = false;
    return ERR_OK;
}

/* A matrix of d's type, shape and stride. */
static struct tensor matrix_like_d(const struct cuda_product *p, const void *data)
{
    struct tensor t = tensor_2d(p->d_type, p->m, p->n, (void *)data);

    t.row_stride = p->d_stride;
    return t;
}

static enum err_code run_plain(struct cuda *cuda, const struct cuda_product *p, struct err *err)
{
    int64_t b_rows = p->b_transposed ? p->k : p->n, b_cols = p->b_transposed ? p->n : p->k;
    struct tensor a = tensor_2d(DT_BF16, p->m, p->k, (void *)p->a),
                  b = tensor_2d(DT_BF16, b_rows, b_cols, (void *)p->b);
    struct tensor d = matrix_like_d(p, p->d), add = matrix_like_d(p, p->add);
    struct tensor bias = tensor_1d(p->d_type, p->n, (void *)p->bias);

    a.row_stride = p->a_stride;
    b.row_stride = p->b_stride;
    const struct k_product operands = { .d = &d,
                                        .a = &a,
                                        .b = &b,
                                        .add = p->add ? &add : NULL,
                                        .bias = p->bias ? &bias : NULL,
                                        .b_transposed = p->b_transposed,
                                        .gelu_tanh = p->gelu_tanh };

    cuda->base.refused.plain_runs++;
    return cuda_status((cudaError_t)k_product_plain(&operands, cuda->stream), "product", err);
}

/* The product that computes rows [first, first + n). */
static struct cuda_product part_of(const struct cuda_product *p, int64_t first, int64_t n)
{
    size_t at = (size_t)(first * p->d_stride) * (p->d_type == DT_F32 ? 4 : 2);
    struct cuda_product part = *p;

    part.m = n;
    part.a = (const char *)p->a + (size_t)(first * p->a_stride) * 2;
    part.d = (char *)p->d + at;
    part.add = p->add ? (const char *)p->add + at : NULL;
    return part;
}

/* cuBLASLt computes the bare product in f32, so that nothing is rounded yet; one of our kernels computes the rest. */
static enum err_code run_bare(struct cuda *cuda, const struct cuda_product *p, int64_t stride, bool *ret_done,
                              struct err *err)
{
    struct tensor sums = tensor_2d(DT_F32, p->m, p->n, cuda->products->sums);
    struct tensor d = matrix_like_d(p, p->d), add = matrix_like_d(p, p->add);
    struct tensor bias = tensor_1d(p->d_type, p->n, (void *)p->bias);
    struct cuda_product bare = *p;

    sums.row_stride = stride;
    bare.add = bare.bias = NULL;
    bare.gelu_tanh = false;
    bare.d = sums.data;
    bare.d_type = DT_F32;
    bare.d_stride = stride;
    TRY(run_whole(cuda, &bare, ret_done, err));
    if (!*ret_done)
        return ERR_OK;
    return cuda_status((cudaError_t)k_activate(&d, &sums, p->add ? &add : NULL, p->bias ? &bias : NULL,
                                               p->gelu_tanh ? ACT_GELU_TANH : ACT_NONE, cuda->stream),
                       "rest of a product", err);
}

/* As many rows at a time as the f32 sums have room for. A part that is refused, too, is computed by plain loops. */
static enum err_code run_in_parts(struct cuda *cuda, const struct cuda_product *p, struct err *err)
{
    int64_t stride = (p->n + 3) & ~(int64_t)3, rows = SUMS_BYTES / 4 / stride;

    if (rows > PART_STEP)
        rows -= rows % PART_STEP;
    if (rows == 0)
        return run_plain(cuda, p, err);
    for (int64_t first = 0; first < p->m; first += rows) {
        struct cuda_product part = part_of(p, first, p->m - first < rows ? p->m - first : rows);
        bool done = false;

        TRY(run_bare(cuda, &part, stride, &done, err));
        if (!done)
            TRY(run_plain(cuda, &part, err));
    }
    return ERR_OK;
}

enum err_code cuda_product_run(struct cuda *cuda, const struct cuda_product *p, struct err *err)
{
    bool done = false;

    TRY(run_whole(cuda, p, &done, err));
    return done ? ERR_OK : run_in_parts(cuda, p, err);
}

enum err_code cuda_product_bias(struct cuda *cuda, const struct bias *bias, enum dtype t, char **at, const void **ret,
                                struct err *err)
{
    struct tensor copy;

    *ret = !bias ? NULL : t == DT_F32 ? bias->f32.data : bias->bf16.data;
    if (!bias || (*ret && alignment(*ret) >= 16))
        return ERR_OK;
    copy = tensor_1d(t, bias->f32.dims[0], *at);
    *ret = *at;
    *at += (dtype_row_bytes(t, bias->f32.dims[0]) + 255) & ~(size_t)255;
    return cuda_copy(&cuda->base, &copy, &bias->f32, err);
}
