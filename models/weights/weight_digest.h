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
void weight_digest_with_vectors(const struct shards *s, char ret[WEIGHT_DIGEST_SIZE]);

#endif
