#include "kernels/cpu/onednn.h"

#include <dnnl.h>
#include <omp.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum onednn_operand { OPERAND_SRC, OPERAND_WEIGHTS, OPERAND_BIAS, OPERAND_DST, N_OPERANDS };

static const int operand_ids[N_OPERANDS] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST };

/* Owns a descriptor. A zeroed layout has none, and its layout_ref() is NULL. */
struct onednn_layout {
    dnnl_memory_desc_t desc;
    struct onednn_layout *next; /* in the list of kept layouts */
};

/*
 * The two versions of oneDNN differ in what follows, up to #endif. In version 3 a descriptor is a handle, and a
 * primitive is described from descriptors directly; in version 2 a descriptor is a plain struct, and a primitive is
 * described by way of an operation descriptor.
 */
#if DNNL_VERSION_MAJOR >= 3

typedef const_dnnl_memory_desc_t layout_ref_t;

static layout_ref_t layout_ref(const struct onednn_layout *l)
{
    return l->desc;
}

static dnnl_status_t layout_clone(struct onednn_layout *ret, layout_ref_t from)
{
    return dnnl_memory_desc_clone(&ret->desc, from);
}

static void layout_done(struct onednn_layout *l)
{
    if (l->desc)
        (void)dnnl_memory_desc_destroy(l->desc);
    l->desc = NULL;
}

static dnnl_status_t layout_strided(struct onednn_layout *ret, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t t,
                                    const dnnl_dims_t strides)
{
    return dnnl_memory_desc_create_with_strides(&ret->desc, n_dims, dims, t, strides);
}

static dnnl_status_t layout_tagged(struct onednn_layout *ret, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t t,
                                   dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(&ret->desc, n_dims, dims, t, tag);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}

static dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha)
{
    return dnnl_post_ops_append_eltwise(ops, alg, alpha, 0);
}

static dnnl_status_t describe_matmul(dnnl_primitive_desc_t *ret, dnnl_engine_t engine,
                                     const struct onednn_layout layouts[N_OPERANDS], dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(ret, engine, layout_ref(&layouts[OPERAND_SRC]),
                                             layout_ref(&layouts[OPERAND_WEIGHTS]), layout_ref(&layouts[OPERAND_BIAS]),
                                             layout_ref(&layouts[OPERAND_DST]), attr);
}

static dnnl_status_t describe_conv(dnnl_primitive_desc_t *ret, dnnl_engine_t engine,
                                   const struct onednn_layout layouts[N_OPERANDS], const dnnl_dims_t strides,
                                   const dnnl_dims_t top_left, const dnnl_dims_t bottom_right,
                                   dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t undilated = { 0 };

    return dnnl_convolution_forward_primitive_desc_create(
        ret, engine, dnnl_forward_inference, dnnl_convolution_direct, layout_ref(&layouts[OPERAND_SRC]),
        layout_ref(&layouts[OPERAND_WEIGHTS]), layout_ref(&layouts[OPERAND_BIAS]), layout_ref(&layouts[OPERAND_DST]),
        strides, undilated, top_left, bottom_right, attr);
}

#else

typedef const dnnl_memory_desc_t *layout_ref_t;

static layout_ref_t layout_ref(const struct onednn_layout *l)
{
    return l->desc.ndims ? &l->desc : NULL;
}

static dnnl_status_t layout_clone(struct onednn_layout *ret, layout_ref_t from)
{
    ret->desc = *from;
    return dnnl_success;
}

static void layout_done(struct onednn_layout *l)
{
    l->desc = (dnnl_memory_desc_t){ 0 };
}

static dnnl_status_t layout_strided(struct onednn_layout *ret, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t t,
                                    const dnnl_dims_t strides)
{
    return dnnl_memory_desc_init_by_strides(&ret->desc, n_dims, dims, t, strides);
}

static dnnl_status_t layout_tagged(struct onednn_layout *ret, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t t,
                                   dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(&ret->desc, n_dims, dims, t, tag);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1);
}

static dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha)
{
    return dnnl_post_ops_append_eltwise(ops, 1, alg, alpha, 0);
}

static dnnl_status_t describe_matmul(dnnl_primitive_desc_t *ret, dnnl_engine_t engine,
                                     const struct onednn_layout layouts[N_OPERANDS], dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t op;
    dnnl_status_t s =
        dnnl_matmul_desc_init(&op, layout_ref(&layouts[OPERAND_SRC]), layout_ref(&layouts[OPERAND_WEIGHTS]),
                              layout_ref(&layouts[OPERAND_BIAS]), layout_ref(&layouts[OPERAND_DST]));

    return s ? s : dnnl_primitive_desc_create(ret, &op, attr, engine, NULL);
}

static dnnl_status_t describe_conv(dnnl_primitive_desc_t *ret, dnnl_engine_t engine,
                                   const struct onednn_layout layouts[N_OPERANDS], const dnnl_dims_t strides,
                                   const dnnl_dims_t top_left, const dnnl_dims_t bottom_right,
                                   dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t op;
    dnnl_status_t s = dnnl_convolution_forward_desc_init(
        &op, dnnl_forward_inference, dnnl_convolution_direct, layout_ref(&layouts[OPERAND_SRC]),
        layout_ref(&layouts[OPERAND_WEIGHTS]), layout_ref(&layouts[OPERAND_BIAS]), layout_ref(&layouts[OPERAND_DST]),
        strides, top_left, bottom_right);

    return s ? s : dnnl_primitive_desc_create(ret, &op, attr, engine, NULL);
}

#endif

static void layouts_done(struct onednn_layout layouts[N_OPERANDS])
{
    for (int i = 0; i < N_OPERANDS; i++)
        layout_done(&layouts[i]);
}

/* A primitive, its shape, and memory objects whose pointers are set at each use. */
struct onednn_entry {
    enum entry_kind { ENTRY_FREE, ENTRY_MATMUL, ENTRY_CONV } kind;
    union {
        struct onednn_matmul matmul;
        struct onednn_conv conv;
    } shape;
    uint64_t last_use;
    dnnl_primitive_t primitive;
    struct onednn_layout weights;
    dnnl_exec_arg_t args[N_OPERANDS];
    int n_args;
};

static const char *const kind_names[] = { [ENTRY_MATMUL] = "matrix product", [ENTRY_CONV] = "convolution" };

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    uint64_t clock;
    struct onednn_layout *kept;
    struct onednn_entry cache[ONEDNN_CACHE_MAX];
};

static enum err_code check(dnnl_status_t status, const char *what, struct err *err)
{
    if (status == dnnl_success)
        return ERR_OK;
    return err_set(err, status == dnnl_out_of_memory ? ERR_NOMEM : ERR_INTERNAL, "onednn: %s failed with status %d",
                   what, (int)status);
}

/*
 * oneDNN does not survive an allocation that fails. Version 2.6 throws std::bad_alloc through this C code, which ends
 * the process, or uses the null pointer; to catch exceptions, in a language that can, would help with the first only.
 * So it is called only where what it allocates is known to fit: ROOM_TO_MAKE, of which it takes a tenth, while
 * primitives are made; ROOM_TO_RUN, which is enough for some twenty threads, while they run. While one is made none
 * runs, so that nobody takes what another has found free; and from onednn_open() on malloc makes no more arenas, which
 * would reserve 64 MiB of address space at a moment of its own choice.
 */
enum { ROOM_TO_MAKE = 48 << 20, ROOM_TO_RUN = 100 << 10 }; /* bytes; malloc makes a system call for 128 KiB */

static pthread_rwlock_t in_use = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP; /* written to: something is made */

static enum err_code no_room(int bytes, struct err *err)
{
    return err_set(err, ERR_NOMEM, "onednn: there is no memory for %d more KiB", bytes >> 10);
}

/* Until end_using(), also when it fails. */
static enum err_code begin_making(struct err *err)
{
    void *p;

    (void)pthread_rwlock_wrlock(&in_use);
    p = mmap(NULL, ROOM_TO_MAKE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return no_room(ROOM_TO_MAKE, err);
    (void)munmap(p, ROOM_TO_MAKE);
    return ERR_OK;
}

/* The same. */
static enum err_code begin_running(struct err *err)
{
    void *volatile p; /* volatile: a compiler may leave out a pair of malloc() and free() */

    (void)pthread_rwlock_rdlock(&in_use);
    p = malloc(ROOM_TO_RUN);
    free(p);
    return p ? ERR_OK : no_room(ROOM_TO_RUN, err);
}

static void end_using(void)
{
    (void)pthread_rwlock_unlock(&in_use);
}

static enum err_code open_engine(struct onednn *d, struct err *err)
{
    TRY(check(dnnl_set_primitive_cache_capacity(ONEDNN_CACHE_MAX), "cache", err));
    TRY(check(dnnl_engine_create(&d->engine, dnnl_cpu, 0), "engine", err));
    return check(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags), "stream", err);
}

enum err_code onednn_open(struct onednn **ret, struct err *err)
{
    struct onednn *d = calloc(1, sizeof *d);
    enum err_code rc;

    if (!d)
        return err_set(err, ERR_NOMEM, "onednn: no memory for a cache of primitives");
    (void)mallopt(M_ARENA_MAX, 1);
    rc = begin_making(err);
    if (!rc)
        rc = open_engine(d, err);
    end_using();
    if (rc)
        onednn_close(d);
    else
        *ret = d;
    return rc;
}

static void entry_clear(struct onednn_entry *e)
{
    for (int i = 0; i < e->n_args; i++)
        (void)dnnl_memory_destroy(e->args[i].memory);
    if (e->primitive)
        (void)dnnl_primitive_destroy(e->primitive);
    layout_done(&e->weights);
    *e = (struct onednn_entry){ 0 };
}

void onednn_close(struct onednn *d)
{
    if (!d)
        return;
    for (int i = 0; i < ONEDNN_CACHE_MAX; i++)
        entry_clear(&d->cache[i]);
    while (d->kept) {
        struct onednn_layout *next = d->kept->next;

        layout_done(d->kept);
        free(d->kept);
        d->kept = next;
    }
    if (d->stream)
        (void)dnnl_stream_destroy(d->stream);
    if (d->engine)
        (void)dnnl_engine_destroy(d->engine);
    free(d);
}

void onednn_alone(void)
{
    omp_set_num_threads(1);
}

static bool processor_has(dnnl_cpu_isa_t isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

enum onednn_bf16 onednn_bf16(void)
{
    if (processor_has(dnnl_cpu_isa_avx512_core_amx))
        return ONEDNN_BF16_AMX;
    return processor_has(dnnl_cpu_isa_avx512_core_bf16) ? ONEDNN_BF16_AVX512 : ONEDNN_BF16_NONE;
}

/* The entry of this shape; or else the least recently used one, cleared and given the shape. */
static struct onednn_entry *lookup(struct onednn *d, enum entry_kind kind, const void *shape, size_t size,
                                   bool *ret_found)
{
    struct onednn_entry *oldest = &d->cache[0];

    *ret_found = true;
    d->clock++;
    for (int i = 0; i < ONEDNN_CACHE_MAX; i++) {
        struct onednn_entry *e = &d->cache[i];

        if (e->kind == kind && !memcmp(&e->shape, shape, size)) {
            e->last_use = d->clock;
            return e;
        }
        if (e->last_use < oldest->last_use)
            oldest = e;
    }
    *ret_found = false;
    entry_clear(oldest);
    memcpy(&oldest->shape, shape, size);
    oldest->kind = kind;
    oldest->last_use = d->clock;
    return oldest;
}

static dnnl_data_type_t data_type(int64_t t)
{
    return t == DT_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t matrix(struct onednn_layout *ret, int64_t rows, int64_t cols, int64_t t, int64_t row_stride,
                            int64_t col_stride)
{
    dnnl_dims_t dims = { rows, cols }, strides = { row_stride, col_stride };

    return layout_strided(ret, 2, dims, data_type(t), strides);
}

static const struct {
    dnnl_alg_kind_t alg;
    float alpha;
} activations[] = {
    [ACT_GELU_TANH] = { dnnl_eltwise_gelu_tanh, 0 },
    [ACT_QUICK_GELU] = { dnnl_eltwise_swish, 1.702f },
    [ACT_SILU] = { dnnl_eltwise_swish, 1 },
};

static dnnl_status_t attributes(dnnl_primitive_attr_t *ret, int64_t act, int64_t accumulate)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(ret);

    if (!s)
        s = dnnl_post_ops_create(&ops);
    if (!s && accumulate)
        s = append_sum(ops);
    if (!s && act != ACT_NONE)
        s = append_eltwise(ops, activations[act].alg, activations[act].alpha);
    if (!s)
        s = dnnl_primitive_attr_set_post_ops(*ret, ops);
    if (ops)
        (void)dnnl_post_ops_destroy(ops);
    return s;
}

/* Makes the primitive and its memory objects from its description. */
static dnnl_status_t entry_make(struct onednn *d, struct onednn_entry *e, const_dnnl_primitive_desc_t pd, bool bias)
{
    static const dnnl_query_t queries[] = { dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_weights_md,
                                            dnnl_query_dst_md };
    dnnl_status_t s = dnnl_primitive_create(&e->primitive, pd);

    for (int i = 0; i < N_OPERANDS && !s; i++) {
        layout_ref_t layout = dnnl_primitive_desc_query_md(pd, queries[i], i == OPERAND_BIAS);

        if (i == OPERAND_BIAS && !bias)
            continue;
        if (i == OPERAND_WEIGHTS)
            s = layout_clone(&e->weights, layout);
        if (!s)
            s = dnnl_memory_create(&e->args[e->n_args].memory, layout, d->engine, DNNL_MEMORY_NONE);
        e->args[e->n_args].arg = operand_ids[i];
        e->n_args += !s;
    }
    return s;
}

/* Pointers are in the order of enum onednn_operand. oneDNN only reads the first three, though its API takes void *. */
static dnnl_status_t entry_execute(struct onednn *d, struct onednn_entry *e, const void *const pointers[N_OPERANDS])
{
    dnnl_status_t s = dnnl_success;

    for (int i = 0; i < e->n_args && !s; i++)
        for (int operand = 0; operand < N_OPERANDS; operand++)
            if (e->args[i].arg == operand_ids[operand])
                s = dnnl_memory_set_data_handle(e->args[i].memory, (void *)pointers[operand]);
    if (!s)
        s = dnnl_primitive_execute(e->primitive, d->stream, e->n_args, e->args);
    return s ? s : dnnl_stream_wait(d->stream);
}

static enum err_code entry_run(struct onednn *d, struct onednn_entry *e, const void *const pointers[N_OPERANDS],
                               struct err *err)
{
    enum err_code rc = begin_running(err);

    if (!rc)
        rc = check(entry_execute(d, e, pointers), kind_names[e->kind], err);
    end_using();
    return rc;
}

static dnnl_status_t matmul_layouts(struct onednn_layout ret[N_OPERANDS], const struct onednn_matmul *s)
{
    int64_t b_row = s->b_transposed ? 1 : s->ldb, b_col = s->b_transposed ? s->ldb : 1;
    dnnl_status_t status = matrix(&ret[OPERAND_SRC], s->m, s->k, s->in_type, s->lda, 1);

    if (!status)
        status = matrix(&ret[OPERAND_WEIGHTS], s->k, s->n, s->in_type, b_row, b_col);
    if (!status && s->bias)
        status = matrix(&ret[OPERAND_BIAS], 1, s->n, DT_F32, s->n, 1);
    if (!status)
        status = matrix(&ret[OPERAND_DST], s->m, s->n, s->out_type, s->ldc, 1);
    return status;
}

static dnnl_status_t matmul_make(struct onednn *d, struct onednn_entry *e)
{
    const struct onednn_matmul *s = &e->shape.matmul;
    struct onednn_layout layouts[N_OPERANDS] = { 0 };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = matmul_layouts(layouts, s);

    if (!status)
        status = attributes(&attr, s->act, s->accumulate);
    if (!status)
        status = describe_matmul(&pd, d->engine, layouts, attr);
    if (!status)
        status = entry_make(d, e, pd, s->bias);
    (void)dnnl_primitive_desc_destroy(pd);
    (void)dnnl_primitive_attr_destroy(attr);
    layouts_done(layouts);
    return status;
}

static dnnl_status_t conv_layouts(struct onednn_layout ret[N_OPERANDS], const struct onednn_conv *s)
{
    dnnl_dims_t x_dims = { 1, s->c_in, s->h, s->w }, y_dims = { 1, s->c_out, s->h_out, s->w_out };
    dnnl_dims_t w_dims = { s->c_out, s->c_in, s->kh, s->kw }, b_dims = { s->c_out };
    dnnl_data_type_t in_type = data_type(s->in_type);
    dnnl_status_t status = layout_tagged(&ret[OPERAND_SRC], 4, x_dims, in_type, dnnl_nhwc);

    if (!status)
        status = layout_tagged(&ret[OPERAND_WEIGHTS], 4, w_dims, in_type, dnnl_format_tag_any);
    if (!status)
        status = layout_tagged(&ret[OPERAND_BIAS], 1, b_dims, dnnl_f32, dnnl_x);
    if (!status)
        status = layout_tagged(&ret[OPERAND_DST], 4, y_dims, data_type(s->out_type), dnnl_nhwc);
    return status;
}

static dnnl_status_t conv_make(struct onednn *d, struct onednn_entry *e)
{
    const struct onednn_conv *s = &e->shape.conv;
    dnnl_dims_t strides = { s->stride, s->stride };
    dnnl_dims_t top_left = { s->pad_top, s->pad_left }, bottom_right = { s->pad_bottom, s->pad_right };
    struct onednn_layout layouts[N_OPERANDS] = { 0 };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = conv_layouts(layouts, s);

    if (!status)
        status = attributes(&attr, ACT_NONE, s->accumulate);
    if (!status)
        status = describe_conv(&pd, d->engine, layouts, strides, top_left, bottom_right, attr);
    if (!status)
        status = entry_make(d, e, pd, true);
    (void)dnnl_primitive_desc_destroy(pd);
    (void)dnnl_primitive_attr_destroy(attr);
    layouts_done(layouts);
    return status;
}

/* The entry of a shape, which is made unless the cache holds it. */
static enum err_code entry_get(struct onednn *d, enum entry_kind kind, const void *shape, size_t size,
                               struct onednn_entry **ret, struct err *err)
{
    bool found;
    struct onednn_entry *e = lookup(d, kind, shape, size, &found);
    enum err_code rc;

    *ret = e;
    if (found)
        return ERR_OK;
    rc = begin_making(err);
    if (!rc)
        rc = check(kind == ENTRY_MATMUL ? matmul_make(d, e) : conv_make(d, e), kind_names[kind], err);
    end_using();
    if (rc)
        entry_clear(e);
    return rc;
}

enum err_code onednn_matmul(struct onednn *d, const struct onednn_matmul *s, const void *a, const void *b,
                            const void *bias, void *c, struct err *err)
{
    struct onednn_entry *e = NULL;

    TRY(entry_get(d, ENTRY_MATMUL, s, sizeof *s, &e, err));
    return entry_run(d, e, (const void *[N_OPERANDS]){ a, b, bias, c }, err);
}

enum err_code onednn_conv_layout(struct onednn *d, const struct onednn_conv *s, const struct onednn_layout **ret,
                                 size_t *ret_bytes, struct err *err)
{
    struct onednn_entry *e = NULL;

    TRY(entry_get(d, ENTRY_CONV, s, sizeof *s, &e, err));
    *ret = &e->weights;
    *ret_bytes = dnnl_memory_desc_get_size(layout_ref(&e->weights));
    return ERR_OK;
}

enum err_code onednn_conv(struct onednn *d, const struct onednn_conv *s, const void *x, const void *weights,
                          const float *bias, void *y, struct err *err)
{
    struct onednn_entry *e = NULL;

    TRY(entry_get(d, ENTRY_CONV, s, sizeof *s, &e, err));
    return entry_run(d, e, (const void *[N_OPERANDS]){ x, weights, bias, y }, err);
}

enum err_code onednn_layout_keep(struct onednn *d, const struct onednn_layout *l, struct onednn_layout **ret,
                                 struct err *err)
{
    struct onednn_layout *kept = calloc(1, sizeof *kept);
    enum err_code rc;

    if (!kept)
        return err_set(err, ERR_NOMEM, "onednn: no memory for a layout of weights");
    rc = begin_running(err);
    if (!rc)
        rc = check(layout_clone(kept, layout_ref(l)), "layout", err);
    end_using();
    if (rc) {
        free(kept);
        return rc;
    }
    kept->next = d->kept;
    d->kept = *ret = kept;
    return ERR_OK;
}

bool onednn_layout_equal(const struct onednn_layout *a, const struct onednn_layout *b)
{
    return dnnl_memory_desc_equal(layout_ref(a), layout_ref(b));
}

static dnnl_status_t rearrange(struct onednn *d, const struct onednn_conv *s, const struct onednn_layout *from_layout,
                               const void *from, const struct onednn_layout *to_layout, void *to)
{
    dnnl_dims_t dims = { s->c_out, s->c_in, s->kh, s->kw };
    struct onednn_layout oihw = { 0 };
    dnnl_memory_t src = NULL, dst = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_status_t status = layout_tagged(&oihw, 4, dims, dnnl_f32, dnnl_oihw);
    layout_ref_t src_ref = layout_ref(from_layout ? from_layout : &oihw), dst_ref = layout_ref(to_layout);

    if (!status)
        status = dnnl_memory_create(&src, src_ref, d->engine, (void *)from);
    if (!status)
        status = dnnl_memory_create(&dst, dst_ref, d->engine, to);
    if (!status)
        status = dnnl_reorder_primitive_desc_create(&pd, src_ref, d->engine, dst_ref, d->engine, NULL);
    if (!status)
        status = dnnl_primitive_create(&reorder, pd);
    if (!status) {
        dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, src }, { DNNL_ARG_TO, dst } };

        status = dnnl_primitive_execute(reorder, d->stream, 2, args);
    }
    if (!status)
        status = dnnl_stream_wait(d->stream);
    (void)dnnl_primitive_destroy(reorder);
    (void)dnnl_primitive_desc_destroy(pd);
    (void)dnnl_memory_destroy(dst);
    (void)dnnl_memory_destroy(src);
    layout_done(&oihw);
    return status;
}

enum err_code onednn_reorder(struct onednn *d, const struct onednn_conv *s, const struct onednn_layout *from_layout,
                             const void *from, const struct onednn_layout *to_layout, void *to, struct err *err)
{
    enum err_code rc = begin_making(err);

    if (!rc)
        rc = check(rearrange(d, s, from_layout, from, to_layout, to), "weights of a convolution", err);
    end_using();
    return rc;
}
