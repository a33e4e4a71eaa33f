/* cmd_tokenize - a text to its ids: on one line, blanks between, special tokens included, no padding. */
#include <stdio.h>

#include "models/fill/tokenizer_folder.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

enum { ENCODER_T5, ENCODER_CLIP };
enum { MODEL_BYTES = 256 << 20 }; /* address space: tables of the largest vocabulary we read */

struct args {
    const char *models, *text;
    int encoder;
};

struct run {
    struct arena model, scratch;
    int32_t ids[T5_MAX_TOKENS];
    int n;
};
_Static_assert((int)CLIP_MAX_IDS <= (int)T5_MAX_TOKENS, "ids of either encoder");

static enum err_code tokenize_t5(struct run *r, const struct model_folder *folder, struct span text, struct err *err)
{
    struct t5_tokenizer t;
    enum err_code rc = t5_tokenizer_find(&t, folder, &r->model, &r->scratch, err);

    return rc ? rc : t5_tokenize(&t, text, T5_MAX_TOKENS, r->ids, &r->n, &r->scratch, err);
}

static enum err_code tokenize_clip(struct run *r, const struct model_folder *folder, struct span text, struct err *err)
{
    struct clip_tokenizer t;
    enum err_code rc = clip_tokenizer_find(&t, folder, &r->model, &r->scratch, err);

    return rc ? rc : clip_tokenize(&t, text, r->ids, &r->n, &r->scratch, err);
}

static enum err_code tokenize(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->models };
    enum err_code rc = arena_init(&r->model, MODEL_BYTES, err);

    if (!rc)
        rc = arena_init(&r->scratch, MODEL_BYTES, err);
    if (rc)
        return rc;
    return a->encoder == ENCODER_T5 ? tokenize_t5(r, &folder, span_of(a->text), err)
                                    : tokenize_clip(r, &folder, span_of(a->text), err);
}

int cmd_tokenize(int argc, char **argv)
{
    static const char *const encoders[] = { [ENCODER_T5] = "t5", [ENCODER_CLIP] = "clip", NULL };
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--encoder", CLI_CHOICE, &a.encoder, .choices = encoders, .help = "whose ids", .required = true },
        { "TEXT", CLI_TEXT, &a.text, .help = "the prompt", .required = true },
    };
    const struct cli_command command = { "tokenize", "a prompt to the ids of T5 or CLIP", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    status = tokenize(&r, &a, &err) ? cli_fail("tokenize", &err) : CLI_DONE;
    for (int i = 0; status == CLI_DONE && i < r.n; i++)
        (void)printf("%d%c", (int)r.ids[i], i + 1 < r.n ? ' ' : '\n');
    arena_done(&r.scratch);
    arena_done(&r.model);
    return status;
}
