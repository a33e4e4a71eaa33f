#include "worker/verify/verify.h"

#include <pthread.h>
#include <stdlib.h>

enum { ARENA_BYTES = 256 << 20 }; /* address space, for the directories of all files */

/* What was found out about one file. */
struct finding {
    struct err err; /* its code is ERR_OK where nothing is wrong */
    char note[VERDICT_TEXT_SIZE];
};

struct verify {
    enum verify_mode mode;
    struct model_folder folder;
    struct arena arena;
    struct model_files files;
    struct finding findings[MODEL_FILES_MAX]; /* of the file at the same place */
    int n_judged;
    const char *notes[MODEL_FILES_MAX];
    int n_notes;
    pthread_t thread;
    bool is_running;
    atomic_bool stop;
};

static void judge_digest(struct verify *v, const char *path, struct finding *f)
{
    const struct file_digest_watch watch = { .stop = &v->stop };
    char sha256[FILE_DIGEST_SIZE];
    int64_t bytes = 0;
    enum verdict verdict;

    if (file_digest(path, &watch, sha256, &bytes, &f->err))
        return;
    verdict = model_file_judge(path, bytes, sha256, f->note);
    if (verdict == VERDICT_WRONG)
        err_ignore(err_set(&f->err, ERR_CORRUPT, "%s", f->note));
    if (verdict != VERDICT_UNKNOWN)
        *f->note = 0;
}

/* Those that have been added since the last time. */
static void judge_files(struct verify *v)
{
    for (; v->n_judged < v->files.n; v->n_judged++) {
        const char *path = v->files.file[v->n_judged].path;
        struct finding *f = &v->findings[v->n_judged];

        if (v->mode == VERIFY_DIGEST)
            judge_digest(v, path, f);
        else if (!model_file_has_odd_size(path, f->note))
            *f->note = 0;
    }
}

static void *run(void *arg)
{
    struct verify *v = arg;

    model_files_add_folder(&v->files, &v->folder, &v->arena);
    judge_files(v);
    return NULL;
}

enum err_code verify_start(enum verify_mode mode, const struct model_folder *folder, struct verify **ret,
                           struct err *err)
{
    struct verify *v = calloc(1, sizeof *v);
    enum err_code rc;

    if (!v)
        return err_set(err, ERR_NOMEM, "verify: no memory");
    v->mode = mode;
    v->folder = *folder;
    rc = arena_init(&v->arena, ARENA_BYTES, err);
    if (!rc && mode == VERIFY_DIGEST && pthread_create(&v->thread, NULL, run, v))
        rc = err_set(err, ERR_NOMEM, "verify: the thread that takes the files' digests cannot be started");
    if (rc) {
        verify_free(v);
        return rc;
    }
    v->is_running = mode == VERIFY_DIGEST;
    *ret = v;
    return ERR_OK;
}

static void wait_for_thread(struct verify *v)
{
    if (v->is_running)
        (void)pthread_join(v->thread, NULL);
    v->is_running = false;
}

/* The first error; and the notes. Of two transformers the later one was taken. */
static enum err_code conclude(struct verify *v, int first_transformer, struct err *err)
{
    for (int i = 0; i < v->files.n; i++) {
        const struct finding *f = &v->findings[i];

        if (v->files.file[i].part == MODEL_TRANSFORMER && i < first_transformer)
            continue;
        if (f->err.code)
            return err_set(err, f->err.code, "%s", f->err.msg);
        if (*f->note)
            v->notes[v->n_notes++] = f->note;
    }
    return ERR_OK;
}

enum err_code verify_finish(struct verify *v, const char *transformer, const char *const *loras, int n_loras,
                            struct err *err)
{
    const struct verified_file taken = { transformer, MODEL_TRANSFORMER, true };
    int first_transformer = 0;

    if (v->is_running)
        wait_for_thread(v);
    else
        (void)run(v);
    if (model_files_find(&v->files, transformer) < 0) {
        first_transformer = v->files.n;
        model_files_add(&v->files, &taken, &v->arena);
    }
    for (int i = 0; i < n_loras; i++)
        model_files_add(&v->files, &(struct verified_file){ loras[i], MODEL_PART_COUNT, false }, &v->arena);
    judge_files(v);
    return conclude(v, first_transformer, err);
}

const char *verify_note(const struct verify *v, int i)
{
    return i < v->n_notes ? v->notes[i] : NULL;
}

void verify_free(struct verify *v)
{
    if (!v)
        return;
    v->stop = true;
    wait_for_thread(v);
    arena_done(&v->arena);
    free(v);
}
