/*
 * cmd_edit - one whole job on a local folder, without the cloud, in the same stages as `serve`.
 *
 *   reads   DIR/original.jpg, DIR/mask_auto.png, DIR/session.json (optional: prompt, sceneLabels)
 *   writes  DIR/edited.jpg, DIR/preview.jpg, and the outcome into DIR/session.json, keeping its other fields
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/fill/fill.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/base/config.h"
#include "worker/base/crypto.h"
#include "worker/job/edit.h"
#include "worker/base/json.h"
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
    struct arena arena;
    const struct json *session; /* contents of DIR/session.json; NULL: there is none */
    struct session_timing timings[SESSION_MAX_TIMINGS];
    int n_timings;
};

static const char *path_in(struct local *l, const char *name)
{
    char *path = NULL;

    err_ignore(arena_printf(&l->arena, &path, NULL, "%s/%s", l->dir, name));
    return path ? path : name;
}

/* --- session.json --- */

static enum err_code read_session(struct local *l, struct err *err)
{
    struct err absent = { 0 };
    struct span text = { 0 };
    enum err_code rc = file_read(path_in(l, "session.json"), SESSION_JSON_MAX, &l->arena, &text, &absent);

    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc)
        return err_set(err, rc, "%s", absent.msg);
    rc = json_parse(&l->arena, text, SESSION_JSON_DEPTH, &l->session, err);
    if (!rc && json_type(l->session) != JSON_T_OBJECT)
        rc = err_set(err, ERR_INVALID, "not a JSON object");
    if (rc)
        (void)err_prefix(err, "session.json");
    return rc;
}

static struct prompt_wishes wishes_of(const struct json *session, const char *labels[SESSION_MAX_LABELS])
{
    const struct json *prompt = json_get(session, "prompt"), *given = json_get(session, "sceneLabels");
    struct prompt_wishes w = { .prompt = json_string(prompt), .labels = labels };

    w.prompt_invalid = prompt && !w.prompt && json_type(prompt) != JSON_T_NULL;
    if (json_string(json_get(given, "surface")))
        labels[w.n_labels++] = json_string(json_get(given, "surface"));
    if (json_type(given) == JSON_T_ARRAY)
        for (const struct json *v = json_first(given); v && w.n_labels < SESSION_MAX_LABELS; v = json_next(v))
            if (json_string(v))
                labels[w.n_labels++] = json_string(v);
    return w;
}

static void add_recipe(struct json *inpaint, const struct session_recipe *r)
{
    struct json *recipe = json_add_object(inpaint, "recipe"), *crop, *size;

    json_add_string(recipe, "model", r->model_file);
    json_add_string(recipe, "prompt", r->prompt);
    json_add_int(recipe, "steps", r->steps);
    json_add_number(recipe, "guidance", r->guidance);
    json_add_int(recipe, "seed", r->seed);
    crop = json_add_object(recipe, "crop");
    json_add_int(crop, "x", r->crop_x);
    json_add_int(crop, "y", r->crop_y);
    json_add_int(crop, "width", r->crop_width);
    json_add_int(crop, "height", r->crop_height);
    size = json_add_object(recipe, "fillSize");
    json_add_int(size, "width", r->fill_width);
    json_add_int(size, "height", r->fill_height);
    json_add_string(recipe, "precision", r->precision);
}

/* The fields that the worker writes; all others are kept. */
static bool is_ours(const char *key)
{
    static const char *const ours[] = { "processingStatus", "editedImagePath", "previewImagePath", "cost",
                                        "errorMessage",     "inpaint" };

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(key, ours[i]))
            return true;
    return false;
}

static enum err_code write_session(struct local *l, enum err_code outcome, const struct edit_result *r, struct err *err)
{
    const struct job_error_info *info = outcome ? job_error_info(job_error_of(outcome)) : NULL;
    struct json *root = json_new_object(&l->arena), *inpaint, *timings;
    char *text = NULL;

    for (const struct json *v = json_first(l->session); v; v = json_next(v))
        if (!is_ours(json_key(v)))
            json_add_copy(root, json_key(v), v);
    json_add_string(root, "processingStatus", info ? "failed" : "completed");
    json_add_number(root, "cost", 0);
    if (info)
        json_add_string(root, "errorMessage", info->sentence);
    else {
        json_add_string(root, "editedImagePath", "edited.jpg");
        json_add_string(root, "previewImagePath", "preview.jpg");
    }
    inpaint = json_add_object(root, "inpaint");
    if (info) {
        json_add_string(inpaint, "errorCode", info->code);
        json_add_bool(inpaint, "retryable", info->retryable);
    }
    if (r->has_recipe)
        add_recipe(inpaint, &r->recipe);
    timings = json_add_object(inpaint, "timings");
    for (int i = 0; i < l->n_timings; i++)
        json_add_int(timings, l->timings[i].stage, l->timings[i].ms);
    TRY(json_print(&l->arena, root, &text, err));
    return file_write(path_in(l, "session.json"), span_of(text), err);
}

/* --- the job --- */

static void on_stage(void *ctx, const char *stage, int percent, double eta_seconds)
{
    (void)eta_seconds, (void)stage;
    progress_show(ctx, "edit", percent, 100);
}

/* Without --seed the seed is a digest of both files, so the same files give the same picture. */
static enum err_code seed_of_files(const struct edit_request *q, uint64_t *ret, struct err *err)
{
    unsigned char both[2 * CRYPTO_SHA256_BYTES], digest[CRYPTO_SHA256_BYTES];

    TRY(crypto_sha256(q->original, both, err));
    TRY(crypto_sha256(q->mask, both + CRYPTO_SHA256_BYTES, err));
    TRY(crypto_sha256((struct span){ (const char *)both, sizeof both }, digest, err));
    *ret = (uint64_t)digest[0] << 24 | (uint64_t)digest[1] << 16 | (uint64_t)digest[2] << 8 | digest[3];
    return ERR_OK;
}

static enum err_code edit_folder(struct local *l, struct engine *e, struct edit_result *ret, struct err *err)
{
    const char *labels[SESSION_MAX_LABELS];
    struct edit_request q = { .steps = l->steps, .guidance = l->guidance, .seed = l->seed };
    struct progress bar;
    const struct edit_watch watch = { &bar, on_stage, NULL };
    enum err_code rc;

    TRY(file_read(path_in(l, "original.jpg"), IMAGE_MAX_FILE_BYTES, &l->arena, &q.original, err));
    TRY(file_read(path_in(l, "mask_auto.png"), IMAGE_MAX_FILE_BYTES, &l->arena, &q.mask, err));
    if (!l->has_seed)
        TRY(seed_of_files(&q, &q.seed, err));
    q.wishes = wishes_of(l->session, labels);
    progress_init_stderr(&bar);
    rc = edit_run(e, &q, &watch, &sys_real, &l->arena, ret, l->timings, &l->n_timings, err);
    if (!rc)
        rc = file_write(path_in(l, "edited.jpg"), ret->files.edited, err);
    if (!rc)
        rc = file_write(path_in(l, "preview.jpg"), ret->files.preview, err);
    if (!rc)
        progress_show(&bar, "edit", 100, 100);
    progress_done(&bar);
    return rc;
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
    struct edit_result result = { 0 };
    struct engine *e = NULL;
    struct err unsaved = { 0 };
    enum err_code rc = arena_init(&l->arena, EDIT_ARENA_BYTES, err);

    if (!rc)
        rc = read_session(l, err);
    if (!rc)
        rc = engine_new(&options, &e, err);
    if (!rc)
        rc = engine_load(e, err);
    if (rc)
        goto out;
    rc = edit_folder(l, e, &result, err);
    if (write_session(l, rc, &result, &unsaved) && !rc)
        rc = err_set(err, unsaved.code, "%s", unsaved.msg);
out:
    engine_free(e);
    arena_done(&l->arena);
    return rc;
}

/* --- defaults, from the settings of the service --- */

/* Keeps the first problem with a setting that is a default of this command; the other settings matter to `serve` only.
 */
static void keep_problem(void *ctx, const char *problem)
{
    static const char *const names[] = {
        "STEPS=", "GUIDANCE=", "BACKEND=", "PRECISION=", "MODEL_DIR=", "TRANSFORMER="
    };
    struct err *err = ctx;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(problem, names[i]) == problem)
            (void)err_set(err, ERR_INVALID, "%s", problem);
}

/* PRECISION if it is set, else not its default `auto`: the result of a command shall not depend on which precision is
 * faster on this processor. */
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
                        .backend.kind = cfg.backend,
                        .backend.precision = default_precision(&cfg) };
    const struct cli_option options[] = {
        { "DIR", CLI_TEXT, &l.dir, NULL, .help = "folder with original.jpg and mask_auto.png; gets the results",
          .required = true },
        { "--models", CLI_TEXT, &l.models, "DIR", .help = "folder with the model files; default: MODEL_DIR" },
        { "--transformer", CLI_TEXT, &l.transformer, "FILE",
          .help = "which transformer of that folder; default: TRANSFORMER, else the largest that fits into memory" },
        { "--steps", CLI_INT, &l.steps, "N", .help = "denoising steps; default: STEPS, else 28", .min = 1,
          .max = FILL_MAX_STEPS },
        { "--guidance", CLI_NUMBER, &l.guidance, "G", .help = "guidance scale; default: GUIDANCE, else 30", .min = 0,
          .max = FILL_MAX_GUIDANCE },
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
