/* cmd_embed - a prompt through the text encoders, to a file. */
#include <string.h>

#include "kernels/ops.h"
#include "models/text_encode.h"
#include "worker/cli.h"
#include "worker/commands.h"

enum { SLAB_BYTES = 64 << 20, DEFAULT_T5_LEN = 512 };
static const size_t arena_bytes = (size_t)1 << 30; /* address space */

struct args {
    const char *models, *prompt, *out;
    int t5_len;
    struct cli_backend backend;
};

struct run {
    struct arena arena, scratch; /* host */
    struct backend *be;
    struct devarena weights, outputs, step_mem;
    struct text_encoder encoder;
    struct text_ids ids;
};

static enum err_code load(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->models };
    enum err_code rc = arena_init(&r->arena, arena_bytes, err);

    if (!rc)
        rc = arena_init(&r->scratch, arena_bytes, err);
    if (!rc)
        rc = cli_backend_open(&a->backend, &r->be, err);
    if (!rc)
        rc = devarena_init(&r->weights, r->be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = devarena_init(&r->outputs, r->be, 0, SLAB_BYTES, err);
    return rc ? rc : text_encoder_load(&r->encoder, &folder, r->be, &r->weights, &r->arena, &r->scratch, NULL, err);
}

/* Contents of an F32 tensor, for the file. */
static enum err_code fetch(struct run *r, const struct tensor *t, const void **ret, struct err *err)
{
    void *values = NULL;
    enum err_code rc = arena_alloc(&r->arena, (size_t)tensor_count(t), sizeof(float), &values, err);

    *ret = values;
    return rc ? rc : op_download(r->be, values, t, err);
}

static enum err_code write_file(struct run *r, const struct args *a, const struct tensor *prompt_embeds,
                                const struct tensor *pooled, struct err *err)
{
    struct tensor_write out[] = {
        { .name = "prompt_embeds", .dtype = DT_F32, .n_dims = 2,
          .dims = { tensor_rows(prompt_embeds), tensor_cols(prompt_embeds) } },
        { .name = "pooled_prompt_embeds", .dtype = DT_F32, .n_dims = 1, .dims = { tensor_cols(pooled) } },
        { .name = "t5_ids", .dtype = DT_I32, .n_dims = 1, .dims = { r->ids.n_t5 }, .data = r->ids.t5 },
        { .name = "clip_ids", .dtype = DT_I32, .n_dims = 1, .dims = { CLIP_MAX_IDS }, .data = r->ids.clip },
    };
    const struct metadata_pair prompt = { "prompt", a->prompt }; /* so the file is a prompt pack */
    enum err_code rc = fetch(r, prompt_embeds, &out[0].data, err);

    if (!rc)
        rc = fetch(r, pooled, &out[1].data, err);
    return rc ? rc : safetensors_write(a->out, out, sizeof out / sizeof *out, &prompt, 1, err);
}

static enum err_code embed(struct run *r, const struct args *a, struct err *err)
{
    struct tensor prompt_embeds, pooled;
    size_t step_bytes = 0;
    enum err_code rc = load(r, a, err);

    if (!rc)
        rc = text_tokenize(&r->encoder, span_of(a->prompt), a->t5_len, &r->ids, &r->scratch, err);
    if (!rc)
        rc = text_measure(&r->encoder, a->t5_len, &step_bytes, err);
    if (!rc)
        rc = devarena_init(&r->step_mem, r->be, step_bytes, 0, err);
    if (!rc)
        rc = devarena_2d(&r->outputs, DT_F32, r->ids.n_t5, r->encoder.t5.d_model, &prompt_embeds, err);
    if (!rc)
        rc = devarena_1d(&r->outputs, DT_F32, r->encoder.clip.width, &pooled, err);
    if (!rc)
        rc = text_encode(&r->encoder, &r->ids, &prompt_embeds, &pooled, &r->step_mem, err);
    return rc ? rc : write_file(r, a, &prompt_embeds, &pooled, err);
}

int cmd_embed(int argc, char **argv)
{
    struct args a = { .t5_len = DEFAULT_T5_LEN };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--prompt", CLI_TEXT, &a.prompt, "TEXT", .help = "what both encoders read", .required = true },
        { "--t5-len", CLI_INT, &a.t5_len, "N", .help = "positions of T5 (512)", .min = 1, .max = T5_MAX_TOKENS },
        { "--out", CLI_TEXT, &a.out, "F", .required = true,
          .help = "safetensors: prompt_embeds, pooled_prompt_embeds, t5_ids, clip_ids" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "embed", "runs the text encoders", options, CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    status = embed(&r, &a, &err) ? cli_fail("embed", &err) : CLI_DONE;
    devarena_done(&r.step_mem);
    devarena_done(&r.outputs);
    devarena_done(&r.weights);
    backend_close(r.be);
    arena_done(&r.scratch);
    arena_done(&r.arena);
    return status;
}
