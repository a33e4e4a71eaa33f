#include "worker/verify/model_files.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"
#include "models/file/file_map.h"
#include "models/file/proof.h"
#include "models/layout/known_files.h"

/* --- which files --- */

int model_files_find(const struct model_files *m, const char *path)
{
    for (int i = 0; i < m->n; i++)
        if (file_is_same(m->file[i].path, path))
            return i;
    return -1;
}

static void add(struct model_files *m, const struct verified_file *file)
{
    if (model_files_find(m, file->path) < 0 && m->n < MODEL_FILES_MAX)
        m->file[m->n++] = *file;
}

/* An index, or the first part of a split GGUF file, which is named so. */
static bool may_be_several(const char *path)
{
    return shards_is_index(path) || strstr(file_short_name(path), "-00001-of-");
}

void model_files_add(struct model_files *m, const struct verified_file *file, struct arena *a)
{
    bool is_index = shards_is_index(file->path);
    struct verified_file f = *file;
    struct shards shards;

    f.has_tensors &= !is_index;
    add(m, &f);
    if (!may_be_several(file->path) || shards_open(file->path, a, &shards, NULL))
        return;
    for (int i = 0; i < shards.n_files; i++)
        add(m, &(struct verified_file){ shards.files[i].path, file->part, true });
}

void model_files_add_folder(struct model_files *m, const struct model_folder *folder, struct arena *a)
{
    for (int part = MODEL_PART_COUNT - 1; part >= 0; part--) {
        struct verified_file file = { .part = (enum model_part)part };
        struct model_found found;

        if (model_folder_find(folder, file.part, a, &found, NULL))
            continue;
        file.path = found.path;
        file.has_tensors =
            (found.kind == MODEL_WEIGHTS || found.kind == MODEL_GGUF_VOCABULARY) && part != MODEL_PROMPTS;
        model_files_add(m, &file, a);
        if (found.path_2)
            model_files_add(m, &(struct verified_file){ found.path_2, file.part, false }, a);
    }
}

/* --- what they are --- */

enum verdict model_file_judge(const char *path, int64_t bytes, const char sha256[FILE_DIGEST_SIZE],
                              char text[VERDICT_TEXT_SIZE])
{
    const char *name = file_short_name(path);
    struct known_file k;

    if (known_file_by_digest(sha256, &k)) {
        (void)snprintf(text, VERDICT_TEXT_SIZE, "%s: known file, digest right: %.*s, from %.*s", name, SPAN_ARG(k.what),
                       SPAN_ARG(k.source));
        return VERDICT_KNOWN;
    }
    if (known_file_by_name_and_size(path, bytes, &k) == KNOWN_NAME_SIZE && k.sha256.len) {
        (void)snprintf(text, VERDICT_TEXT_SIZE,
                       "%s: it has the name and size of %.*s from %.*s, and another digest: it is damaged; fetch it "
                       "again, or rename it if it is meant to be another file",
                       name, SPAN_ARG(k.what), SPAN_ARG(k.source));
        return VERDICT_WRONG;
    }
    (void)snprintf(text, VERDICT_TEXT_SIZE, "%s: unknown file, sha256 %s", name, sha256);
    return VERDICT_UNKNOWN;
}

bool model_file_has_odd_size(const char *path, char text[VERDICT_TEXT_SIZE])
{
    struct known_file k;
    struct stat st;

    if (!file_stat(path, &st) || known_file_by_name_and_size(path, (int64_t)st.st_size, &k) != KNOWN_NAME_ONLY)
        return false;
    (void)snprintf(text, VERDICT_TEXT_SIZE,
                   "%s has %lld bytes; the published file of this name, %.*s from %.*s, has %lld: if that is the one "
                   "that is meant, fetch it again",
                   file_short_name(path), (long long)st.st_size, SPAN_ARG(k.what), SPAN_ARG(k.source),
                   (long long)k.bytes);
    return true;
}

static enum err_code prove_all(const struct tensor_file *f, struct err *err)
{
    for (int i = 0; i < f->n_entries; i++)
        TRY(proof_tensor(&f->entries[i], f->path, err));
    return ERR_OK;
}

enum err_code model_file_prove(const char *path, struct arena *a, struct err *err)
{
    ARENA_SCRATCH(a);
    struct tensor_file f;

    TRY(tensor_file_open(path, a, &f, err));
    return file_map_verdict(prove_all(&f, err), err);
}
