#include "models/fill/fill_memory.h"

#include <string.h>

#include "models/fill/fill_model.h"

static const size_t arena_bytes = (size_t)256 << 20; /* address space */

/* `ret->available` is not set. */
static enum err_code measure(const char *dir, const struct fill_options *options, enum dtype act,
                             struct fill_memory *ret, struct err *err)
{
    struct fill_options o = *options;
    struct backend *measuring = NULL;
    struct fill_model *m = NULL;
    enum err_code rc = backend_measure_open(act, &measuring, err);

    o.loading = NULL;
    if (!rc)
        rc = fill_model_open(dir, &o, measuring, &m, err);
    if (!rc) {
        struct measured_weights w = backend_measured_weights(measuring);

        ret->weights = w.matrices + w.conv + (int64_t)m->weights.total;
        ret->job = (int64_t)m->mem.total;
    }
    fill_model_close(m);
    backend_close(measuring);
    return rc;
}

/* A device with its own copy of everything. */
struct device {
    struct backend *be;
    const char *dir;
    struct fill_memory memory; /* of the transformer that was tried last */
};

static bool fits(const struct fill_memory *m)
{
    return m->weights + m->job <= m->available;
}

/* With the modulation's weights on the device, else without them. */
static enum err_code try_transformer(struct device *d, struct fill_options *o, bool *ret_fits, struct err *err)
{
    const bool asked = o->modulation_in_file, can_spare = d->be->ops->weight_unload != NULL;
    enum err_code rc = measure(d->dir, o, d->be->act, &d->memory, err);

    if (!rc && !fits(&d->memory) && !asked && can_spare) {
        o->modulation_in_file = true;
        rc = measure(d->dir, o, d->be->act, &d->memory, err);
    }
    *ret_fits = !rc && fits(&d->memory);
    if (!*ret_fits)
        o->modulation_in_file = asked;
    return rc;
}

static double gib(int64_t bytes)
{
    return (double)bytes / ((int64_t)1 << 30);
}

static enum err_code too_small(const struct device *d, const char *transformer, const struct fill_options *o,
                               struct err *err)
{
    return err_set(err, ERR_NOMEM,
                   "%s: %.2f GiB of weights and %.2f GiB for pictures of %d x %d are needed on %s, %.2f GiB are free",
                   strrchr(transformer, '/') + 1, gib(d->memory.weights), gib(d->memory.job), o->max_width,
                   o->max_height, d->be->name, gib(d->memory.available));
}

/* The largest transformer below `found`; false when there is none. */
static bool next_smaller(struct model_folder *folder, struct arena *a, struct model_found *found)
{
    struct arena_mark mark = arena_mark(a);
    struct shards shards;

    if (shards_open(found->path, a, &shards, NULL))
        return false;
    folder->max_transformer_bytes = shards_bytes(&shards) - 1;
    arena_rewind(a, mark);
    return model_folder_find(folder, MODEL_TRANSFORMER, a, found, NULL) == ERR_OK;
}

static enum err_code choose_for_device(struct device *d, struct model_folder *folder, struct fill_options *options,
                                       struct arena *a, struct err *err)
{
    const bool is_named = folder->transformer && *folder->transformer && strcmp(folder->transformer, "auto") != 0;
    struct model_found found = { 0 };
    bool found_one = false;
    enum err_code rc = model_folder_find(folder, MODEL_TRANSFORMER, a, &found, err);

    while (!rc && !found_one) {
        options->transformer = found.path;
        rc = try_transformer(d, options, &found_one, err);
        if (rc || found_one)
            break;
        if (is_named || !next_smaller(folder, a, &found))
            rc = too_small(d, options->transformer, options, err);
    }
    folder->transformer = options->transformer;
    return rc;
}

/* The largest that lies in memory as a whole, if one does. */
static enum err_code choose_in_place(struct model_folder *folder, int64_t available, struct arena *a, struct err *err)
{
    struct model_found found = { 0 };
    enum err_code rc;

    folder->max_transformer_bytes = available;
    rc = model_folder_find(folder, MODEL_TRANSFORMER, a, &found, NULL);
    folder->max_transformer_bytes = 0;
    if (rc == ERR_TOO_LARGE)
        return ERR_OK;
    if (rc)
        return model_folder_find(folder, MODEL_TRANSFORMER, a, &found, err);
    folder->transformer = found.path;
    return ERR_OK;
}

enum err_code fill_memory_choose(struct model_folder *folder, struct fill_options *options, struct backend *be,
                                 struct arena *a, struct err *err)
{
    struct device d = { .be = be, .dir = folder->dir };

    d.memory.available = be->executes ? backend_memory(be).available : -1;
    if (d.memory.available < 0)
        return ERR_OK;
    if (be->in_place)
        return choose_in_place(folder, d.memory.available, a, err);
    return choose_for_device(&d, folder, options, a, err);
}

enum err_code fill_memory_estimate(const char *dir, const struct fill_options *options, struct backend *be,
                                   struct fill_memory *ret, struct err *err)
{
    struct model_folder folder = { .dir = dir, .transformer = options->transformer };
    struct fill_memory memory = { .available = -1 };
    struct fill_options o = *options;
    struct arena a = { 0 };
    enum err_code rc = arena_init(&a, arena_bytes, err);

    if (!rc && be)
        rc = fill_memory_choose(&folder, &o, be, &a, err);
    o.transformer = folder.transformer;
    if (!rc)
        rc = measure(dir, &o, be ? be->act : DT_F32, &memory, err);
    if (!rc && be)
        memory.available = backend_memory(be).available;
    arena_done(&a);
    if (!rc)
        *ret = memory;
    return rc;
}
