#include "worker/weights/weights.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/host_memory.h"
#include "models/file/file_map.h"
#include "models/file/tensor_file.h"
#include "models/fill/lora_set.h"
#include "models/layout/model_list.h"
#include "worker/base/names.h"
#include "worker/weights/object_fetch.h"

enum { ARENA_BYTES = 512 << 20 /* address space, most of it for directories */, DIRECTORY_MAX = 160 << 20 };

struct weights {
    struct weights_options options;
    struct storage storage;
    const char *folder, *prefix;
    struct arena arena;
    struct fetched_object *objects;
    int n;
    struct fetch fetch;
    struct weights_progress progress;
    int64_t began_ms, told_ms;
    _Atomic int percent;
    struct fetched_object **chosen; /* what the thread fetches, the smallest first */
    int n_chosen;
    pthread_t thread;
    bool is_running; /* the thread is to be joined */
    _Atomic bool is_fetching, stop;
    struct err err; /* the thread's */
};

/* ---- the record ---- */

static enum err_code open_storage(struct weights *w, struct err *err)
{
    const struct weights_options *o = &w->options;
    struct span bucket, prefix;
    char *name = NULL, *below = NULL, *folder = NULL;
    struct storage_options storage = {
        .http = o->http, .gauth = o->gauth, .sys = o->sys, .emulator_host = o->emulator_host
    };

    if (!gs_url_split(o->url, &bucket, &prefix))
        return err_set(err, ERR_INVALID, "weights: '%.200s' is not gs://BUCKET/PREFIX", o->url);
    TRY(span_dup(&w->arena, bucket, &name, err));
    TRY(span_dup(&w->arena, prefix, &below, err));
    TRY(arena_printf(&w->arena, &folder, err, "gs://%s%s%s", name, *below ? "/" : "", below));
    storage.bucket = name;
    w->prefix = below;
    w->folder = folder;
    w->progress.url = folder;
    return storage_init(&w->storage, &storage, &w->arena, err);
}

enum err_code weights_new(const struct weights_options *o, struct weights **ret, struct err *err)
{
    struct weights *w = calloc(1, sizeof *w);
    enum err_code rc;

    if (!w)
        return err_set(err, ERR_NOMEM, "weights: no memory");
    w->options = *o;
    rc = arena_init(&w->arena, ARENA_BYTES, err);
    if (!rc)
        rc = open_storage(w, err);
    if (rc)
        weights_free(w);
    else
        *ret = w;
    return rc;
}

void weights_free(struct weights *w)
{
    if (!w)
        return;
    err_ignore(weights_end(w, WEIGHTS_STOP, NULL));
    if (w->n)
        memory_files_remove();
    arena_done(&w->arena);
    free(w);
}

const char *weights_folder(const struct weights *w)
{
    return w->folder;
}

int weights_percent(const struct weights *w)
{
    return w->percent;
}

static enum err_code path_of(struct weights *w, const struct fetched_object *o, struct arena *a, char **ret,
                             struct err *err)
{
    return arena_printf(a, ret, err, "%s/%s", w->folder, o->listed->name);
}

/* NULL: it is none of them. */
static struct fetched_object *find(struct weights *w, const char *path)
{
    const size_t n = strlen(w->folder);

    for (int i = 0; i < w->n; i++)
        if (strncmp(path, w->folder, n) == 0 && path[n] == '/' && strcmp(path + n + 1, w->objects[i].listed->name) == 0)
            return &w->objects[i];
    return NULL;
}

/* ---- fetching ---- */

static void tell(struct weights *w, bool arrived)
{
    const int64_t now = sys_mono_ms(w->options.sys);

    w->progress.ms = now - w->began_ms;
    w->progress.retries = w->fetch.retries;
    w->progress.arrived = arrived;
    w->told_ms = now;
    if (w->options.told)
        w->options.told(w->options.ctx, &w->progress);
}

static void piece_arrived(void *ctx, const struct fetch_piece *p)
{
    struct weights *w = ctx;

    memory_file_arrived(p->of->file, p->from, p->bytes);
    w->progress.done_bytes += p->bytes;
    if (w->progress.total_bytes > 0)
        w->percent = (int)(99 * w->progress.done_bytes / w->progress.total_bytes);
    if (w->progress.total_bytes > 0 && sys_mono_ms(w->options.sys) - w->told_ms >= WEIGHTS_TELL_MS)
        tell(w, false);
}

/* A list of pieces, in the order in which they are fetched. */
struct wanted {
    struct fetch_piece **pieces;
    int n, room;
};

static enum err_code add_pieces(struct wanted *l, struct fetched_object *o, int n_pieces, struct arena *a,
                                struct err *err)
{
    while (l->room < l->n + n_pieces) {
        const int room = l->room ? 2 * l->room : 256;
        struct fetch_piece **more = NULL;

        TRY(arena_alloc(a, (size_t)room, sizeof *more, &more, err));
        if (l->n)
            memcpy(more, l->pieces, (size_t)l->n * sizeof *more);
        l->pieces = more;
        l->room = room;
    }
    for (int i = 0; i < n_pieces; i++)
        if (!o->pieces[i].done)
            l->pieces[l->n++] = &o->pieces[i];
    return ERR_OK;
}

/* ---- looking ---- */

static bool is_small(const struct listed_object *o)
{
    const struct span s = span_of(o->name);

    return o->bytes <= WEIGHTS_SMALL_BYTES &&
           (span_ends(s, ".json") || span_ends(s, ".txt") || span_ends(s, ".model") || span_ends(s, ".check"));
}

/* Files whose contents are read before it is decided what else is needed. */
static bool is_read_first(const struct listed_object *o)
{
    return is_small(o) || strcmp(o->name, "prompts.safetensors") == 0;
}

/* The files of which something is kept in memory are counted by their two kinds. */
static enum err_code check_number(const struct weights *w, const struct object_list *list, struct err *err)
{
    int n_tensor_files = 0, n_small = 0;

    for (int i = 0; i < list->n; i++) {
        n_tensor_files += model_list_is_tensor_file(list->objects[i].name);
        n_small += is_small(&list->objects[i]);
    }
    if (n_tensor_files <= WEIGHTS_TENSOR_FILES_MAX && n_small <= WEIGHTS_SMALL_FILES_MAX)
        return ERR_OK;
    return err_set(
        err, ERR_TOO_LARGE,
        "weights: %d files of tensors and %d of .json, .txt, .model and .check are below %s, at most %d and %d "
        "may be: put the model below a prefix of its own",
        n_tensor_files, n_small, w->folder, WEIGHTS_TENSOR_FILES_MAX, WEIGHTS_SMALL_FILES_MAX);
}

static enum err_code add_objects(struct weights *w, const struct object_list *list, struct err *err)
{
    TRY(check_number(w, list, err));
    TRY(arena_alloc(&w->arena, (size_t)list->n, sizeof *w->objects, &w->objects, err));
    for (int i = 0; i < list->n; i++) {
        const struct listed_object *listed = &list->objects[i];
        struct memory_file *file = NULL;
        char *path = NULL;

        if (listed->is_packed && (model_list_is_tensor_file(listed->name) || is_small(listed)))
            return err_set(err, ERR_UNSUPPORTED,
                           "weights: %s/%.200s is stored with a contentEncoding: upload it again as it is, without "
                           "compression",
                           w->folder, listed->name);
        TRY(arena_printf(&w->arena, &path, err, "%s/%s", w->folder, listed->name));
        TRY(memory_file_add(path, listed->bytes, &file, err));
        TRY(fetched_object_init(&w->objects[w->n++], listed, file, &w->arena, err));
    }
    return ERR_OK;
}

/* Whether the directory of its tensors lies within what has arrived; true, too, where more of it would not help. */
static bool has_directory(struct weights *w, const struct fetched_object *o)
{
    ARENA_SCRATCH(&w->arena);
    const int64_t start = fetched_object_start(o);
    struct tensor_file ignored;
    struct span map = { 0 };
    char *path = NULL;

    if (fetched_object_is_whole(o) || start >= DIRECTORY_MAX)
        return true;
    if (path_of(w, o, &w->arena, &path, NULL) || file_map_open(path, &w->arena, &map, NULL))
        return true;
    map.len = (size_t)start;
    return tensor_file_survey_start(path, map, &w->arena, &ignored, NULL) != ERR_CORRUPT;
}

/* The beginning of each file of tensors, and more of those whose directory goes on. */
static enum err_code fetch_directories(struct weights *w, struct err *err)
{
    for (int n_pieces = 1;; n_pieces *= 2) {
        ARENA_SCRATCH(&w->arena);
        struct wanted more = { 0 };

        for (int i = 0; i < w->n; i++) {
            struct fetched_object *o = &w->objects[i];

            if (model_list_is_tensor_file(o->listed->name) && o->n_pieces && (n_pieces == 1 || !has_directory(w, o)))
                TRY(add_pieces(&more, o, n_pieces < o->n_pieces ? n_pieces : o->n_pieces, &w->arena, err));
        }
        if (!more.n)
            return ERR_OK;
        TRY(fetch_pieces(&w->fetch, more.pieces, more.n, err));
    }
}

static enum err_code fetch_whole(struct weights *w, struct fetched_object *const *objects, int n, struct err *err)
{
    ARENA_SCRATCH(&w->arena);
    struct wanted all = { 0 };

    for (int i = 0; i < n; i++)
        TRY(add_pieces(&all, objects[i], objects[i]->n_pieces, &w->arena, err));
    TRY(fetch_pieces(&w->fetch, all.pieces, all.n, err));
    for (int i = 0; i < n; i++)
        TRY(fetched_object_check(objects[i], &w->storage, err));
    return ERR_OK;
}

/* The object of a path, once; a path that is none of theirs is left out. Two threads must not fetch the same pieces. */
static void add_once(struct weights *w, const char *path, struct fetched_object **objects, int *n)
{
    struct fetched_object *o = find(w, path);

    for (int i = 0; i < *n && o; i++)
        if (objects[i] == o)
            o = NULL;
    if (o)
        objects[(*n)++] = o;
}

/* The LoRAs that are named, which are read while it is decided what fits. One that is absent is left to whoever opens
 * it, and says so. */
static void add_loras(struct weights *w, const char *const *loras, int n_loras, struct fetched_object **objects, int *n)
{
    const char *path = NULL;

    for (int i = 0; i < n_loras; i++)
        if (!lora_set_find(w->folder, loras[i], &w->arena, &path, NULL))
            add_once(w, path, objects, n);
}

static enum err_code fetch_what_is_read_first(struct weights *w, const char *const *loras, int n_loras, struct err *err)
{
    struct fetched_object **objects = NULL;
    int64_t bytes = 0;
    int n = 0;

    TRY(arena_alloc(&w->arena, (size_t)(w->n + n_loras), sizeof *objects, &objects, err));
    for (int i = 0; i < w->n; i++)
        if (is_read_first(w->objects[i].listed))
            objects[n++] = &w->objects[i];
    add_loras(w, loras, n_loras, objects, &n);
    for (int i = 0; i < n; i++)
        bytes += objects[i]->listed->bytes;
    if (bytes > WEIGHTS_EAGER_BYTES)
        return err_set(err, ERR_TOO_LARGE,
                       "weights: the prompt pack, LoRAs, tokenizers and other small files below %s have %.1f GB "
                       "together; at most %.1f are fetched: put the model below a prefix of its own",
                       w->folder, (double)bytes / 1e9, (double)WEIGHTS_EAGER_BYTES / 1e9);
    return fetch_whole(w, objects, n, err);
}

static bool must_stop(void *ctx)
{
    const struct weights *w = ctx;

    return w->stop;
}

enum err_code weights_look(struct weights *w, const char *const *loras, int n_loras, struct err *err)
{
    struct object_list list = { 0 };

    w->began_ms = w->told_ms = sys_mono_ms(w->options.sys);
    w->fetch = (struct fetch){ .s = &w->storage,
                               .budget = { .sys = w->options.sys,
                                           .deadline_mono_ms = w->began_ms + WEIGHTS_TOTAL_MS,
                                           .cancelled = must_stop,
                                           .cancel_ctx = w },
                               .arrived = piece_arrived,
                               .ctx = w };
    TRY(object_list_get(&w->storage, w->prefix, &w->fetch.budget, &w->arena, &list, err));
    TRY(add_objects(w, &list, err));
    TRY(fetch_directories(w, err));
    return fetch_what_is_read_first(w, loras, n_loras, err);
}

/* ---- the chosen ---- */

static enum err_code check_room(const struct weights *w, int64_t bytes, struct err *err)
{
    const int64_t available = host_memory_available();

    if (available < 0 || bytes <= available)
        return ERR_OK;
    return err_set(
        err, ERR_NOMEM,
        "weights: the model's objects below %s have %.1f GB more than has arrived, and %.1f GB of memory are "
        "free: give the service more memory, or choose a smaller quantisation",
        w->folder, (double)bytes / 1e9, (double)available / 1e9);
}

/* The smallest comes first: the VAE and CLIP are loaded while the transformer arrives. */
static int compare_bytes(const void *x, const void *y)
{
    const struct fetched_object *a = *(struct fetched_object *const *)x, *b = *(struct fetched_object *const *)y;

    return a->listed->bytes < b->listed->bytes ? -1 : a->listed->bytes > b->listed->bytes;
}

static enum err_code choose(struct weights *w, const char *const *paths, int n_paths, struct err *err)
{
    TRY(arena_alloc(&w->arena, (size_t)n_paths + 1, sizeof *w->chosen, &w->chosen, err));
    w->n_chosen = 0;
    for (int i = 0; i < n_paths; i++)
        add_once(w, paths[i], w->chosen, &w->n_chosen);
    qsort(w->chosen, (size_t)w->n_chosen, sizeof *w->chosen, compare_bytes);
    return ERR_OK;
}

static void count_chosen(struct weights *w)
{
    w->progress.n_objects = w->n_chosen;
    w->progress.done_bytes = w->progress.total_bytes = 0;
    for (int i = 0; i < w->n_chosen; i++) {
        const struct fetched_object *o = w->chosen[i];

        w->progress.total_bytes += o->listed->bytes;
        for (int k = 0; k < o->n_pieces; k++)
            w->progress.done_bytes += o->pieces[k].done ? o->pieces[k].bytes : 0;
    }
}

static void *fetch_in_thread(void *arg)
{
    struct weights *w = arg;
    enum err_code rc = fetch_whole(w, w->chosen, w->n_chosen, &w->err);

    if (rc)
        memory_files_fail(&w->err);
    for (int i = 0; i < w->n_chosen && !rc; i++)
        memory_file_end(w->chosen[i]->file);
    if (!rc)
        tell(w, true);
    w->is_fetching = false;
    return NULL;
}

enum err_code weights_begin(struct weights *w, const char *const *paths, int n_paths, struct err *err)
{
    TRY(choose(w, paths, n_paths, err));
    count_chosen(w);
    TRY(check_room(w, w->progress.total_bytes - w->progress.done_bytes, err));
    for (int i = 0; i < w->n_chosen; i++) /* no others: nobody would wake whoever waits for them */
        memory_file_begin(w->chosen[i]->file);
    w->is_fetching = true;
    if (pthread_create(&w->thread, NULL, fetch_in_thread, w)) {
        w->is_fetching = false;
        err_ignore(err_set(&w->err, ERR_NOMEM, "weights: the thread that fetches the model cannot be started"));
        memory_files_fail(&w->err);
        return err_set(err, w->err.code, "%s", w->err.msg);
    }
    w->is_running = true;
    return ERR_OK;
}

bool weights_are_arriving(const struct weights *w)
{
    return w->is_fetching;
}

enum err_code weights_end(struct weights *w, enum weights_end how, struct err *err)
{
    if (!w->is_running)
        return ERR_OK;
    w->stop = how == WEIGHTS_STOP;
    (void)pthread_join(w->thread, NULL);
    w->is_running = false;
    return w->err.code ? err_set(err, w->err.code, "%s", w->err.msg) : ERR_OK;
}

int64_t weights_done(struct weights *w)
{
    (void)w;
    return memory_files_free_dropped();
}
