#include "models/bench/bench_rig.h"

#include <math.h>

#include "kernels/ops.h"
#include "models/bench/bench_sustain.h"

enum { SLAB_BYTES = 64 << 20, SCRATCH_BYTES = 256 << 20 };
static const size_t arena_bytes = (size_t)64 << 30; /* address space */

enum err_code bench_rig_open(struct bench_rig *r, const struct bench_options *o, enum random_weights weights,
                             struct err *err)
{
    *r = (struct bench_rig){ .o = o };
    r->loader = (struct weight_loader){
        .set = &r->set, .be = o->be, .mem = &r->weights, .scratch = &r->scratch, .made = &r->arena
    };
    TRY(arena_init(&r->arena, arena_bytes, err));
    TRY(arena_init(&r->scratch, SCRATCH_BYTES, err));
    TRY(devarena_init(&r->weights, o->be, 0, SLAB_BYTES, err));
    return random_model_init(&r->made_up, &r->arena, o->quant, weights, err);
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
    ARENA_SCRATCH(&r->arena);
    int64_t count = 1;
    float *values = NULL;
    void *data = NULL;

    for (int i = 0; i < n_dims; i++)
        count *= dims[i];
    TRY(devarena_alloc(&r->request_mem, (size_t)count * sizeof(float), &data, err));
    TRY(arena_alloc(&r->arena, (size_t)count, sizeof *values, &values, err));
    for (int64_t i = 0; i < count; i++)
        values[i] = sinf((float)(i % 10007));
    *t = tensor_make(DT_F32, n_dims, dims, data);
    return op_upload(r->o->be, t, values, err);
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

/* y [rows, width] = x [rows, width] w^T; y comes from `mem`, which is opened here. */
static enum err_code time_product(struct bench_rig *r, struct devarena *mem, struct bench_figure *f, struct err *err)
{
    struct backend *be = r->o->be;
    int64_t side = r->o->product_side;
    int64_t rows = side ? side : be->in_place ? 2048 : 8192, width = side ? side : be->in_place ? 4096 : 8192;
    struct random_model made_up;
    struct tensor_file file;
    struct tensor_entry *e;
    struct product_run run = { .be = be };
    struct weight host;

    TRY(random_model_init(&made_up, &r->arena, be->act, RANDOM_WEIGHTS_OWN, err));
    TRY(random_model_add(&made_up, "product", 2, (int64_t[]){ width, width }, err));
    TRY(random_model_finish(&made_up, &file, err));
    TRY(devarena_init(mem, be, (size_t)(rows * width) * sizeof(float), 0, err));
    TRY(devarena_2d(mem, be->act, rows, width, &run.y, err));
    e = &made_up.entries[0];
    host = (struct weight){ .dtype = e->dtype, .rows = width, .cols = width, .data = e->data };
    TRY(be->ops->weight_load(be, &host, &run.w, err));
    /* x is a view of the matrix: on zeros the product would take less power and so be faster */
    run.x = tensor_2d(be->act, rows, width, (void *)(uintptr_t)run.w.data);
    f->flop = 2.0 * (double)rows * (double)width * (double)width;
    return bench_sustain(r->o, f, run_product, &run, err);
}

enum err_code bench_rig_product(struct bench_rig *r, struct bench_figure *f, struct err *err)
{
    struct devarena mem = { 0 };
    enum err_code rc = time_product(r, &mem, f, err);

    devarena_done(&mem);
    return rc;
}
