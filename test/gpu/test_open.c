/*
 * Backends that are opened and closed one after another in the same process: the libraries still work for each of them,
 * and all compute the same bytes.
 */
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "test/gpu/device.h"

enum { N_OPENINGS = 4, TOKENS = 96, HEADS = 2, HEAD_DIM = 128, WIDTH = HEADS * HEAD_DIM };

static struct backend *open_one(void)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    be->warn = device_say;
    backend_use_library(be, LIBRARY_ALWAYS); /* cuDNN, where it is installed */
    return be;
}

static struct tensor take(struct backend *be, enum dtype type, int64_t cols)
{
    struct err err = { 0 };
    void *data = NULL;

    CHECK_OK(be->ops->mem_alloc(be, (size_t)(TOKENS * cols) * sizeof(float), &data, &err), err);
    return tensor_2d(type, TOKENS, cols, data);
}

static void fetch(struct backend *be, const struct tensor *t, uint16_t *ret)
{
    struct err err = { 0 };

    CHECK_OK(be->ops->download(be, ret, t->data, (size_t)tensor_count(t) * sizeof *ret, &err), err);
}

static const struct attention_args args = { .n_heads = HEADS, .head_dim = HEAD_DIM, .scale = 0.0883883f };

/* Computes q, k and v by a product of x, then attention over them. */
static void compute(const struct tensor *host_x, const struct weight *host_w, uint16_t *ret_qkv, uint16_t *ret_out)
{
    struct backend *be = open_one();
    struct tensor x = take(be, DT_BF16, WIDTH), qkv = take(be, DT_BF16, 3 * WIDTH), out = take(be, DT_BF16, WIDTH);
    struct tensor q = tensor_col_view(&qkv, 0, WIDTH), k = tensor_col_view(&qkv, WIDTH, WIDTH),
                  v = tensor_col_view(&qkv, 2 * WIDTH, WIDTH);
    struct weight w = { 0 };
    struct err err = { 0 };

    CHECK_OK(op_upload(be, &x, host_x->data, &err), err);
    CHECK_OK(be->ops->weight_load(be, host_w, &w, &err), err);
    CHECK_OK(op_linear(be, &qkv, &x, &w, NULL, ACT_NONE, &err), err);
    CHECK_OK(op_attention(be, &out, &q, &k, &v, &args, &err), err);
    fetch(be, &qkv, ret_qkv);
    fetch(be, &out, ret_out);
    be->ops->mem_free(be, out.data);
    be->ops->mem_free(be, qkv.data);
    be->ops->mem_free(be, x.data);
    backend_close(be);
}

/* Limits as in test_ops.c. */
static void check_values(const struct tensor *x, const struct weight *w, uint16_t *got_qkv, uint16_t *got_out)
{
    struct tensor qkv = tensor_2d(DT_BF16, TOKENS, 3 * WIDTH, got_qkv),
                  out = tensor_2d(DT_BF16, TOKENS, WIDTH, got_out);
    struct tensor want_qkv = sample_2d(DT_F32, TOKENS, 3 * WIDTH, 0), want = sample_2d(DT_F32, TOKENS, WIDTH, 0);
    struct tensor q = tensor_col_view(&qkv, 0, WIDTH), k = tensor_col_view(&qkv, WIDTH, WIDTH),
                  v = tensor_col_view(&qkv, 2 * WIDTH, WIDTH);
    struct err err = { 0 };

    CHECK_OK(op_linear(reference(), &want_qkv, x, w, NULL, ACT_NONE, &err), err);
    device_check("product", &qkv, &want_qkv, 4e-3);
    CHECK_OK(op_attention(reference(), &want, &q, &k, &v, &args, &err), err);
    device_check("attention", &out, &want, 5e-3);
}

TEST(gpu_open__a_backend_that_is_opened_again_computes_the_same_bytes)
{
    static uint16_t qkv[2][TOKENS * 3 * WIDTH], out[2][TOKENS * WIDTH];
    struct tensor x;
    struct weight w;

    device_close(); /* an open backend would keep the libraries from being closed */
    x = sample_2d(DT_BF16, TOKENS, WIDTH, 0);
    w = sample_weight(DT_BF16, 3 * WIDTH, WIDTH);
    compute(&x, &w, qkv[0], out[0]);
    check_values(&x, &w, qkv[0], out[0]);
    for (int i = 1; i < N_OPENINGS; i++) {
        memset(qkv[1], 0, sizeof qkv[1]);
        memset(out[1], 0, sizeof out[1]);
        compute(&x, &w, qkv[1], out[1]);
        CHECK(!memcmp(qkv[0], qkv[1], sizeof qkv[0]) && !memcmp(out[0], out[1], sizeof out[0]));
    }
    CHECK(sample_done());
}

/* A lower number is a higher priority. */
TEST(gpu_open__the_work_goes_before_the_expansion_of_weights)
{
    struct cuda *cuda = cuda_of(device());
    int work = 0, expand = 0;

    CHECK_INT(cudaStreamGetPriority(cuda->stream, &work), cudaSuccess);
    CHECK_INT(cudaStreamGetPriority(cuda->expand, &expand), cudaSuccess);
    CHECK(work < expand);
}
