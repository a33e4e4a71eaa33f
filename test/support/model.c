#include "test/support/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ops.h"
#include "test/support/check.h"

/* The limits are those of MODEL.md: for f32 ten times the error of plain f32 rounding; for bf16 about four times the
 * distance of the official model in bf16 from itself in f32, 0.7 to 0.9 %. */
const struct rig_kind rig_kinds[N_RIG_KINDS] = {
    { BACKEND_PLAIN, PRECISION_F32, 1e-5 },
    { BACKEND_CPU, PRECISION_F32, 1e-5 },
    { BACKEND_PLAIN, PRECISION_BF16, 3e-2 },
    { BACKEND_CPU, PRECISION_BF16, 3e-2 },
};

enum { HOST_BYTES = 64 << 20, DEVICE_BYTES = 64 << 20, SLAB_BYTES = 1 << 20 };

void rig_open(struct rig *r, const struct rig_kind *kind)
{
    struct err err = { 0 };

    *r = (struct rig){ 0 };
    CHECK_OK(backend_open(kind->kind, kind->precision, &r->be, &err), err);
    CHECK_OK(arena_init(&r->arena, HOST_BYTES, &err), err);
    CHECK_OK(arena_init(&r->scratch, HOST_BYTES, &err), err);
    CHECK_OK(devarena_init(&r->weights, r->be, 0, SLAB_BYTES, &err), err);
    CHECK_OK(devarena_init(&r->request_mem, r->be, DEVICE_BYTES, 0, &err), err);
    CHECK_OK(devarena_init(&r->step_mem, r->be, DEVICE_BYTES, 0, &err), err);
    r->loader = (struct weight_loader){
        .set = &r->set, .be = r->be, .mem = &r->weights, .scratch = &r->scratch, .made = &r->arena
    };
}

void rig_close(struct rig *r)
{
    devarena_done(&r->step_mem);
    devarena_done(&r->request_mem);
    devarena_done(&r->weights);
    backend_close(r->be);
    arena_done(&r->scratch);
    arena_done(&r->arena);
}

void rig_file(struct rig *r, int i, const char *path)
{
    struct err err = { 0 };

    CHECK_OK(tensor_file_open(path, &r->arena, &r->files[i], &err), err);
}

static const struct tensor_entry *find(const struct tensor_file *f, const char *fmt, va_list ap)
{
    char name[TENSOR_NAME_MAX + 1];

    (void)vsnprintf(name, sizeof name, fmt, ap);
    return tensor_file_find(f, span_of(name));
}

bool rig_has(const struct tensor_file *f, const char *fmt, ...)
{
    const struct tensor_entry *e;
    va_list ap;

    va_start(ap, fmt);
    e = find(f, fmt, ap);
    va_end(ap);
    return e != NULL;
}

const float *rig_golden(struct rig *r, const struct tensor_file *f, int64_t *rows, int64_t *cols, const char *fmt, ...)
{
    const struct tensor_entry *e;
    struct err err = { 0 };
    float *ret = NULL;
    int64_t n_rows = 1;
    va_list ap;

    va_start(ap, fmt);
    e = find(f, fmt, ap);
    va_end(ap);
    if (!e || e->dtype != DT_F32 || e->n_dims < 1)
        test_fail(__FILE__, __LINE__, "%s: no F32 tensor like %s", f->path, fmt);
    for (int i = 0; i < e->n_dims - 1; i++)
        n_rows *= e->dims[i];
    if (*rows >= 0)
        CHECK_INT(n_rows, *rows);
    if (*cols >= 0)
        CHECK_INT(e->dims[e->n_dims - 1], *cols);
    *rows = n_rows;
    *cols = e->dims[e->n_dims - 1];
    CHECK_OK(arena_alloc(&r->arena, e->bytes, 1, &ret, &err), err);
    memcpy(ret, e->data, e->bytes); /* the file promises no alignment */
    return ret;
}

struct tensor rig_upload(struct rig *r, const float *values, int64_t rows, int64_t cols)
{
    struct err err = { 0 };
    struct tensor t;

    CHECK_OK(devarena_2d(&r->request_mem, DT_F32, rows, cols, &t, &err), err);
    CHECK_OK(op_upload(r->be, &t, values, &err), err);
    return t;
}

const float *rig_download(struct rig *r, const struct tensor *t)
{
    size_t mark = devarena_mark(&r->step_mem);
    struct err err = { 0 };
    struct tensor dense;
    float *ret = NULL;

    CHECK_OK(devarena_2d(&r->step_mem, DT_F32, tensor_rows(t), tensor_cols(t), &dense, &err), err);
    CHECK_OK(op_copy(r->be, &dense, t, &err), err);
    CHECK_OK(arena_alloc(&r->arena, (size_t)tensor_count(t), sizeof *ret, &ret, &err), err);
    CHECK_OK(op_download(r->be, ret, &dense, &err), err);
    devarena_rewind(&r->step_mem, mark);
    return ret;
}
