#include "worker/job/engine.h"

#include <stdlib.h>
#include <string.h>

#include "models/fill/fill.h"
#include "models/image/picture.h"
#include "models/fill/self_check.h"

struct engine {
    struct engine_options options;
    struct backend *be;
    struct fill_model *model;
    struct fill_loading loading;
    struct self_check check;
    _Atomic int state;         /* enum engine_state */
    const char *_Atomic stage; /* a constant */
};

enum err_code engine_new(const struct engine_options *options, struct engine **ret, struct err *err)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return err_set(err, ERR_NOMEM, "engine: no memory");
    e->options = *options;
    e->stage = "backend";
    *ret = e;
    return ERR_OK;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    fill_model_close(e->model);
    backend_close(e->be);
    free(e);
}

/* ---- loading ---- */

enum err_code engine_load(struct engine *e, struct err *err)
{
    const struct fill_options options = {
        .transformer = e->options.transformer,
        .max_width = PAINT_LONG_SIDE,
        .max_height = PAINT_LONG_SIDE,
        .max_steps = e->options.max_steps,
        .max_t5_len = T5_MAX_TOKENS,
        .loading = &e->loading,
    };
    enum err_code rc = backend_open(e->options.backend, e->options.precision, &e->be, err);

    if (rc)
        goto out;
    e->be->warn = e->options.warn;
    e->stage = "weights";
    rc = fill_model_open(e->options.model_dir, &options, e->be, &e->model, err);
    if (rc)
        goto out;
    e->stage = "self-check";
    rc = self_check_run(e->model, &e->check, err);
    e->stage = "ready";
out:
    e->state = rc ? ENGINE_FAILED : ENGINE_READY;
    return rc;
}

struct engine_status engine_status(struct engine *e)
{
    int64_t loaded = e->loading.loaded_bytes, total = e->loading.total_bytes;
    struct engine_status s = { .state = (enum engine_state)e->state, .stage = e->stage };

    if (loaded > total) /* `loaded` was read first, and both only grow */
        loaded = total;
    s.percent = s.state == ENGINE_READY ? 100 : total > 0 ? (int)(99 * loaded / total) : 0;
    return s;
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
    const char *path = fill_model_transformer(e->model), *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

const char *engine_self_check(const struct engine *e)
{
    return e->check.stored ? "as stored" : "twice the same";
}

const char *engine_prompt(const struct engine *e, const char *wanted)
{
    return fill_model_prompt(e->model, wanted);
}

/* ---- painting ---- */

struct watched { /* turns the model's two callbacks into the engine's one */
    const struct engine_paint *paint;
    bool stop;
};

static void on_progress(void *ctx, enum fill_phase phase, int done, int total)
{
    static const enum engine_phase phases[] = {
        [FILL_PHASE_ENCODE] = ENGINE_PHASE_ENCODE,
        [FILL_PHASE_DENOISE] = ENGINE_PHASE_DENOISE,
        [FILL_PHASE_DECODE] = ENGINE_PHASE_DECODE,
    };
    struct watched *w = ctx;

    if (w->paint->progress && !w->paint->progress(w->paint->ctx, phases[phase], done, total))
        w->stop = true;
}

static bool on_cancelled(void *ctx)
{
    return ((const struct watched *)ctx)->stop;
}

static void tell_times(const struct fill_timings *t, double *phase_ms)
{
    phase_ms[ENGINE_PHASE_ENCODE] = t->text + t->encode;
    phase_ms[ENGINE_PHASE_DENOISE] = t->prepare + t->steps;
    phase_ms[ENGINE_PHASE_DECODE] = t->decode;
}

enum err_code engine_paint(struct engine *e, const struct engine_paint *p, struct arena *a, struct image *ret,
                           struct err *err)
{
    struct watched w = { .paint = p };
    struct fill_request r = { FILL_REQUEST_DEFAULTS };
    struct fill_timings timings = { 0 };
    enum err_code rc;

    if (e->state != ENGINE_READY)
        return err_set(err, e->state == ENGINE_BROKEN ? ERR_GPU : ERR_UNAVAILABLE, "engine: not ready");
    r.picture = p->picture;
    r.mask = p->mask;
    r.prompt = p->prompt;
    r.width = p->picture->width;
    r.height = p->picture->height;
    r.steps = p->steps;
    r.guidance = p->guidance;
    r.seed = p->seed;
    r.progress = on_progress;
    r.cancelled = on_cancelled;
    r.ctx = &w;
    r.timings = &timings;
    rc = fill_run(e->model, &r, a, ret, err);
    if (p->phase_ms)
        tell_times(&timings, p->phase_ms);
    if (p->rereads_modulation)
        *p->rereads_modulation = timings.rereads_modulation;
    if (rc == ERR_GPU)
        e->state = ENGINE_BROKEN;
    return rc;
}
