#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/flux/flow_match.h"
#include "models/flux/flux.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"

/* Weight files of the golden sets; the first of a set is the one whose block outputs are known. */
static const struct { const char *set, *types[10]; } sets[] = {
    { "small", { "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1" } },
    { "wide", { "Q4_K", "Q6_K", "MIX" } },
    { "comfy", { "Q8_0" } },
};
enum { SMALL, WIDE, COMFY };

/* One call of the network as a golden case asks for it. */
struct call {
    struct rig rig;
    struct flux flux;
    const struct tensor_file *file;
    const char *type;
    double limit;
    struct flux_inputs in;
    struct tensor cond, prompt, pooled, latents, velocity;
    float sigma;
    struct flux_prepared prepared;
    int n_taps;
};

static const char *setting(struct call *c, const char *key)
{
    struct err err = { 0 };
    const char *text = NULL;

    CHECK_OK(tensor_file_metadata(c->file, key, &c->rig.arena, &text, &err), err);
    return text;
}

/* Columns [from, from + n) of values [rows, cols] as a tensor of its own. */
static struct tensor columns(struct call *c, const float *values, int64_t rows, int64_t cols, int64_t from, int64_t n)
{
    struct err err = { 0 };
    float *part = NULL;

    CHECK_OK(arena_alloc(&c->rig.arena, (size_t)(rows * n), sizeof *part, &part, &err), err);
    for (int64_t r = 0; r < rows; r++)
        memcpy(part + r * n, values + r * cols + from, (size_t)n * sizeof *part);
    return rig_upload(&c->rig, part, rows, n);
}

static void load(struct call *c, const char *set, const char *type, const struct rig_kind *kind)
{
    struct err err = { 0 };

    *c = (struct call){ .type = type, .limit = kind->limit };
    rig_open(&c->rig, kind);
    rig_file(&c->rig, 0, golden("%s/models/flux1-fill-%s.gguf", set, type));
    rig_file(&c->rig, 1, golden("%s/cases/transformer.safetensors", set));
    c->file = &c->rig.files[1];
    CHECK_OK(flux_weight_set(&c->rig.set, c->rig.files, 1, &err), err);
    CHECK_OK(flux_load(&c->flux, &c->rig.loader, &c->rig.arena, &err), err);
    CHECK_OK(flux_require_fill(&c->flux.config, &err), err);
}

static void read_inputs(struct call *c)
{
    int64_t rows = -1, txt = -1, one = 1, cols = 384, context = c->flux.config.context, width = c->flux.config.pooled;
    const float *tokens = rig_golden(&c->rig, c->file, &rows, &cols, "hidden_states");
    const float *prompt = rig_golden(&c->rig, c->file, &txt, &context, "encoder_hidden_states");
    const float *pooled = rig_golden(&c->rig, c->file, &one, &width, "pooled");

    CHECK(sscanf(setting(c, "grid"), "%dx%d", &c->in.grid_rows, &c->in.grid_cols) == 2);
    CHECK_INT(rows, c->in.grid_rows * c->in.grid_cols);
    c->latents = columns(c, tokens, rows, cols, 0, 64);
    c->cond = columns(c, tokens, rows, cols, 64, 320);
    c->prompt = rig_upload(&c->rig, prompt, txt, context);
    c->pooled = rig_upload(&c->rig, pooled, 1, width);
    c->velocity = rig_upload(&c->rig, tokens, rows, 64);
    c->sigma = strtof(setting(c, "sigma"), NULL);
    c->in.guidance = strtof(setting(c, "guidance"), NULL);
    c->in.cond = &c->cond;
    c->in.prompt_embeds = &c->prompt;
    c->in.pooled = &c->pooled;
    c->in.n_steps = 1;
    c->in.sigmas = &c->sigma;
}

static enum err_code prepare(struct call *c, struct err *err)
{
    return flux_prepare(&c->flux, &c->in, &c->rig.request_mem, &c->rig.step_mem, &c->rig.scratch, &c->prepared, err);
}

static void check_stream(struct call *c, const char *kind, int index, const char *stream, const struct tensor *got)
{
    int64_t rows = tensor_rows(got), cols = tensor_cols(got);
    const float *want = rig_golden(&c->rig, c->file, &rows, &cols, "%s_%d.%s.%s", kind, index, stream, c->type);

    CHECK_REL(rig_download(&c->rig, got), want, rows * cols, c->limit);
}

static enum err_code compare_block(void *ctx, const char *kind, int index, const struct flux_stream *s,
                                   struct err *err)
{
    struct call *c = ctx;

    (void)err;
    check_stream(c, kind, index, "txt", &s->txt);
    check_stream(c, kind, index, "img", &s->img);
    c->n_taps++;
    return ERR_OK;
}

static void check_velocity(struct call *c)
{
    int64_t rows = tensor_rows(&c->velocity), cols = 64;
    const float *want = rig_golden(&c->rig, c->file, &rows, &cols, "velocity.%s", c->type);

    CHECK_REL(rig_download(&c->rig, &c->velocity), want, rows * cols, c->limit);
}

static void check_call(const char *set, const char *type, const struct rig_kind *kind, bool taps)
{
    struct err err = { 0 };
    struct call c;
    struct flux_tap tap = { compare_block, &c };

    load(&c, set, type, kind);
    read_inputs(&c);
    CHECK_OK(prepare(&c, &err), err);
    CHECK_INT(c.rig.step_mem.used, 0);
    CHECK_OK(flux_step(&c.prepared, 0, &c.latents, &c.velocity, taps ? &tap : NULL, &c.rig.step_mem, &err), err);
    CHECK_INT(c.rig.step_mem.used, 0);
    CHECK_INT(c.n_taps, taps ? c.flux.config.n_double + c.flux.config.n_single : 0);
    check_velocity(&c);
    rig_close(&c.rig);
}

static void check_set(int set)
{
    for (int k = 0; k < N_RIG_KINDS; k++)
        for (int i = 0; sets[set].types[i]; i++)
            check_call(sets[set].set, sets[set].types[i], &rig_kinds[k], i == 0);
}

TEST(flux__gives_the_official_velocity_and_blocks_of_the_small_set) { check_set(SMALL); }
TEST(flux__gives_the_official_velocity_and_blocks_of_the_wide_set) { check_set(WIDE); }
TEST(flux__gives_the_official_velocity_and_blocks_of_the_comfy_set) { check_set(COMFY); }

TEST(flux__takes_the_step_that_is_asked_for_and_a_table_computed_before)
{
    const float sigmas[3] = { 1, 0.7595109f, 0.1f };
    struct err err = { 0 };
    struct tensor table;
    struct flux_prepared other;
    struct call c;

    load(&c, "small", "F32", &rig_kinds[1]);
    read_inputs(&c);
    c.in.n_steps = 3;
    c.in.sigmas = sigmas;
    CHECK_OK(prepare(&c, &err), err);
    CHECK_OK(flux_step(&c.prepared, 1, &c.latents, &c.velocity, NULL, &c.rig.step_mem, &err), err);
    check_velocity(&c);

    CHECK_OK(devarena_2d(&c.rig.request_mem, DT_F32, 3, flux_modulation_cols(&c.flux.config), &table, &err), err);
    CHECK_OK(flux_modulate(&c.flux, &c.in, &table, &c.rig.step_mem, &c.rig.scratch, &err), err);
    c.in.modulation = &table;
    c.in.sigmas = NULL;
    c.in.pooled = NULL;
    CHECK_OK(flux_prepare(&c.flux, &c.in, &c.rig.request_mem, &c.rig.step_mem, &c.rig.scratch, &other, &err), err);
    CHECK_OK(flux_step(&other, 1, &c.latents, &c.velocity, NULL, &c.rig.step_mem, &err), err);
    check_velocity(&c);
    CHECK_INT(flux_step(&other, 3, &c.latents, &c.velocity, NULL, &c.rig.step_mem, &err), ERR_INVALID);
    rig_close(&c.rig);
}

TEST(flux__measures_the_memory_that_a_request_then_takes)
{
    struct flux_memory measured = { 0 };
    struct err err = { 0 };
    size_t before;
    struct call c;

    for (int k = 0; k < N_RIG_KINDS; k++) {
        load(&c, "small", "Q8_0", &rig_kinds[k]);
        read_inputs(&c);
        CHECK_OK(flux_measure(&c.flux, &(struct flux_size){ c.in.grid_rows, c.in.grid_cols, tensor_rows(&c.prompt), 1 },
                              &c.rig.scratch, &measured, &err), err);
        before = c.rig.request_mem.used;
        c.rig.step_mem.peak = 0;
        CHECK_OK(prepare(&c, &err), err);
        CHECK_OK(flux_step(&c.prepared, 0, &c.latents, &c.velocity, NULL, &c.rig.step_mem, &err), err);
        CHECK_INT(c.rig.request_mem.used - before, measured.request_bytes);
        CHECK_INT(c.rig.step_mem.peak, measured.step_bytes);
        rig_close(&c.rig);
    }
}

/* --- the order of weights --- */

enum { MAX_NOTED = 64 };

/* The matrices that a step announces, and which of them its products take, in order. */
static struct {
    struct weight announced[MAX_NOTED];
    int n_announced, used[MAX_NOTED], n_used;
    const struct backend_ops *ops;
} noted;

static void note_announced(struct backend *be, const struct weight *const *w, int n)
{
    (void)be;
    CHECK(noted.n_announced + n <= MAX_NOTED);
    for (int i = 0; i < n; i++)
        noted.announced[noted.n_announced++] = *w[i];
}

/* Views of one matrix that follow each other count once. */
static enum err_code note_used(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                               const struct bias *bias, enum activation act, struct err *err)
{
    for (int i = 0; i < noted.n_announced; i++) {
        const struct weight *whole = &noted.announced[i];
        const char *first = whole->data, *at = w->data;

        if (at < first || at >= first + dtype_row_bytes(whole->dtype, whole->cols) * (size_t)whole->rows)
            continue;
        if (noted.n_used == 0 || noted.used[noted.n_used - 1] != i) {
            CHECK(noted.n_used < MAX_NOTED);
            noted.used[noted.n_used++] = i;
        }
        break;
    }
    return noted.ops->linear(be, y, x, w, bias, act, err);
}

TEST(flux__announces_weights_in_the_order_in_which_it_uses_them)
{
    const struct weight *first[FLUX_BLOCK_MAX_WEIGHTS];
    struct err err = { 0 };
    struct backend_ops ops;
    struct call c;

    load(&c, "small", "Q8_0", &rig_kinds[0]);
    read_inputs(&c);
    CHECK_OK(prepare(&c, &err), err);
    memset(&noted, 0, sizeof noted);
    noted.ops = c.rig.be->ops;
    ops = *noted.ops;
    ops.weight_prefetch = note_announced;
    ops.linear = note_used;
    c.rig.be->ops = &ops;
    CHECK_OK(flux_step(&c.prepared, 0, &c.latents, &c.velocity, NULL, &c.rig.step_mem, &err), err);
    c.rig.be->ops = noted.ops;
    for (int i = 0; i < noted.n_used; i++)
        CHECK_INT(noted.used[i], i);
    /* the first block is announced once more, for the next step */
    CHECK_INT(noted.n_announced, noted.n_used + flux_block_weights(&c.flux, 0, first));
    rig_close(&c.rig);
}

TEST(flux__reads_its_sizes_from_the_tensors)
{
    struct call c;

    load(&c, "wide", "MIX", &rig_kinds[0]);
    CHECK_INT(c.flux.config.hidden, 256);
    CHECK_INT(c.flux.config.head_dim, 128);
    CHECK_INT(c.flux.config.n_heads, 2);
    CHECK_INT(c.flux.config.mlp, 1024);
    CHECK_INT(c.flux.config.context, 256);
    CHECK_INT(c.flux.config.pooled, 128);
    CHECK_INT(c.flux.config.n_double, 1);
    CHECK_INT(c.flux.config.n_single, 1);
    CHECK(c.flux.config.guidance);
    rig_close(&c.rig);
}

/* --- what must be refused --- */

static void check_fill_refused(struct flux_config c, int64_t in, bool guidance, const char *words)
{
    struct err err = { 0 };

    c.in_channels = in;
    c.guidance = guidance;
    CHECK_INT(flux_require_fill(&c, &err), ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, words));
}

TEST(flux__says_what_a_transformer_is_when_it_is_not_fill)
{
    const struct flux_config fill = { .in_channels = 384, .out_channels = 64, .guidance = true };
    struct err err = { 0 };

    CHECK_OK(flux_require_fill(&fill, &err), err);
    check_fill_refused(fill, 64, true, "dev");
    check_fill_refused(fill, 64, false, "schnell");
    check_fill_refused(fill, 128, true, "Canny");
    check_fill_refused(fill, 384, false, "guidance");
    check_fill_refused(fill, 100, true, "100 input");
}

/* Loads the file again after one of its tensors was changed. */
static enum err_code load_again(struct rig *r, struct err *err)
{
    struct flux flux;
    struct arena_mark mark = arena_mark(&r->arena);
    enum err_code rc = flux_weight_set(&r->set, r->files, 1, err);

    if (!rc)
        rc = flux_load(&flux, &r->loader, &r->arena, err);
    arena_rewind(&r->arena, mark);
    return rc;
}

/* The name without its last part: where .scale and .weight are both read, the error names one of them. */
static bool names_tensor(const struct err *err, struct span name)
{
    char stem[TENSOR_NAME_MAX + 1];

    (void)snprintf(stem, sizeof stem, "%.*s", (int)name.len, name.ptr);
    *strrchr(stem, '.') = 0;
    return strstr(err->msg, stem) != NULL;
}

TEST(flux__names_a_tensor_that_is_missing)
{
    struct rig r;

    rig_open(&r, &rig_kinds[0]);
    rig_file(&r, 0, golden("small/models/flux1-fill-Q8_0.gguf"));
    for (int i = 0; i < r.files[0].n_entries; i++) {
        struct span name = r.files[0].entries[i].name;
        struct err err = { 0 };

        r.files[0].entries[i].name.len--; /* keeps the order of the index */
        CHECK_INT(load_again(&r, &err), ERR_NOT_FOUND);
        CHECK(names_tensor(&err, name));
        r.files[0].entries[i].name = name;
    }
    rig_close(&r);
}

TEST(flux__names_a_tensor_of_the_wrong_shape)
{
    struct rig r;

    rig_open(&r, &rig_kinds[0]);
    rig_file(&r, 0, golden("small/models/flux1-fill-F32.gguf"));
    for (int i = 0; i < r.files[0].n_entries; i++) {
        struct tensor_entry *e = &r.files[0].entries[i];
        struct err err = { 0 };
        int64_t kept = e->dims[e->n_dims - 1];

        if (span_is(e->name, "img_in.weight") || span_is(e->name, "txt_in.weight")
            || span_is(e->name, "vector_in.in_layer.weight"))
            continue; /* their width defines how wide the inputs are */
        e->dims[e->n_dims - 1] = kept - 1;
        CHECK(load_again(&r, &err) != ERR_OK);
        CHECK(names_tensor(&err, e->name) || strstr(err.msg, "head size"));
        e->dims[e->n_dims - 1] = kept;
    }
    rig_close(&r);
}

TEST(flux__refuses_inputs_that_do_not_fit)
{
    struct call c;
    struct flux_inputs good;
    struct err err;

    load(&c, "small", "F32", &rig_kinds[0]);
    read_inputs(&c);
    good = c.in;
#define REFUSED(change)                                                                                        \
    do {                                                                                                       \
        c.in = good;                                                                                           \
        change;                                                                                                \
        err = (struct err){ 0 };                                                                               \
        CHECK_INT(prepare(&c, &err), ERR_INVALID);                                                             \
    } while (0)
    REFUSED(c.in.grid_rows = 0);
    REFUSED(c.in.grid_rows = -1);
    REFUSED(c.in.grid_cols = FLUX_MAX_GRID + 1);
    REFUSED(c.in.grid_cols++);
    REFUSED(c.in.n_steps = 0);
    REFUSED(c.in.n_steps = FLOW_MATCH_MAX_STEPS + 1);
    REFUSED(c.in.cond = NULL);
    REFUSED(c.in.cond = &c.latents);
    REFUSED(c.in.prompt_embeds = &c.cond);
    REFUSED(c.in.pooled = &c.latents);
    REFUSED(c.in.sigmas = NULL);
    REFUSED(c.in.modulation = &c.latents);
    rig_close(&c.rig);
}
