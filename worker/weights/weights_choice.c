#include "worker/weights/weights_choice.h"

#include "models/fill/fill_memory.h"
#include "models/fill/lora_set.h"

enum { ARENA_BYTES = 1 << 30 }; /* address space, for the directories of all files that are considered */

/*
 * The transformer is the one that fits, which is found out by a rehearsal with the directories. Scales beside fp8
 * matrices are read by it and have not arrived, so what it has against a file counts only where that is about memory:
 * all else the loader says, when the file is there.
 */
static enum err_code find_fitting(const char *dir, struct fill_options *o, struct backend *be, struct arena *a,
                                  struct err *err)
{
    struct fill_options fitting = *o;
    struct err why = { 0 };
    enum err_code rc = fill_memory_choose(dir, &fitting, be, a, &why);

    if (rc == ERR_NOMEM)
        return err_set(err, rc, "%s", why.msg);
    if (!rc)
        o->transformer = fitting.transformer;
    return ERR_OK;
}

static enum err_code choose_transformer(const char *dir, struct fill_options *o, struct backend *be, struct arena *a,
                                        struct err *err)
{
    struct model_folder folder = { .dir = dir };
    struct model_found found = { 0 };

    if (!model_transformer_is_named(o->transformer))
        TRY(find_fitting(dir, o, be, a, err));
    folder.transformer = o->transformer;
    TRY(model_folder_find(&folder, MODEL_TRANSFORMER, a, &found, err));
    o->transformer = found.path;
    return ERR_OK;
}

enum err_code weights_choose(const char *dir, struct fill_options *o, struct backend *be, struct arena *a,
                             struct model_files *ret, struct err *err)
{
    struct model_folder folder = { .dir = dir };

    TRY(choose_transformer(dir, o, be, a, err));
    folder.transformer = o->transformer;
    ret->n = 0;
    model_files_add_folder(ret, &folder, a);
    for (int i = 0; i < o->n_loras; i++) {
        const char *path = NULL;

        TRY(lora_set_find(dir, o->loras[i].path, a, &path, err));
        model_files_add(ret, &(struct verified_file){ path, MODEL_PART_COUNT, false }, a);
    }
    return ERR_OK;
}

static enum err_code choose_and_begin(struct weights *w, struct fill_options *o, struct backend *be, struct arena *a,
                                      struct err *err)
{
    struct model_files *files = NULL;
    const char **paths = NULL;

    TRY(arena_alloc(a, 1, sizeof *files, &files, err));
    TRY(weights_choose(weights_folder(w), o, be, a, files, err));
    TRY(arena_alloc(a, (size_t)files->n + 1, sizeof *paths, &paths, err));
    for (int i = 0; i < files->n; i++)
        paths[i] = files->file[i].path;
    return weights_begin(w, paths, files->n, err);
}

enum err_code weights_begin_chosen(struct weights *w, struct fill_options *o, struct backend *be, struct arena *kept,
                                   struct err *err)
{
    const char *wanted = o->transformer;
    struct arena a = { 0 };
    char *transformer = NULL;
    enum err_code rc;

    TRY(arena_init(&a, ARENA_BYTES, err));
    rc = choose_and_begin(w, o, be, &a, err);
    if (!rc)
        rc = span_dup(kept, span_of(o->transformer), &transformer, err);
    o->transformer = rc ? wanted : transformer;
    arena_done(&a);
    return rc;
}
