/*
 * input - what commands read from files: pictures, and tensors of floats.
 */
#ifndef WORKER_CLI_INPUT_H
#define WORKER_CLI_INPUT_H

#include "models/file/tensor_file.h"
#include "models/codec/decode.h"

/* A JPEG, PNG or WebP, its alpha dropped; the pixels are in the arena. Every row must be there. `ret_notes` may be
 * NULL. An error that lies in the contents begins with the path. */
MUST_CHECK enum err_code input_picture(const char *path, struct arena *a, struct image *ret,
                                       struct image_notes *ret_notes, struct err *err);

/* The values of an F32 tensor as a copy in the arena: a file does not promise the alignment of floats. */
MUST_CHECK enum err_code input_floats(const struct tensor_entry *e, struct arena *a, float **ret, struct err *err);

#endif
