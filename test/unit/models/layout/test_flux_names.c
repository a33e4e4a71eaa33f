#include "models/layout/flux_names.h"

#include <stdio.h>

#include "models/flux/flux.h"
#include "test/support/check.h"

#define CHECK_OF(cond, name)                                              \
    do {                                                                  \
        if (!(cond))                                                      \
            test_fail(__FILE__, __LINE__, "'%s': %s", (name), #cond);     \
    } while (0)

/* The modules of diffusers' FluxTransformer2DModel with one block of each kind, as its state_dict() lists them
 * (diffusers 0.42.1). All but the norms of q and k have a weight and a bias. */
static const char *const official[] = {
    "time_text_embed.timestep_embedder.linear_1",
    "time_text_embed.timestep_embedder.linear_2",
    "time_text_embed.guidance_embedder.linear_1",
    "time_text_embed.guidance_embedder.linear_2",
    "time_text_embed.text_embedder.linear_1",
    "time_text_embed.text_embedder.linear_2",
    "context_embedder",
    "x_embedder",
    "transformer_blocks.0.norm1.linear",
    "transformer_blocks.0.norm1_context.linear",
    "transformer_blocks.0.attn.norm_q",
    "transformer_blocks.0.attn.norm_k",
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.attn.to_k",
    "transformer_blocks.0.attn.to_v",
    "transformer_blocks.0.attn.to_out.0",
    "transformer_blocks.0.attn.norm_added_q",
    "transformer_blocks.0.attn.norm_added_k",
    "transformer_blocks.0.attn.add_q_proj",
    "transformer_blocks.0.attn.add_k_proj",
    "transformer_blocks.0.attn.add_v_proj",
    "transformer_blocks.0.attn.to_add_out",
    "transformer_blocks.0.ff.net.0.proj",
    "transformer_blocks.0.ff.net.2",
    "transformer_blocks.0.ff_context.net.0.proj",
    "transformer_blocks.0.ff_context.net.2",
    "single_transformer_blocks.0.norm.linear",
    "single_transformer_blocks.0.proj_mlp",
    "single_transformer_blocks.0.proj_out",
    "single_transformer_blocks.0.attn.norm_q",
    "single_transformer_blocks.0.attn.norm_k",
    "single_transformer_blocks.0.attn.to_q",
    "single_transformer_blocks.0.attn.to_k",
    "single_transformer_blocks.0.attn.to_v",
    "norm_out.linear",
    "proj_out",
};
enum { N_OFFICIAL = sizeof official / sizeof *official };

static const struct flux_config config_of_a_small_one = { .in_channels = 384,
                                                          .out_channels = 64,
                                                          .hidden = 64,
                                                          .mlp = 256,
                                                          .context = 64,
                                                          .pooled = 32,
                                                          .head_dim = 32,
                                                          .n_heads = 2,
                                                          .n_double = 1,
                                                          .n_single = 1,
                                                          .guidance = true };

/* The name without its last part. */
static struct span module_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    CHECK(dot);
    return (struct span){ name, (size_t)(dot - name) };
}

static struct span underscored(const char *name, struct span module, char *ret, size_t size)
{
    CHECK(module.len < size);
    for (size_t i = 0; i < module.len; i++)
        ret[i] = name[i] == '.' ? '_' : name[i];
    return (struct span){ ret, module.len };
}

static void check_there_and_back(const char *bfl, const char *other, int piece, const struct weight_names *names,
                                 enum flux_naming naming)
{
    char buffer[TENSOR_NAME_MAX + 1];
    struct span module = module_of(other);

    for (int underscores = 0; underscores < 2; underscores++) {
        struct flux_module m;

        if (underscores)
            module = underscored(other, module, buffer, sizeof buffer);
        CHECK_OF(flux_names_module(module, naming, underscores, &m), other);
        CHECK_OF(span_eq(span_of(m.name), module_of(bfl)), other);
        CHECK(m.piece == piece);
        CHECK(m.n_pieces == (naming == FLUX_NAMING_BFL ? 1 : names->n));
        CHECK(m.halves_swapped == (naming == FLUX_NAMING_DIFFUSERS && names->halves_swapped));
        CHECK(m.norm == !!strstr(bfl, "_norm."));
    }
}

struct seen {
    int weights[N_OFFICIAL], biases[N_OFFICIAL];
};

static enum err_code visit(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err)
{
    struct seen *seen = ctx;
    struct weight_names names;

    (void)n_dims, (void)dims, (void)err;
    CHECK_OF(flux_names_diffusers(name, &names), name);
    CHECK(names.n >= 1 && names.n <= WEIGHT_MAX_PIECES);
    check_there_and_back(name, name, 0, &names, FLUX_NAMING_BFL);
    for (int k = 0; k < names.n; k++) {
        check_there_and_back(name, names.name[k], k, &names, FLUX_NAMING_DIFFUSERS);
        for (int i = 0; seen && i < N_OFFICIAL; i++)
            if (span_eq(module_of(names.name[k]), span_of(official[i]))) {
                seen->weights[i] += span_ends(span_of(names.name[k]), ".weight");
                seen->biases[i] += span_ends(span_of(names.name[k]), ".bias");
            }
    }
    return ERR_OK;
}

TEST(flux_names__every_tensor_of_the_network_has_diffusers_names_and_they_lead_back)
{
    struct flux_config config = config_of_a_small_one;
    struct err err = { 0 };

    config.n_double = config.n_single = 2;
    CHECK_OK(flux_describe(&config, visit, NULL, &err), err);
}

TEST(flux_names__every_tensor_of_diffusers_is_named_once)
{
    struct seen seen = { 0 };
    struct err err = { 0 };

    CHECK_OK(flux_describe(&config_of_a_small_one, visit, &seen, &err), err);
    for (int i = 0; i < N_OFFICIAL; i++) {
        bool norm = strstr(official[i], "attn.norm_") != NULL;

        CHECK_OF(seen.weights[i] == 1, official[i]);
        CHECK_OF(seen.biases[i] == !norm, official[i]);
    }
}

TEST(flux_names__knows_the_order_of_rows_in_matrices_that_diffusers_divides)
{
    struct weight_names n;

    CHECK(flux_names_diffusers("double_blocks.18.txt_attn.qkv.weight", &n) && n.n == 3 && !n.halves_swapped);
    CHECK_STR(n.name[0], "transformer_blocks.18.attn.add_q_proj.weight");
    CHECK_STR(n.name[1], "transformer_blocks.18.attn.add_k_proj.weight");
    CHECK_STR(n.name[2], "transformer_blocks.18.attn.add_v_proj.weight");
    CHECK(flux_names_diffusers("single_blocks.37.linear1.bias", &n) && n.n == 4 && !n.halves_swapped);
    CHECK_STR(n.name[0], "single_transformer_blocks.37.attn.to_q.bias");
    CHECK_STR(n.name[3], "single_transformer_blocks.37.proj_mlp.bias");
    CHECK(flux_names_diffusers("final_layer.adaLN_modulation.1.bias", &n) && n.n == 1 && n.halves_swapped);
    CHECK_STR(n.name[0], "norm_out.linear.bias");
}

TEST(flux_names__knows_both_names_of_a_norm)
{
    struct weight_names n;

    CHECK(flux_names_diffusers("single_blocks.0.norm.key_norm.scale", &n) && n.n == 1);
    CHECK_STR(n.name[0], "single_transformer_blocks.0.attn.norm_k.weight");
    CHECK(flux_names_diffusers("double_blocks.0.txt_attn.norm.query_norm.weight", &n) && n.n == 1);
    CHECK_STR(n.name[0], "transformer_blocks.0.attn.norm_added_q.weight");
}

TEST(flux_names__knows_how_the_names_of_a_group_begin)
{
    static const char *const pairs[][2] = {
        { "double_blocks.", "transformer_blocks." },
        { "single_blocks.", "single_transformer_blocks." },
        { "guidance_in.", "time_text_embed.guidance_embedder." },
        { "time_in.", "time_text_embed.timestep_embedder." },
        { "vector_in.", "time_text_embed.text_embedder." },
        { "double_blocks.7.", "transformer_blocks.7." },
        { "single_blocks.30.", "single_transformer_blocks.30." },
    };
    struct weight_names n;

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        CHECK_OF(flux_names_diffusers(pairs[i][0], &n) && n.n == 1, pairs[i][0]);
        CHECK_STR(n.name[0], pairs[i][1]);
    }
}

TEST(flux_names__knows_no_other_names)
{
    static const char *const names[] = {
        "",
        ".",
        "img_in",
        "img_in.scale",
        "img_in.weight.x",
        "img_in_weight",
        "double_blocks.img_attn.qkv.weight",
        "double_blocks.-1.img_attn.qkv.weight",
        "double_blocks.01.img_attn.qkv.weight",
        "double_blocks.1000.img_attn.qkv.weight",
        "double_blocks.99999999999999999999.img_attn.qkv.weight",
        "double_blocks.0.img_attn.norm.query_norm.bias",
        "double_blocks.0.linear1.weight",
        "single_blocks.0.img_mlp.0.weight",
        "transformer_blocks.0.attn.to_q.weight",
        "double_blocks.x.",
        "blocks.",
    };
    struct weight_names n;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_OF(!flux_names_diffusers(names[i], &n), names[i]);
}

TEST(flux_names__takes_underscores_for_points_only_where_that_is_said)
{
    struct flux_module m;

    CHECK(!flux_names_module(SPAN("double_blocks_3_img_attn_qkv"), FLUX_NAMING_BFL, false, &m));
    CHECK(!flux_names_module(SPAN("double_blocks.3.img_attn.qkv"), FLUX_NAMING_BFL, true, &m));
    CHECK(!flux_names_module(SPAN("double_blocks_3_img_attn_qkv"), FLUX_NAMING_DIFFUSERS, true, &m));
    CHECK(flux_names_module(SPAN("double_blocks_3_img_attn_qkv"), FLUX_NAMING_BFL, true, &m));
    CHECK_STR(m.name, "double_blocks.3.img_attn.qkv");
    CHECK(!flux_names_module(SPAN("double_blocks_3_img_attn_qkv_"), FLUX_NAMING_BFL, true, &m));
    CHECK(!flux_names_module(SPAN("double_blocks_"), FLUX_NAMING_BFL, true, &m));
}
