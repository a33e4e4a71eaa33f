/*
 * known_files - files that people put into a model folder, with sizes and digests. The list is models/known_files,
 * whose head says what its columns are; its text is a part of the program.
 *
 * A file is known by its digest, whatever it is called. By its name it is known where the end of its path is a name of
 * the list: "ae.safetensors", or, for files that only their folder tells apart,
 * "vae/diffusion_pytorch_model.safetensors".
 */
#ifndef MODELS_LAYOUT_KNOWN_FILES_H
#define MODELS_LAYOUT_KNOWN_FILES_H

#include "kernels/base/span.h"

enum { KNOWN_DIGEST_DIGITS = 64 };

struct known_file {
    struct span name;    /* into the program's read-only data, as all of them */
    int64_t bytes;       /* -1: not known */
    struct span sha256;  /* KNOWN_DIGEST_DIGITS small hex digits; empty: not known */
    struct span what;    /* "FLUX.1-Fill, BF16" */
    struct span source;  /* owner/name */
    struct span licence; /* empty: not known */
};

/* The next line of the list; *at is 0 at first. False: that was all. A line that is none is ERR_INTERNAL in `err`,
 * which a unit test looks for; it is skipped. */
bool known_file_next(size_t *at, struct known_file *ret, struct err *err);

/* `sha256`: 64 small hex digits. */
bool known_file_by_digest(const char *sha256, struct known_file *ret);

enum known_name {
    KNOWN_NOT,       /* the name is not in the list, or nothing is known about its size */
    KNOWN_NAME_ONLY, /* the name is, with other sizes: `ret` is one of these */
    KNOWN_NAME_SIZE  /* the name is, with this size */
};
/* The name alone says nothing where the list has it with a folder: many repositories have such files in other types. */
enum known_name known_file_by_name_and_size(const char *path, int64_t bytes, struct known_file *ret);

#endif
