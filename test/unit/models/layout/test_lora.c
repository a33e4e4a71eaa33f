#include "models/layout/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/flux/flux.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20, MAX_TENSORS = 16, VALUES = 1 << 19, HIDDEN = 64, MLP = 256, INPUTS = 384 };

/* A file that is being made. Matrices are of ones, unless a case says otherwise. */
struct made {
    struct arena a;
    struct err err;
    struct tensor_write tensors[MAX_TENSORS];
    int n;
    struct metadata_pair metadata;
    const struct lora *lora;
};

static float ones[VALUES], zeros[VALUES];

static void begin(struct made *m)
{
    *m = (struct made){ 0 };
    for (int i = 0; i < VALUES; i++)
        ones[i] = 1;
    CHECK_OK(arena_init(&m->a, ARENA_BYTES, &m->err), m->err);
}

static struct tensor_write *put(struct made *m, const char *name, int64_t rows, int64_t cols)
{
    struct tensor_write *t = &m->tensors[m->n++];

    CHECK(m->n <= MAX_TENSORS && (rows ? rows : 1) * (cols ? cols : 1) <= VALUES);
    *t = (struct tensor_write){ name, DT_F32, cols ? 2 : rows ? 1 : 0, { rows, cols }, ones };
    return t;
}

/* Down and up of a layer; the names live as long as the arena. */
static void put_pair(struct made *m, const char *layer, int64_t outputs, int64_t inputs, int64_t rank)
{
    char *down = NULL, *up = NULL;

    CHECK_OK(arena_printf(&m->a, &down, &m->err, "%s.lora_A.weight", layer), m->err);
    CHECK_OK(arena_printf(&m->a, &up, &m->err, "%s.lora_B.weight", layer), m->err);
    (void)put(m, down, rank, inputs);
    (void)put(m, up, outputs, rank);
}

static enum err_code open_made(struct made *m)
{
    const char *path = temp_path("lora.safetensors");

    CHECK_OK(safetensors_write(path, m->tensors, m->n, &m->metadata, m->metadata.key ? 1 : 0, &m->err), m->err);
    return lora_open(path, 1, &m->a, &m->lora, &m->err);
}

struct wanted_shape {
    const char *name;
    int64_t rows, cols;
    bool found;
};

static enum err_code visit(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err)
{
    struct wanted_shape *w = ctx;

    (void)err;
    if (!strcmp(name, w->name))
        *w = (struct wanted_shape){ w->name, dims[0], n_dims > 1 ? dims[1] : 1, true };
    return ERR_OK;
}

/* Of a small Fill: two blocks of each kind. */
static bool shape_of(const void *ctx, const char *name, int64_t *ret_rows, int64_t *ret_cols)
{
    const struct flux_config c = { .in_channels = INPUTS,
                                   .out_channels = 64,
                                   .hidden = HIDDEN,
                                   .mlp = MLP,
                                   .context = 64,
                                   .pooled = 32,
                                   .head_dim = 32,
                                   .n_heads = 2,
                                   .n_double = 2,
                                   .n_single = 2,
                                   .guidance = true };
    struct wanted_shape w = { .name = name };
    struct err err = { 0 };

    (void)ctx;
    CHECK_OK(flux_describe(&c, visit, &w, &err), err);
    if (w.found) {
        *ret_rows = w.rows;
        *ret_cols = w.cols;
    }
    return w.found;
}

static void check_refused(struct made *m, enum err_code code, const char *text)
{
    CHECK_INT(open_made(m), code);
    if (!strstr(m->err.msg, text) || !strstr(m->err.msg, "lora.safetensors"))
        test_fail(__FILE__, __LINE__, "'%s' does not say '%s'", m->err.msg, text);
    arena_done(&m->a);
}

static void check_misfit(struct made *m, const char *text)
{
    CHECK_OK(open_made(m), m->err);
    CHECK_INT(lora_check(m->lora, shape_of, NULL, &m->err), ERR_UNSUPPORTED);
    if (!strstr(m->err.msg, text))
        test_fail(__FILE__, __LINE__, "'%s' does not say '%s'", m->err.msg, text);
    arena_done(&m->a);
}

static void check_fits(struct made *m, int n_layers)
{
    CHECK_OK(open_made(m), m->err);
    CHECK_OK(lora_check(m->lora, shape_of, NULL, &m->err), m->err);
    CHECK_INT(lora_layers(m->lora), n_layers);
}

static void add(const struct made *m, const char *name, int64_t row0, int64_t n, int64_t cols, float *values)
{
    struct weight_patch p = lora_patch(m->lora);

    CHECK(p.touches(p.ctx, name));
    p.add(p.ctx, name, row0, n, cols, values);
}

#define TO_Q "transformer.transformer_blocks.0.attn.to_q"

TEST(lora__refuses_layers_that_are_not_complete)
{
    static const char *const lonely[] = { TO_Q ".lora_A.weight", TO_Q ".lora_B.weight", TO_Q ".alpha",
                                          TO_Q ".lora_B.bias" };
    struct made m;

    for (size_t i = 0; i < sizeof lonely / sizeof *lonely; i++) {
        begin(&m);
        (void)put(&m, lonely[i], 64, i < 2 ? 64 : 0);
        check_refused(&m, ERR_CORRUPT, TO_Q);
    }
}

TEST(lora__refuses_matrices_that_do_not_fit_each_other)
{
    struct made m;

    begin(&m);
    (void)put(&m, TO_Q ".lora_A.weight", 2, 64);
    (void)put(&m, TO_Q ".lora_B.weight", 64, 3);
    check_refused(&m, ERR_CORRUPT, "down is [2, 64] and up [64, 3]");
    begin(&m);
    (void)put(&m, TO_Q ".lora_A.weight", 64, 0);
    (void)put(&m, TO_Q ".lora_B.weight", 64, 2);
    check_refused(&m, ERR_CORRUPT, "is not a matrix");
    begin(&m);
    put_pair(&m, TO_Q, 64, 0, 2);
    m.tensors[0].n_dims = 2;
    check_refused(&m, ERR_CORRUPT, "is not a matrix");
    begin(&m);
    put_pair(&m, "transformer.norm_out.linear", 127, 64, 2);
    check_refused(&m, ERR_CORRUPT, "no two halves");
}

TEST(lora__refuses_a_rank_over_the_limit_and_takes_the_limit)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 4097);
    check_refused(&m, ERR_UNSUPPORTED, "rank 4097; at most 4096");
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 4096);
    check_fits(&m, 1);
    arena_done(&m.a);
}

/* Bytes of the arena that a LoRA of this rank takes. */
static size_t bytes_taken(int64_t rank)
{
    struct made m;
    size_t before;

    begin(&m);
    put_pair(&m, "transformer.proj_out", 64, HIDDEN, rank);
    before = m.a.used;
    CHECK_OK(open_made(&m), m.err);
    before = m.a.used - before;
    arena_done(&m.a);
    return before;
}

/* Two LoRAs of the size of the published ones for few steps would be more than the arena of a model. */
TEST(lora__takes_no_memory_that_grows_with_its_matrices)
{
    CHECK(bytes_taken(4096) <= bytes_taken(1) + 1024);
}

TEST(lora__refuses_a_layer_whose_two_changes_have_other_inputs)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 8);
    (void)put(&m, TO_Q ".diff", 64, 32);
    check_misfit(&m, "has 32 inputs, the transformer's has 64");
}

TEST(lora__refuses_convolutions_and_whole_numbers)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    m.tensors[0].n_dims = 4;
    m.tensors[0].dims[2] = m.tensors[0].dims[3] = 1;
    check_refused(&m, ERR_UNSUPPORTED, "has 4 dimensions");
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    m.tensors[1].dtype = DT_I32;
    check_refused(&m, ERR_CORRUPT, "whole numbers");
}

TEST(lora__refuses_values_that_are_not_finite_wherever_they_are)
{
    static float values[3 * 64];
    const float bad[] = { NAN, INFINITY, -INFINITY };

    for (int tensor = 0; tensor < 3; tensor++)
        for (int i = 0; i < 3; i++) {
            struct made m;

            begin(&m);
            put_pair(&m, TO_Q, 64, 64, 3);
            (void)put(&m, TO_Q ".lora_B.bias", 64, 0);
            memcpy(values, ones, sizeof values);
            values[i * 21 + 20] = bad[i];
            m.tensors[tensor].data = values;
            check_refused(&m, ERR_CORRUPT, "holds NaN or infinity");
        }
}

TEST(lora__refuses_an_alpha_that_is_not_one_finite_number)
{
    const float bad[] = { NAN, INFINITY, 1e9F };
    struct made m;

    for (int i = 0; i < 3; i++) {
        begin(&m);
        put_pair(&m, TO_Q, 64, 64, 2);
        put(&m, TO_Q ".alpha", 0, 0)->data = &bad[i];
        check_refused(&m, ERR_CORRUPT, "alpha");
    }
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    (void)put(&m, TO_Q ".alpha", 2, 0);
    check_refused(&m, ERR_CORRUPT, "is not one number");
}

TEST(lora__refuses_other_kinds_of_adapters_by_name)
{
    static const char *const kinds[][2] = {
        { TO_Q ".dora_scale", "a DoRA" },
        { TO_Q ".lora_magnitude_vector.weight", "a DoRA" },
        { "lycoris_transformer_blocks_0_attn_to_q.lokr_w1", "a LoKr" },
        { "lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a", "a LoHa" },
        { "lora_unet_double_blocks_0_img_attn_qkv.lora_mid.weight", "convolutions" },
        { TO_Q ".oft_R.weight", "an OFT" },
        { "double_blocks.0.img_attn.norm.query_norm.scale", "QK norm" },
        { "transformer.transformer_blocks.0.attn.norm_q.weight", "QK norm" },
        { "diffusion_model.double_blocks.0.img_attn.norm.key_norm.diff", "QK norm" },
        { "img_in.weight", "whole model" },
        { TO_Q ".weight", "whole model" },
        { "bundle_emb.x.string_to_param.*", "no part of a LoRA" },
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct made m;

        begin(&m);
        put_pair(&m, TO_Q, 64, 64, 2);
        (void)put(&m, kinds[i][0], 64, 0);
        check_refused(&m, ERR_UNSUPPORTED, kinds[i][1]);
    }
}

TEST(lora__refuses_layers_of_text_encoders_with_their_number)
{
    static const char *const layers[] = {
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
        "lora_te3_encoder_block_0_layer_0_SelfAttention_k",
        "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1",
        "base_model.model.text_model.encoder.layers.0.self_attn.k_proj",
    };

    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        struct made m;

        begin(&m);
        put_pair(&m, TO_Q, 64, 64, 2);
        put_pair(&m, "transformer.proj_out", 64, 64, 2);
        put_pair(&m, layers[i], 64, 64, 2);
        check_refused(&m, ERR_UNSUPPORTED, "1 of its 3 layers are for the text encoders");
    }
}

TEST(lora__takes_parts_of_zeros_that_change_nothing)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    put_pair(&m, "text_encoder.text_model.encoder.layers.0.mlp.fc1", 64, 64, 2);
    m.tensors[3].data = zeros;
    put(&m, "diffusion_model.double_blocks.0.img_attn.norm.key_norm.diff", 32, 0)->data = zeros;
    check_fits(&m, 1);
    arena_done(&m.a);
}

TEST(lora__refuses_layers_of_other_models_with_their_number)
{
    static const char *const layers[] = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k",
        "diffusion_model.distilled_guidance_layer.layers.0.in_layer",
        "diffusion_model.blocks.0.self_attn.q",
        "transformer.transformer_blocks.0.attn.to_qkv",
        "transformer.transformer_blocks.1000.attn.to_q",
    };

    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        struct made m;

        begin(&m);
        put_pair(&m, TO_Q, 64, 64, 2);
        put_pair(&m, layers[i], 64, 64, 2);
        check_refused(&m, ERR_UNSUPPORTED, "1 of its 2 layers are not of a FLUX.1 transformer");
    }
}

TEST(lora__refuses_a_layer_that_comes_twice)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    (void)put(&m, TO_Q ".lora_A.default.weight", 2, 64);
    check_refused(&m, ERR_CORRUPT, "the same part of one layer");
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    put_pair(&m, "transformer_blocks.1.attn.to_q", 64, 64, 2);
    check_refused(&m, ERR_UNSUPPORTED, "in two ways");
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    put_pair(&m, "transformer.double_blocks.0.img_attn.qkv", 192, 64, 2);
    check_refused(&m, ERR_UNSUPPORTED, "in two ways");
    begin(&m); /* what stands in front of the two is equally long, and both are left away */
    put_pair(&m, "transformer.unet.proj_out", 64, 64, 2);
    put_pair(&m, "base_model.model.proj_out", 64, 64, 2);
    check_refused(&m, ERR_CORRUPT, "are the same layer or overlap");
}

TEST(lora__refuses_a_file_without_layers)
{
    struct made m;

    begin(&m);
    check_refused(&m, ERR_UNSUPPORTED, "no layer of a transformer");
    begin(&m);
    put(&m, "transformer.transformer_blocks.0.attn.norm_q.diff", 32, 0)->data = zeros;
    check_refused(&m, ERR_UNSUPPORTED, "no layer of a transformer");
}

TEST(lora__refuses_a_type_that_is_not_read)
{
    static const char header[] = "{\"" TO_Q ".lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                                 "\"" TO_Q ".lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]},"
                                 "\"" TO_Q ".alpha\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[16,24]}}";
    struct bytes file = { 0 };
    struct made m;

    begin(&m);
    bytes_u64(&file, sizeof header - 1);
    bytes_text(&file, header);
    bytes_put(&file, zeros, 24);
    CHECK_INT(lora_open(temp_file("f64.safetensors", file.ptr, file.len), 1, &m.a, &m.lora, &m.err), ERR_UNSUPPORTED);
    CHECK(strstr(m.err.msg, "alpha' has a type that is not read, F64"));
    bytes_done(&file);
    arena_done(&m.a);
}

TEST(lora__refuses_what_does_not_fit_the_network_with_counts)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    put_pair(&m, "transformer.proj_out", 64, 64, 2);
    put_pair(&m, "transformer.transformer_blocks.1.attn.to_k", 64, 128, 2);
    check_misfit(&m, "2 of its 3 layers fit this transformer; 'transformer.transformer_blocks.1.attn.to_k' has 128 "
                     "inputs, the transformer's has 64");
    begin(&m);
    put_pair(&m, TO_Q, 192, 64, 2);
    check_misfit(&m, "0 of its 1 layers fit this transformer; '" TO_Q "' has 192 outputs, the transformer's has 64");
    begin(&m);
    put_pair(&m, "transformer.transformer_blocks.2.attn.to_q", 64, 64, 2);
    check_misfit(&m, "is not in it");
    begin(&m);
    put_pair(&m, "transformer.single_transformer_blocks.0.proj_mlp", 64, 64, 2);
    check_misfit(&m, "has 64 outputs, the transformer's has 256");
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    (void)put(&m, TO_Q ".lora_B.bias", 192, 0);
    check_misfit(&m, "has 192 outputs");
    begin(&m);
    put_pair(&m, "transformer.x_embedder", 64, 196, 2);
    check_misfit(&m, "has 196 inputs, the transformer's has 384");
}

TEST(lora__refuses_control_loras_by_their_inputs)
{
    struct made m;

    begin(&m);
    put_pair(&m, "transformer.transformer_blocks.9.attn.to_q", 64, 64, 2);
    put_pair(&m, "transformer.x_embedder", 64, 128, 2);
    check_misfit(&m, "'transformer.x_embedder' has 128 inputs, as control LoRAs (Canny, Depth) have");
}

TEST(lora__takes_names_with_any_prefix_and_adapter)
{
    static const char *const layers[] = {
        "transformer_blocks.0.attn.to_q",
        TO_Q,
        "base_model.model.transformer_blocks.0.attn.to_q",
        "base_model.model.transformer.transformer_blocks.0.attn.to_q",
        "diffusion_model.double_blocks.1.img_attn.proj",
        "model.diffusion_model.double_blocks.1.img_attn.proj",
        "base_model.model.double_blocks.1.img_attn.proj",
        "lora_unet_double_blocks_1_img_attn_proj",
        "lora_unet_transformer_blocks_0_attn_to_q",
        "lora_transformer_transformer_blocks_0_attn_to_q",
        "lycoris_transformer_blocks_0_attn_to_q",
    };
    static const char *const ends[][2] = {
        { ".lora_A.weight", ".lora_B.weight" },
        { ".lora_A.default.weight", ".lora_B.default.weight" },
        { ".lora_A.my-adapter_1.weight", ".lora_B.my-adapter_1.weight" },
        { ".lora_down.weight", ".lora_up.weight" },
        { ".lora.down.weight", ".lora.up.weight" },
        { ".lora_A", ".lora_B" },
    };

    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
            char down[128], up[128];
            struct made m;

            begin(&m);
            (void)snprintf(down, sizeof down, "%s%s", layers[i], ends[k][0]);
            (void)snprintf(up, sizeof up, "%s%s", layers[i], ends[k][1]);
            (void)put(&m, down, 2, 64);
            (void)put(&m, up, 64, 2);
            check_fits(&m, 1);
            arena_done(&m.a);
        }
}

/* One row of q, k or v of ones is rank * alpha / rank. */
static float added_to_q(const struct made *m)
{
    static float values[192 * 64];

    memset(values, 0, sizeof values);
    add(m, "double_blocks.0.img_attn.qkv.weight", 0, 192, 64, values);
    for (int i = 1; i < 64 * 64; i++)
        CHECK(values[i] == values[0]);
    for (int i = 64 * 64; i < 192 * 64; i++)
        CHECK(values[i] == 0);
    return values[0];
}

TEST(lora__alpha_over_rank_is_the_strength_in_any_type)
{
    static const struct {
        enum dtype type;
        uint64_t bytes;
        float want;
    } alphas[] = {
        { DT_F32, 0x40a00000, 5 }, { DT_F16, 0x4500, 5 }, { DT_BF16, 0x40a0, 5 }, { DT_I64, 5, 5 },
        { DT_I32, 5, 5 },          { DT_U8, 5, 5 },       { DT_F32, 0, 0 },       { DT_F32, 0xbf800000, -1 },
    };

    for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++)
        for (int n_dims = 0; n_dims < 3; n_dims++) {
            struct made m;
            struct tensor_write *t;

            begin(&m);
            put_pair(&m, TO_Q, 64, 64, 4);
            t = put(&m, TO_Q ".alpha", 1, 1);
            t->n_dims = n_dims;
            t->dtype = alphas[i].type;
            t->data = &alphas[i].bytes;
            check_fits(&m, 1);
            CHECK_NEAR(((float[]){ added_to_q(&m) }), (&alphas[i].want), 1, 0, 1e-7);
            arena_done(&m.a);
        }
}

TEST(lora__takes_matrices_of_fp8)
{
    static unsigned char fp8[2 * 64];
    struct made m;

    memset(fp8, 0x3c, sizeof fp8); /* 1.5 */
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    for (int i = 0; i < 2; i++) {
        m.tensors[i].dtype = DT_F8_E4M3;
        m.tensors[i].data = fp8;
    }
    check_fits(&m, 1);
    CHECK(added_to_q(&m) == 2 * 1.5F * 1.5F);
    arena_done(&m.a);
}

TEST(lora__changes_only_the_inputs_that_it_has)
{
    static float values[HIDDEN * INPUTS];
    struct made m;

    begin(&m);
    put_pair(&m, "transformer.x_embedder", HIDDEN, 64, 2);
    check_fits(&m, 1);
    memset(values, 0, sizeof values);
    add(&m, "img_in.weight", 0, HIDDEN, INPUTS, values);
    for (int o = 0; o < HIDDEN; o++)
        for (int j = 0; j < INPUTS; j++)
            CHECK(values[o * INPUTS + j] == (j < 64 ? 2 : 0));
    arena_done(&m.a);
}

TEST(lora__touches_nothing_else)
{
    struct weight_patch p;
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 2);
    check_fits(&m, 1);
    p = lora_patch(m.lora);
    CHECK(p.touches(p.ctx, "double_blocks.0.img_attn.qkv.weight"));
    CHECK(!p.touches(p.ctx, "double_blocks.0.img_attn.qkv.bias"));
    CHECK(!p.touches(p.ctx, "double_blocks.0.img_attn.qkv"));
    CHECK(!p.touches(p.ctx, "double_blocks.1.img_attn.qkv.weight"));
    CHECK(!p.touches(p.ctx, ""));
    arena_done(&m.a);
}

static void check_settings(const char *json, float want)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 4);
    m.metadata = (struct metadata_pair){ "lora_adapter_metadata", json };
    check_fits(&m, 1);
    CHECK_NEAR(((float[]){ added_to_q(&m) }), &want, 1, 0, 1e-7);
    arena_done(&m.a);
}

/* What PEFT makes of such settings for a layer of rank 4 whose product is 4. */
TEST(lora__settings_in_the_metadata_are_those_of_peft)
{
    check_settings("{}", 4);
    check_settings("{\"text_encoder.lora_alpha\": 3}", 4);
    check_settings("{\"transformer.lora_alpha\": 3, \"transformer.r\": 4}", 3);
    check_settings("{\"transformer.lora_alpha\": 3, \"transformer.use_rslora\": true}", 6);
    check_settings("{\"transformer.lora_alpha\": 3, \"transformer.use_rslora\": false}", 3);
    check_settings("{\"transformer.r\": 4}", 8);
    check_settings("{\"transformer.lora_alpha\": 3, \"transformer.alpha_pattern\": {\"attn.to_q\": 5}}", 5);
    check_settings("{\"transformer.lora_alpha\": 3, \"transformer.alpha_pattern\": {\"tn.to_q\": 5}}", 3);
    check_settings("{\"transformer.alpha_pattern\": {\"^to_q\": 5, \"to_q\": 6, \"attn.to_q\": 7}}", 6);
    check_settings("{\"transformer.alpha_pattern\": {\"^transformer_blocks.0.attn.to_q\": 5}}", 5);
    check_settings("{\"transformer.alpha_pattern\": {}, \"transformer.lora_alpha\": 2}", 2);
}

static void check_settings_refused(const char *json, enum err_code code, const char *text)
{
    struct made m;

    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 4);
    m.metadata = (struct metadata_pair){ "lora_adapter_metadata", json };
    check_refused(&m, code, text);
}

TEST(lora__refuses_settings_that_it_cannot_follow)
{
    struct made m;

    check_settings_refused("{", ERR_CORRUPT, "not JSON");
    check_settings_refused("[]", ERR_CORRUPT, "not an object");
    check_settings_refused("{\"transformer.lora_alpha\": \"3\"}", ERR_CORRUPT, "lora_alpha is not a number");
    check_settings_refused("{\"transformer.lora_alpha\": 1e300}", ERR_CORRUPT, "alpha 1e+300");
    check_settings_refused("{\"transformer.alpha_pattern\": [1]}", ERR_CORRUPT, "alpha_pattern is not an object");
    check_settings_refused("{\"transformer.alpha_pattern\": {\"to_q\": null}}", ERR_CORRUPT, "not a number");
    check_settings_refused("{\"transformer.alpha_pattern\": {\".*to_q\": 3}}", ERR_UNSUPPORTED, "regular expression");
    begin(&m);
    put_pair(&m, TO_Q, 64, 64, 4);
    (void)put(&m, TO_Q ".alpha", 0, 0);
    m.metadata = (struct metadata_pair){ "lora_adapter_metadata", "{\"transformer.lora_alpha\": 3}" };
    check_refused(&m, ERR_CORRUPT, "gives an alpha, and the file's settings");
}

/* A file of PEFT in a folder of its own, with settings beside it. */
static enum err_code open_peft(struct made *m, const char *name, const char *config)
{
    char file[64];

    begin(m);
    put_pair(m, "base_model.model.transformer_blocks.0.attn.to_q", 64, 64, 4);
    (void)snprintf(file, sizeof file, "peft/%s", name);
    (void)temp_file("peft/adapter_config.json", config, strlen(config));
    CHECK_OK(safetensors_write(temp_path(file), m->tensors, m->n, NULL, 0, &m->err), m->err);
    return lora_open(temp_path(file), 1, &m->a, &m->lora, &m->err);
}

TEST(lora__settings_beside_a_file_of_peft_count_and_are_in_its_digest)
{
    char digest[64], folder[128];
    struct made m;

    temp_folder("peft", folder, sizeof folder);
    CHECK_OK(open_peft(&m, "adapter_model.safetensors", "{\"r\": 4, \"lora_alpha\": 6, \"use_rslora\": false}"), m.err);
    CHECK(added_to_q(&m) == 6);
    (void)snprintf(digest, sizeof digest, "%s", lora_digest(m.lora));
    arena_done(&m.a);
    CHECK_OK(open_peft(&m, "adapter_model.safetensors", "{\"lora_alpha\": 6, \"use_rslora\": true}"), m.err);
    CHECK(added_to_q(&m) == 12);
    CHECK(strcmp(digest, lora_digest(m.lora)) != 0);
    arena_done(&m.a);
    CHECK_INT(open_peft(&m, "adapter_model.safetensors", "{\"lora_alpha\": 6"), ERR_CORRUPT);
    CHECK(strstr(m.err.msg, "adapter_model.safetensors: its adapter_config.json is damaged"));
    arena_done(&m.a);
    CHECK_OK(open_peft(&m, "other.safetensors", "{\"lora_alpha\": 6}"), m.err); /* may belong to another file */
    CHECK(added_to_q(&m) == 4);
    arena_done(&m.a);
}

TEST(lora__refuses_a_scale_that_is_not_finite)
{
    struct made m;

    begin(&m);
    CHECK_INT(lora_open(golden("lora/bfl.safetensors"), NAN, &m.a, &m.lora, &m.err), ERR_INVALID);
    arena_done(&m.a);
}

/* The CRC by another implementation of it. */
TEST(lora__tells_its_path_and_digest)
{
    const char *path = golden("lora/bfl.safetensors");
    struct made m;

    begin(&m);
    CHECK_OK(lora_open(path, -0.25, &m.a, &m.lora, &m.err), m.err);
    CHECK_STR(lora_path(m.lora), path);
    CHECK_STR(lora_digest(m.lora), "5894-bc850c8c");
    arena_done(&m.a);
}
