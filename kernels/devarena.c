#include "kernels/devarena.h"

#include <assert.h>
#include <stdlib.h>

enum { DEVARENA_ALIGN = 256 };

struct devarena_slab {
    void *base;
    struct devarena_slab *next;
};

static enum err_code add_slab(struct devarena *a, size_t bytes, struct err *err)
{
    struct devarena_slab *slab = malloc(sizeof *slab);
    enum err_code rc;

    if (!slab)
        return err_set(err, ERR_NOMEM, "devarena: no memory for a record");
    rc = a->be->ops->mem_alloc(a->be, bytes, &slab->base, err);
    if (rc) {
        free(slab);
        return rc;
    }
    slab->next = a->slabs;
    a->slabs = slab;
    a->base = slab->base;
    a->size = bytes;
    a->used = 0;
    a->total += bytes;
    return ERR_OK;
}

enum err_code devarena_init(struct devarena *a, struct backend *be, size_t size_bytes, size_t grow_bytes,
                            struct err *err)
{
    *a = (struct devarena){ .be = be, .grow_bytes = grow_bytes };
    return size_bytes ? add_slab(a, size_bytes, err) : ERR_OK;
}

void devarena_done(struct devarena *a)
{
    while (a->slabs) {
        struct devarena_slab *slab = a->slabs;

        a->slabs = slab->next;
        a->be->ops->mem_free(a->be, slab->base);
        free(slab);
    }
    *a = (struct devarena){ 0 };
}

enum err_code devarena_alloc(struct devarena *a, size_t bytes, void **ret, struct err *err)
{
    size_t rounded;

    if (__builtin_add_overflow(bytes, DEVARENA_ALIGN - 1, &rounded))
        return err_set(err, ERR_NOMEM, "devarena: the size of %zu bytes overflows", bytes);
    rounded &= ~(size_t)(DEVARENA_ALIGN - 1);
    if (rounded > a->size - a->used) {
        if (!a->grow_bytes)
            return err_set(err, ERR_NOMEM, "devarena: %zu bytes do not fit (%zu of %zu used)", bytes, a->used, a->size);
        TRY(add_slab(a, rounded > a->grow_bytes ? rounded : a->grow_bytes, err));
    }
    *ret = a->base + a->used;
    a->used += rounded;
    if (a->used > a->peak)
        a->peak = a->used;
    return ERR_OK;
}

static enum err_code alloc_tensor(struct devarena *a, enum dtype t, int n_dims, const int64_t *dims, struct tensor *ret,
                                  struct err *err)
{
    int64_t rows = 1;
    size_t row_bytes = dtype_row_bytes(t, dims[n_dims - 1]), bytes;
    bool fits = row_bytes > 0;
    void *data = NULL;

    for (int i = 0; i < n_dims - 1; i++)
        fits = fits && dims[i] > 0 && !__builtin_mul_overflow(rows, dims[i], &rows);
    if (!fits || __builtin_mul_overflow(row_bytes, (size_t)rows, &bytes))
        return err_set(err, ERR_INVALID, "devarena: a tensor of %s with impossible dimensions", dtype_info(t)->name);
    TRY(devarena_alloc(a, bytes, &data, err));
    *ret = tensor_make(t, n_dims, dims, data);
    return ERR_OK;
}

enum err_code devarena_1d(struct devarena *a, enum dtype t, int64_t n, struct tensor *ret, struct err *err)
{
    return alloc_tensor(a, t, 1, (int64_t[]){ n }, ret, err);
}

enum err_code devarena_2d(struct devarena *a, enum dtype t, int64_t rows, int64_t cols, struct tensor *ret,
                          struct err *err)
{
    return alloc_tensor(a, t, 2, (int64_t[]){ rows, cols }, ret, err);
}

enum err_code devarena_3d(struct devarena *a, enum dtype t, int64_t d0, int64_t d1, int64_t d2, struct tensor *ret,
                          struct err *err)
{
    return alloc_tensor(a, t, 3, (int64_t[]){ d0, d1, d2 }, ret, err);
}

enum err_code devarena_carve(struct devarena *parent, size_t bytes, struct devarena *ret, struct err *err)
{
    void *base = NULL;

    assert(!parent->grow_bytes);
    TRY(devarena_alloc(parent, bytes, &base, err));
    *ret = (struct devarena){ .be = parent->be, .base = base, .size = bytes };
    return ERR_OK;
}

size_t devarena_mark(const struct devarena *a)
{
    assert(!a->grow_bytes);
    return a->used;
}

void devarena_rewind(struct devarena *a, size_t mark)
{
    assert(!a->grow_bytes && mark <= a->used);
    a->used = mark;
}
