/* cmd_tokenize - prints the ids of a text: on one line, separated by blanks, with special tokens but without padding.
 */
#include <stdio.h>

#include "models/fill/tokenizer_folder.h"
#include "models/text/t5_encoder.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

enum { ENCODER_T5, ENCODER_CLIP };
enum { MODEL_BYTES = 256 << 20 }; /* address space; holds the tables of the largest vocabulary we read */

struct args {
    const char *models, *text;
    int encoder;
};

struct run {
    struct arena model, scratch;
    int32_t ids[T5_MAX_TOKENS];
    int n;
};
_Static_assert((int)CLIP_MAX_IDS <= (int)T5_MAX_TOKENS, "run.ids holds the ids of either encoder");

static enum err_code tokenize_t5(struct run *r, const struct model_folder *folder, struct span text, struct err *err)
{
    struct t5_tokenizer t;

    TRY(t5_tokenizer_find(&t, folder, &r->model, &r->scratch, err));
    return t5_tokenize(&t, text, T5_MAX_TOKENS, r->ids, &r->n, &r->scratch, err);
}

static enum err_code tokenize_clip(struct run *r, const struct model_folder *folder, struct span text, struct err *err)
{
    struct clip_tokenizer t;

    TRY(clip_tokenizer_find(&t, folder, &r->model, &r->scratch, err));
    return clip_tokenize(&t, text, r->ids, &r->n, &r->scratch, err);
}

static enum err_code tokenize(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->models };

    TRY(arena_init(&r->model, MODEL_BYTES, err));
    TRY(arena_init(&r->scratch, MODEL_BYTES, err));
    return a->encoder == ENCODER_T5 ? tokenize_t5(r, &folder, span_of(a->text), err)
                                    : tokenize_clip(r, &folder, span_of(a->text), err);
}

static void print_ids(const struct run *r)
{
    for (int i = 0; i < r->n; i++)
        (void)printf("%d%c", (int)r->ids[i], i + 1 < r->n ? ' ' : '\n');
}

static void close_run(struct run *r)
{
    arena_done(&r->scratch);
    arena_done(&r->model);
}

int cmd_tokenize(int argc, char **argv)
{
    static const char *const encoders[] = { [ENCODER_T5] = "t5", [ENCODER_CLIP] = "clip", NULL };
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "TEXT", CLI_TEXT, &a.text, .help = "the prompt", .required = true },
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--encoder", CLI_CHOICE, &a.encoder, .choices = encoders, .help = "whose vocabulary to use",
          .required = true },
    };
    const struct cli_command command = { "tokenize", "prints the ids of a prompt for T5 or CLIP", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (tokenize(&r, &a, &err)) {
        status = cli_fail(&command, &err);
    } else {
        print_ids(&r);
        status = CLI_DONE;
    }
    close_run(&r);
    return status;
}
