#include "models/fill/fill_memory.h"

#include <string.h>

#include "kernels/base/file.h"
#include "models/fill/fill_model.h"
#include "models/fill/model_folder.h"

static const size_t arena_bytes = (size_t)1 << 30; /* address space */

/* --- measuring --- */

static enum err_code measure_on(struct backend *measuring, const char *dir, const struct fill_options *options,
                                struct fill_memory *ret, struct err *err)
{
    struct fill_options o = *options;
    struct measured_weights w;
    struct fill_model *m;

    o.loading = NULL;
    o.notes = NULL;
    TRY(fill_model_load(dir, &o, measuring, &m, err));
    w = backend_measured_weights(measuring);
    ret->weights = w.matrices + w.conv + (int64_t)m->weights.total;
    ret->request = (int64_t)m->mem.total;
    ret->not_taken = m->not_taken;
    fill_model_close(m);
    return ERR_OK;
}

/* The memory of a model that is opened as the options say. `ret->available` is not set. */
static enum err_code measure(const char *dir, const struct fill_options *options, enum dtype act,
                             struct fill_memory *ret, struct err *err)
{
    struct backend *measuring;
    enum err_code rc;

    TRY(backend_measure_open(act, &measuring, err));
    rc = measure_on(measuring, dir, options, ret, err);
    backend_close(measuring);
    return rc;
}

/* --- a device, which keeps its own copy of all weights --- */

struct device {
    struct backend *be;
    const char *dir;
    struct fill_memory memory; /* of the transformer that was tried last */
};

static bool fits(const struct fill_memory *m)
{
    return m->weights + m->request <= m->available;
}

/* Tries the transformer of the options with the modulation's weights on the device and, if that does not fit, with
 * these weights in the file. */
static enum err_code try_transformer(struct device *d, struct fill_options *o, bool *ret_fits, struct err *err)
{
    struct fill_options in_file = *o;

    TRY(measure(d->dir, o, d->be->act, &d->memory, err));
    *ret_fits = fits(&d->memory);
    if (*ret_fits || o->modulation_in_file || !d->be->ops->weight_unload)
        return ERR_OK;
    in_file.modulation_in_file = true;
    TRY(measure(d->dir, &in_file, d->be->act, &d->memory, err));
    *ret_fits = fits(&d->memory);
    o->modulation_in_file = *ret_fits;
    return ERR_OK;
}

static double gib(int64_t bytes)
{
    return (double)bytes / ((int64_t)1 << 30);
}

static enum err_code too_small(const struct device *d, const struct fill_options *o, struct err *err)
{
    return err_set(err, ERR_NOMEM,
                   "%s needs %.2f GiB for weights and %.2f GiB for pictures of %d x %d, but on %s, %.2f GiB are free: "
                   "take a smaller quantisation or smaller pictures",
                   file_short_name(o->transformer), gib(d->memory.weights), gib(d->memory.request), o->max_width,
                   o->max_height, d->be->name, gib(d->memory.available));
}

/* The largest transformer below `found`; *ret false when there is none. One that cannot be read is an error. */
static enum err_code next_smaller(struct model_folder *folder, struct arena *a, struct model_found *found, bool *ret,
                                  struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    struct err none = { 0 };
    struct shards shards;
    enum err_code rc;

    TRY(shards_open(found->path, a, &shards, err));
    folder->max_transformer_bytes = shards_bytes(&shards) - 1;
    arena_rewind(a, mark);
    rc = model_folder_find(folder, MODEL_TRANSFORMER, a, found, &none);
    *ret = rc == ERR_OK;
    return rc == ERR_OK || rc == ERR_TOO_LARGE ? ERR_OK : err_set(err, rc, "%s", none.msg);
}

static void note_smaller(const struct device *d, const struct fill_options *o, const char *largest)
{
    if (strcmp(largest, o->transformer) != 0)
        fill_note(o->notes, "%s computes, because %s does not fit into the %.2f GiB that are free on %s",
                  file_short_name(o->transformer), file_short_name(largest), gib(d->memory.available), d->be->name);
}

static enum err_code choose_for_device(struct device *d, struct model_folder *folder, struct fill_options *options,
                                       struct arena *a, struct err *err)
{
    const bool is_named = model_transformer_is_named(folder->transformer);
    struct model_found found = { 0 };
    const char *largest;
    bool found_one = false, is_smaller = false;

    TRY(model_folder_find(folder, MODEL_TRANSFORMER, a, &found, err));
    largest = found.path;
    for (;;) {
        options->transformer = found.path;
        TRY(try_transformer(d, options, &found_one, err));
        if (found_one)
            break;
        if (!is_named)
            TRY(next_smaller(folder, a, &found, &is_smaller, err));
        if (!is_smaller)
            return too_small(d, options, err);
    }
    note_smaller(d, options, largest);
    return ERR_OK;
}

/* --- a backend that uses weights in place --- */

/* The largest transformer that fits into memory as a whole; or the largest of all, if none does. */
static enum err_code choose_in_place(struct model_folder *folder, int64_t available, struct fill_options *options,
                                     struct arena *a, struct err *err)
{
    struct model_found found = { 0 };
    struct err none = { 0 };
    enum err_code rc;

    folder->max_transformer_bytes = available;
    rc = model_folder_find(folder, MODEL_TRANSFORMER, a, &found, &none);
    folder->max_transformer_bytes = 0;
    if (rc == ERR_TOO_LARGE)
        TRY(model_folder_find(folder, MODEL_TRANSFORMER, a, &found, err));
    else if (rc)
        return err_set(err, rc, "%s", none.msg);
    options->transformer = found.path;
    if (found.too_large)
        fill_note(options->notes, "%s computes, because %s does not fit into the %.2f GiB of memory that are free",
                  file_short_name(found.path), found.too_large, gib(available));
    return ERR_OK;
}

enum err_code fill_memory_choose(const char *dir, struct fill_options *options, struct backend *be, struct arena *a,
                                 struct err *err)
{
    struct model_folder folder = { .dir = dir, .transformer = options->transformer };
    struct device d = { .be = be, .dir = dir };

    d.memory.available = be->executes ? backend_memory(be).available : -1;
    if (d.memory.available < 0)
        return ERR_OK;
    if (be->in_place)
        return choose_in_place(&folder, d.memory.available, options, a, err);
    return choose_for_device(&d, &folder, options, a, err);
}

/* --- the estimate --- */

static enum err_code estimate(const char *dir, const struct fill_options *options, struct backend *be, struct arena *a,
                              struct fill_memory *ret, struct err *err)
{
    struct fill_memory memory = { .available = -1 };
    struct fill_options o = *options;

    if (be)
        TRY(fill_memory_choose(dir, &o, be, a, err));
    TRY(measure(dir, &o, be ? be->act : DT_F32, &memory, err));
    if (be)
        memory.available = backend_memory(be).available;
    *ret = memory;
    return ERR_OK;
}

enum err_code fill_memory_estimate(const char *dir, const struct fill_options *options, struct backend *be,
                                   struct fill_memory *ret, struct err *err)
{
    struct arena a = { 0 };
    enum err_code rc;

    TRY(fill_model_check(options, err));
    TRY(arena_init(&a, arena_bytes, err));
    rc = estimate(dir, options, be, &a, ret, err);
    arena_done(&a);
    return rc;
}
