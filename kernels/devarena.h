/*
 * devarena - bump allocator over backend memory, for tensors.
 *
 * There are two kinds. A fixed arena (`grow_bytes` 0) is one block of `size_bytes` and returns ERR_NOMEM at its end:
 * the step arena, marked on entry of an operation and rewound on return, so that nothing is allocated while a request
 * is computed. A growing arena consists of slabs of at least grow_bytes and is never rewound: weights while a model
 * loads.
 */
#ifndef KERNELS_DEVARENA_H
#define KERNELS_DEVARENA_H

#include "kernels/backend.h"

struct devarena_slab;

struct devarena {
    struct backend *be;
    char *base;
    size_t size, used, peak, grow_bytes;
    size_t total; /* bytes taken from the backend */
    struct devarena_slab *slabs;
};

MUST_CHECK enum err_code devarena_init(struct devarena *a, struct backend *be, size_t size_bytes, size_t grow_bytes,
                                       struct err *err);
void devarena_done(struct devarena *a); /* takes a zeroed arena */

/* 256-byte aligned; contents undefined. */
MUST_CHECK enum err_code devarena_alloc(struct devarena *a, size_t bytes, void **ret, struct err *err);
MUST_CHECK enum err_code devarena_1d(struct devarena *a, enum dtype t, int64_t n, struct tensor *ret, struct err *err);
MUST_CHECK enum err_code devarena_2d(struct devarena *a, enum dtype t, int64_t rows, int64_t cols, struct tensor *ret,
                                     struct err *err);
MUST_CHECK enum err_code devarena_3d(struct devarena *a, enum dtype t, int64_t d0, int64_t d1, int64_t d2,
                                     struct tensor *ret, struct err *err);

/* A fixed arena of `bytes` inside a fixed one; it ends when the parent is rewound, without a devarena_done(). */
MUST_CHECK enum err_code devarena_carve(struct devarena *parent, size_t bytes, struct devarena *ret, struct err *err);

size_t devarena_mark(const struct devarena *a); /* fixed arenas only */
void devarena_rewind(struct devarena *a, size_t mark);

/* A declaration: memory taken from `a` after this line is given back when the block is left, on every path. */
#define DEVARENA_SCRATCH(a)                       \
    __attribute__((cleanup(devarena_scratch_end), \
                   unused)) struct devarena_scratch device_scratch_of_the_block = { (a), devarena_mark(a) }

struct devarena_scratch {
    struct devarena *arena;
    size_t mark;
};

static inline void devarena_scratch_end(const struct devarena_scratch *s)
{
    devarena_rewind(s->arena, s->mark);
}

#endif
