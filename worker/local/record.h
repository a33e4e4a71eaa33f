/*
 * record - everything that decided the bytes of one edit, as a JSON file, so that it can be run again (`replay`) or be
 * recognised as already run (`audit`).
 *
 *   1. record: 1, the format; version: of the program
 *   2. inputs: original.jpg, mask_auto.png and, where a file stood in for the model, paint: bytes and sha256
 *   3. request: prompt, steps, guidance, seed (a text: JSON's numbers are too short), paint
 *   4. settings: struct picture_settings
 *   5. engine, where a model painted: model (file name), loras, digests (weight_digest.h), backend, precision, kernels
 *   6. outputs: edited.jpg, preview.jpg: bytes and sha256
 *
 * Other members are ignored. Nothing in it depends on the time, on folders or on the machine but `kernels`: the
 * description of what computes, on which the last bit of a result may depend.
 */
#ifndef WORKER_LOCAL_RECORD_H
#define WORKER_LOCAL_RECORD_H

#include "worker/base/json.h"
#include "worker/job/edit.h"

enum { RECORD_FORMAT = 1, RECORD_MAX_BYTES = 1 << 20, RECORD_SHA256_SIZE = 65 };

struct record_file {
    int64_t bytes;
    char sha256[RECORD_SHA256_SIZE]; /* lower-case hexadecimal; "": there is no such file */
};

struct record {
    const char *version;
    struct record_file original, mask, paint, edited, preview;
    struct edit_request request; /* without the bytes of the files; the prompt is in `wishes` */
    const char *model;           /* NULL: no model painted, and the rest is absent, too */
    const char *digests, *backend, *precision, *kernels;
    const char *loras; /* "FILE:SCALE,...": merged into the model; NULL: none */
};

/* What is known before the edit: all but `edited` and `preview`. `e` as edit_run() takes it. ERR_PROMPT. Texts are
 * constants, the request's, or from the arena. */
MUST_CHECK enum err_code record_of_request(const struct edit_request *r, const struct engine *e, struct arena *a,
                                           struct record *ret, struct err *err);

/* Adds what came out. */
MUST_CHECK enum err_code record_add_result(struct record *r, const struct edit_result *result, struct err *err);

/* ERR_IO. */
MUST_CHECK enum err_code record_write(const char *path, const struct record *r, struct arena *a, struct err *err);
struct json *record_to_json(const struct record *r, struct arena *a);

/* ERR_IO, ERR_NOT_FOUND, ERR_INVALID: no record, one of another format, or a member that is wrong. Texts live
 * as long as the JSON. */
MUST_CHECK enum err_code record_read(const char *path, struct arena *a, struct record *ret, struct err *err);
MUST_CHECK enum err_code record_from_json(const struct json *root, struct record *ret, struct err *err);

/* Whether both edits are bound to come to the same bytes. ERR_NOMEM. */
MUST_CHECK enum err_code record_same_request(const struct record *x, const struct record *y, struct arena *a, bool *ret,
                                             struct err *err);

/* Whether the bytes are those of the file that the record names. ERR_INTERNAL. */
MUST_CHECK enum err_code record_file_of(struct span bytes, struct record_file *ret, struct err *err);
bool record_same_file(const struct record_file *x, const struct record_file *y);

#endif
