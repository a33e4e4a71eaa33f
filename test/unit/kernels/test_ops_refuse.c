/*
 * Calls that the operations must refuse, each of which nearly fits.
 */
#include <string.h>

#include "kernels/devarena.h"
#include "kernels/ops.h"
#include "test/support/check.h"
#include "test/support/sample.h"

static struct backend *measure(void)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_measure_open(DT_F32, &be, &err), err);
    return be;
}

/* Only shapes matter: the measuring backend neither reads nor writes. */
static char somewhere, elsewhere;

static struct tensor m(int64_t rows, int64_t cols)
{
    return tensor_2d(DT_F32, rows, cols, &somewhere);
}

static struct tensor m2(int64_t rows, int64_t cols)
{
    return tensor_2d(DT_F32, rows, cols, &elsewhere);
}

static struct tensor v(int64_t n)
{
    return tensor_1d(DT_F32, n, &somewhere);
}

static struct tensor v16(int64_t n)
{
    return tensor_1d(DT_BF16, n, &somewhere);
}

static struct tensor pic(int64_t h, int64_t w, int64_t c)
{
    return tensor_3d(DT_F32, h, w, c, &somewhere);
}

static struct tensor pic2(int64_t h, int64_t w, int64_t c)
{
    return tensor_3d(DT_F32, h, w, c, &elsewhere);
}

#define REFUSED(call) CHECK_INT(call, ERR_INVALID)
#define TAKEN(call)   CHECK_INT(call, ERR_OK)
#define T(make)       (&(struct tensor[]){ make }[0])
#define B(f32, bf16)  (&(struct bias){ f32, bf16 })

TEST(ops_refuse__linear_of_operands_that_do_not_fit)
{
    struct backend *be = measure();
    struct weight w = { .dtype = DT_Q8_0, .rows = 5, .cols = 64, .data = &somewhere };
    struct weight bad = w;
    struct tensor none = { 0 };

    TAKEN(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(v(5), none), ACT_SILU, NULL));
    TAKEN(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(v(5), v16(5)), ACT_SILU, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 32)), &w, NULL, ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 6)), T(m(3, 64)), &w, NULL, ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(2, 5)), T(m(3, 64)), &w, NULL, ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(v(4), none), ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(m(1, 5), none), ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(v(5), v16(4)), ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(v(5), v(5)), ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, B(v16(5), v16(5)), ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, NULL, (enum activation)9, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &w, NULL, (enum activation) - 1, NULL));
    REFUSED(op_linear(be, T(m(3, 5)), T(m(3, 64)), &w, NULL, ACT_NONE, NULL));
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), NULL, NULL, ACT_NONE, NULL));
    bad.cols = 63;
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 63)), &bad, NULL, ACT_NONE, NULL));
    bad = w;
    bad.dtype = DT_I32;
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &bad, NULL, ACT_NONE, NULL));
    bad.dtype = (enum dtype)77;
    REFUSED(op_linear(be, T(m2(3, 5)), T(m(3, 64)), &bad, NULL, ACT_NONE, NULL));
    backend_close(be);
}

TEST(ops_refuse__tensors_that_are_not_valid)
{
    struct backend *be = measure();
    struct tensor good = m(3, 4), bad;

    TAKEN(op_silu(be, &good, &good, NULL));
    REFUSED(op_silu(be, &good, NULL, NULL));
    bad = good, bad.data = NULL;
    REFUSED(op_silu(be, &good, &bad, NULL));
    bad = good, bad.dtype = DT_F16;
    REFUSED(op_silu(be, &good, &bad, NULL));
    bad = good, bad.dtype = (enum dtype) - 1;
    REFUSED(op_silu(be, &good, &bad, NULL));
    bad = good, bad.n_dims = 0;
    REFUSED(op_silu(be, &good, &bad, NULL));
    bad = good, bad.n_dims = 5;
    REFUSED(op_silu(be, &good, &bad, NULL));
    bad = good, bad.dims[0] = 0;
    REFUSED(op_silu(be, &bad, &bad, NULL));
    bad = good, bad.dims[0] = -3;
    REFUSED(op_silu(be, &bad, &bad, NULL));
    bad = good, bad.dims[0] = bad.dims[1] = bad.row_stride = INT64_MAX;
    REFUSED(op_silu(be, &bad, &bad, NULL));
    bad = good, bad.row_stride = 3;
    REFUSED(op_silu(be, &bad, &bad, NULL));
    bad = good, bad.row_stride = INT64_MAX;
    REFUSED(op_silu(be, &bad, &bad, NULL));
    bad = pic(2, 3, 4), bad.row_stride = 5;
    REFUSED(op_silu(be, &bad, &bad, NULL));
    backend_close(be);
}

TEST(ops_refuse__attention_of_operands_that_do_not_fit)
{
    struct backend *be = measure();
    struct tensor bias = m(2, 13), out = m2(5, 8), q = m(5, 8), k = m(7, 8), k16 = k;
    struct attention_args args = { 2, 4, 1, false, &bias }, bad;

    k16.dtype = DT_BF16;
    TAKEN(op_attention(be, &out, &q, &k, &k, &args, NULL));
    REFUSED(op_attention(be, T(m2(4, 8)), &q, &k, &k, &args, NULL));
    REFUSED(op_attention(be, &out, T(m(5, 6)), &k, &k, &args, NULL));
    REFUSED(op_attention(be, &out, &q, T(m(7, 9)), &k, &args, NULL));
    REFUSED(op_attention(be, &out, &q, &k, T(m(6, 8)), &args, NULL));
    REFUSED(op_attention(be, &out, &q, &k, &k16, &args, NULL));
    REFUSED(op_attention(be, &q, &q, &k, &k, &args, NULL));
    bad = args, bad.n_heads = 0;
    REFUSED(op_attention(be, &out, &q, &k, &k, &bad, NULL));
    bad = args, bad.head_dim = 8;
    REFUSED(op_attention(be, &out, &q, &k, &k, &bad, NULL));
    bad = args, bad.rel_bias = T(m(2, 11));
    REFUSED(op_attention(be, &out, &q, &k, &k, &bad, NULL));
    bad = args, bad.rel_bias = T(m(3, 13));
    REFUSED(op_attention(be, &out, &q, &k, &k, &bad, NULL));
    bad = args, bad.rel_bias = T(m(2, 14));
    REFUSED(op_attention(be, &out, &q, &k, &k, &bad, NULL));
    backend_close(be);
}

#define groups(n) (&(struct group_norm_args){ (n), 1e-6f, ACT_SILU })

TEST(ops_refuse__norms_of_operands_that_do_not_fit)
{
    struct backend *be = measure();

    TAKEN(op_layer_norm(be, T(m(3, 8)), T(m(3, 8)), T(v(8)), NULL, 1e-6f, NULL));
    REFUSED(op_layer_norm(be, T(m(3, 8)), T(m(4, 8)), NULL, NULL, 1e-6f, NULL));
    REFUSED(op_layer_norm(be, T(m(3, 8)), T(m(3, 8)), T(v(7)), NULL, 1e-6f, NULL));
    REFUSED(op_layer_norm(be, T(m(3, 8)), T(m(3, 8)), NULL, T(v(9)), 1e-6f, NULL));
    REFUSED(op_modulate(be, T(m(3, 8)), T(m(3, 8)), NULL, T(v(8)), 1e-6f, NULL));
    REFUSED(op_modulate(be, T(m(3, 8)), T(m(3, 8)), T(v(8)), T(v(7)), 1e-6f, NULL));
    REFUSED(op_modulate(be, T(m(3, 7)), T(m(3, 8)), T(v(8)), T(v(8)), 1e-6f, NULL));
    REFUSED(op_rms_norm(be, T(m(3, 8)), T(m(3, 8)), NULL, 1e-6f, NULL));
    REFUSED(op_rms_norm(be, T(m(2, 8)), T(m(3, 8)), T(v(8)), 1e-6f, NULL));
    TAKEN(op_group_norm(be, T(pic(2, 3, 8)), T(pic(2, 3, 8)), T(v(8)), T(v(8)), groups(4), NULL));
    REFUSED(op_group_norm(be, T(pic(2, 3, 8)), T(pic(2, 3, 8)), T(v(8)), T(v(8)), groups(3), NULL));
    REFUSED(op_group_norm(be, T(pic(2, 3, 8)), T(pic(2, 3, 8)), T(v(8)), T(v(8)), groups(0), NULL));
    REFUSED(op_group_norm(be, T(m(6, 8)), T(m(6, 8)), T(v(8)), T(v(8)), groups(4), NULL));
    REFUSED(op_group_norm(be, T(pic(2, 3, 8)), T(pic(2, 3, 8)), NULL, T(v(8)), groups(4), NULL));
    TAKEN(op_qk_norm_rope(be, T(m(3, 8)), T(v(4)), T(m(3, 4)), 2, 1e-6f, NULL));
    REFUSED(op_qk_norm_rope(be, T(m(3, 8)), T(v(4)), T(m(2, 4)), 2, 1e-6f, NULL));
    REFUSED(op_qk_norm_rope(be, T(m(3, 8)), T(v(4)), T(m(3, 8)), 2, 1e-6f, NULL));
    REFUSED(op_qk_norm_rope(be, T(m(3, 8)), T(v(8)), NULL, 2, 1e-6f, NULL));
    REFUSED(op_qk_norm_rope(be, T(m(3, 9)), T(v(3)), T(m(3, 3)), 3, 1e-6f, NULL));
    REFUSED(op_qk_norm_rope(be, T(m(3, 8)), T(v(4)), NULL, 3, 1e-6f, NULL));
    backend_close(be);
}

TEST(ops_refuse__a_gated_sum_and_its_modulation_that_do_not_fit)
{
    struct backend *be = measure();
    struct tensor eight = v(8), seven = v(7), y = m2(3, 8), y16 = m2(3, 8), gaps = tensor_col_view(T(m2(3, 9)), 0, 8);
    const struct gate_modulate_args fits = { &eight, &eight, &eight, 1e-6f };
    struct gate_modulate_args bad = fits;

    y16.dtype = DT_BF16;
    TAKEN(op_gate_add_modulate(be, &y, T(m(3, 8)), &y, &fits, NULL));
    TAKEN(op_gate_add_modulate(be, &y16, T(m(3, 8)), &y16, &fits, NULL));
    REFUSED(op_gate_add_modulate(be, &y16, T(m(3, 8)), &y, &fits, NULL));
    REFUSED(op_gate_add_modulate(be, &gaps, T(m(3, 8)), &y, &fits, NULL));
    REFUSED(op_gate_add_modulate(be, T(m(3, 8)), T(m(3, 8)), &y, &fits, NULL));
    REFUSED(op_gate_add_modulate(be, &y, T(m(3, 8)), T(m(3, 8)), &fits, NULL));
    REFUSED(op_gate_add_modulate(be, &y, T(m(2, 8)), &y, &fits, NULL));
    REFUSED(op_gate_add_modulate(be, T(m2(2, 8)), T(m(3, 8)), &y, &fits, NULL));
    REFUSED(op_gate_add_modulate(be, T(m2(3, 7)), T(m(3, 8)), &y, &fits, NULL));
    bad.gate = &seven;
    REFUSED(op_gate_add_modulate(be, &y, T(m(3, 8)), &y, &bad, NULL));
    bad = fits, bad.gate = NULL;
    REFUSED(op_gate_add_modulate(be, &y, T(m(3, 8)), &y, &bad, NULL));
    bad = fits, bad.shift = &seven;
    REFUSED(op_gate_add_modulate(be, &y, T(m(3, 8)), &y, &bad, NULL));
    bad = fits, bad.scale = &seven;
    REFUSED(op_gate_add_modulate(be, &y, T(m(3, 8)), &y, &bad, NULL));
    backend_close(be);
}

TEST(ops_refuse__elementwise_operands_that_do_not_fit)
{
    struct backend *be = measure();
    struct weight table = { .dtype = DT_F16, .rows = 4, .cols = 8, .data = &somewhere };
    struct tensor y16 = m(3, 8);

    y16.dtype = DT_BF16;
    REFUSED(op_gate_add(be, T(m(3, 8)), T(v(3)), T(m(3, 8)), NULL));
    REFUSED(op_gate_add(be, T(m(3, 8)), NULL, T(m(3, 4)), NULL));
    REFUSED(op_mul(be, T(m(3, 8)), T(m(3, 8)), T(m(1, 8)), NULL));
    REFUSED(op_mul(be, T(m(3, 8)), T(m(2, 8)), T(m(3, 8)), NULL));
    REFUSED(op_silu(be, T(m(3, 8)), T(m(8, 3)), NULL));
    REFUSED(op_copy(be, T(m(3, 8)), T(m(8, 3)), NULL));
    REFUSED(op_axpy(be, T(m(3, 8)), 1, T(m(3, 7)), NULL));
    REFUSED(op_axpy(be, &y16, 1, T(m(3, 8)), NULL));
    TAKEN(op_embed_rows(be, T(m(2, 8)), &table, (int32_t[]){ 0, 3 }, NULL));
    REFUSED(op_embed_rows(be, T(m(2, 8)), &table, (int32_t[]){ 0, 4 }, NULL));
    REFUSED(op_embed_rows(be, T(m(2, 8)), &table, (int32_t[]){ -1, 0 }, NULL));
    REFUSED(op_embed_rows(be, T(m(2, 7)), &table, (int32_t[]){ 0, 0 }, NULL));
    REFUSED(op_embed_rows(be, T(m(2, 8)), &table, NULL, NULL));
    REFUSED(op_upsample2x(be, T(pic2(4, 6, 8)), T(pic(2, 3, 7)), NULL));
    REFUSED(op_upsample2x(be, T(pic2(4, 7, 8)), T(pic(2, 3, 8)), NULL));
    TAKEN(op_upsample2x(be, T(pic2(4, 6, 8)), T(pic(2, 3, 8)), NULL));
    backend_close(be);
}

TEST(ops_refuse__convolutions_that_do_not_fit)
{
    struct backend *be = measure();
    struct conv_weight w = { .c_out = 4, .c_in = 3, .kh = 3, .kw = 3 }, none = { 0 };
    struct conv_args same = { 1, 1, 1, 1, 1, NULL }, down = { 2, 0, 0, 1, 1, NULL }, bad = { 3, 1, 1, 1, 1, NULL };
    struct conv_args down_to = { 2, 0, 0, 1, 1, T(pic(2, 3, 4)) }, same_to = { 1, 1, 1, 1, 1, T(pic(5, 6, 3)) };

    TAKEN(op_conv2d(be, T(pic2(5, 6, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &same, NULL));
    TAKEN(op_conv2d(be, T(pic2(2, 3, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &down_to, NULL));
    REFUSED(op_conv2d(be, T(pic2(5, 6, 4)), T(pic(5, 6, 4)), &w, T(v(4)), &same, NULL));
    REFUSED(op_conv2d(be, T(pic2(5, 6, 3)), T(pic(5, 6, 3)), &w, T(v(4)), &same, NULL));
    REFUSED(op_conv2d(be, T(pic2(3, 3, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &down, NULL));
    REFUSED(op_conv2d(be, T(pic2(5, 6, 4)), T(pic(5, 6, 3)), &w, T(v(3)), &same, NULL));
    REFUSED(op_conv2d(be, T(pic2(5, 6, 4)), T(pic(5, 6, 3)), &w, NULL, &same, NULL));
    REFUSED(op_conv2d(be, T(pic2(5, 6, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &same_to, NULL));
    REFUSED(op_conv2d(be, T(pic2(2, 2, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &bad, NULL));
    REFUSED(op_conv2d(be, T(pic2(5, 6, 4)), T(pic(5, 6, 3)), &none, T(v(4)), &same, NULL));
    bad = same, bad.pad_left = -1;
    REFUSED(op_conv2d(be, T(pic2(5, 4, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &bad, NULL));
    bad = same, bad.pad_left = 3;
    REFUSED(op_conv2d(be, T(pic2(5, 8, 4)), T(pic(5, 6, 3)), &w, T(v(4)), &bad, NULL));
    backend_close(be);
}

TEST(ops_refuse__names_the_operation_and_what_it_needs)
{
    struct backend *be = measure();
    struct err err = { 0 };

    CHECK_INT(op_silu(be, T(m(3, 8)), T(m(8, 3)), &err), ERR_INVALID);
    CHECK(strstr(err.msg, "op_silu") && strstr(err.msg, "same_shape"));
    backend_close(be);
}

TEST(measure__finds_what_a_model_takes_from_its_arena_without_touching_memory)
{
    struct backend *be = measure();
    struct devarena step;
    struct tensor x, y;
    struct weight w = { .dtype = DT_F32, .rows = 1 << 20, .cols = 1 << 10, .data = &somewhere };
    struct err err = { 0 };
    size_t mark;

    CHECK(!be->executes);
    CHECK_OK(devarena_init(&step, be, BACKEND_MEASURE_PLENTY, 0, &err), err);
    CHECK_OK(devarena_2d(&step, DT_F32, 1 << 16, 1 << 10, &x, &err), err);
    mark = devarena_mark(&step);
    CHECK_OK(devarena_2d(&step, DT_F32, 1 << 16, 1 << 20, &y, &err), err);
    CHECK_OK(op_linear(be, &y, &x, &w, NULL, ACT_NONE, &err), err);
    devarena_rewind(&step, mark);
    CHECK_INT(step.used, (int64_t)1 << 28);
    CHECK_INT(step.peak, ((int64_t)1 << 28) + ((int64_t)1 << 38));
    devarena_done(&step);
    backend_close(be);
}
