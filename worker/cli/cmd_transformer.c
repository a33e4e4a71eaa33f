/* cmd_transformer - one call of the network on tensors from a file; its velocity and the streams after every block are
 * written to another file. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/file.h"
#include "kernels/ops.h"
#include "models/fill/lora_set.h"
#include "models/fill/model_folder.h"
#include "models/flux/flux.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/output.h"
#include "worker/cli/progress.h"
#include "worker/cli/input.h"

enum { SLAB_BYTES = 64 << 20 };
static const size_t arena_bytes = (size_t)16 << 30; /* address space of each arena; holds the streams of all blocks */

struct args {
    const char *models, *transformer, *in, *out;
    struct cli_texts lora_texts;
    struct cli_backend backend;
};

struct run {
    struct arena arena, scratch; /* host */
    struct backend *be;
    struct devarena weights, inputs, request_mem, step_mem;
    struct weight_set set;
    struct flux flux;
    struct fill_loras loras;
    struct lora_set merged;
    struct shards model;
    struct tensor_file in;
    struct tensor_write *written; /* two streams a block, then the velocity */
    int n_written;
    struct progress progress;
};

/* --- reading the call --- */

/* A matrix of the input file as F32 [rows, cols] on the host; a vector counts as one row. */
static enum err_code read_matrix(struct run *r, const char *name, const float **ret, int64_t *rows, int64_t *cols,
                                 struct err *err)
{
    const struct tensor_entry *e = tensor_file_find(&r->in, span_of(name));
    float *values = NULL;

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor '%s'", r->in.path, name);
    if (e->dtype != DT_F32 || e->n_dims < 1 || e->n_dims > 2 || e->bytes == 0)
        return err_set(err, ERR_INVALID, "%s: tensor '%s' is not an F32 matrix", r->in.path, name);
    TRY(input_floats(e, &r->arena, &values, err));
    *ret = values;
    *rows = e->n_dims == 2 ? e->dims[0] : 1;
    *cols = e->dims[e->n_dims - 1];
    return ERR_OK;
}

static enum err_code upload(struct run *r, const float *values, int64_t rows, int64_t cols, struct tensor *ret,
                            struct err *err)
{
    TRY(devarena_2d(&r->inputs, DT_F32, rows, cols, ret, err));
    return op_upload(r->be, ret, values, err);
}

static enum err_code upload_matrix(struct run *r, const char *name, struct tensor *ret, struct err *err)
{
    int64_t rows = 0, cols = 0;
    const float *values = NULL;

    TRY(read_matrix(r, name, &values, &rows, &cols, err));
    return upload(r, values, rows, cols, ret, err);
}

static enum err_code read_number(struct run *r, const char *key, float *ret, struct err *err)
{
    const char *text = NULL;
    char *end = NULL;

    TRY(tensor_file_metadata(&r->in, key, &r->arena, &text, err));
    *ret = strtof(text, &end);
    if (end == text || *end || !(*ret >= -1e6f && *ret <= 1e6f))
        return err_set(err, ERR_INVALID, "%s: '%s' is not a number: '%.40s'", r->in.path, key, text);
    return ERR_OK;
}

/* The grid is written as "rows x columns", for instance 3x5. */
static enum err_code read_grid(struct run *r, int *rows, int *cols, struct err *err)
{
    const char *text = NULL;
    char rest;

    TRY(tensor_file_metadata(&r->in, "grid", &r->arena, &text, err));
    if (sscanf(text, "%4d x %4d%c", rows, cols, &rest) != 2)
        return err_set(err, ERR_INVALID, "%s: 'grid' is not rows x columns: '%.40s'", r->in.path, text);
    return ERR_OK;
}

struct call {
    struct flux_inputs in;
    struct tensor tokens, cond, latents, prompt_embeds, pooled, velocity;
    float sigma;
};

/* hidden_states: the tokens of the picture. Their first columns are the latents, the others the conditioning. */
static enum err_code read_tokens(struct run *r, struct call *c, struct err *err)
{
    int64_t rows = 0, cols = 0, n_latents = r->flux.config.out_channels;
    const float *values = NULL;
    struct tensor part;

    TRY(read_matrix(r, "hidden_states", &values, &rows, &cols, err));
    if (cols != r->flux.config.in_channels || rows != (int64_t)c->in.grid_rows * c->in.grid_cols)
        return err_set(err, ERR_INVALID, "%s: hidden_states is %lld x %lld, but the grid has %d x %d tokens of %lld",
                       r->in.path, (long long)rows, (long long)cols, c->in.grid_rows, c->in.grid_cols,
                       (long long)r->flux.config.in_channels);
    TRY(upload(r, values, rows, cols, &c->tokens, err));
    TRY(devarena_2d(&r->inputs, DT_F32, rows, n_latents, &c->velocity, err));
    TRY(devarena_2d(&r->inputs, DT_F32, rows, n_latents, &c->latents, err));
    part = tensor_col_view(&c->tokens, 0, n_latents);
    TRY(op_copy(r->be, &c->latents, &part, err));
    if (cols > n_latents) {
        c->cond = tensor_col_view(&c->tokens, n_latents, cols - n_latents);
        c->in.cond = &c->cond;
    }
    return ERR_OK;
}

static enum err_code read_call(struct run *r, struct call *c, struct err *err)
{
    TRY(read_grid(r, &c->in.grid_rows, &c->in.grid_cols, err));
    TRY(read_number(r, "sigma", &c->sigma, err));
    if (r->flux.config.guidance)
        TRY(read_number(r, "guidance", &c->in.guidance, err));
    TRY(read_tokens(r, c, err));
    TRY(upload_matrix(r, "encoder_hidden_states", &c->prompt_embeds, err));
    TRY(upload_matrix(r, "pooled", &c->pooled, err));
    c->in.prompt_embeds = &c->prompt_embeds;
    c->in.pooled = &c->pooled;
    c->in.n_steps = 1;
    c->in.sigmas = &c->sigma;
    return ERR_OK;
}

/* --- calling the network --- */

/* Downloads a dense F32 tensor and adds it to the list for the output file. */
static enum err_code keep(struct run *r, const struct tensor *t, const char *name, struct err *err)
{
    void *values = NULL;

    TRY(arena_alloc(&r->arena, (size_t)tensor_count(t), sizeof(float), &values, err));
    TRY(op_download(r->be, values, t, err));
    r->written[r->n_written++] = (struct tensor_write){
        .name = name, .dtype = DT_F32, .n_dims = 2, .dims = { tensor_rows(t), tensor_cols(t) }, .data = values
    };
    return ERR_OK;
}

static enum err_code keep_block(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err)
{
    struct run *r = ctx;
    char *img = NULL, *txt = NULL;

    TRY(arena_printf(&r->arena, &img, err, "%s_%d.img", kind, index));
    TRY(arena_printf(&r->arena, &txt, err, "%s_%d.txt", kind, index));
    TRY(keep(r, &s->img, img, err));
    return keep(r, &s->txt, txt, err);
}

static enum err_code call_network(struct run *r, struct call *c, struct err *err)
{
    const struct flux_config *config = &r->flux.config;
    const struct flux_tap tap = { keep_block, r };
    const struct flux_size size = { c->in.grid_rows, c->in.grid_cols, tensor_rows(&c->prompt_embeds), .n_steps = 1 };
    struct flux_memory memory = { 0 };
    struct flux_prepared prepared;

    TRY(flux_measure(&r->flux, &size, &r->scratch, &memory, err));
    TRY(devarena_init(&r->request_mem, r->be, memory.request_bytes, 0, err));
    TRY(devarena_init(&r->step_mem, r->be, memory.step_bytes, 0, err));
    TRY(arena_alloc(&r->arena, 1 + 2 * (size_t)(config->n_double + config->n_single), sizeof *r->written, &r->written,
                    err));
    TRY(flux_prepare(&r->flux, &c->in, &r->request_mem, &r->step_mem, &r->scratch, &prepared, err));
    TRY(flux_step(&prepared, 0, &c->latents, &c->velocity, &tap, &r->step_mem, err));
    return keep(r, &c->velocity, "velocity", err);
}

static enum err_code load(struct run *r, const struct args *a, struct err *err)
{
    char text[ERR_MESSAGE_MAX];
    int not_taken = 0;
    struct weight_loader l = { .set = &r->set,
                               .mem = &r->weights,
                               .scratch = &r->scratch,
                               .made = &r->arena,
                               .prove = true,
                               .not_taken = &not_taken };
    const struct model_folder folder = { .dir = a->models, .transformer = a->transformer, .relatives_too = true };

    TRY(cli_backend_open(&a->backend, &r->be, err));
    l.be = r->be;
    TRY(devarena_init(&r->weights, r->be, 0, SLAB_BYTES, err));
    TRY(devarena_init(&r->inputs, r->be, 0, SLAB_BYTES, err));
    TRY(model_folder_open(&folder, MODEL_TRANSFORMER, &r->arena, &r->model, err));
    TRY(flux_weight_set(&r->set, r->model.files, r->model.n_files, err));
    TRY(fill_loras_choose(&r->loras, a->lora_texts.items, a->lora_texts.n, NULL, err));
    TRY(lora_set_open(a->models, r->loras.items, r->loras.n, &r->arena, &r->merged, err));
    TRY(lora_set_apply(&r->merged, &r->set, err));
    TRY(flux_load(&r->flux, &l, &r->arena, err));
    if (not_taken) {
        (void)snprintf(text, sizeof text, "%d tensors of %s are not used: they belong to other networks", not_taken,
                       file_short_name(r->model.files[0].path));
        cli_warn(text);
    }
    return ERR_OK;
}

static enum err_code transformer(struct run *r, const struct args *a, struct err *err)
{
    struct call c = { 0 };

    TRY(arena_init(&r->arena, arena_bytes, err));
    TRY(arena_init(&r->scratch, arena_bytes, err));
    TRY(tensor_file_open(a->in, &r->arena, &r->in, err));
    progress_show(&r->progress, "load", NULL, 0, 1);
    TRY(load(r, a, err));
    progress_show(&r->progress, "load", NULL, 1, 1);
    TRY(read_call(r, &c, err));
    progress_show(&r->progress, "step", NULL, 0, 1);
    TRY(call_network(r, &c, err));
    progress_show(&r->progress, "step", NULL, 1, 1);
    TRY(safetensors_write(a->out, r->written, r->n_written, NULL, 0, err));
    output_wrote(a->out, 0, 0);
    return ERR_OK;
}

static void close_run(struct run *r)
{
    progress_done(&r->progress);
    devarena_done(&r->step_mem);
    devarena_done(&r->request_mem);
    devarena_done(&r->inputs);
    devarena_done(&r->weights);
    backend_close(r->be);
    arena_done(&r->scratch);
    arena_done(&r->arena);
}

int cmd_transformer(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--transformer", CLI_TEXT, &a.transformer, "FILE",
          .help = "which transformer of the folder; default: the largest" },
        { "--lora", CLI_TEXTS, &a.lora_texts, "FILE[:SCALE]", .help = CLI_LORA_HELP },
        { "--in", CLI_TEXT, &a.in, "FILE", .required = true,
          .help = "a safetensors file with hidden_states [N, C], encoder_hidden_states [T, D] and pooled [P], all f32; "
                  "its metadata: sigma, guidance and grid (rows x columns, N tokens in all)" },
        { "--out", CLI_OUT, &a.out, "FILE", .required = true,
          .help = "a safetensors file for velocity [N, 64] and the streams after every block" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "transformer",
                                         "calls the transformer once: velocity and the streams after every block",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    progress_init_stderr(&r.progress);
    status = transformer(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    close_run(&r);
    return status;
}
