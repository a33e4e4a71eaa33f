#include "worker/job/engine.h"

#include <stdlib.h>
#include <string.h>

#include "models/fill/self_check.h"
#include "models/image/picture.h"

struct engine {
    struct engine_options options;
    struct backend *be;
    struct fill_model *model;
    struct fill_loading loading;
    struct self_check check;
    _Atomic int state;         /* enum engine_state */
    const char *_Atomic stage; /* string literals only */
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

static enum err_code load(struct engine *e, struct err *err)
{
    const struct fill_options options = {
        .transformer = e->options.transformer,
        .max_width = PAINT_LONG_SIDE,
        .max_height = PAINT_LONG_SIDE,
        .max_steps = e->options.max_steps,
        .max_t5_len = T5_MAX_TOKENS,
        .loading = &e->loading,
    };

    TRY(backend_open(e->options.backend, e->options.precision, &e->be, err));
    e->be->warn = e->options.warn;
    e->stage = "weights";
    TRY(fill_model_open(e->options.model_dir, &options, e->be, &e->model, err));
    e->stage = "self-check";
    return self_check_run(e->model, &e->check, err);
}

enum err_code engine_load(struct engine *e, struct err *err)
{
    enum err_code rc = load(e, err);

    if (!rc)
        e->stage = "ready";
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
