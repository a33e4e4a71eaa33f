#include "worker/job/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/memory_file.h"
#include "models/fill/self_check.h"
#include "models/picture/picture.h"
#include "worker/weights/weights_choice.h"

enum { ARENA_BYTES = 1 << 20 };

_Static_assert((int)PAINT_MOST_SIDE <= (int)FILL_MAX_SIDE, "no crop is wider than the model takes");
_Static_assert((int)PAINT_MULTIPLE == (int)TOKEN_SIDE, "a picture for the model is made of whole tokens");

struct engine {
    struct engine_options options;
    struct arena arena; /* the path of a transformer that was chosen before it was fetched */
    struct backend *be;
    struct fill_model *model;
    struct verify *verify;
    struct fill_loading loading;
    struct fill_notes notes;
    struct self_check check;
    struct fill_speed speed;
    char too_slow[2][ERR_MESSAGE_MAX]; /* the figures: one text is shown while the other is written */
    const char *_Atomic why;           /* the text that is shown */
    _Atomic int state;                 /* enum engine_state */
    const char *_Atomic stage;         /* string literals only */
};

enum err_code engine_new(const struct engine_options *options, struct engine **ret, struct err *err)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return err_set(err, ERR_NOMEM, "engine: no memory");
    e->options = *options;
    e->stage = "backend";
    if (arena_init(&e->arena, ARENA_BYTES, err)) {
        free(e);
        return ERR_NOMEM;
    }
    *ret = e;
    return ERR_OK;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    verify_free(e->verify);
    fill_model_close(e->model);
    backend_close(e->be);
    arena_done(&e->arena);
    free(e);
}

/* ---- loading ---- */

static enum err_code too_slow(struct engine *e, struct err *err)
{
    const struct fill_speed *s = &e->speed;
    char *text = e->why == e->too_slow[0] ? e->too_slow[1] : e->too_slow[0];

    (void)snprintf(
        text, sizeof e->too_slow[0],
        "a picture of %d x %d pixels takes about %.0f s in %d steps on %s in %s, measured at %d x %d pixels; "
        "the deadline is %d s",
        s->width, s->height, s->seconds, s->steps, e->be->name, backend_precision(e->be), s->measured_width,
        s->measured_height, e->options.deadline_s);
    e->why = text;
    return err_set(err, ERR_DEADLINE, "%s", text);
}

static enum err_code check_speed(struct engine *e, const struct fill_timed *known, struct err *err)
{
    const double deadline_s = e->options.deadline_s;

    if (deadline_s == 0)
        return ERR_OK;
    TRY(fill_speed_measure(e->model, known, deadline_s, &e->speed, err));
    if (e->speed.seconds > ENGINE_SLOW_FACTOR * deadline_s)
        return too_slow(e, err);
    if (e->speed.seconds > deadline_s)
        fill_note(
            &e->notes,
            "a picture of %d x %d pixels takes about %.0f s in %d steps, and the deadline of a job is %.0f s: the "
            "largest photos may fail",
            e->speed.width, e->speed.height, e->speed.seconds, e->speed.steps, deadline_s);
    return ERR_OK;
}

static enum err_code verify_files(struct engine *e, struct err *err)
{
    const char *loras[FILL_MAX_LORAS];
    int n = 0;

    for (; n < FILL_MAX_LORAS && fill_model_lora_path(e->model, n); n++)
        loras[n] = fill_model_lora_path(e->model, n);
    return verify_finish(e->verify, fill_model_transformer(e->model), loras, n, err);
}

static void enter(struct engine *e, const char *stage)
{
    e->stage = stage;
    if (e->options.entered)
        e->options.entered(e->options.entered_ctx, stage);
}

/* Where the model is elsewhere: what is fetched is what will be opened, so the choice is made here, once. */
static enum err_code fetch(struct engine *e, struct fill_options *options, struct err *err)
{
    struct weights *w = e->options.weights;
    const char *loras[FILL_MAX_LORAS];

    if (!w && memory_file_is_path(e->options.model_dir))
        return err_set(err, ERR_INVALID,
                       "the model files are in Cloud Storage, %s, from where only `serve` and `doctor` read them: give "
                       "a folder of this machine",
                       e->options.model_dir);
    if (!w)
        return ERR_OK;
    enter(e, "download");
    for (int i = 0; i < options->n_loras; i++)
        loras[i] = options->loras[i].path;
    TRY(weights_look(w, loras, options->n_loras, err));
    TRY(weights_begin_chosen(w, options, e->be, &e->arena, err));
    return e->options.verify == VERIFY_DIGEST ? weights_end(w, WEIGHTS_WAIT, err) : ERR_OK;
}

/* Loads what is there, or is arriving. Where bytes do not arrive, or are wrong, that is the reason, whatever the loader
 * has made of them; where the loader fails by itself, nothing more is fetched. */
static enum err_code open_model(struct engine *e, const struct fill_options *options, struct err *err)
{
    struct weights *w = e->options.weights;
    struct err why = { 0 }, missing = { 0 };
    enum err_code rc = fill_model_open(e->options.model_dir, options, e->be, &e->model, &why), fetched = ERR_OK;

    if (w)
        fetched = weights_end(w, rc ? WEIGHTS_STOP : WEIGHTS_WAIT, &missing);
    if (fetched && !(rc && fetched == ERR_CANCELLED))
        return err_set(err, fetched, "%s", missing.msg);
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

static struct fill_options options_of(struct engine *e)
{
    return (struct fill_options){
        .transformer = e->options.transformer,
        .loras = e->options.loras ? e->options.loras->items : NULL,
        .n_loras = e->options.loras ? e->options.loras->n : 0,
        .max_width = PAINT_LONG_SIDE,
        .max_height = PAINT_LONG_SIDE,
        .max_steps = e->options.max_steps,
        .max_t5_len = T5_MAX_TOKENS,
        .loading = &e->loading,
        .notes = &e->notes,
    };
}

static enum err_code load(struct engine *e, struct err *err)
{
    struct fill_options options = options_of(e);
    struct model_folder folder = { .dir = e->options.model_dir };

    enter(e, "backend");
    TRY(backend_open(e->options.backend, e->options.precision, &e->be, err));
    e->be->warn = e->options.warn;
    TRY(fetch(e, &options, err));
    folder.transformer = options.transformer;
    enter(e, "weights");
    TRY(verify_start(e->options.verify, &folder, &e->verify, err));
    TRY(open_model(e, &options, err));
    enter(e, "self-check");
    TRY(self_check_run(e->model, &e->check, err));
    if (*e->check.note)
        fill_note(&e->notes, "%s", e->check.note);
    enter(e, "files");
    TRY(verify_files(e, err));
    if (e->options.weights)
        (void)weights_done(e->options.weights);
    enter(e, "speed");
    return check_speed(e, &e->check.timed, err);
}

static enum err_code conclude(struct engine *e, enum err_code rc)
{
    if (!rc)
        e->stage = "ready";
    e->state = !rc ? ENGINE_READY : rc == ERR_DEADLINE ? ENGINE_TOO_SLOW : ENGINE_FAILED;
    return rc;
}

enum err_code engine_load(struct engine *e, struct err *err)
{
    return conclude(e, load(e, err));
}

enum err_code engine_measure_again(struct engine *e, struct err *err)
{
    return conclude(e, check_speed(e, &(struct fill_timed){ 0 }, err));
}

struct engine_status engine_status(struct engine *e)
{
    int64_t loaded = e->loading.loaded_bytes, total = e->loading.total_bytes;
    struct engine_status s = { .state = (enum engine_state)e->state, .stage = e->stage, .why = "" };

    if (loaded > total) /* `loaded` was read first, and both only grow */
        loaded = total;
    if (s.state == ENGINE_TOO_SLOW)
        s.why = e->why;
    if (e->options.weights && weights_are_arriving(e->options.weights))
        s.stage = "download"; /* the model is being loaded as it arrives */
    if (strcmp(s.stage, "download") == 0)
        s.percent = weights_percent(e->options.weights);
    else
        s.percent = s.state == ENGINE_READY ? 100 : total > 0 ? (int)(99 * loaded / total) : 0;
    return s;
}

int64_t engine_weight_bytes(const struct engine *e)
{
    return e->loading.read_bytes;
}

const char *engine_backend_name(const struct engine *e)
{
    return e->be->name;
}

const char *engine_precision(const struct engine *e)
{
    return backend_precision(e->be);
}

const char *engine_kernels(const struct engine *e)
{
    return backend_describe(e->be);
}

const char *engine_without_cuda(const struct engine *e)
{
    return e->be->without_cuda;
}

const char *engine_model_name(const struct engine *e)
{
    return file_short_name(fill_model_transformer(e->model));
}

const char *engine_loras(const struct engine *e)
{
    return fill_model_loras(e->model);
}

const char *engine_lora_list(const struct engine *e)
{
    return fill_model_lora_list(e->model);
}

void engine_model_digests(const struct engine *e, char ret[FILL_DIGESTS_SIZE])
{
    fill_model_digests(e->model, ret);
}

const char *engine_self_check(const struct engine *e)
{
    return e->check.stored ? "as stored" : "twice the same";
}

const char *engine_note(const struct engine *e, int i)
{
    return i < e->notes.n ? e->notes.text[i] : NULL;
}

const char *engine_file_note(const struct engine *e, int i)
{
    return verify_note(e->verify, i);
}

double engine_job_seconds(const struct engine *e)
{
    return e->speed.seconds;
}

const char *engine_prompt(const struct engine *e, const char *wanted)
{
    return fill_model_prompt(e->model, wanted);
}

/* ---- painting ---- */

/* A model without one of its files is as broken as one whose device has failed: only a new process can be whole. */
static enum err_code lost_file(struct err *err)
{
    if (err)
        err->code = ERR_GPU;
    return ERR_GPU;
}

enum err_code engine_paint(struct engine *e, const struct fill_request *r, struct arena *a, struct image *ret,
                           struct err *err)
{
    enum err_code rc;

    if (e->state != ENGINE_READY)
        return err_set(err, e->state == ENGINE_BROKEN ? ERR_GPU : ERR_UNAVAILABLE, "engine: not ready");
    rc = fill_run(e->model, r, a, ret, err);
    if (rc == ERR_IO) /* its model files are all that it reads */
        rc = lost_file(err);
    if (rc == ERR_GPU)
        e->state = ENGINE_BROKEN;
    return rc;
}
