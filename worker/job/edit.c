#include "worker/job/edit.h"

#include <math.h>
#include <string.h>

/* What part of a whole job each stage is, for the bar that people watch; the painting decides. */
static const struct {
    enum stage stage;
    int from, to; /* percent */
} shares[] = {
    [ENGINE_PHASE_ENCODE] = { STAGE_ENCODE, 8, 12 },
    [ENGINE_PHASE_DENOISE] = { STAGE_DENOISE, 12, 88 },
    [ENGINE_PHASE_DECODE] = { STAGE_COMPOSE, 88, 92 },
};
enum { PERCENT_DECODE = 5, PERCENT_COMPOSE = 92 };

struct run {
    const struct edit_watch *watch;
    const struct sys *sys;
    struct stage_times *times;
    int64_t since_ms; /* start of the stage that runs */
    enum engine_phase phase;
    int64_t denoise_start_ms;
};

static void tell(const struct run *r, enum stage stage, int percent, double eta_seconds)
{
    if (r->watch->stage)
        r->watch->stage(r->watch->ctx, stage, percent, eta_seconds);
}

static bool cancelled(const struct run *r)
{
    return r->watch->cancelled && r->watch->cancelled(r->watch->ctx);
}

/* Ends the running stage under this name. */
static void clock_stage(struct run *r, enum stage stage)
{
    int64_t now = sys_mono_ms(r->sys), ms = now - r->since_ms;

    stage_times_add(r->times, stage, ms > 0 ? ms : 0);
    r->since_ms = now;
}

/* The phases that came to their end, by the device's clock; what is left of the time is of the one that ran last. */
static void clock_phases(struct run *r, const double phase_ms[ENGINE_PHASES])
{
    for (int i = 0; i < (int)r->phase; i++) {
        int64_t ms = (int64_t)llround(phase_ms[i]);

        stage_times_add(r->times, shares[i].stage, ms);
        r->since_ms += ms;
    }
    clock_stage(r, shares[r->phase].stage);
}

static bool paint_progress(void *ctx, enum engine_phase phase, int done, int total)
{
    struct run *r = ctx;
    int span = shares[phase].to - shares[phase].from;
    double eta = -1;

    if (phase != r->phase)
        r->denoise_start_ms = sys_mono_ms(r->sys);
    r->phase = phase;
    if (phase == ENGINE_PHASE_DENOISE && done > 0)
        eta = 1e-3 * (double)(sys_mono_ms(r->sys) - r->denoise_start_ms) / done * (total - done);
    tell(r, shares[phase].stage, shares[phase].from + (total > 0 ? span * done / total : 0), eta);
    return !cancelled(r);
}

static void fill_recipe(const struct edit_request *q, const struct picture_input *in,
                        const struct picture_geometry *geometry, const char *prompt, const struct engine *e,
                        struct edit_result *ret)
{
    ret->recipe = (struct document_recipe){
        .model_file = engine_model_name(e),
        .prompt = prompt,
        .precision = engine_precision(e),
        .steps = q->steps,
        .guidance = q->guidance,
        .seed = (int64_t)(q->seed & INT64_MAX),
        .crop_width = in->photo.width,
        .crop_height = in->photo.height,
        .fill_width = geometry->width,
        .fill_height = geometry->height,
    };
    ret->has_recipe = true;
}

static enum err_code paint(struct engine *e, const struct edit_request *q, struct run *r, const char *prompt,
                           const struct picture_paint_input *input, struct arena *a, struct image *ret,
                           bool *ret_rereads, struct err *err)
{
    double phase_ms[ENGINE_PHASES] = { 0 };
    struct engine_paint p = {
        .picture = &input->picture,
        .mask = &input->mask,
        .prompt = prompt,
        .steps = q->steps,
        .guidance = q->guidance,
        .seed = q->seed,
        .progress = paint_progress,
        .ctx = r,
        .phase_ms = phase_ms,
        .rereads_modulation = ret_rereads,
    };
    enum err_code rc;

    r->phase = ENGINE_PHASE_ENCODE;
    rc = engine_paint(e, &p, a, ret, err);
    clock_phases(r, phase_ms);
    return rc;
}

enum err_code edit_run(struct engine *e, const struct edit_request *q, const struct edit_watch *watch,
                       const struct sys *sys, struct arena *a, struct edit_result *ret, struct err *err)
{
    struct run r = { .watch = watch, .sys = sys, .times = &ret->times, .since_ms = sys_mono_ms(sys) };
    struct picture_input in = { 0 };
    struct picture_geometry geometry;
    struct picture_paint_input input = { 0 };
    struct image painted = { 0 };
    const char *prompt = NULL, *wanted = NULL;
    enum err_code rc;

    *ret = (struct edit_result){ 0 };
    rc = prompt_build(&q->wishes, a, &wanted, err);
    if (rc)
        goto out;
    prompt = engine_prompt(e, wanted);
    if (prompt != wanted)
        ret->warning = "PROMPT_NOT_IN_PACK";
    tell(&r, STAGE_DECODE, PERCENT_DECODE, -1);
    rc = picture_input(a, q->original, q->mask, &in, err);
    if (rc)
        goto out;
    geometry = picture_geometry(in.photo.width, in.photo.height);
    fill_recipe(q, &in, &geometry, prompt, e, ret);
    rc = picture_paint_input(a, &in, &geometry, &input, err);
    clock_stage(&r, STAGE_DECODE);
    if (rc)
        goto out;
    if (cancelled(&r)) {
        rc = err_set(err, ERR_CANCELLED, "edit: cancelled");
        goto out;
    }
    rc = paint(e, q, &r, prompt, &input, a, &painted, &ret->rereads_modulation, err);
    if (rc)
        goto out;
    tell(&r, STAGE_COMPOSE, PERCENT_COMPOSE, -1);
    rc = picture_compose(a, &in, &geometry, &painted, err);
    if (!rc)
        rc = picture_encode(a, &in, &ret->files, err);
    clock_stage(&r, STAGE_COMPOSE);
out:
    return rc;
}
