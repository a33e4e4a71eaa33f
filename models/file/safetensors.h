/*
 * safetensors - reader and writer of safetensors containers.
 *
 *   1. u64 n, little-endian: length of the header, at most 100,000,000
 *   2. n bytes of JSON: { "name": { "dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end] }, ...,
 *                         "__metadata__": { "key": "value", ... } }
 *   3. the rest: the buffer in which the offsets count; the tensors tile it without hole or overlap
 *
 * F32, F16, BF16, F8_E4M3, F8_E5M2, I32, I64 and U8 enter the directory. Tensors of the format's other types are
 * checked for size and place and stand behind it (tensor_file.n_unread); an unknown type makes the file
 * ERR_UNSUPPORTED. In safetensors_survey() all of them are in the directory. The writer is in tensor_file.h. Source:
 * safetensors README and tensor.rs.
 */
#ifndef MODELS_FILE_SAFETENSORS_H
#define MODELS_FILE_SAFETENSORS_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "models/file/tensor_file.h"

enum { SAFETENSORS_MAX_HEADER_BYTES = 100 * 1000 * 1000, SAFETENSORS_MAX_DEPTH = 8 };

/* Fills all fields of *ret but path. Tables and names come from the arena. */
MUST_CHECK enum err_code safetensors_parse(struct span map, struct arena *a, struct tensor_file *ret, struct err *err);
/* The same for tensor_file_survey(). */
MUST_CHECK enum err_code safetensors_survey(struct span map, struct arena *a, struct tensor_file *ret, struct err *err);

#endif
