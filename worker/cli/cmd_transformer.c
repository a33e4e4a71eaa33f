/* cmd_transformer - one call of the network on tensors from a file; what it computed, block by block, to another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/flux/flux.h"
#include "models/fill/model_folder.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

enum { SLAB_BYTES = 64 << 20 };
static const size_t arena_bytes = (size_t)16 << 30; /* address space for all streams of the real model */

struct args {
    const char *models, *transformer, *in, *out;
    struct cli_backend backend;
};

struct run {
    struct arena arena, scratch; /* host */
    struct backend *be;
    struct devarena weights, inputs, request_mem, step_mem;
    struct weight_set set;
    struct flux flux;
    struct shards model;
    struct tensor_file in;
    struct tensor_write *written; /* velocity, then two streams a block */
    int n_written;
};

/* --- reading the call --- */

/* A matrix of the input file as F32 [rows, cols] on the host; a vector counts as one row. */
static enum err_code read_matrix(struct run *r, const char *name, const float **ret, int64_t *rows, int64_t *cols,
                                 struct err *err)
{
    const struct tensor_entry *e = tensor_file_find(&r->in, span_of(name));
    float *values = NULL;
    enum err_code rc;

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: tensor '%s' is missing", r->in.path, name);
    if (e->dtype != DT_F32 || e->n_dims < 1 || e->n_dims > 2 || e->bytes == 0)
        return err_set(err, ERR_INVALID, "%s: tensor '%s' is no F32 matrix", r->in.path, name);
    rc = arena_alloc(&r->arena, e->bytes, 1, &values, err);
    if (rc)
        return rc;
    memcpy(values, e->data, e->bytes); /* the file promises no alignment */
    *ret = values;
    *rows = e->n_dims == 2 ? e->dims[0] : 1;
    *cols = e->dims[e->n_dims - 1];
    return ERR_OK;
}

static enum err_code upload(struct run *r, const float *values, int64_t rows, int64_t cols, struct tensor *ret,
                            struct err *err)
{
    enum err_code rc = devarena_2d(&r->inputs, DT_F32, rows, cols, ret, err);

    return rc ? rc : op_upload(r->be, ret, values, err);
}

static enum err_code read_number(struct run *r, const char *key, float *ret, struct err *err)
{
    const char *text = NULL;
    char *end = NULL;
    enum err_code rc = tensor_file_metadata(&r->in, key, &r->arena, &text, err);

    if (rc)
        return rc;
    *ret = strtof(text, &end);
    if (end == text || *end || !(*ret >= -1e6f && *ret <= 1e6f))
        return err_set(err, ERR_INVALID, "%s: %s is no number: '%.40s'", r->in.path, key, text);
    return ERR_OK;
}

/* "rows x columns", as 3x5. */
static enum err_code read_grid(struct run *r, int *rows, int *cols, struct err *err)
{
    const char *text = NULL;
    char rest;
    enum err_code rc = tensor_file_metadata(&r->in, "grid", &r->arena, &text, err);

    if (rc)
        return rc;
    if (sscanf(text, "%4d x %4d%c", rows, cols, &rest) != 2)
        return err_set(err, ERR_INVALID, "%s: grid is not rows x columns: '%.40s'", r->in.path, text);
    return ERR_OK;
}

struct call {
    struct flux_inputs in;
    struct tensor tokens, cond, latents, prompt_embeds, pooled, velocity;
    float sigma;
};

/* Tokens as they came and, from their columns, latents and conditioning. */
static enum err_code read_tokens(struct run *r, struct call *c, struct err *err)
{
    int64_t rows, cols, n_latents = r->flux.config.out_channels;
    const float *values;
    struct tensor part;
    enum err_code rc = read_matrix(r, "hidden_states", &values, &rows, &cols, err);

    if (rc)
        return rc;
    if (cols != r->flux.config.in_channels || rows != (int64_t)c->in.grid_rows * c->in.grid_cols)
        return err_set(err, ERR_INVALID, "%s: hidden_states is %lld x %lld, but the grid has %d x %d tokens of %lld",
                       r->in.path, (long long)rows, (long long)cols, c->in.grid_rows, c->in.grid_cols,
                       (long long)r->flux.config.in_channels);
    rc = upload(r, values, rows, cols, &c->tokens, err);
    if (!rc)
        rc = devarena_2d(&r->inputs, DT_F32, rows, n_latents, &c->velocity, err);
    if (!rc)
        rc = devarena_2d(&r->inputs, DT_F32, rows, n_latents, &c->latents, err);
    if (rc)
        return rc;
    part = tensor_col_view(&c->tokens, 0, n_latents);
    rc = op_copy(r->be, &c->latents, &part, err);
    if (!rc && cols > n_latents) {
        c->cond = tensor_col_view(&c->tokens, n_latents, cols - n_latents);
        c->in.cond = &c->cond;
    }
    return rc;
}

static enum err_code read_call(struct run *r, struct call *c, struct err *err)
{
    int64_t rows, cols;
    const float *values;
    enum err_code rc = read_grid(r, &c->in.grid_rows, &c->in.grid_cols, err);

    if (!rc)
        rc = read_number(r, "sigma", &c->sigma, err);
    if (!rc && r->flux.config.guidance)
        rc = read_number(r, "guidance", &c->in.guidance, err);
    if (!rc)
        rc = read_tokens(r, c, err);
    if (!rc)
        rc = read_matrix(r, "encoder_hidden_states", &values, &rows, &cols, err);
    if (!rc)
        rc = upload(r, values, rows, cols, &c->prompt_embeds, err);
    if (!rc)
        rc = read_matrix(r, "pooled", &values, &rows, &cols, err);
    if (!rc)
        rc = upload(r, values, rows, cols, &c->pooled, err);
    c->in.prompt_embeds = &c->prompt_embeds;
    c->in.pooled = &c->pooled;
    c->in.n_steps = 1;
    c->in.sigmas = &c->sigma;
    return rc;
}

/* --- running it --- */

/* Queues a copy of a dense F32 tensor for the output file. */
static enum err_code keep(struct run *r, const struct tensor *t, const char *name, struct err *err)
{
    struct tensor_write *w = &r->written[r->n_written];
    void *values = NULL;
    enum err_code rc = arena_alloc(&r->arena, (size_t)tensor_count(t), sizeof(float), &values, err);

    if (!rc)
        rc = op_download(r->be, values, t, err);
    if (rc)
        return rc;
    *w = (struct tensor_write){
        .name = name, .dtype = DT_F32, .n_dims = 2, .dims = { tensor_rows(t), tensor_cols(t) }, .data = values
    };
    r->n_written++;
    return ERR_OK;
}

static enum err_code keep_block(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err)
{
    struct run *r = ctx;
    char *img = NULL, *txt = NULL;
    enum err_code rc = arena_printf(&r->arena, &img, err, "%s_%d.img", kind, index);

    if (!rc)
        rc = arena_printf(&r->arena, &txt, err, "%s_%d.txt", kind, index);
    if (!rc)
        rc = keep(r, &s->img, img, err);
    return rc ? rc : keep(r, &s->txt, txt, err);
}

static enum err_code call_network(struct run *r, struct call *c, struct err *err)
{
    const struct flux_config *config = &r->flux.config;
    const struct flux_tap tap = { keep_block, r };
    const struct flux_size size = { c->in.grid_rows, c->in.grid_cols, tensor_rows(&c->prompt_embeds), .n_steps = 1 };
    struct flux_memory memory = { 0 };
    struct flux_prepared prepared;
    enum err_code rc = flux_measure(&r->flux, &size, &r->scratch, &memory, err);

    if (!rc)
        rc = devarena_init(&r->request_mem, r->be, memory.request_bytes, 0, err);
    if (!rc)
        rc = devarena_init(&r->step_mem, r->be, memory.step_bytes, 0, err);
    if (!rc)
        rc = arena_alloc(&r->arena, 1 + 2 * (size_t)(config->n_double + config->n_single), sizeof *r->written,
                         &r->written, err);
    if (!rc)
        rc = flux_prepare(&r->flux, &c->in, &r->request_mem, &r->step_mem, &r->scratch, &prepared, err);
    if (!rc)
        rc = flux_step(&prepared, 0, &c->latents, &c->velocity, &tap, &r->step_mem, err);
    return rc ? rc : keep(r, &c->velocity, "velocity", err);
}

static enum err_code load(struct run *r, const struct args *a, struct err *err)
{
    struct weight_loader l = { .set = &r->set, .mem = &r->weights, .scratch = &r->scratch };
    const struct model_folder folder = { .dir = a->models, .transformer = a->transformer };
    enum err_code rc = cli_backend_open(&a->backend, &r->be, err);

    l.be = r->be;
    if (!rc)
        rc = devarena_init(&r->weights, r->be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = devarena_init(&r->inputs, r->be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = model_folder_open(&folder, MODEL_TRANSFORMER, &r->arena, &r->model, err);
    if (!rc)
        rc = flux_weight_set(&r->set, r->model.files, r->model.n_files, err);
    return rc ? rc : flux_load(&r->flux, &l, &r->arena, err);
}

static enum err_code transformer(struct run *r, const struct args *a, struct err *err)
{
    struct call c = { 0 };
    enum err_code rc = arena_init(&r->arena, arena_bytes, err);

    if (!rc)
        rc = arena_init(&r->scratch, arena_bytes, err);
    if (!rc)
        rc = tensor_file_open(a->in, &r->arena, &r->in, err);
    if (!rc)
        rc = load(r, a, err);
    if (!rc)
        rc = read_call(r, &c, err);
    if (!rc)
        rc = call_network(r, &c, err);
    return rc ? rc : safetensors_write(a->out, r->written, r->n_written, NULL, 0, err);
}

int cmd_transformer(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--transformer", CLI_TEXT, &a.transformer, "F", .help = "which file of the folder (the largest)" },
        { "--in", CLI_TEXT, &a.in, "F", .required = true,
          .help = "safetensors: hidden_states [N, C], encoder_hidden_states [T, D], pooled [P]; metadata: sigma, "
                  "guidance, grid (rows x columns)" },
        { "--out", CLI_OUT, &a.out, "F", .required = true,
          .help = "safetensors: velocity [N, 64] and the streams after every block" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "transformer", "runs the transformer once", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    status = transformer(&r, &a, &err) ? cli_fail("transformer", &err) : CLI_DONE;
    devarena_done(&r.step_mem);
    devarena_done(&r.request_mem);
    devarena_done(&r.inputs);
    devarena_done(&r.weights);
    backend_close(r.be);
    arena_done(&r.scratch);
    arena_done(&r.arena);
    return status;
}
