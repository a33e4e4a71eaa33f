/*
 * cmd_edit - one whole job on a local folder, without the cloud, in the same stages as `serve`.
 *
 *   reads   DIR/original.jpg, DIR/mask_auto.png, DIR/session.json (optional: prompt, sceneLabels)
 *   writes  DIR/edited.jpg, DIR/preview.jpg, and the outcome into DIR/session.json, keeping its other fields;
 *           with --png also DIR/edited.png, the result before it is encoded as JPEG
 *
 * With --paint given pixels stand in for what the model paints: a dry run, without a model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"
#include "models/fill/fill.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/base/config.h"
#include "worker/base/crypto.h"
#include "worker/job/edit.h"
#include "worker/base/json.h"
#include "worker/cli/output.h"
#include "worker/cli/progress.h"

enum { SESSION_JSON_MAX = 1 << 20, SESSION_JSON_DEPTH = 30 };

extern char **environ;

struct local {
    const char *dir, *models, *transformer;
    int steps;
    double guidance;
    uint64_t seed;
    bool has_seed;
    struct cli_backend backend;
    struct picture_settings pictures;
    const char *paint; /* NULL: the model paints */
    bool png;
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

static void add_plain(struct json *parent, const char *name, const struct document_field *f)
{
    struct json *list;

    switch (f->kind) {
    case DOCUMENT_K_TEXT:
        json_add_string(parent, name, f->text);
        break;
    case DOCUMENT_K_INTEGER:
    case DOCUMENT_K_TIMESTAMP:
        json_add_int(parent, name, f->integer);
        break;
    case DOCUMENT_K_DOUBLE:
        json_add_number(parent, name, f->number);
        break;
    case DOCUMENT_K_BOOL:
        json_add_bool(parent, name, f->integer);
        break;
    case DOCUMENT_K_TEXTS:
        list = json_add_array(parent, name);
        for (int i = 0; i < f->n_texts; i++)
            json_add_string(list, NULL, f->texts[i]);
        break;
    default: /* a deleted field is simply not written */
        break;
    }
}

static void add_members(struct json *parent, const struct document_fields *fields, int from, int to, const char *map);

/* Field i and, where it is a map or a list, its members; `name` is NULL in a list. */
static void add_field(struct json *parent, const struct document_fields *fields, int i, const char *name)
{
    const struct document_field *f = &fields->list[i];
    int next = document_next(fields, i);
    struct json *list;

    if (f->kind == DOCUMENT_K_MAP) {
        add_members(json_add_object(parent, name), fields, i + 1, next, f->path);
    } else if (f->kind == DOCUMENT_K_LIST) {
        list = json_add_array(parent, name);
        for (int k = i + 1; k < next; k = document_next(fields, k))
            add_field(list, fields, k, NULL);
    } else
        add_plain(parent, name, f);
}

/* Adds the fields from `from` to before `to`, under their names below `map`. */
static void add_members(struct json *parent, const struct document_fields *fields, int from, int to, const char *map)
{
    for (int i = from; i < to; i = document_next(fields, i))
        add_field(parent, fields, i, fields->list[i].path + strlen(map) + 1);
}

/* `why`: of the outcome, where that is an error. */
static enum err_code write_session(struct local *l, enum err_code outcome, const struct err *why,
                                   const struct edit_result *r, struct err *err)
{
    struct document_report report = { .edited_path = "edited.jpg",
                                      .preview_path = "preview.jpg",
                                      .recipe = r->has_recipe ? &r->recipe : NULL,
                                      .picture = r->picture.marked_share > 0 ? &r->picture : NULL,
                                      .times = r->times };
    struct json *root = json_new_object(&l->arena), *ours;
    struct document_fields fields = { .n = 0 };
    char *text = NULL, detail[JOB_DETAIL_SIZE];

    for (int i = 0; i < r->picture.n_warnings && i < DOCUMENT_MAX_WARNINGS; i++)
        report.warnings[report.n_warnings++] = r->picture.warnings[i];
    if (outcome) {
        report.error = job_error_of(outcome);
        report.detail = job_error_detail(outcome, why->msg, detail);
        document_add_failed(&fields, &report);
    } else
        document_add_completed(&fields, &report);
    for (const struct json *v = json_first(l->session); v; v = json_next(v))
        if (!document_is_ours(json_key(v)))
            json_add_copy(root, json_key(v), v);
    for (int i = 0; i < fields.n; i++)
        if (!strchr(fields.list[i].path, '.'))
            add_plain(root, fields.list[i].path, &fields.list[i]);
    ours = json_add_object(root, DOCUMENT_OURS);
    for (int i = 0; i < fields.n; i = document_next(&fields, i))
        if (document_path_is_in(fields.list[i].path, DOCUMENT_OURS))
            add_members(ours, &fields, i, document_next(&fields, i), DOCUMENT_OURS);
    TRY(json_print(&l->arena, root, &text, err));
    return file_write(path_in(l, "session.json"), span_of(text), err);
}

/* --- the job --- */

static void on_paint(void *ctx, enum fill_phase phase, int done, int total)
{
    progress_show(ctx, fill_phase_name(phase), phase == FILL_PHASE_DENOISE ? "steps" : NULL, done, total);
}

static void ask_loading(void *ctx, int64_t *done, int64_t *total)
{
    *done = engine_status(ctx).percent;
    *total = 100;
}

/* Reads an input; where it is missing, says what to put there. */
static enum err_code read_input(struct local *l, const char *name, const char *what, struct span *ret, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = file_read(path_in(l, name), IMAGE_MAX_FILE_BYTES, &l->arena, ret, &why);
    struct stat st;

    if (rc != ERR_NOT_FOUND)
        return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
    if (stat(l->dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(err, rc, "there is no folder '%.100s': make it, and put original.jpg and mask_auto.png into it",
                       l->dir);
    return err_set(err, rc, "there is no %s in '%.100s': put %s there under this name", name, l->dir, what);
}

/* --paint identity | solid:RRGGBB | FILE */
static enum err_code read_paint(struct local *l, struct edit_paint *ret, struct err *err)
{
    static const char solid[] = "solid:";
    const char *digits = l->paint ? l->paint + sizeof solid - 1 : NULL;
    unsigned rgb;

    *ret = (struct edit_paint){ .name = l->paint };
    if (!l->paint)
        return ERR_OK;
    if (strcmp(l->paint, "identity") == 0) {
        ret->kind = EDIT_PAINT_IDENTITY;
        return ERR_OK;
    }
    if (strncmp(l->paint, solid, sizeof solid - 1) != 0) {
        ret->kind = EDIT_PAINT_FILE;
        ret->name = file_short_name(l->paint);
        return file_read(l->paint, IMAGE_MAX_FILE_BYTES, &l->arena, &ret->file, err);
    }
    ret->kind = EDIT_PAINT_SOLID;
    if (strlen(digits) != 6 || digits[strspn(digits, "0123456789abcdefABCDEF")] || sscanf(digits, "%x", &rgb) != 1)
        return err_set(err, ERR_INVALID, "--paint: '%s' is not a colour as solid:RRGGBB, six hexadecimal digits",
                       l->paint);
    for (int c = 0; c < 3; c++)
        ret->rgb[c] = (uint8_t)(rgb >> (16 - 8 * c));
    return ERR_OK;
}

/* The seed that is used without --seed: the same files give the same picture. */
static enum err_code seed_of_files(const struct edit_request *q, uint64_t *ret, struct err *err)
{
    unsigned char both[2 * CRYPTO_SHA256_BYTES], digest[CRYPTO_SHA256_BYTES];

    TRY(crypto_sha256(q->original, both, err));
    TRY(crypto_sha256(q->mask, both + CRYPTO_SHA256_BYTES, err));
    TRY(crypto_sha256((struct span){ (const char *)both, sizeof both }, digest, err));
    *ret = (uint64_t)digest[0] << 24 | (uint64_t)digest[1] << 16 | (uint64_t)digest[2] << 8 | digest[3];
    return ERR_OK;
}

static enum err_code read_request(struct local *l, struct edit_request *q, struct err *err)
{
    *q = (struct edit_request){ .fill = { FILL_REQUEST_DEFAULTS }, .pictures = l->pictures, .wants_png = l->png };
    q->fill.steps = l->steps;
    q->fill.guidance = l->guidance;
    q->fill.seed = l->seed;
    TRY(read_input(l, "original.jpg", "the photo, JPEG or PNG,", &q->original, err));
    TRY(read_input(l, "mask_auto.png", "a picture that is white where the photo is to be painted anew, PNG or JPEG,",
                   &q->mask, err));
    TRY(read_paint(l, &q->paint, err));
    if (!l->has_seed)
        TRY(seed_of_files(q, &q->fill.seed, err));
    return document_read_wishes(json_get(l->session, DOCUMENT_PROMPT), json_get(l->session, DOCUMENT_LABELS), &l->arena,
                                &q->wishes, err);
}

static enum err_code paint_folder(struct local *l, struct engine *e, const struct edit_request *q,
                                  struct edit_result *ret, struct err *err)
{
    const struct edit_watch watch = { .ctx = &l->progress, .paint = on_paint };

    TRY(edit_run(e, q, &watch, &sys_real, &l->arena, ret, err));
    TRY(file_write(path_in(l, "edited.jpg"), ret->files.edited, err));
    TRY(file_write(path_in(l, "preview.jpg"), ret->files.preview, err));
    if (l->png)
        TRY(file_write(path_in(l, "edited.png"), ret->png, err));
    output_wrote(path_in(l, "edited.jpg"), ret->files.width, ret->files.height);
    output_wrote(path_in(l, "preview.jpg"), ret->files.preview_width, ret->files.preview_height);
    if (l->png)
        output_wrote(path_in(l, "edited.png"), ret->files.width, ret->files.height);
    return ERR_OK;
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

static enum err_code load(struct local *l, struct engine *e, struct err *err)
{
    struct progress_watch w = { .progress = &l->progress, .what = "load", .ask = ask_loading, .ctx = e };
    enum err_code rc;

    progress_watch_begin(&w);
    rc = engine_load(e, err);
    progress_watch_end(&w, rc == ERR_OK);
    for (int i = 0; !rc && engine_note(e, i); i++)
        cli_warn(engine_note(e, i));
    return rc;
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
        TRY(load(l, e, err));
    return end(l, paint_folder(l, e, &q, &result, err), &result, err);
}

static enum err_code run(struct local *l, struct err *err)
{
    const struct engine_options options = {
        .model_dir = l->models,
        .transformer = l->transformer,
        .backend = (enum backend_kind)l->backend.kind,
        .precision = (enum precision)l->backend.precision,
        .max_steps = l->steps,
        .warn = cli_warn,
    };
    struct engine *e = NULL;
    enum err_code rc;

    progress_init_stderr(&l->progress);
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

/* --- defaults, from the settings of the service --- */

/* Keeps the first problem with a setting that gives this command a default; the others matter to `serve` only. */
static void keep_problem(void *ctx, const char *problem)
{
    static const char *const names[] = {
        "STEPS=",       "GUIDANCE=",    "BACKEND=",     "PRECISION=", "MODEL_DIR=",    "TRANSFORMER=",
        "MAX_PIXELS=",  "GEOMETRY=",    "PATCH_MATCH=", "MASK_GROW=", "MASK_FEATHER=", "MASK_MAX_SHARE=",
        "OUTPUT_JPEG=", "SECOND_PASS=", "DECODE_JAIL=", "HEIC=",      "SHADOW=",
    };
    struct err *err = ctx;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(problem, names[i]) == problem)
            (void)err_set(err, ERR_INVALID, "%s", problem);
}

/* PRECISION if it is set. Its default `auto` is not used, because the result of a command must not depend on which
 * precision is faster on this processor. */
static int default_precision(const struct config *cfg)
{
    const char *set = getenv("PRECISION");

    return set && *set ? cfg->precision : PRECISION_DEFAULT;
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
    (void)config_load_all(environ, &settings, &cfg, keep_problem, &err);
    l = (struct local){ .models = cfg.model_dir,
                        .transformer = cfg.transformer,
                        .steps = cfg.steps,
                        .guidance = cfg.guidance,
                        .pictures = edit_picture_settings(&cfg),
                        .backend.kind = cfg.backend,
                        .backend.precision = default_precision(&cfg) };
    const struct cli_option options[] = {
        { "DIR", CLI_TEXT, &l.dir, NULL, .help = "folder with original.jpg and mask_auto.png; gets the results",
          .required = true },
        { "--models", CLI_TEXT, &l.models, "DIR",
          .help = "folder with the model files; default: MODEL_DIR, else /models" },
        { "--transformer", CLI_TEXT, &l.transformer, "FILE",
          .help = "which transformer of that folder; default: TRANSFORMER, else the largest that fits into memory" },
        { "--steps", CLI_INT, &l.steps, "N", .help = "denoising steps; default: STEPS, else 28", .min = 1,
          .max = FILL_MAX_STEPS },
        { "--guidance", CLI_NUMBER, &l.guidance, "G", .help = "guidance scale; default: GUIDANCE, else 30", .min = 0,
          .max = FILL_MAX_GUIDANCE },
        { "--paint", CLI_TEXT, &l.paint, "WHAT",
          .help =
              "identity (the photo itself), solid:RRGGBB or a picture FILE of the photo's size in the place of what "
              "the model would paint; needs no model" },
        { "--png", CLI_FLAG, &l.png, NULL, .help = "also writes DIR/edited.png, the result before it becomes a JPEG" },
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
