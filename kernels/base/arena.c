#include "kernels/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base/span.h"

enum { ARENA_ALIGN = 64, ARENA_GIVE_BACK = 1 << 20 };

enum err_code arena_init(struct arena *a, size_t size_bytes, struct err *err)
{
    void *p;

    *a = (struct arena){ 0 };
    size_bytes = (size_bytes + 4095) & ~(size_t)4095;
    p = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "arena: cannot reserve %zu bytes", size_bytes);
    a->base = p;
    a->size = size_bytes;
    return ERR_OK;
}

static void run_hooks(struct arena *a, struct arena_hook *stop)
{
    while (a->hooks != stop) {
        struct arena_hook *h = a->hooks;
        a->hooks = h->next;
        h->fn(h->ptr);
    }
}

void arena_done(struct arena *a)
{
    if (!a->base)
        return;
    run_hooks(a, NULL);
    (void)munmap(a->base, a->size);
    *a = (struct arena){ 0 };
}

/* Untouched memory is zero already; clearing it would only bring it into the cache once more. */
static void clear(struct arena *a, size_t from, size_t end)
{
    if (from < a->touched)
        memset(a->base + from, 0, (end < a->touched ? end : a->touched) - from);
    if (end > a->touched)
        a->touched = end;
}

enum err_code arena_alloc(struct arena *a, size_t n, size_t size, void *ret_ptr, struct err *err)
{
    size_t bytes, rounded;
    void *p;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > a->size - a->used)
        return err_set(err, ERR_NOMEM, "arena: %zu x %zu bytes do not fit (%zu of %zu used)", n, size, a->used,
                       a->size);
    rounded = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (rounded > a->size - a->used)
        rounded = a->size - a->used;
    p = a->base + a->used;
    clear(a, a->used, a->used + rounded);
    a->used += rounded;
    if (a->used > a->peak)
        a->peak = a->used;
    *(void **)ret_ptr = p;
    return ERR_OK;
}

enum err_code arena_defer(struct arena *a, void (*fn)(void *), void *ptr, struct err *err)
{
    struct arena_hook *h = NULL;
    enum err_code rc = arena_alloc(a, 1, sizeof *h, &h, err);

    if (rc)
        return rc;
    *h = (struct arena_hook){ .fn = fn, .ptr = ptr, .next = a->hooks };
    a->hooks = h;
    return ERR_OK;
}

enum err_code arena_printf(struct arena *a, char **ret_text, struct err *err, const char *fmt, ...)
{
    char *text = NULL;
    enum err_code rc;
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    rc = n < 0 ? err_set(err, ERR_INTERNAL, "arena_printf: bad format") : arena_alloc(a, (size_t)n + 1, 1, &text, err);
    if (!rc) {
        (void)vsnprintf(text, (size_t)n + 1, fmt, again);
        *ret_text = text;
    }
    va_end(again);
    return rc;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){ a->used, a->hooks };
}

void arena_rewind(struct arena *a, struct arena_mark mark)
{
    size_t keep = (mark.used + 4095) & ~(size_t)4095;

    run_hooks(a, mark.hooks);
    if (a->used > keep && a->used - keep > ARENA_GIVE_BACK && !madvise(a->base + keep, a->size - keep, MADV_DONTNEED))
        a->touched = keep; /* pages that were given back return as zeros */
    a->used = mark.used;
}

enum err_code span_dup(struct arena *a, struct span s, char **ret_text, struct err *err)
{
    char *text = NULL;
    enum err_code rc =
        s.len == SIZE_MAX ? err_set(err, ERR_NOMEM, "span: too long") : arena_alloc(a, s.len + 1, 1, &text, err);

    if (rc)
        return rc;
    if (s.len)
        memcpy(text, s.ptr, s.len);
    *ret_text = text;
    return ERR_OK;
}
