/*
 * ids - the golden lists of texts and token ids, `[{"text": "...", "t5": [...], "clip": [...]}, ...]`.
 */
#ifndef TEST_SUPPORT_FAKE_IDS_H
#define TEST_SUPPORT_FAKE_IDS_H

#include <stdint.h>

#include "kernels/base/span.h"

enum { IDS_MAX = 1024 };

struct ids_case {
    struct span text;
    int n;
    int32_t ids[IDS_MAX];
};

/* Reads the file and calls fn for every case, with the ids listed under `kind` ("t5" or "clip"). */
void ids_each(const char *path, const char *kind, void (*fn)(const struct ids_case *c, void *ctx), void *ctx);

/* Leaves the test, naming the text and the first difference, unless both lists are the same. */
void ids_check(struct span text, const int32_t *got, int n_got, const int32_t *want, int n_want);

#endif
