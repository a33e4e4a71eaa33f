/*
 * cmd_audit - the same job with every combination of some settings, side by side on one page.
 *
 *   DIR/index.html, DIR/audit.json   all cells so far (audit_page.h), written now and then and at the end
 *   DIR/original.jpg, mask_auto.png  the inputs, for `replay DIR/cells/NAME/record.json --dir DIR`
 *   DIR/before-N.jpg                 the photo's part of each crop
 *   DIR/cells/NAME/                  edited.jpg, preview.jpg, after-N.jpg, difference-N.png, and last record.json: a
 *                                    record (record.h) with what the page shows besides
 *
 * Every cell goes through edit_run(), as a job does. A cell whose record says that it was run with the same files,
 * settings, model and program is not run again, so that the same command goes on where one was stopped. SIGINT and
 * SIGTERM end it after the cell that runs, the second one at once.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/fill/lora_set.h"
#include "models/fill/model_folder.h"
#include "models/flux/flux.h"
#include "worker/base/log.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/output.h"
#include "worker/local/audit_grid.h"
#include "worker/local/audit_page.h"
#include "worker/local/audit_pictures.h"
#include "worker/local/local.h"
#include "worker/local/record.h"

enum { DEPTH = 16, PAGE_EVERY_MS = 3000 };
static const size_t kept_bytes = (size_t)1 << 30; /* address space, for what is known of the cells */

struct audit {
    const char *image, *mask, *models, *prompt, *out;
    struct audit_lists lists;
    struct cli_backend backend;
    struct audit_grid grid;
    struct edit_request request; /* what all cells have in common */
    struct picture_input before;
    struct engine *engine;
    struct audit_cell loaded; /* a cell of the engine's model */
    struct arena arena, kept;
    const struct json **cells; /* of those that are done, their records; in `kept` */
    int n_cells, n_run;
    int64_t page_ms;
    struct progress progress;
    int n_signals;
};

/* ---- signals: blocked, and asked for where it is safe to end ---- */

static void block_signals(sigset_t *ret_before)
{
    sigset_t both;

    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGINT);
    (void)sigaddset(&both, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &both, ret_before);
}

static void take_signals(struct audit *t)
{
    const struct timespec now = { 0 };
    sigset_t both;

    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGINT);
    (void)sigaddset(&both, SIGTERM);
    while (sigtimedwait(&both, NULL, &now) > 0)
        if (t->n_signals++ == 0) {
            progress_done(&t->progress);
            (void)fprintf(stderr, "inpaint-worker audit: ends after this cell; a second signal ends it at once\n");
        }
}

static bool is_cancelled(void *ctx)
{
    take_signals(ctx);
    return ((struct audit *)ctx)->n_signals > 1;
}

static void on_paint(void *ctx, enum fill_phase phase, int done, int total)
{
    local_show_painting(&((struct audit *)ctx)->progress, phase, done, total);
}

/* ---- files ---- */

static enum err_code path_of(struct audit *t, const char *below, char **ret, struct err *err)
{
    return arena_printf(&t->arena, ret, err, "%s/%s", t->out, below);
}

static enum err_code make_folder(const char *path, struct err *err)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && file_is_folder(path)))
        return ERR_OK;
    return err_set(err, ERR_IO, "cannot make the folder '%.150s': %s", path, strerror(errno));
}

static enum err_code write_below(struct audit *t, const char *below, struct span bytes, struct err *err)
{
    char *path = NULL;
    ARENA_SCRATCH(&t->arena);

    TRY(path_of(t, below, &path, err));
    return file_write(path, bytes, err);
}

/* ---- the models are looked for now, and not after hours of painting with the first ---- */

static enum err_code check_transformer(struct audit *t, const char *name, struct err *err)
{
    const struct model_folder folder = { .dir = t->models, .transformer = name };
    struct model_found found;
    ARENA_SCRATCH(&t->arena);

    return model_folder_find(&folder, MODEL_TRANSFORMER, &t->arena, &found, err);
}

/* Where the folder decides, the largest is as good as any: all are as wide. */
static enum err_code check_fit(struct audit *t, const struct lora_set *loras, const char *transformer, struct err *err)
{
    const struct model_folder folder = { .dir = t->models, .transformer = transformer };
    struct weight_set set = { 0 };
    struct shards model;
    ARENA_SCRATCH(&t->arena);

    if (!transformer && model_folder_open(&folder, MODEL_TRANSFORMER, &t->arena, &model, NULL))
        return ERR_OK; /* whoever loads it says what is wrong */
    if (transformer)
        TRY(model_folder_open(&folder, MODEL_TRANSFORMER, &t->arena, &model, err));
    TRY(flux_weight_set(&set, model.files, model.n_files, err));
    return lora_set_apply(loras, &set, err);
}

static enum err_code check_loras(struct audit *t, const struct fill_loras *loras, struct err *err)
{
    struct lora_set set;
    ARENA_SCRATCH(&t->arena);

    TRY(lora_set_open(t->models, loras->items, loras->n, &t->arena, &set, err));
    for (int i = 0; i < t->grid.n_transformers; i++)
        TRY(check_fit(t, &set, t->grid.transformers[i], err));
    return ERR_OK;
}

static enum err_code check_models(struct audit *t, struct err *err)
{
    const struct audit_grid *g = &t->grid;

    for (int i = 0; i < g->n_transformers; i++)
        if (g->transformers[i] && check_transformer(t, g->transformers[i], err))
            return err_prefix(err, "--transformers");
    for (int i = 0; i < g->n_loras; i++)
        if (g->loras[i] && check_loras(t, &g->loras[i]->set, err))
            return err_prefix(err, "%s", t->lists.loras ? "--loras" : "LORAS");
    return ERR_OK;
}

/* ---- the folder ---- */

static enum err_code make_folders(struct audit *t, struct err *err)
{
    char *cells = NULL;

    TRY(make_folder(t->out, err));
    TRY(path_of(t, "cells", &cells, err));
    TRY(make_folder(cells, err));
    TRY(write_below(t, "original.jpg", t->request.original, err));
    return write_below(t, "mask_auto.png", t->request.mask, err);
}

static enum err_code read_inputs(struct audit *t, struct err *err)
{
    struct edit_request *q = &t->request;
    struct picture_record decisions = { 0 };

    q->wants_png = true;
    TRY(file_read(t->image, IMAGE_MAX_FILE_BYTES, &t->arena, &q->original, err));
    TRY(file_read(t->mask, IMAGE_MAX_FILE_BYTES, &t->arena, &q->mask, err));
    if (t->prompt)
        TRY(prompt_wish(&q->wishes, span_of(t->prompt), &t->arena, err));
    return picture_read(&t->arena, &(struct picture_source){ q->original, q->mask, q->mask_wishes }, &q->pictures,
                        &t->before, &decisions, err);
}

/* ---- the page ---- */

static struct json *describe(struct audit *t)
{
    struct json *root = json_new_object(&t->arena), *photo, *mask, *cells;

    json_add_string(root, "version", log_version());
    photo = json_add_object(root, "photo");
    json_add_string(photo, "name", file_short_name(t->image));
    json_add_int(photo, "width", t->before.photo.width);
    json_add_int(photo, "height", t->before.photo.height);
    mask = json_add_object(root, "mask");
    json_add_string(mask, "name", file_short_name(t->mask));
    if (t->n_cells)
        json_add_copy(root, "prompt", json_get(json_get(t->cells[0], "request"), "prompt"));
    json_add_int(root, "planned", audit_grid_count(&t->grid));
    cells = json_add_array(root, "cells");
    for (int i = 0; i < t->n_cells; i++)
        json_add_copy(cells, NULL, t->cells[i]);
    return root;
}

static enum err_code write_page(struct audit *t, struct err *err)
{
    const struct json *root;
    char *path = NULL, *text = NULL;
    ARENA_SCRATCH(&t->arena);

    t->page_ms = sys_mono_ms(&sys_real);
    root = describe(t);
    TRY(json_print(&t->arena, root, &text, err));
    TRY(arena_printf(&t->arena, &text, err, "%s\n", text));
    TRY(write_below(t, "audit.json", span_of(text), err));
    TRY(path_of(t, "index.html", &path, err));
    return audit_page_write(path, root, err);
}

/* ---- a cell that is there already ---- */

static bool exists(struct audit *t, const char *below)
{
    char *path = NULL;
    ARENA_SCRATCH(&t->arena);

    return below && !path_of(t, below, &path, NULL) && access(path, R_OK) == 0;
}

/* Whether all files are there that the cell's record names. */
static bool has_files(struct audit *t, const struct json *cell, const char *folder)
{
    char edited[AUDIT_NAME_SIZE + 32];

    (void)snprintf(edited, sizeof edited, "%s/edited.jpg", folder);
    if (!exists(t, edited) || !json_count(json_get(cell, "pictures")))
        return false;
    for (const struct json *v = json_first(json_get(cell, "pictures")); v; v = json_next(v))
        if (!exists(t, json_string(json_get(v, "before"))) || !exists(t, json_string(json_get(v, "after"))) ||
            !exists(t, json_string(json_get(v, "difference"))))
            return false;
    return true;
}

/* Reads the record of a cell into `kept`. */
static enum err_code read_cell(struct audit *t, const char *folder, const struct json **ret, struct err *err)
{
    struct span text;
    char *path = NULL;
    ARENA_SCRATCH(&t->arena);

    TRY(arena_printf(&t->arena, &path, err, "%s/%s/record.json", t->out, folder));
    TRY(file_read(path, RECORD_MAX_BYTES, &t->kept, &text, err));
    return json_parse(&t->kept, text, DEPTH, ret, err);
}

/* Whether the cell was run before, with this very request. A record that cannot be read is one that is not there. */
static bool is_done(struct audit *t, const char *folder, const struct record *wanted)
{
    const struct arena_mark mark = arena_mark(&t->kept);
    const struct json *cell = NULL;
    struct record old;
    bool same = false;
    ARENA_SCRATCH(&t->arena);

    if (!read_cell(t, folder, &cell, NULL) && !record_from_json(cell, &old, NULL) &&
        !record_same_request(&old, wanted, &t->arena, &same, NULL) && same && has_files(t, cell, folder)) {
        t->cells[t->n_cells++] = cell;
        return true;
    }
    arena_rewind(&t->kept, mark);
    return false;
}

/* ---- a cell ---- */

static double seconds_of(const struct stage_times *times, enum stage from, enum stage to)
{
    int64_t ms = 0;

    for (int i = (int)from; i <= (int)to; i++)
        ms += times->ms[i];
    return 1e-3 * (double)ms;
}

static enum err_code write_cell(struct audit *t, const char *folder, struct record *record, const struct edit_result *r,
                                struct err *err)
{
    struct json *cell = record_to_json(record, &t->arena), *outcome = json_new_object(&t->arena);
    const struct audit_place place = { t->out, folder };
    char *path = NULL, *text = NULL;

    json_add_string(cell, "folder", folder);
    json_add_number(cell, "seconds", seconds_of(&r->times, (enum stage)0, (enum stage)(STAGES - 1)));
    json_add_number(cell, "denoiseSeconds", seconds_of(&r->times, STAGE_DENOISE, STAGE_DENOISE));
    json_add_int(cell, "editedBytes", (int64_t)r->files.edited.len);
    local_add_outcome(outcome, ERR_OK, NULL, r);
    json_add_copy(cell, DOCUMENT_OURS, json_get(outcome, DOCUMENT_OURS));
    TRY(audit_pictures_write(&place, &t->before, r, &t->arena, cell, err));
    TRY(json_print(&t->arena, cell, &text, err));
    TRY(arena_printf(&t->arena, &text, err, "%s\n", text));
    TRY(arena_printf(&t->arena, &path, err, "%s/%s/record.json", t->out, folder));
    return file_write(path, span_of(text), err);
}

static enum err_code run_cell(struct audit *t, const char *folder, const struct edit_request *q, struct record *record,
                              struct err *err)
{
    const struct edit_watch watch = { .ctx = t, .paint = on_paint, .cancelled = is_cancelled };
    struct edit_result result;
    char *path = NULL;

    TRY(path_of(t, folder, &path, err));
    TRY(make_folder(path, err));
    TRY(edit_run(t->engine, q, &watch, &sys_real, &t->arena, &result, err));
    TRY(record_add_result(record, &result, err));
    TRY(arena_printf(&t->arena, &path, err, "%s/edited.jpg", folder));
    TRY(write_below(t, path, result.files.edited, err));
    TRY(arena_printf(&t->arena, &path, err, "%s/preview.jpg", folder));
    TRY(write_below(t, path, result.files.preview, err));
    TRY(write_cell(t, folder, record, &result, err));
    TRY(read_cell(t, folder, &t->cells[t->n_cells], err));
    t->n_cells++;
    t->n_run++;
    return ERR_OK;
}

static void say_cell(struct audit *t, int i, const struct audit_cell *c, bool done)
{
    progress_done(&t->progress);
    (void)fprintf(stderr, "cell %d of %d: %s%s%s, guidance %g, %d steps, seed %llu%s\n", i + 1,
                  audit_grid_count(&t->grid), engine_model_name(t->engine), c->loras ? " with " : "",
                  c->loras ? engine_lora_list(t->engine) : "", c->guidance, c->steps, (unsigned long long)c->seed,
                  done ? ": is there already" : "");
}

static enum err_code do_cell(struct audit *t, int i, struct err *err)
{
    const struct audit_cell c = audit_grid_cell(&t->grid, i);
    struct edit_request q = t->request;
    struct record record;
    char name[AUDIT_NAME_SIZE], folder[AUDIT_NAME_SIZE + 8];
    bool done;
    ARENA_SCRATCH(&t->arena);

    q.fill.guidance = c.guidance;
    q.fill.steps = c.steps;
    q.fill.seed = c.seed;
    audit_cell_name(&c, engine_model_name(t->engine), name);
    (void)snprintf(folder, sizeof folder, "cells/%s", name);
    TRY(record_of_request(&q, t->engine, &t->arena, &record, err));
    done = is_done(t, folder, &record);
    say_cell(t, i, &c, done);
    return done ? ERR_OK : run_cell(t, folder, &q, &record, err);
}

/* ---- the grid ---- */

/* One model at a time is in memory. */
static enum err_code load(struct audit *t, const struct audit_cell *c, struct err *err)
{
    const struct engine_options options = {
        .model_dir = t->models,
        .transformer = c->transformer,
        .loras = c->loras ? &c->loras->set : NULL,
        .backend = (enum backend_kind)t->backend.kind,
        .precision = (enum precision)t->backend.precision,
        .max_steps = t->grid.most_steps,
        .warn = cli_warn,
    };

    if (t->engine && c->transformer == t->loaded.transformer && c->loras == t->loaded.loras)
        return ERR_OK;
    engine_free(t->engine);
    t->engine = NULL;
    TRY(engine_new(&options, &t->engine, err));
    t->loaded = *c;
    return local_load(t->engine, &t->progress, err);
}

static enum err_code do_grid(struct audit *t, struct err *err)
{
    const int n = audit_grid_count(&t->grid);

    for (int i = 0; i < n; i++) {
        const struct audit_cell c = audit_grid_cell(&t->grid, i);

        TRY(load(t, &c, err));
        take_signals(t);
        if (t->n_signals)
            return err_set(err, ERR_CANCELLED, "%s", "");
        TRY(do_cell(t, i, err));
        if (sys_mono_ms(&sys_real) - t->page_ms >= PAGE_EVERY_MS)
            TRY(write_page(t, err));
    }
    return ERR_OK;
}

/* What is there is shown, whatever ended it. */
static enum err_code finish(struct audit *t, enum err_code rc, struct err *err)
{
    const int n = audit_grid_count(&t->grid);
    struct err unsaved = { 0 };
    char *page = NULL;

    progress_done(&t->progress);
    if (write_page(t, &unsaved) && !rc)
        return err_set(err, unsaved.code, "%s", unsaved.msg);
    if (!unsaved.code && !path_of(t, "index.html", &page, NULL))
        output_wrote(page, 0, 0);
    if (rc == ERR_CANCELLED) {
        *err = (struct err){ 0 };
        return err_set(err, rc, "stopped with %d of %d cells; the same command goes on from there", t->n_cells, n);
    }
    if (!rc)
        (void)printf("%d cells, %d of them new\n", t->n_cells, t->n_run);
    return rc;
}

static enum err_code run(struct audit *t, struct err *err)
{
    enum err_code rc;

    progress_init_stderr(&t->progress);
    TRY(arena_init(&t->arena, 2 * EDIT_ARENA_BYTES, err));
    TRY(arena_init(&t->kept, kept_bytes, err));
    TRY(audit_grid_parse(&t->lists, &t->kept, &t->grid, err));
    TRY(arena_alloc(&t->kept, (size_t)audit_grid_count(&t->grid), sizeof *t->cells, &t->cells, err));
    TRY(check_models(t, err));
    TRY(read_inputs(t, err));
    TRY(make_folders(t, err));
    rc = do_grid(t, err);
    return finish(t, rc, err);
}

static int run_blocked(struct audit *t, const struct cli_command *command)
{
    struct err err = { 0 };
    sigset_t before;
    int status;

    block_signals(&before);
    status = run(t, &err) ? cli_fail(command, &err) : CLI_DONE;
    engine_free(t->engine);
    arena_done(&t->arena);
    arena_done(&t->kept);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

int cmd_audit(int argc, char **argv)
{
    char guidance[32], steps[32];
    struct arena settings;
    struct config cfg = { 0 };
    struct audit t = { 0 };
    struct err err = { 0 };
    int status;

    if (arena_init(&settings, 1 << 20, &err))
        return cli_fail(&(struct cli_command){ .name = "audit" }, &err);
    err_ignore(local_read_settings(&settings, &cfg, &err)); /* after --help */
    (void)snprintf(guidance, sizeof guidance, "%.10g", cfg.guidance);
    (void)snprintf(steps, sizeof steps, "%d", cfg.steps);
    t = (struct audit){ .models = cfg.models,
                        .lists = { cfg.transformer, guidance, steps, "1", .lora_setting = cfg.loras },
                        .request = { .fill = { FILL_REQUEST_DEFAULTS }, .pictures = edit_picture_settings(&cfg) },
                        .backend.kind = cfg.backend,
                        .backend.precision = local_default_precision(&cfg) };
    const struct cli_option options[] = {
        { "--image", CLI_TEXT, &t.image, "FILE", .help = "the photo", .required = true },
        { "--mask", CLI_TEXT, &t.mask, "FILE", .help = "the mask, white where the photo is to be painted anew",
          .required = true },
        { "--out", CLI_TEXT, &t.out, "DIR", .required = true,
          .help = "folder for the page (index.html), audit.json and all pictures; is made where it is not there" },
        { "--models", CLI_TEXT, &t.models, "DIR",
          .help = "folder with the model files; default: WEIGHTS or MODEL_DIR, else /models" },
        { "--transformers", CLI_TEXT, &t.lists.transformers, "FILE,...",
          .help = "transformers of that folder; default: TRANSFORMER, else the largest that fits into memory" },
        { "--loras", CLI_TEXT, &t.lists.loras, "SET,...",
          .help =
              "LoRAs that are merged into the transformer: `none`, FILE[:SCALE], or several joined by + "
              "(a.safetensors:0.8+b.safetensors), each as for `edit --lora`; default: LORAS as one set, else none" },
        { "--guidance", CLI_TEXT, &t.lists.guidance, "G,...",
          .help = "values of guidance, each 0 to 1000; default: GUIDANCE, else 30" },
        { "--steps", CLI_TEXT, &t.lists.steps, "N,...",
          .help = "numbers of denoising steps, each 1 to 1000; default: STEPS, else 28" },
        { "--seeds", CLI_TEXT, &t.lists.seeds, "S,...", .help = "seeds of the noise, each 0 to 2^64 - 1; default: 1" },
        { "--prompt", CLI_TEXT, &t.prompt, "TEXT",
          .help = "what to paint; default: the prompt for photos without labels (see `prompts`)" },
        CLI_BACKEND_OPTIONS(t.backend),
    };
    const struct cli_command command = { "audit",
                                         "runs one job with every combination of some settings, side by side on a page",
                                         options, .n_options = CLI_COUNT(options) };

    status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN)
        status = err.code ? cli_fail(&command, &err) : run_blocked(&t, &command);
    arena_done(&settings);
    return status;
}
