/* cmd_embed - runs the text encoders: one prompt to its embeddings and ids, or many prompts to a prompt pack. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/ops.h"
#include "models/fill/fill.h"
#include "models/fill/prompt_pack_make.h"
#include "models/fill/text_encode.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/output.h"
#include "worker/cli/progress.h"
#include "worker/job/prompt_table.h"

#define BUILTIN "builtin" /* in place of a file of prompts; a file of this name is ./builtin */

enum { SLAB_BYTES = 64 << 20, PROMPTS_FILE_MAX = 16 << 20 };
static const size_t arena_bytes = (size_t)1 << 30; /* address space of each arena */

struct args {
    const char *models, *transformer, *prompt, *prompts, *sizes, *out;
    int t5_len, steps;
    double guidance;
    bool pack;
    struct cli_backend backend;
};

struct run {
    struct arena arena, scratch; /* host */
    struct backend *be;
    struct devarena weights, outputs, step_mem;
    struct text_encoder encoder;
    struct text_ids ids;
    struct progress progress;
};

static enum err_code load(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->models };
    struct weight_loader l = { .mem = &r->weights, .scratch = &r->scratch, .made = &r->arena, .prove = true };

    TRY(arena_init(&r->arena, arena_bytes, err));
    TRY(arena_init(&r->scratch, arena_bytes, err));
    TRY(cli_backend_open(&a->backend, &r->be, err));
    TRY(devarena_init(&r->weights, r->be, 0, SLAB_BYTES, err));
    TRY(devarena_init(&r->outputs, r->be, 0, SLAB_BYTES, err));
    l.be = r->be;
    return text_encoder_load(&r->encoder, &folder, &l, &r->arena, err);
}

/* The values of an F32 tensor, copied from the backend into the arena. */
static enum err_code fetch(struct run *r, const struct tensor *t, const void **ret, struct err *err)
{
    void *values = NULL;

    TRY(arena_alloc(&r->arena, (size_t)tensor_count(t), sizeof(float), &values, err));
    *ret = values;
    return op_download(r->be, values, t, err);
}

static enum err_code write_file(struct run *r, const struct args *a, const struct tensor *prompt_embeds,
                                const struct tensor *pooled, struct err *err)
{
    struct tensor_write out[] = {
        { .name = "prompt_embeds",
          .dtype = DT_F32,
          .n_dims = 2,
          .dims = { tensor_rows(prompt_embeds), tensor_cols(prompt_embeds) } },
        { .name = "pooled_prompt_embeds", .dtype = DT_F32, .n_dims = 1, .dims = { tensor_cols(pooled) } },
        { .name = "t5_ids", .dtype = DT_I32, .n_dims = 1, .dims = { r->ids.n_t5 }, .data = r->ids.t5 },
        { .name = "clip_ids", .dtype = DT_I32, .n_dims = 1, .dims = { CLIP_MAX_IDS }, .data = r->ids.clip },
    };
    const struct metadata_pair prompt = { "prompt", a->prompt }; /* makes the file a prompt pack */

    TRY(fetch(r, prompt_embeds, &out[0].data, err));
    TRY(fetch(r, pooled, &out[1].data, err));
    TRY(safetensors_write(a->out, out, sizeof out / sizeof *out, &prompt, 1, err));
    output_wrote(a->out, 0, 0);
    return ERR_OK;
}

static enum err_code embed(struct run *r, const struct args *a, struct err *err)
{
    struct tensor prompt_embeds, pooled;
    size_t step_bytes = 0;

    progress_show(&r->progress, "load", NULL, 0, 1);
    TRY(load(r, a, err));
    progress_show(&r->progress, "load", NULL, 1, 1);
    TRY(text_tokenize(&r->encoder, span_of(a->prompt), a->t5_len, &r->ids, &r->scratch, err));
    TRY(text_measure(&r->encoder, a->t5_len, &step_bytes, err));
    TRY(devarena_init(&r->step_mem, r->be, step_bytes, 0, err));
    TRY(devarena_2d(&r->outputs, DT_F32, r->ids.n_t5, r->encoder.t5.d_model, &prompt_embeds, err));
    TRY(devarena_1d(&r->outputs, DT_F32, r->encoder.clip.width, &pooled, err));
    progress_show(&r->progress, "encode", NULL, 0, 1);
    TRY(text_encode(&r->encoder, &r->ids, &prompt_embeds, &pooled, &r->step_mem, err));
    progress_show(&r->progress, "encode", NULL, 1, 1);
    return write_file(r, a, &prompt_embeds, &pooled, err);
}

/* --- prompt packs --- */

/* One prompt a line, without the blanks around it; empty lines are skipped. The text is cut up in place. */
static enum err_code split_lines(struct span text, const char **prompts, int *n, struct err *err)
{
    char *line = (char *)text.ptr, *end = line + text.len; /* written to: the memory is our arena's */

    while (line < end) {
        char *next = memchr(line, '\n', (size_t)(end - line)), *last = next ? next : end;

        next = last + 1;
        while (line < last && isspace((unsigned char)*line))
            line++;
        while (last > line && isspace((unsigned char)last[-1]))
            last--;
        *last = 0; /* the last line's end too: file_read() ends the text with a NUL */
        if (*line && *n == PROMPT_PACK_MAX)
            return err_set(err, ERR_TOO_LARGE, "--prompts: more than %d prompts", PROMPT_PACK_MAX);
        if (*line)
            prompts[(*n)++] = line;
        line = next;
    }
    return *n ? ERR_OK : err_set(err, ERR_INVALID, "--prompts: there is no prompt in the file");
}

/* The sizes are written as "1024x1024,1024x768". */
static enum err_code split_sizes(const char *text, struct pack_size *sizes, int *n, struct err *err)
{
    for (const char *at = text; at && *at; (*n)++) {
        struct pack_size *s = &sizes[*n];
        int used = 0;

        if (*n == PROMPT_PACK_MAX_SCHEDULES)
            return err_set(err, ERR_TOO_LARGE, "--sizes: more than %d", PROMPT_PACK_MAX_SCHEDULES);
        if (sscanf(at, "%4dx%4d%n", &s->width, &s->height, &used) != 2 || (at[used] && at[used] != ',') ||
            s->width < FILL_MIN_SIDE || s->height < FILL_MIN_SIDE || s->width > FILL_MAX_SIDE ||
            s->height > FILL_MAX_SIDE)
            return err_set(err, ERR_INVALID, "--sizes: '%s' does not begin with WIDTHxHEIGHT, each %d to %d pixels", at,
                           FILL_MIN_SIDE, FILL_MAX_SIDE);
        at += used + (at[used] == ',');
    }
    return ERR_OK;
}

static enum err_code choose_prompts(struct run *r, const struct args *a, const char **prompts, int *n, struct err *err)
{
    struct span text = { 0 };

    if (!a->prompts)
        prompts[(*n)++] = a->prompt;
    else if (strcmp(a->prompts, BUILTIN) == 0)
        for (; prompt_table_at(*n); (*n)++)
            prompts[*n] = prompt_table_at(*n)->prompt;
    else {
        TRY(file_read(a->prompts, PROMPTS_FILE_MAX, &r->arena, &text, err));
        TRY(split_lines(text, prompts, n, err));
    }
    return ERR_OK;
}

static void on_prompt(void *ctx, const char *what, int done, int total)
{
    progress_show(ctx, what, "prompts", done, total);
}

static enum err_code make_pack(struct run *r, const struct args *a, struct err *err)
{
    static const char *prompts[PROMPT_PACK_MAX];
    static struct pack_size sizes[PROMPT_PACK_MAX_SCHEDULES];
    struct pack_options o = { .dir = a->models,
                              .transformer = a->transformer,
                              .prompts = prompts,
                              .t5_len = a->t5_len,
                              .sizes = sizes,
                              .steps = a->steps,
                              .guidance = (float)a->guidance,
                              .progress = on_prompt,
                              .ctx = &r->progress };

    TRY(arena_init(&r->arena, arena_bytes, err));
    TRY(choose_prompts(r, a, prompts, &o.n_prompts, err));
    TRY(split_sizes(a->sizes, sizes, &o.n_sizes, err));
    TRY(cli_backend_open(&a->backend, &r->be, err));
    TRY(prompt_pack_make(&o, r->be, a->out, err));
    output_wrote(a->out, 0, 0);
    return ERR_OK;
}

/* --- the command --- */

static int check_usage(const struct cli_command *c, const struct args *a)
{
    if (!a->prompt == !a->prompts)
        return cli_misused(c, "exactly one of --prompt and --prompts is required");
    if (!a->pack && (a->prompts || a->sizes))
        return cli_misused(c, "--prompts and --sizes need --pack");
    return CLI_RUN;
}

static void close_run(struct run *r)
{
    progress_done(&r->progress);
    devarena_done(&r->step_mem);
    devarena_done(&r->outputs);
    devarena_done(&r->weights);
    backend_close(r->be);
    arena_done(&r->scratch);
    arena_done(&r->arena);
}

int cmd_embed(int argc, char **argv)
{
    struct args a = { .t5_len = T5_MAX_TOKENS, .steps = 28, .guidance = 30 };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--prompt", CLI_TEXT, &a.prompt, "TEXT", .help = "the prompt" },
        { "--prompts", CLI_TEXT, &a.prompts, "FILE|" BUILTIN,
          .help = "with --pack: a file with a prompt on each line, the first for jobs whose prompt is not there;\n"
                  "or " BUILTIN ": all that the worker itself makes of labels (`prompts` prints them)" },
        { "--t5-len", CLI_INT, &a.t5_len, "N", .help = "text tokens of T5, padding included; default 512", .min = 1,
          .max = T5_MAX_TOKENS },
        { "--out", CLI_OUT, &a.out, "FILE", .required = true,
          .help = "a safetensors file for prompt_embeds, pooled_prompt_embeds, t5_ids and clip_ids, or for the pack" },
        { "--pack", CLI_FLAG, &a.pack, NULL, .help = "write a prompt pack, for MODEL_DIR/prompts.safetensors" },
        { "--sizes", CLI_TEXT, &a.sizes, "WxH,...",
          .help = "with --pack: also the modulation tables for pictures of these sizes, in pixels" },
        { "--transformer", CLI_TEXT, &a.transformer, "FILE",
          .help = "with --sizes: which transformer of the folder the tables are for; default: the largest" },
        { "--steps", CLI_INT, &a.steps, "N", .help = "with --sizes: denoising steps; default 28", .min = 1,
          .max = FILL_MAX_STEPS },
        { "--guidance", CLI_NUMBER, &a.guidance, "G", .help = "with --sizes: guidance scale; default 30", .min = 0,
          .max = FILL_MAX_GUIDANCE },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "embed",
                                         "runs the text encoders: prompts to embeddings and ids, or to a prompt pack",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status == CLI_RUN)
        status = check_usage(&command, &a);
    if (status != CLI_RUN)
        return status;
    progress_init_stderr(&r.progress);
    status = (a.pack ? make_pack(&r, &a, &err) : embed(&r, &a, &err)) ? cli_fail(&command, &err) : CLI_DONE;
    close_run(&r);
    return status;
}
