/*
 * cmd_replay - runs an edit again from its record, and says whether it comes to the same bytes.
 *
 *   reads   the record, DIR/original.jpg, DIR/mask_auto.png
 *   writes  DIR/edited.jpg, DIR/preview.jpg
 *
 * Settings of the environment do not count, but WEIGHTS and MODEL_DIR: the record has them all. Other input files or
 * another model are an error before anything is painted; another version or another processor is a warning, because the
 * bytes may be the same, and other bytes are an error at the end.
 *
 * A record has names of files, and no folders: the transformer and the LoRAs are looked for in the model folder and its
 * sub-folders. What lay elsewhere, or has another name now, is named with --transformer and --lora; that it is the same
 * is found out by its digest.
 */
#include <stdio.h>
#include <string.h>

#include "worker/base/log.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/local/local.h"
#include "worker/local/record.h"

struct replay {
    const char *path, *dir, *models, *transformer, *paint;
    struct cli_texts lora_texts;
    struct arena arena;
    struct progress progress;
    struct record record;    /* as it was read */
    struct fill_loras loras; /* the record's, with paths of `given` */
    struct fill_loras given;
};

/* ---- inputs ---- */

static enum err_code check_file(struct span bytes, const struct record_file *wanted, const char *name, struct err *err)
{
    struct record_file here = { 0 };

    TRY(record_file_of(bytes, &here, err));
    if (record_same_file(&here, wanted))
        return ERR_OK;
    return err_set(err, ERR_INVALID,
                   "%s is another file than the record's: %lld bytes with sha256 %.16s..., and the record says %lld "
                   "bytes with %.16s...",
                   name, (long long)here.bytes, here.sha256, (long long)wanted->bytes, wanted->sha256);
}

/* The file that stood in for the model, where one did. */
static enum err_code read_paint(struct replay *r, struct edit_request *q, struct err *err)
{
    struct edit_paint given;

    if (q->paint.kind != EDIT_PAINT_FILE)
        return r->paint ? err_set(err, ERR_INVALID, "--paint: the record was made without a file to paint") : ERR_OK;
    if (!r->paint)
        return err_set(err, ERR_INVALID, "the record was made with a file to paint: name it with --paint FILE");
    TRY(local_read_paint(r->paint, &r->arena, &given, err));
    if (given.kind != EDIT_PAINT_FILE)
        return err_set(err, ERR_INVALID, "--paint: '%.80s' is not the file that the record was made with", r->paint);
    q->paint = given;
    return check_file(given.file, &r->record.paint, r->paint, err);
}

static enum err_code read_request(struct replay *r, struct edit_request *q, struct err *err)
{
    *q = r->record.request;
    TRY(local_read_inputs(r->dir, &r->arena, &q->original, &q->mask, err));
    TRY(check_file(q->original, &r->record.original, "original.jpg", err));
    TRY(check_file(q->mask, &r->record.mask, "mask_auto.png", err));
    return read_paint(r, q, err);
}

/* ---- the model ---- */

/* The place of the word in the list; -1: it is not there. */
static int index_of(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return -1;
}

/* The k-th --lora is where the record's k-th LoRA is; its scale is the record's, and may be written once more. */
static enum err_code read_lora(struct fill_lora *ret, const char *text, struct fill_loras *given, struct err *err)
{
    const int before = given->n;
    const struct fill_lora *item = &given->items[before];

    TRY(fill_loras_add(given, text, err));
    if (given->n != before + 1)
        return err_set(err, ERR_INVALID, "--lora: '%.150s' are several files; give each with a --lora of its own",
                       text);
    if (strlen(item->path) != strlen(text) && item->scale != ret->scale)
        return err_set(err, ERR_INVALID,
                       "--lora: %.150s is given with the scale %g, and the record says %g: leave the "
                       "scale out",
                       item->path, item->scale, ret->scale);
    ret->path = item->path;
    return ERR_OK;
}

static enum err_code choose_loras(struct replay *r, struct err *err)
{
    const struct cli_texts *texts = &r->lora_texts;
    const char *list = r->record.loras;

    if (list && fill_loras_add(&r->loras, list, err))
        return err_prefix(err, "the record");
    if (texts->n && texts->n != r->loras.n)
        return err_set(err, ERR_INVALID,
                       "--lora is given %d times, and the record was made with %d LoRAs%s%.150s: give all of them, in "
                       "the record's order, or none where they are in the model folder",
                       texts->n, r->loras.n, list ? ", " : "", list ? list : "");
    for (int i = 0; i < texts->n; i++)
        TRY(read_lora(&r->loras.items[i], texts->items[i], &r->given, err));
    return ERR_OK;
}

static enum err_code new_engine(struct replay *r, struct engine **ret, struct err *err)
{
    const struct record *x = &r->record;
    const int backend = index_of(backend_kind_names, x->backend),
              precision = index_of(cli_precision_names, x->precision);
    const struct engine_options options = {
        .model_dir = r->models,
        .transformer = r->transformer ? r->transformer : x->model,
        .loras = &r->loras,
        .backend = (enum backend_kind)backend,
        .precision = (enum precision)precision,
        .max_steps = x->request.fill.steps,
        .warn = cli_warn,
    };

    if (backend < 0 || precision < 0)
        return err_set(err, ERR_INVALID,
                       "this program has no backend '%.40s' in '%.40s', with which the record was made", x->backend,
                       x->precision);
    TRY(choose_loras(r, err));
    return engine_new(&options, ret, err);
}

/* Digests of transformer, VAE, T5 and CLIP, of which the first has that of the LoRAs behind it ("+lora-XXXXXXXX"). */
static bool only_loras_differ(const char *x, const char *y)
{
    static const char mark[] = "+lora-";
    const char *at_x = strstr(x, mark), *at_y = strstr(y, mark);

    return at_x && at_y && at_x - x == at_y - y && strncmp(x, y, (size_t)(at_x - x)) == 0 &&
           strcmp(at_x + strcspn(at_x, " "), at_y + strcspn(at_y, " ")) == 0;
}

static enum err_code other_weights(const struct replay *r, const struct record *now, struct err *err)
{
    if (only_loras_differ(r->record.digests, now->digests))
        return err_set(
            err, ERR_INVALID,
            "the LoRAs are other files than the record's %.150s, or in another order: name the same ones with "
            "--lora; digests of transformer, VAE, T5 and CLIP: %.100s",
            r->record.loras ? r->record.loras : "", now->digests);
    return err_set(
        err, ERR_INVALID,
        "the model folder '%.60s' holds other weights than the record's; digests of transformer, VAE, T5 and "
        "CLIP: %.100s",
        r->models, now->digests);
}

/* What is painted now would be decided by `now`; what was, by the record. */
static enum err_code compare(struct replay *r, const struct record *now, struct err *err)
{
    const struct record *then = &r->record;
    char text[ERR_MESSAGE_MAX];

    if (then->model && strcmp(then->digests, now->digests) != 0)
        return other_weights(r, now, err);
    if (then->model && strcmp(then->request.wishes.prompt, now->request.wishes.prompt) != 0)
        return err_set(err, ERR_INVALID, "the model folder's prompt pack lacks the record's prompt");
    if (strcmp(then->version, now->version) != 0) {
        (void)snprintf(text, sizeof text,
                       "the record was made by version %.60s, and this is %.60s: the bytes may be others",
                       then->version, now->version);
        cli_warn(text);
    }
    if (then->model && strcmp(then->kernels, now->kernels) != 0)
        cli_warn("the record was made with other kernels or on another processor: the last bits may be others");
    return ERR_OK;
}

/* ---- the edit ---- */

static enum err_code check_results(const struct replay *r, const struct record *now, struct err *err)
{
    const bool edited = record_same_file(&r->record.edited, &now->edited);
    const bool preview = record_same_file(&r->record.preview, &now->preview);

    if (edited && preview) {
        (void)printf("the same bytes as the record's\n");
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID, "%s other bytes than the record says",
                   edited    ? "preview.jpg has"
                   : preview ? "edited.jpg has"
                             : "edited.jpg and preview.jpg have");
}

static enum err_code edit(struct replay *r, struct engine *e, const struct edit_request *q, struct err *err)
{
    const struct edit_watch watch = { .ctx = &r->progress, .paint = local_show_painting };
    struct edit_result result;
    struct record now;

    if (e)
        TRY(local_load(e, &r->progress, err));
    TRY(record_of_request(q, e, &r->arena, &now, err));
    TRY(compare(r, &now, err));
    TRY(edit_run(e, q, &watch, &sys_real, &r->arena, &result, err));
    progress_done(&r->progress);
    TRY(record_add_result(&now, &result, err));
    TRY(local_write_results(r->dir, &result, &r->arena, err));
    return check_results(r, &now, err);
}

static enum err_code run(struct replay *r, struct err *err)
{
    struct engine *e = NULL;
    struct edit_request q;
    enum err_code rc;

    progress_init_stderr(&r->progress);
    TRY(arena_init(&r->arena, EDIT_ARENA_BYTES, err));
    TRY(record_read(r->path, &r->arena, &r->record, err));
    TRY(read_request(r, &q, err));
    if (!r->record.model && (r->transformer || r->lora_texts.n))
        return err_set(err, ERR_INVALID, "--transformer, --lora: the record was made without a model");
    if (r->record.model)
        TRY(new_engine(r, &e, err));
    rc = edit(r, e, &q, err);
    progress_done(&r->progress);
    engine_free(e);
    return rc;
}

int cmd_replay(int argc, char **argv)
{
    struct arena settings;
    struct config cfg = { 0 };
    struct replay r = { 0 };
    struct err err = { 0 };
    int status;

    if (arena_init(&settings, 1 << 20, &err))
        return cli_fail(&(struct cli_command){ .name = "replay" }, &err);
    err_ignore(local_read_settings(&settings, &cfg, &(struct err){ 0 })); /* the record has them */
    r.models = cfg.models;
    const struct cli_option options[] = {
        { "FILE", CLI_TEXT, &r.path, NULL, .help = "record that `edit --record` or `audit` wrote", .required = true },
        { "--dir", CLI_TEXT, &r.dir, "DIR", .required = true,
          .help = "folder with the same original.jpg and mask_auto.png; gets the results" },
        { "--models", CLI_TEXT, &r.models, "DIR",
          .help = "folder with the same model files; default: WEIGHTS or MODEL_DIR, else /models" },
        { "--transformer", CLI_TEXT, &r.transformer, "FILE",
          .help = "the same transformer, where it is not in that folder or its sub-folders under the record's name" },
        { "--lora", CLI_TEXTS, &r.lora_texts, "FILE[:SCALE]",
          .help =
              "the same LoRA, a path or a file of that folder or its folder loras, with the record's scale; where one "
              "is not there under the record's name, all of them are given, in the record's order" },
        { "--paint", CLI_TEXT, &r.paint, "FILE",
          .help = "the same picture, where the record was made with one in the place of the model's" },
    };
    const struct cli_command command = { "replay", "runs an edit again from its record, to the same bytes", options,
                                         .n_options = CLI_COUNT(options) };

    status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN)
        status = run(&r, &err) ? cli_fail(&command, &err) : CLI_DONE;
    arena_done(&r.arena);
    arena_done(&settings);
    return status;
}
