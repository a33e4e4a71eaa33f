/*
 * arena - bump allocator on the host, with a hard end, marks, and clean-up hooks.
 *
 * An arena has one lifetime (process, model, request). Memory from it is borrowed: never freed singly, never kept past
 * the arena or past the mark to which it is rewound. Objects of other libraries join with arena_defer(), whose hooks
 * run in reverse order. The address space is reserved at once and becomes memory when it is touched. Not thread-safe:
 * one owner at a time.
 */
#ifndef KERNELS_BASE_ARENA_H
#define KERNELS_BASE_ARENA_H

#include <stddef.h>

#include "kernels/base/err.h"

struct arena_hook {
    void (*fn)(void *);
    void *ptr;
    struct arena_hook *next;
};

struct arena {
    char *base;
    size_t size, used, peak; /* bytes */
    size_t touched;          /* bytes that may not be zero: the most in use since pages were given back */
    struct arena_hook *hooks;
};

struct arena_mark {
    size_t used;
    struct arena_hook *hooks;
};

MUST_CHECK enum err_code arena_init(struct arena *a, size_t size_bytes, struct err *err);
void arena_done(struct arena *a); /* takes a zeroed arena */

/* Zeroed, aligned to 64 bytes; ERR_NOMEM at the end of the arena. n * size is checked for overflow. */
MUST_CHECK enum err_code arena_alloc(struct arena *a, size_t n, size_t size, void *ret_ptr, struct err *err);
MUST_CHECK enum err_code arena_defer(struct arena *a, void (*fn)(void *), void *ptr, struct err *err);
MUST_CHECK enum err_code arena_printf(struct arena *a, char **ret_text, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, struct arena_mark mark); /* runs the hooks added since; gives pages back */

/* A declaration: memory taken from `a` after this line is given back when the block is left, on every path. */
#define ARENA_SCRATCH(a)                                                                                   \
    __attribute__((cleanup(arena_scratch_end), unused)) struct arena_scratch scratch_of_the_block = { (a), \
                                                                                                      arena_mark(a) }

struct arena_scratch {
    struct arena *arena;
    struct arena_mark mark;
};

static inline void arena_scratch_end(const struct arena_scratch *s)
{
    arena_rewind(s->arena, s->mark);
}

#endif
