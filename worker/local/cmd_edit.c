/*
 * cmd_edit - one whole job on a local folder, without the cloud, in the same stages as `serve`.
 *
 *   reads   DIR/original.jpg, DIR/mask_auto.png, DIR/session.json (optional: prompt, sceneLabels, maskKind,
 *           maskOrientation)
 *   writes  DIR/edited.jpg, DIR/preview.jpg, and the outcome into DIR/session.json, keeping its other fields;
 *           with --png also DIR/edited.png, the result before it is encoded as JPEG; with --record a record (record.h)
 *
 * With --paint given pixels stand in for what the model paints: a dry run, without a model.
 */
#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/fill/fill.h"
#include "worker/base/crypto.h"
#include "worker/base/json.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/output.h"
#include "worker/local/local.h"
#include "worker/local/record.h"

enum { SESSION_JSON_MAX = 1 << 20, SESSION_JSON_DEPTH = 30 };

struct local {
    const char *dir, *models, *transformer, *lora_setting;
    struct cli_texts lora_texts;
    struct fill_loras loras;
    int steps;
    double guidance;
    uint64_t seed;
    bool has_seed;
    struct cli_backend backend;
    struct picture_settings pictures;
    const char *paint; /* NULL: the model paints */
    bool png;
    const char *record; /* NULL: none is written */
    struct arena arena;
    struct progress progress;
    const struct json *session; /* the content of DIR/session.json; NULL: there is no such file */
};

static const char *path_in(struct local *l, const char *name)
{
    char *path = NULL;

    err_ignore(arena_printf(&l->arena, &path, NULL, "%s/%s", l->dir, name));
    return path ? path : name;
}

/* --- session.json --- */

static enum err_code parse_session(struct local *l, struct span text, struct err *err)
{
    TRY(json_parse(&l->arena, text, SESSION_JSON_DEPTH, &l->session, err));
    return json_type(l->session) == JSON_T_OBJECT ? ERR_OK : err_set(err, ERR_INVALID, "not an object");
}

static enum err_code read_session(struct local *l, struct err *err)
{
    struct err absent = { 0 };
    struct span text = { 0 };
    enum err_code rc = file_read(path_in(l, "session.json"), SESSION_JSON_MAX, &l->arena, &text, &absent);

    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc)
        return err_set(err, rc, "%s", absent.msg);
    return parse_session(l, text, err) ? err_prefix(err, "session.json") : ERR_OK;
}

/* `why`: of the outcome, where that is an error. */
static enum err_code write_session(struct local *l, enum err_code outcome, const struct err *why,
                                   const struct edit_result *r, struct err *err)
{
    struct json *root = json_new_object(&l->arena);
    char *text = NULL;

    for (const struct json *v = json_first(l->session); v; v = json_next(v))
        if (!document_is_ours(json_key(v)))
            json_add_copy(root, json_key(v), v);
    local_add_outcome(root, outcome, why, r);
    TRY(json_print(&l->arena, root, &text, err));
    return file_write(path_in(l, "session.json"), span_of(text), err);
}

/* --- the job --- */

/* The seed that is used without --seed: the same files give the same picture. */
static enum err_code seed_of_files(const struct edit_request *q, uint64_t *ret, struct err *err)
{
    unsigned char both[2 * CRYPTO_SHA256_BYTES], digest[CRYPTO_SHA256_BYTES];

    TRY(crypto_sha256(q->original, both, err));
    TRY(crypto_sha256(q->mask, both + CRYPTO_SHA256_BYTES, err));
    TRY(crypto_sha256((struct span){ (const char *)both, sizeof both }, digest, err));
    *ret = span_be32(digest);
    return ERR_OK;
}

static enum err_code read_request(struct local *l, struct edit_request *q, struct err *err)
{
    *q = (struct edit_request){
        .fill = { FILL_REQUEST_DEFAULTS }, .pictures = l->pictures, .wants_png = l->png, .counts_changes = true
    };
    q->fill.steps = l->steps;
    q->fill.guidance = l->guidance;
    q->fill.seed = l->seed;
    TRY(local_read_inputs(l->dir, &l->arena, &q->original, &q->mask, err));
    TRY(local_read_paint(l->paint, &l->arena, &q->paint, err));
    if (!l->has_seed)
        TRY(seed_of_files(q, &q->fill.seed, err));
    q->mask_wishes =
        document_read_mask_wishes(json_get(l->session, DOCUMENT_MASK_KIND), json_get(l->session, DOCUMENT_MASK_TURN));
    return document_read_wishes(json_get(l->session, DOCUMENT_PROMPT), json_get(l->session, DOCUMENT_LABELS), &l->arena,
                                &q->wishes, err);
}

static enum err_code write_record(struct local *l, const struct engine *e, const struct edit_request *q,
                                  const struct edit_result *result, struct err *err)
{
    struct record record;

    TRY(record_of_request(q, e, &l->arena, &record, err));
    TRY(record_add_result(&record, result, err));
    TRY(record_write(l->record, &record, &l->arena, err));
    output_wrote(l->record, 0, 0);
    return ERR_OK;
}

static enum err_code paint_folder(struct local *l, struct engine *e, const struct edit_request *q,
                                  struct edit_result *ret, struct err *err)
{
    const struct edit_watch watch = { .ctx = &l->progress, .paint = local_show_painting };

    TRY(edit_run(e, q, &watch, &sys_real, &l->arena, ret, err));
    TRY(local_write_results(l->dir, ret, &l->arena, err));
    (void)printf("beyond what was painted, %lld pixels of edited.jpg differ from the photo, by at most %d levels\n",
                 (long long)ret->picture.changed_outside, ret->picture.max_outside);
    return l->record ? write_record(l, e, q, ret, err) : ERR_OK;
}

/* The outcome, good or bad, goes into session.json. If that cannot be written, the whole command fails. */
static enum err_code end(struct local *l, enum err_code outcome, const struct edit_result *result, struct err *err)
{
    struct err unsaved = { 0 };

    progress_done(&l->progress);
    if (write_session(l, outcome, err, result, &unsaved) && !outcome)
        return err_set(err, unsaved.code, "%s", unsaved.msg);
    return outcome;
}

/* The inputs first: a missing one is reported before minutes of loading. */
static enum err_code load_and_edit(struct local *l, struct engine *e, struct err *err)
{
    struct edit_result result = { 0 };
    struct edit_request q;
    enum err_code rc;

    TRY(read_session(l, err));
    rc = read_request(l, &q, err);
    if (rc)
        return end(l, rc, &result, err);
    if (e)
        TRY(local_load(e, &l->progress, err));
    return end(l, paint_folder(l, e, &q, &result, err), &result, err);
}

static enum err_code run(struct local *l, struct err *err)
{
    const struct engine_options options = {
        .model_dir = l->models,
        .transformer = l->transformer,
        .loras = &l->loras,
        .backend = (enum backend_kind)l->backend.kind,
        .precision = (enum precision)l->backend.precision,
        .max_steps = l->steps,
        .warn = cli_warn,
    };
    struct engine *e = NULL;
    enum err_code rc;

    progress_init_stderr(&l->progress);
    TRY(fill_loras_choose(&l->loras, l->lora_texts.items, l->lora_texts.n, l->lora_setting, err));
    if (!l->paint)
        TRY(engine_new(&options, &e, err));
    rc = arena_init(&l->arena, EDIT_ARENA_BYTES, err);
    if (!rc)
        rc = load_and_edit(l, e, err);
    progress_done(&l->progress);
    engine_free(e);
    arena_done(&l->arena);
    return rc;
}

int cmd_edit(int argc, char **argv)
{
    struct arena settings;
    struct config cfg = { 0 };
    struct local l = { 0 };
    struct err err = { 0 };
    uint64_t seed = UINT64_MAX;
    int status;

    if (arena_init(&settings, 1 << 20, &err))
        return cli_fail(&(struct cli_command){ .name = "edit" }, &err);
    err_ignore(local_read_settings(&settings, &cfg, &err)); /* after --help */
    l = (struct local){ .models = cfg.models,
                        .transformer = cfg.transformer,
                        .lora_setting = cfg.loras,
                        .steps = cfg.steps,
                        .guidance = cfg.guidance,
                        .pictures = edit_picture_settings(&cfg),
                        .backend.kind = cfg.backend,
                        .backend.precision = local_default_precision(&cfg) };
    const struct cli_option options[] = {
        { "DIR", CLI_TEXT, &l.dir, NULL, .help = "folder with original.jpg and mask_auto.png; gets the results",
          .required = true },
        { "--models", CLI_TEXT, &l.models, "DIR",
          .help = "folder with the model files; default: WEIGHTS or MODEL_DIR, else /models" },
        { "--transformer", CLI_TEXT, &l.transformer, "FILE",
          .help = "which transformer of that folder; default: TRANSFORMER, else the largest that fits into memory" },
        { "--lora", CLI_TEXTS, &l.lora_texts, "FILE[:SCALE]", .help = CLI_LORA_HELP "; default: LORAS, else none" },
        { "--steps", CLI_INT, &l.steps, "N", .help = "denoising steps; default: STEPS, else 28", .min = 1,
          .max = FILL_MAX_STEPS },
        { "--guidance", CLI_NUMBER, &l.guidance, "G", .help = "guidance scale; default: GUIDANCE, else 30", .min = 0,
          .max = FILL_MAX_GUIDANCE },
        { "--paint", CLI_TEXT, &l.paint, "WHAT",
          .help = "identity (the photo itself), solid:RRGGBB or a picture FILE of the photo's size, and of its colour "
                  "space unless it has a profile, in the place of what the model would paint; needs no model" },
        { "--png", CLI_FLAG, &l.png, NULL, .help = "also writes DIR/edited.png, the result before it becomes a JPEG" },
        { "--record", CLI_OUT, &l.record, "FILE",
          .help = "also writes down everything that decided the result, so that `replay` can come to the same bytes" },
        { "--seed", CLI_SEED, &seed, "S", .help = "seed of the noise; default: a digest of both input files" },
        CLI_BACKEND_OPTIONS(l.backend),
    };

    const struct cli_command command = { "edit", "runs one whole job on a local folder, without the cloud", options,
                                         .n_options = CLI_COUNT(options) };

    status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN) {
        l.has_seed = seed != UINT64_MAX;
        l.seed = seed;
        status = err.code || run(&l, &err) ? cli_fail(&command, &err) : CLI_DONE;
    }
    arena_done(&settings);
    return status;
}
