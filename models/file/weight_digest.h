/*
 * weight_digest - which model some files are, told without reading it whole.
 *
 *   "<bytes>-<directory>"            size of all files; FNV-1a of every tensor's name, type, shape and place
 *   "<bytes>-<directory>-<vectors>"  and CRC-32C of all vectors' values: two trainings of one architecture differ there
 *
 * Damaged matrices do not change it, so what was computed with the good ones is still found.
 */
#ifndef MODELS_FILE_WEIGHT_DIGEST_H
#define MODELS_FILE_WEIGHT_DIGEST_H

#include "models/file/shards.h"

enum { WEIGHT_DIGEST_SIZE = 64 };

void weight_digest(const struct shards *s, bool vectors, char ret[WEIGHT_DIGEST_SIZE]);

#endif
