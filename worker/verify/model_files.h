/*
 * model_files - which files a model is made of, and whether they are what they seem to be.
 *
 * A file of which public sources give the digest (models/layout/known_files.h) is judged by it. A file that is not
 * known can only be proven to be no unfinished download (models/file/proof.h).
 */
#ifndef WORKER_VERIFY_MODEL_FILES_H
#define WORKER_VERIFY_MODEL_FILES_H

#include "models/fill/model_folder.h"
#include "worker/verify/file_digest.h"

enum { MODEL_FILES_MAX = 3 * SHARDS_MAX_FILES, VERDICT_TEXT_SIZE = 2 * ERR_MESSAGE_MAX };

struct verified_file {
    const char *path;
    enum model_part part; /* MODEL_PART_COUNT: of none */
    bool has_tensors;     /* trained ones */
};

struct model_files {
    int n;
    struct verified_file file[MODEL_FILES_MAX]; /* each once */
};

/* Adds the files of every part that is in the folder, those of an index or a split GGUF file among them, the
 * transformer's last. Parts that are not there, or cannot be read, are left to whoever loads them. Paths are from the
 * arena, which also keeps the files mapped. */
void model_files_add_folder(struct model_files *m, const struct model_folder *folder, struct arena *a);
/* Adds a file, and those of an index or the parts of a split file that it is: a transformer that was chosen by its
 * size, a LoRA. `path` is not copied. */
void model_files_add(struct model_files *m, const struct verified_file *file, struct arena *a);

/* The place of a file, by whichever path; -1: it is not among them. */
int model_files_find(const struct model_files *m, const char *path);

enum verdict {
    VERDICT_KNOWN,   /* its digest is that of a known file */
    VERDICT_UNKNOWN, /* nothing in the list speaks for it or against it */
    VERDICT_WRONG    /* it has the name and the size of a known file, and another digest */
};
/* The verdict in words goes to `text`, with the remedy where there is one. */
enum verdict model_file_judge(const char *path, int64_t bytes, const char sha256[FILE_DIGEST_SIZE],
                              char text[VERDICT_TEXT_SIZE]);

/* A file whose name is known and whose size is none of those known: true, and a sentence about it in `text`. A file
 * that cannot be looked at is left to whoever loads it. */
bool model_file_has_odd_size(const char *path, char text[VERDICT_TEXT_SIZE]);

/* All tensors of a file, in full. ERR_CORRUPT; and the errors of tensor_file_open. */
MUST_CHECK enum err_code model_file_prove(const char *path, struct arena *a, struct err *err);

#endif
