#include "worker/job/edit.h"

#include <math.h>

/* Where each phase of the painting begins and ends in the progress of the whole job. Painting takes most of it. */
static const struct {
    enum stage stage;
    int from, to; /* percent */
} phases[] = {
    [FILL_PHASE_ENCODE] = { STAGE_ENCODE, 8, 12 },
    [FILL_PHASE_DENOISE] = { STAGE_DENOISE, 12, 88 },
    [FILL_PHASE_DECODE] = { STAGE_COMPOSE, 88, 92 },
};
enum { PERCENT_DECODE = 5, PERCENT_COMPOSE = 92 };

struct edit { /* one edit_run() */
    struct engine *engine;
    const struct edit_request *request;
    const struct edit_watch *watch;
    const struct sys *sys;
    struct arena *arena;
    struct edit_result *result;
    const char *prompt;
    struct picture_input in;
    struct picture_geometry geometry;
    struct picture_model_input model_input;
    struct image painted;
    int64_t stage_start_ms;
    enum fill_phase phase;
    int64_t denoise_start_ms;
};

static void report(const struct edit *e, enum stage stage, int percent, double eta_seconds)
{
    if (e->watch->stage)
        e->watch->stage(e->watch->ctx, stage, percent, eta_seconds);
}

static bool is_cancelled(void *ctx)
{
    const struct edit *e = ctx;

    return e->watch->cancelled && e->watch->cancelled(e->watch->ctx);
}

/* Ends the running stage under this name. */
static void clock_stage(struct edit *e, enum stage stage)
{
    int64_t now = sys_mono_ms(e->sys), ms = now - e->stage_start_ms;

    stage_times_add(&e->result->times, stage, ms > 0 ? ms : 0);
    e->stage_start_ms = now;
}

/* ---- decode ---- */

static enum err_code choose_prompt(struct edit *e, struct err *err)
{
    const char *wanted;

    TRY(prompt_build(&e->request->wishes, e->arena, &wanted, err));
    e->prompt = engine_prompt(e->engine, wanted);
    if (e->prompt != wanted)
        e->result->warning = "PROMPT_NOT_IN_PACK";
    return ERR_OK;
}

static void set_recipe(struct edit *e)
{
    const struct fill_request *f = &e->request->fill;

    e->result->recipe = (struct document_recipe){
        .model_file = engine_model_name(e->engine),
        .prompt = e->prompt,
        .precision = engine_precision(e->engine),
        .steps = f->steps,
        .guidance = f->guidance,
        .seed = (int64_t)(f->seed & INT64_MAX),
        .crop_width = e->in.photo.width,
        .crop_height = e->in.photo.height,
        .fill_width = e->geometry.width,
        .fill_height = e->geometry.height,
    };
    e->result->has_recipe = true;
}

static enum err_code decode(struct edit *e, struct err *err)
{
    enum err_code rc;

    report(e, STAGE_DECODE, PERCENT_DECODE, -1);
    TRY(picture_read(e->arena, e->request->original, e->request->mask, &e->in, err));
    e->geometry = picture_choose_geometry(e->in.photo.width, e->in.photo.height);
    set_recipe(e);
    rc = picture_prepare(e->arena, &e->in, &e->geometry, &e->model_input, err);
    clock_stage(e, STAGE_DECODE);
    return rc;
}

/* ---- paint ---- */

static void on_progress(void *ctx, enum fill_phase phase, int done, int total)
{
    struct edit *e = ctx;
    int from = phases[phase].from, span = phases[phase].to - from;
    double eta_seconds = -1;

    if (phase != e->phase)
        e->denoise_start_ms = sys_mono_ms(e->sys);
    e->phase = phase;
    if (phase == FILL_PHASE_DENOISE && done > 0)
        eta_seconds = 1e-3 * (double)(sys_mono_ms(e->sys) - e->denoise_start_ms) / done * (total - done);
    report(e, phases[phase].stage, from + (total > 0 ? span * done / total : 0), eta_seconds);
    if (e->watch->paint)
        e->watch->paint(e->watch->ctx, phase, done, total);
}

/* The phases that have ended, by the device's clock; the rest of the time belongs to the phase that ran last. */
static void clock_phases(struct edit *e, const struct fill_timings *t)
{
    const double phase_ms[] = {
        [FILL_PHASE_ENCODE] = t->text + t->encode,
        [FILL_PHASE_DENOISE] = t->prepare + t->steps,
    };

    for (int i = 0; i < (int)e->phase; i++) {
        int64_t ms = (int64_t)llround(phase_ms[i]);

        stage_times_add(&e->result->times, phases[i].stage, ms);
        e->stage_start_ms += ms;
    }
    clock_stage(e, phases[e->phase].stage);
}

static enum err_code paint(struct edit *e, struct err *err)
{
    struct fill_timings timings = { 0 };
    struct fill_request r = e->request->fill;
    enum err_code rc;

    r.picture = &e->model_input.picture;
    r.mask = &e->model_input.mask;
    r.width = r.picture->width;
    r.height = r.picture->height;
    r.prompt = e->prompt;
    r.progress = on_progress;
    r.cancelled = is_cancelled;
    r.ctx = e;
    r.timings = &timings;
    rc = engine_paint(e->engine, &r, e->arena, &e->painted, err);
    e->result->rereads_modulation = timings.rereads_modulation;
    clock_phases(e, &timings);
    return rc;
}

/* ---- compose ---- */

static enum err_code blend_and_encode(struct edit *e, struct err *err)
{
    TRY(picture_compose(e->arena, &e->in, &e->geometry, &e->painted, err));
    return picture_encode(e->arena, &e->in, &e->result->files, err);
}

static enum err_code compose(struct edit *e, struct err *err)
{
    enum err_code rc;

    report(e, STAGE_COMPOSE, PERCENT_COMPOSE, -1);
    rc = blend_and_encode(e, err);
    clock_stage(e, STAGE_COMPOSE);
    return rc;
}

enum err_code edit_run(struct engine *engine, const struct edit_request *r, const struct edit_watch *watch,
                       const struct sys *sys, struct arena *a, struct edit_result *ret, struct err *err)
{
    struct edit e = { .engine = engine,
                      .request = r,
                      .watch = watch,
                      .sys = sys,
                      .arena = a,
                      .result = ret,
                      .stage_start_ms = sys_mono_ms(sys) };

    *ret = (struct edit_result){ 0 };
    TRY(choose_prompt(&e, err));
    TRY(decode(&e, err));
    if (is_cancelled(&e))
        return err_set(err, ERR_CANCELLED, "edit: cancelled");
    TRY(paint(&e, err));
    return compose(&e, err);
}
