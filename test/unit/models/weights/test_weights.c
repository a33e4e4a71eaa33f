#include "models/weights/weights.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "models/file/safetensors.h"
#include "models/weights/weight_make.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { ARENA_BYTES = 4 << 20 };

#define SHAPE(c_out, c_in, kh, kw) ((int64_t[]){ (c_out), (c_in), (kh), (kw) })

static float values[64];

static struct tensor_write f32(const char *name, int n_dims, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    return (struct tensor_write){ name, DT_F32, n_dims, { d0, d1, d2, d3 }, values };
}

/* A loader of up to three files; add_file() writes and opens one. load_done() ends it. */
struct load {
    struct arena a, scratch;
    struct devarena mem;
    struct backend *be;
    struct tensor_file files[3];
    struct weight_set set;
    struct weight_loader l;
    _Atomic int64_t loaded;
    struct err err;
};

static void load_init_as(struct load *t, enum precision precision)
{
    *t = (struct load){ 0 };
    for (int i = 0; i < 64; i++)
        values[i] = (float)i;
    CHECK_OK(arena_init(&t->a, ARENA_BYTES, &t->err), t->err);
    CHECK_OK(arena_init(&t->scratch, ARENA_BYTES, &t->err), t->err);
    CHECK_OK(backend_open(BACKEND_PLAIN, precision, &t->be, &t->err), t->err);
    CHECK_OK(devarena_init(&t->mem, t->be, 0, 1 << 16, &t->err), t->err);
    t->l = (struct weight_loader){ .set = &t->set, .be = t->be, .mem = &t->mem, .scratch = &t->scratch,
                                  .loaded_bytes = &t->loaded };
}

static void load_init(struct load *t)
{
    load_init_as(t, PRECISION_F32);
}

static void load_done(struct load *t)
{
    devarena_done(&t->mem);
    backend_close(t->be);
    arena_done(&t->scratch);
    arena_done(&t->a);
}

static void add_file(struct load *t, int i, const struct tensor_write *tensors, int n)
{
    const char *path;
    char name[32];

    (void)snprintf(name, sizeof name, "weights-%d.safetensors", i);
    path = temp_path(name);
    CHECK_OK(safetensors_write(path, tensors, n, NULL, 0, &t->err), t->err);
    CHECK_OK(tensor_file_open(path, &t->a, &t->files[i], &t->err), t->err);
}

static void check_prefix(const char *const *prefixes, const struct tensor_write *tensors, int n, enum err_code want,
                         const char *prefix)
{
    struct load t;

    load_init(&t);
    add_file(&t, 0, tensors, n);
    CHECK_INT(weight_set_init(&t.set, t.files, 1, prefixes, "probe", NULL), want);
    if (!want)
        CHECK_STR(t.set.prefix, prefix);
    load_done(&t);
}

TEST(weights__strip_the_longest_prefix_under_which_the_probe_is)
{
    static const char *const prefixes[] = { "model.", "model.diffusion_model.", "diffusion_model.", NULL };
    const struct tensor_write bare[] = { f32("probe", 1, 2, 0, 0, 0) },
                              short_one[] = { f32("model.probe", 1, 2, 0, 0, 0), f32("probe", 1, 3, 0, 0, 0) },
                              other[] = { f32("diffusion_model.probe", 1, 2, 0, 0, 0) },
                              both[] = { f32("probe", 1, 2, 0, 0, 0),
                                         f32("model.diffusion_model.probe", 1, 3, 0, 0, 0) },
                              half[] = { f32("probe", 1, 2, 0, 0, 0), f32("model.diffusion_model.x", 1, 3, 0, 0, 0) },
                              none[] = { f32("prob", 1, 2, 0, 0, 0), f32("probe.x", 1, 2, 0, 0, 0) };

    check_prefix(prefixes, bare, 1, ERR_OK, "");
    check_prefix(NULL, bare, 1, ERR_OK, "");
    check_prefix(prefixes, short_one, 2, ERR_OK, "model.");
    check_prefix(NULL, short_one, 2, ERR_OK, "");
    check_prefix(prefixes, other, 1, ERR_OK, "diffusion_model.");
    check_prefix(prefixes, both, 2, ERR_OK, "model.diffusion_model.");
    check_prefix(prefixes, half, 2, ERR_NOT_FOUND, NULL); /* in a merged file, names without the prefix belong to another network */
    check_prefix(prefixes, none, 2, ERR_NOT_FOUND, NULL);
}

TEST(weights__join_files_that_share_no_name)
{
    const struct tensor_write first[] = { f32("probe", 1, 2, 0, 0, 0) }, second[] = { f32("x", 1, 3, 0, 0, 0) };
    struct load t;

    load_init(&t);
    add_file(&t, 0, second, 1);
    add_file(&t, 1, first, 1);
    add_file(&t, 2, first, 1);
    CHECK_OK(weight_set_init(&t.set, t.files, 2, NULL, "probe", &t.err), t.err);
    CHECK(weight_set_find(&t.set, "%s", "x") && weight_set_find(&t.set, "pro%s", "be"));
    CHECK(!weight_set_find(&t.set, "x%d", 1) && !weight_set_find(&t.set, "%300d", 1));
    CHECK_INT(weight_set_init(&t.set, t.files, 3, NULL, "probe", &t.err), ERR_CORRUPT);
    CHECK(strstr(t.err.msg, "'probe' is in both"));
    CHECK_INT(weight_set_init(&t.set, t.files, 0, NULL, "probe", NULL), ERR_TOO_LARGE);
    load_done(&t);
}

TEST(weights__give_matrices_of_the_shape_asked_for)
{
    const struct tensor_write out[] = { f32("p.m", 2, 3, 4, 0, 0), f32("p.c", 4, 3, 4, 1, 1), f32("p.k", 4, 3, 4, 1, 2),
                                        f32("p.v", 1, 3, 0, 0, 0), f32("p.e", 2, 0, 4, 0, 0) };
    static const char *const prefixes[] = { "p.", NULL };
    struct weight w;
    struct load t;

    load_init(&t);
    add_file(&t, 0, out, 5);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, prefixes, "m", &t.err), t.err);
    CHECK_OK(weights_matrix(&t.l, &w, 3, 4, &t.err, "%s", "m"), t.err);
    CHECK(w.dtype == DT_F32 && w.rows == 3 && w.cols == 4 && ((const float *)w.data)[11] == 11);
    CHECK_OK(weights_matrix(&t.l, &w, -1, -1, &t.err, "c"), t.err);
    CHECK(w.rows == 3 && w.cols == 4);
    CHECK_INT(t.loaded, 96);
    CHECK_INT(weights_matrix(&t.l, &w, 3, 4, NULL, "k"), ERR_CORRUPT);
    CHECK_INT(weights_matrix(&t.l, &w, -1, -1, NULL, "v"), ERR_CORRUPT);
    CHECK_INT(weights_matrix(&t.l, &w, -1, -1, NULL, "e"), ERR_CORRUPT);
    CHECK_INT(weights_matrix(&t.l, &w, 4, 3, &t.err, "m"), ERR_CORRUPT);
    CHECK(strstr(t.err.msg, "weights-0.safetensors: tensor 'p.m' has the shape [3, 4] instead of [4, 3]"));
    t.err = (struct err){ 0 };
    CHECK_INT(weights_matrix(&t.l, &w, 4, -1, &t.err, "absent.%d", 7), ERR_NOT_FOUND);
    CHECK(strstr(t.err.msg, "'p.absent.7'"));
    load_done(&t);
}

/* The format does not align tensors. */
TEST(weights__are_used_at_odd_addresses)
{
    static const struct tensor_write out[] = { { "odd", DT_U8, 1, { 3 }, values },
                                               { "m", DT_F32, 2, { 3, 4 }, values },
                                               { "v", DT_F32, 1, { 3 }, values } };
    float x_data[4] = { 1, 2, 3, 4 }, y_data[3];
    struct tensor x = tensor_2d(DT_F32, 1, 4, x_data), y = tensor_2d(DT_F32, 1, 3, y_data);
    struct weight w;
    struct bias bias;
    struct load t;

    load_init(&t);
    add_file(&t, 0, out, 3);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "m", &t.err), t.err);
    CHECK((uintptr_t)weight_set_find(&t.set, "m")->data % 4 == 3);
    CHECK_OK(weights_matrix(&t.l, &w, 3, 4, &t.err, "m"), t.err);
    CHECK_OK(weights_bias(&t.l, &bias, 3, &t.err, "v"), t.err);
    CHECK_OK(op_linear(t.be, &y, &x, &w, &bias, ACT_NONE, &t.err), t.err);
    CHECK(y_data[0] == 20 && y_data[1] == 61 && y_data[2] == 102);
    load_done(&t);
}

TEST(weights__give_vectors_of_any_type_as_f32)
{
    static const uint16_t half[3] = { 0x3C00, 0xC000, 0x0001 }, brain[3] = { 0x3F80, 0xC000, 0x0001 };
    static const uint8_t eight[3] = { 0x38, 0xC0, 0x01 };
    static const float want[3][3] = { { 1, -2, 0x1p-24f }, { 1, -2, 0x1p-133f }, { 1, -2, 0x1p-9f } };
    const struct tensor_write out[] = { { "f16", DT_F16, 1, { 3 }, half },
                                        { "bf16", DT_BF16, 1, { 3 }, brain },
                                        { "f8", DT_F8_E4M3, 1, { 3 }, eight },
                                        { "ids", DT_I32, 1, { 3 }, values } };
    struct tensor v;
    struct load t;

    load_init(&t);
    add_file(&t, 0, out, 4);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "f16", &t.err), t.err);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(weights_vector(&t.l, &v, i ? 3 : -1, &t.err, "%s", out[i].name), t.err);
        CHECK(v.dtype == DT_F32 && v.n_dims == 1 && v.dims[0] == 3 && memcmp(v.data, want[i], sizeof want[i]) == 0);
    }
    CHECK_INT(t.scratch.used, 0);
    CHECK_INT(weights_vector(&t.l, &v, 4, NULL, "f16"), ERR_CORRUPT);
    CHECK_INT(weights_vector(&t.l, &v, -1, NULL, "ids"), ERR_UNSUPPORTED);
    CHECK_INT(weights_vector(&t.l, &v, -1, NULL, "%300d", 1), ERR_INTERNAL);
    load_done(&t);
}

/* A bf16 has seven bits after the point, so that from 1 on, ties are odd multiples of 2^-8. */
TEST(weights__keep_a_bias_rounded_to_even_where_products_take_bf16)
{
    static const float bias[10] = { 1, 1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1.002p-8f, -3, 0, 0, 0, -0x1p-130f, 7 };
    static const uint16_t want[10] = { 0x3F80, 0x3F80, 0x3F82, 0x3F81, 0xC040, 0, 0, 0, 0x8008, 0x40E0 };
    const struct tensor_write out[] = { { "b", DT_F32, 1, { 10 }, bias } };

    for (int as_bf16 = 0; as_bf16 < 2; as_bf16++) {
        struct bias b, rows;
        struct load t;

        load_init_as(&t, as_bf16 ? PRECISION_BF16 : PRECISION_F32);
        add_file(&t, 0, out, 1);
        CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "b", &t.err), t.err);
        CHECK_OK(weights_bias(&t.l, &b, -1, &t.err, "%s", "b"), t.err);
        rows = bias_row_view(&b, 8, 2);
        CHECK(memcmp(b.f32.data, bias, sizeof bias) == 0 && memcmp(rows.f32.data, bias + 8, 8) == 0);
        CHECK_INT(rows.f32.dims[0], 2);
        CHECK((b.bf16.data != NULL) == as_bf16 && (rows.bf16.data != NULL) == as_bf16);
        if (as_bf16) {
            CHECK((uintptr_t)b.bf16.data % 16 == 0 && memcmp(b.bf16.data, want, sizeof want) == 0);
            CHECK(rows.bf16.dims[0] == 2 && memcmp(rows.bf16.data, want + 8, 4) == 0);
        }
        CHECK_INT(t.loaded, sizeof bias);
        CHECK_INT(weights_bias(&t.l, &b, 9, NULL, "b"), ERR_CORRUPT);
        CHECK_INT(t.scratch.used, 0);
        load_done(&t);
    }
}

TEST(weights__refuse_nan_and_infinity)
{
    static const float bad[2][2] = { { 1, NAN }, { -INFINITY, 0 } };
    static const uint8_t f8_nan[2] = { 0x38, 0xFF };
    const struct tensor_write out[] = { { "nan", DT_F32, 1, { 2 }, bad[0] },
                                        { "inf", DT_F32, 4, { 1, 2, 1, 1 }, bad[1] },
                                        { "f8", DT_F8_E4M3, 1, { 2 }, f8_nan } };
    struct conv_weight cw;
    struct tensor v;
    struct load t;

    load_init(&t);
    add_file(&t, 0, out, 3);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "nan", &t.err), t.err);
    CHECK_INT(weights_vector(&t.l, &v, 2, NULL, "nan"), ERR_CORRUPT);
    CHECK_INT(weights_vector(&t.l, &v, 2, NULL, "f8"), ERR_CORRUPT);
    CHECK_INT(weights_conv(&t.l, &cw, SHAPE(1, 2, 1, 1), &t.err, "inf"), ERR_CORRUPT);
    CHECK(strstr(t.err.msg, "'inf' holds NaN or infinity"));
    load_done(&t);
}

TEST(weights__give_convolutions)
{
    const struct tensor_write out[] = { f32("k", 4, 2, 3, 1, 3), f32("m", 2, 2, 3, 0, 0) };
    struct conv_weight cw;
    struct load t;

    load_init(&t);
    add_file(&t, 0, out, 2);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "k", &t.err), t.err);
    CHECK_OK(weights_conv(&t.l, &cw, SHAPE(2, 3, 1, 3), &t.err, "k"), t.err);
    CHECK(cw.c_out == 2 && cw.c_in == 3 && cw.kh == 1 && cw.kw == 3);
    CHECK_OK(weights_conv(&t.l, &cw, SHAPE(-1, -1, 1, 1), &t.err, "m"), t.err);
    CHECK(cw.c_out == 2 && cw.c_in == 3 && cw.kh == 1 && cw.kw == 1);
    CHECK_INT(weights_conv(&t.l, &cw, SHAPE(2, 3, 3, 3), NULL, "k"), ERR_CORRUPT);
    CHECK_INT(t.scratch.used, 0);
    load_done(&t);
}

/* --- what a file stores otherwise than a network takes it --- */

/* Loads a matrix and expands it by the rules of its type, with its scale. */
static void expand(const struct weight *w, float *ret)
{
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t c = 0; c < w->cols; c++) {
            size_t row_bytes = dtype_row_bytes(w->dtype, w->cols);
            float row[256];

            dequantise_row(w->dtype, (const char *)w->data + (size_t)r * row_bytes, row, w->cols);
            ret[r * w->cols + c] = row[c] * (w->scale != 0 ? w->scale : 1);
        }
}

/* F8_E4M3: 0x38 is 1, 0x40 is 2, 0x30 is 0.5 */
static const uint8_t f8_codes[6] = { 0x38, 0x40, 0x30, 0x40, 0xB8, 0x38 };
static const float f8_values[6] = { 1, 2, 0.5F, 2, -1, 1 };

static void check_scaled(const char *scale_name, int n_dims, int64_t d0, int64_t d1, const float *scales,
                         const float want[6])
{
    struct load t;
    struct weight w;
    float got[6];

    load_init(&t);
    t.l.made = &t.a;
    add_file(&t, 0,
             (struct tensor_write[]){ { "a.b.weight", DT_F8_E4M3, 2, { 2, 3 }, f8_codes },
                                      { scale_name, DT_F32, n_dims, { d0, d1 }, scales },
                                      { "a.b.scale_input", DT_F32, 0, { 0 }, values + 3 },
                                      f32("a.b.bias", 1, 2, 0, 0, 0),
                                      { "scaled_fp8", DT_F8_E4M3, 1, { 2 }, f8_codes } },
             5);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "a.b.weight", &t.err), t.err);
    CHECK_OK(weights_matrix(&t.l, &w, 2, 3, &t.err, "a.b.weight"), t.err);
    expand(&w, got);
    for (int i = 0; i < 6; i++)
        CHECK(got[i] == want[i]);
    CHECK_OK(weights_bias(&t.l, &(struct bias){ 0 }, 2, &t.err, "a.b.bias"), t.err);
    CHECK_OK(weights_finish(&t.l, &t.err), t.err);
    load_done(&t);
}

TEST(weights__read_scaled_fp8_under_any_name)
{
    static const char *const names[] = { "a.b.scale_weight", "a.b.weight_scale", "a.b.weight_scale_inv", "a.b.scale",
                                         "a.b.weight.scale", "a.b.weight_scales", "a.b.qscale" };
    const float one[1] = { 0.25F }, two[2] = { 0.25F, 3 };
    float want[6], in_rows[6];

    for (int i = 0; i < 6; i++) {
        want[i] = f8_values[i] * 0.25F;
        in_rows[i] = f8_values[i] * two[i / 3];
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_scaled(names[i], 0, 0, 0, one, want);
        check_scaled(names[i], 1, 1, 0, one, want);
        check_scaled(names[i], 2, 1, 1, one, want); /* one value, or one block */
        check_scaled(names[i], 1, 2, 0, two, in_rows);
        check_scaled(names[i], 2, 2, 1, two, in_rows);
    }
}

TEST(weights__read_fp8_with_a_scale_a_block)
{
    static uint8_t codes[130 * 200];
    static float got[130 * 200];
    const float scales[4] = { 0.5F, 2, 4, 8 }; /* [2, 2] blocks of 128 x 128 */
    struct weight_source s;
    struct load t;

    memset(codes, 0x38, sizeof codes);
    load_init(&t);
    add_file(&t, 0,
             (struct tensor_write[]){ { "m.weight", DT_F8_E4M3, 2, { 130, 200 }, codes },
                                      { "m.weight_scale_inv", DT_F32, 2, { 2, 2 }, scales } },
             2);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "m.weight", &t.err), t.err);
    CHECK_OK(weight_set_source(&t.set, "m.weight", &s, &t.err), t.err);
    CHECK(!s.plain);
    weight_source_read(&s, 0, 130, got);
    CHECK(got[0] == 0.5F);
    CHECK(got[127 * 200 + 127] == 0.5F);
    CHECK(got[127 * 200 + 128] == 2);
    CHECK(got[128 * 200 + 127] == 4);
    CHECK(got[129 * 200 + 199] == 8);
    load_done(&t);
}

static void refuses(const struct tensor_write *tensors, int n, enum err_code want, const char *word)
{
    struct load t;
    struct weight w;
    enum err_code rc;

    load_init(&t);
    t.l.made = &t.a;
    add_file(&t, 0, tensors, n);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "m.weight", &t.err), t.err);
    rc = weights_matrix(&t.l, &w, -1, -1, &t.err, "m.weight");
    if (!rc)
        rc = weights_finish(&t.l, &t.err);
    CHECK_INT(rc, want);
    CHECK(strstr(t.err.msg, word));
    load_done(&t);
}

TEST(weights__refuse_scales_that_no_values_can_have)
{
    const struct tensor_write m = { "m.weight", DT_F8_E4M3, 2, { 2, 3 }, f8_codes };
    const float bad[] = { 0, -1, NAN, INFINITY, 4097 };
    const float good[6] = { 1, 1, 1, 1, 1, 1 };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses((struct tensor_write[]){ m, { "m.weight_scale", DT_F32, 0, { 0 }, &bad[i] } }, 2, ERR_CORRUPT,
                "m.weight_scale");
    refuses((struct tensor_write[]){ m, { "m.weight_scale", DT_F32, 1, { 3 }, good } }, 2, ERR_UNSUPPORTED, "one a row");
    refuses((struct tensor_write[]){ m, { "m.weight_scale", DT_F32, 2, { 2, 3 }, good } }, 2, ERR_UNSUPPORTED,
            "one a row");
    refuses((struct tensor_write[]){ m, { "m.weight_scale", DT_I32, 0, { 0 }, good } }, 2, ERR_UNSUPPORTED, "F32");
    refuses((struct tensor_write[]){ m, { "m.scale_weight", DT_F32, 0, { 0 }, good },
                                     { "m.weight_scale", DT_F32, 0, { 0 }, good } },
            3, ERR_UNSUPPORTED, "two scales");
}

/* "X.anything" changes what "X.weight" means; by rule, whatever it is called. */
TEST(weights__refuse_tensors_of_their_layers_that_nobody_understands)
{
    static const char *const names[] = { "m.scale",           "m.weight_scale",   "m.input_scale",   "m.lora_A.weight",
                                         "m.lora_down.weight", "m.weight.absmax", "m.weight.quant_state.nf4",
                                         "m.never_heard_of",   "m.weight_scale_2" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refuses((struct tensor_write[]){ f32("m.weight", 2, 2, 3, 0, 0), f32(names[i], 1, 2, 0, 0, 0) }, 2,
                ERR_UNSUPPORTED, names[i]);
}

TEST(weights__count_the_tensors_of_other_networks)
{
    struct load t;
    struct weight w;
    int n = 0;

    load_init(&t);
    t.l.not_taken = &n;
    add_file(&t, 0,
             (struct tensor_write[]){ f32("m.weight", 2, 2, 3, 0, 0), f32("other.weight", 1, 2, 0, 0, 0),
                                      f32("mm.scale", 1, 2, 0, 0, 0), f32("weight", 1, 2, 0, 0, 0) },
             4);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "m.weight", &t.err), t.err);
    CHECK_OK(weights_matrix(&t.l, &w, 2, 3, &t.err, "m.weight"), t.err);
    CHECK_OK(weights_finish(&t.l, &t.err), t.err);
    CHECK_INT(n, 3);
    load_done(&t);
}

/* "whole" is "top" and "end"; "turned" has its halves the other way round. */
static bool rename_for_test(const char *name, struct weight_names *ret)
{
    const bool turned = !strncmp(name, "turned", 6), whole = !strncmp(name, "whole", 5);

    *ret = (struct weight_names){ .n = whole ? 2 : 1, .halves_swapped = turned };
    (void)snprintf(ret->name[0], sizeof ret->name[0], "%s%s", whole ? "top" : "stored",
                   strchr(name, '.') ? strchr(name, '.') : "");
    (void)snprintf(ret->name[1], sizeof ret->name[1], "end%s", strchr(name, '.') ? strchr(name, '.') : "");
    return turned || whole;
}

TEST(weights__put_matrices_together)
{
    const float want_whole[8] = { 0, 1, 2, 3, 0, 1, 2, 3 }, want_turned[8] = { 4, 5, 6, 7, 0, 1, 2, 3 };
    struct load t;
    struct weight w;
    struct tensor v;
    float got[8];

    load_init(&t);
    t.l.made = &t.a;
    add_file(&t, 0,
             (struct tensor_write[]){ f32("top.weight", 2, 2, 2, 0, 0), f32("end.weight", 2, 2, 2, 0, 0),
                                      f32("stored.weight", 2, 4, 2, 0, 0), f32("stored.bias", 1, 4, 0, 0, 0),
                                      f32("top.bias", 1, 2, 0, 0, 0), f32("end.bias", 1, 3, 0, 0, 0) },
             6);
    CHECK_OK(weight_set_init(&t.set, t.files, 1, NULL, "top.weight", &t.err), t.err);
    t.set.rename = rename_for_test;
    CHECK_OK(weights_matrix(&t.l, &w, 4, 2, &t.err, "whole.weight"), t.err);
    expand(&w, got);
    CHECK(!memcmp(got, want_whole, sizeof got));
    CHECK_OK(weights_matrix(&t.l, &w, 4, 2, &t.err, "turned.weight"), t.err);
    expand(&w, got);
    CHECK(!memcmp(got, want_turned, sizeof got));
    CHECK_OK(weights_vector(&t.l, &v, 4, &t.err, "turned.bias"), t.err);
    CHECK(!memcmp(v.data, (float[]){ 2, 3, 0, 1 }, 16));
    CHECK_OK(weights_vector(&t.l, &v, 5, &t.err, "whole.bias"), t.err);
    CHECK(!memcmp(v.data, (float[]){ 0, 1, 0, 1, 2 }, 20));
    CHECK_INT(weights_matrix(&t.l, &w, 4, 2, &t.err, "nothing.weight"), ERR_NOT_FOUND);
    CHECK_OK(weights_finish(&t.l, &t.err), t.err);
    load_done(&t);
}

static bool touches_m(const void *ctx, const char *name)
{
    (void)ctx;
    return !strcmp(name, "m.weight");
}

/* Adds a half to every value, and the number of its row. */
static void add_half(const void *ctx, const char *name, int64_t row0, int64_t n, int64_t cols, float *row)
{
    (void)ctx, (void)name;
    for (int64_t i = 0; i < n * cols; i++)
        row[i] += 0.5F + (float)(row0 + i / cols);
}

/* A scale of 10 on random bytes comes to finite numbers, too. */
static void add_much(const void *ctx, const char *name, int64_t row0, int64_t n, int64_t cols, float *row)
{
    (void)name, (void)row0, (void)n, (void)cols;
    row[0] += *(const float *)ctx;
}

TEST(weights__refuses_what_no_training_comes_to_and_names_the_loras)
{
    static const float added[] = { 4000, -4200, 1e38F, INFINITY, NAN };
    static const char zeros[64 * 4];
    struct arena scratch = { 0 };
    struct err err = { 0 };

    CHECK_OK(arena_init(&scratch, 1 << 20, &err), err);
    for (size_t i = 0; i < sizeof added / sizeof *added; i++) {
        const struct tensor_entry e = { .name = SPAN("m.weight"), .dtype = DT_F32, .n_dims = 2, .dims = { 2, 32 }, .data = zeros };
        const struct weight_patch p = { &added[i], touches_m, add_much };
        const struct weight_source s = { .name = "m.weight", .pieces = { { &e, NULL } }, .n_pieces = 1,
                                         .patches = { &p }, .n_patches = 1, .n_dims = 2, .dims = { 2, 32 } };
        float got[64];

        CHECK_INT(weight_make(&s, DT_F32, "base.gguf", &scratch, got, &err), i ? ERR_CORRUPT : ERR_OK);
        CHECK(!i || (strstr(err.msg, "with the LoRAs merged") && !strstr(err.msg, "base.gguf")));
    }
    arena_done(&scratch);
}

TEST(weights__a_patched_matrix_has_the_type_that_loses_least)
{
    static const struct {
        enum precision precision;
        enum dtype stored, want;
    } rows[] = { { PRECISION_F32, DT_F32, DT_F32 },   { PRECISION_F32, DT_Q8_0, DT_F32 },
                 { PRECISION_BF16, DT_F32, DT_BF16 }, { PRECISION_BF16, DT_BF16, DT_BF16 } };
    const char zeros[64 * 4] = { 0 };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct tensor_entry e = { .name = SPAN("m.weight"), .dtype = rows[i].stored, .n_dims = 2,
                                        .dims = { 2, 32 }, .data = zeros };
        const struct weight_patch p = { NULL, touches_m, add_half };
        const struct weight_source s = { .name = "m.weight", .pieces = { { &e, NULL } }, .n_pieces = 1,
                                         .patches = { &p }, .n_patches = 1, .n_dims = 2, .dims = { 2, 32 } };
        float got[64];

        CHECK_INT(weight_make_type(&s, rows[i].precision == PRECISION_F32 ? DT_F32 : DT_BF16), rows[i].want);
        weight_source_read(&s, 0, 2, got);
        CHECK(got[31] == 0.5F);
        CHECK(got[32] == 1.5F);
    }
}
