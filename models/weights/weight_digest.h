/*
 * weight_digest - identifies the model in some files without reading all of it.
 *
 *   "<bytes>-<directory>"            size of all files; FNV-1a of every tensor's name, type, shape and place
 *   "<bytes>-<directory>-<vectors>"  plus the CRC-32C of all vectors' values, in which two trainings of one
 *                                    architecture differ
 *
 * Damaged matrices do not change a digest: results computed with the undamaged file are still found by it.
 */
#ifndef MODELS_WEIGHTS_WEIGHT_DIGEST_H
#define MODELS_WEIGHTS_WEIGHT_DIGEST_H

#include "models/file/shards.h"

enum { WEIGHT_DIGEST_SIZE = 64 };

void weight_digest_of_directory(const struct shards *s, char ret[WEIGHT_DIGEST_SIZE]);
/* Goes on with a CRC-32C over all that is before the tensors' data in each file: the directory and the metadata, in
 * which what `convert` was given stands with its SHA-256. Two files of one layout that were made of different inputs
 * differ in it. */
uint32_t weight_digest_of_headers(uint32_t crc, const struct shards *s);
void weight_digest_with_vectors(const struct shards *s, char ret[WEIGHT_DIGEST_SIZE]);

#endif
