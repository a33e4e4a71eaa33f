/*
 * weights - a model folder in Cloud Storage (WEIGHTS=gs://BUCKET/PREFIX), kept in the memory of this process.
 *
 *   1. weights_look()   lists the objects below the prefix, which are from then on files of the folder
 *                       "gs://BUCKET/PREFIX" (kernels/base/memory_file.h). Of files of tensors the beginning is
 *                       fetched, which holds their directory; small files, prompt packs, stored results and the LoRAs
 *                       that are named, whole. That is enough to choose among the files as among those of a folder on
 *                       a disk.
 *   2. weights_begin()  has the rest of those that were chosen (weights_choice.h) fetched, in a thread. Nothing else
 *                       is ever fetched: of two transformers one. The model may be loaded meanwhile: whoever reads a
 *                       tensor waits until it has arrived (models/file/file_map.h).
 *   3. weights_end()    waits for that, and for the CRC32C of each object: a model that was loaded meanwhile counts
 *                       only where this succeeds.
 *   4. weights_done()   when the model is loaded and proven: gives back what a device has a copy of.
 *
 * Objects are of the generation that was listed; one that is replaced meanwhile is an error. One owner, one thread.
 */
#ifndef WORKER_WEIGHTS_WEIGHTS_H
#define WORKER_WEIGHTS_WEIGHTS_H

#include "worker/google/storage.h"

enum {
    WEIGHTS_TENSOR_FILES_MAX = 256,
    WEIGHTS_SMALL_FILES_MAX = 256,
    /* descriptors that a process needs for all this: each file in memory has one, and what is mapped another */
    WEIGHTS_OPEN_FILES = WEIGHTS_TENSOR_FILES_MAX + WEIGHTS_SMALL_FILES_MAX + 96,
    WEIGHTS_TOTAL_MS = 30 * 60 * 1000, /* for all of it */
    WEIGHTS_TELL_MS = 5000             /* between two words about how far it has come */
};
#define WEIGHTS_SMALL_BYTES ((int64_t)64 << 20) /* a file that is fetched whole unasked */
#define WEIGHTS_EAGER_BYTES ((int64_t)4 << 30)  /* everything that weights_look() fetches */

struct weights;

struct weights_progress {
    const char *url;
    int n_objects; /* that are fetched whole */
    int64_t done_bytes, total_bytes, ms;
    int retries;
    bool arrived; /* all of it, and it is what the bucket says */
};

struct weights_options { /* texts are copied */
    struct http *http;
    struct gauth *gauth;
    const struct sys *sys;
    const char *url;           /* gs_url_split() takes it */
    const char *emulator_host; /* as in struct storage_options */
    void (*told)(void *ctx, const struct weights_progress *p);
    void *ctx;
};

/* Sends nothing. ERR_INVALID: the URL or the emulator's address. */
MUST_CHECK enum err_code weights_new(const struct weights_options *o, struct weights **ret, struct err *err);
void weights_free(struct weights *w); /* takes NULL; the files are gone, what is mapped stays */

/* The folder: "gs://BUCKET/PREFIX", without a slash at its end. */
const char *weights_folder(const struct weights *w);

/* `loras`: names as LORAS has them. Errors of object_list_get() and fetch_pieces(); ERR_UNSUPPORTED: a model file that
 * is stored with a contentEncoding; ERR_TOO_LARGE: too many files. */
MUST_CHECK enum err_code weights_look(struct weights *w, const char *const *loras, int n_loras, struct err *err);

/* `paths`: of the folder's files; one twice counts once, others are skipped. ERR_NOMEM: they are larger than the memory
 * that is free. */
MUST_CHECK enum err_code weights_begin(struct weights *w, const char *const *paths, int n, struct err *err);

/* Waits until all is there, or stops. ERR_CORRUPT: an object's checksum; those of fetch_pieces(). What has failed stays
 * so: whoever waits for bytes gets the same error. */
enum weights_end { WEIGHTS_WAIT, WEIGHTS_STOP };
MUST_CHECK enum err_code weights_end(struct weights *w, enum weights_end how, struct err *err);

/* From any thread: whether it is still going on, and how much is done, 0 to 99. */
bool weights_are_arriving(const struct weights *w);
int weights_percent(const struct weights *w);

/* Returns how many bytes were given back. */
int64_t weights_done(struct weights *w);

#endif
