#include "models/bench/bench_rig.h"

#include <math.h>

#include "kernels/ops.h"

enum { SLAB_BYTES = 64 << 20, SCRATCH_BYTES = 256 << 20 };
static const size_t address_space = (size_t)64 << 30; /* for host memory; only what is touched is taken */

enum err_code bench_rig_open(struct bench_rig *r, const struct bench_options *o, bool share, struct err *err)
{
    enum err_code rc;

    *r = (struct bench_rig){ .o = o };
    r->loader = (struct weight_loader){ .set = &r->set, .be = o->be, .mem = &r->weights, .scratch = &r->scratch };
    rc = arena_init(&r->arena, address_space, err);
    if (!rc)
        rc = arena_init(&r->scratch, SCRATCH_BYTES, err);
    if (!rc)
        rc = devarena_init(&r->weights, o->be, 0, SLAB_BYTES, err);
    return rc ? rc : random_model_init(&r->made_up, &r->arena, o->quant, share, err);
}

void bench_rig_close(struct bench_rig *r)
{
    devarena_done(&r->step_mem);
    devarena_done(&r->request_mem);
    devarena_done(&r->weights);
    arena_done(&r->scratch);
    arena_done(&r->arena);
}

enum err_code bench_rig_input(struct bench_rig *r, struct tensor *t, int n_dims, const int64_t *dims, struct err *err)
{
    int64_t count = 1;
    float *values = NULL;
    struct arena_mark mark = arena_mark(&r->arena);
    void *data = NULL;
    enum err_code rc;

    for (int i = 0; i < n_dims; i++)
        count *= dims[i];
    rc = devarena_alloc(&r->request_mem, (size_t)count * sizeof(float), &data, err);
    if (!rc)
        rc = arena_alloc(&r->arena, (size_t)count, sizeof *values, &values, err);
    for (int64_t i = 0; i < count && !rc; i++)
        values[i] = sinf((float)(i % 10007));
    if (!rc) {
        *t = tensor_make(DT_F32, n_dims, dims, data);
        rc = op_upload(r->o->be, t, values, err);
    }
    arena_rewind(&r->arena, mark);
    return rc;
}

struct product_run {
    struct backend *be;
    struct tensor x, y;
    struct weight w;
};

static enum err_code run_product(void *ctx, struct err *err)
{
    struct product_run *p = ctx;

    return op_linear(p->be, &p->y, &p->x, &p->w, NULL, ACT_NONE, err);
}

enum err_code bench_rig_product(struct bench_rig *r, struct bench_figure *f, struct err *err)
{
    struct backend *be = r->o->be;
    int64_t side = r->o->product_side;
    int64_t rows = side ? side : be->in_place ? 2048 : 8192, width = side ? side : be->in_place ? 4096 : 8192;
    struct random_model made_up;
    struct tensor_file file;
    struct tensor_entry *e;
    struct devarena mem = { 0 };
    struct product_run run = { .be = be };
    struct weight host;
    enum err_code rc = random_model_init(&made_up, &r->arena, be->act, false, err);

    if (!rc)
        rc = random_model_add(&made_up, "product", 2, (int64_t[]){ width, width }, err);
    if (!rc)
        rc = random_model_finish(&made_up, &file, err);
    if (!rc)
        rc = devarena_init(&mem, be, (size_t)(rows * width) * sizeof(float), 0, err);
    if (!rc)
        rc = devarena_2d(&mem, be->act, rows, width, &run.y, err);
    if (rc)
        goto out;
    e = &made_up.entries[0];
    host = (struct weight){ .dtype = e->dtype, .rows = width, .cols = width, .data = e->data };
    rc = be->ops->weight_load(be, &host, &run.w, err);
    /* zeros would be faster: they take less power */
    run.x = tensor_2d(be->act, rows, width, (void *)(uintptr_t)run.w.data);
    f->flop = 2.0 * (double)rows * (double)width * (double)width;
    if (!rc)
        rc = bench_sustain(r->o, f, run_product, &run, err);
out:
    devarena_done(&mem);
    return rc;
}
