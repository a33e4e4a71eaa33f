/*
 * measure - a backend that computes nothing. Its memory is addresses only, which no processor maps for a program and
 * which therefore fault when touched. A model that is run on this backend takes the same tensors from its arenas as on
 * any other, so their peak and total are measured without memory.
 */
#include "kernels/backend.h"

#include <stdlib.h>

/* These addresses are not canonical on x86-64 with 48 or 57 bits. On arm64, which may ignore the highest byte, they
 * belong to the kernel. */
static const uintptr_t first_address = (uintptr_t)3 << 55, last_address = (uintptr_t)7 << 54;
enum { ALIGN = 256 };

struct measure {
    struct backend base;
    uintptr_t next; /* the next address to give out */
    struct measured_weights weights;
};

static enum err_code measure_mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    struct measure *measure = (struct measure *)be;

    if (bytes > last_address - measure->next - ALIGN)
        return err_set(err, ERR_NOMEM, "measure: no addresses for %zu bytes", bytes);
    *ret = (void *)measure->next;
    measure->next += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return ERR_OK;
}

/* Addresses are never given out twice. */
static void measure_mem_free(struct backend *be, void *p)
{
    (void)be, (void)p;
}

static void measure_close(struct backend *be)
{
    free(be);
}

static enum err_code measure_move(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    (void)be, (void)dst, (void)src, (void)bytes, (void)err;
    return ERR_OK;
}

static enum err_code measure_sync(struct backend *be, struct err *err)
{
    (void)be, (void)err;
    return ERR_OK;
}

static enum err_code measure_mark(struct backend *be, int slot, struct err *err)
{
    (void)be, (void)slot, (void)err;
    return ERR_OK;
}

static enum err_code measure_elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    (void)be, (void)from, (void)to, (void)err;
    *ret_ms = 0;
    return ERR_OK;
}

static int64_t matrix_bytes(const struct weight *w)
{
    int64_t stored = (int64_t)dtype_row_bytes(w->dtype, w->cols), expanded = 2 * w->cols;

    return w->rows * (stored < expanded ? stored : expanded);
}

static enum err_code measure_weight_load(struct backend *be, const struct weight *host, struct weight *ret,
                                         struct err *err)
{
    struct measure *measure = (struct measure *)be;

    (void)err;
    measure->weights.matrices += matrix_bytes(host);
    *ret = *host;
    return ERR_OK;
}

static void measure_weight_unload(struct backend *be, struct weight *w)
{
    struct measure *measure = (struct measure *)be;

    measure->weights.matrices -= matrix_bytes(w);
}

static void measure_weight_prefetch(struct backend *be, const struct weight *const *w, int n)
{
    (void)be, (void)w, (void)n;
}

static enum err_code measure_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw,
                                              struct err *err)
{
    struct measure *measure = (struct measure *)be;

    (void)oihw, (void)err;
    measure->weights.conv += (int64_t)cw->c_out * cw->c_in * cw->kh * cw->kw * dtype_info(be->act)->block_bytes;
    cw->data = cw->handle = NULL;
    return ERR_OK;
}

static enum err_code measure_linear(struct backend *be, struct tensor *y, const struct tensor *x,
                                    const struct weight *w, const struct bias *bias, enum activation act,
                                    struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)bias, (void)act, (void)err;
    return ERR_OK;
}

static enum err_code measure_attention(struct backend *be, struct tensor *out, const struct tensor *q,
                                       const struct tensor *k, const struct tensor *v,
                                       const struct attention_args *args, struct err *err)
{
    (void)be, (void)out, (void)q, (void)k, (void)v, (void)args, (void)err;
    return ERR_OK;
}

/* layer_norm and modulate */
static enum err_code measure_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *a,
                                  const struct tensor *b, float eps, struct err *err)
{
    (void)be, (void)y, (void)x, (void)a, (void)b, (void)eps, (void)err;
    return ERR_OK;
}

static enum err_code measure_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x,
                                      const struct tensor *w, float eps, struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)eps, (void)err;
    return ERR_OK;
}

static enum err_code measure_group_norm(struct backend *be, struct tensor *y, const struct tensor *x,
                                        const struct tensor *w, const struct tensor *b,
                                        const struct group_norm_args *args, struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)b, (void)args, (void)err;
    return ERR_OK;
}

static enum err_code measure_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                          const struct tensor *rope, int n_heads, float eps, struct err *err)
{
    (void)be, (void)x, (void)scale, (void)rope, (void)n_heads, (void)eps, (void)err;
    return ERR_OK;
}

static enum err_code measure_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x,
                                               const struct tensor *y, const struct gate_modulate_args *args,
                                               struct err *err)
{
    (void)be, (void)a, (void)x, (void)y, (void)args, (void)err;
    return ERR_OK;
}

/* gate_add and mul */
static enum err_code measure_three(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                                   struct err *err)
{
    (void)be, (void)y, (void)a, (void)b, (void)err;
    return ERR_OK;
}

/* silu, copy and upsample2x */
static enum err_code measure_two(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    (void)be, (void)y, (void)x, (void)err;
    return ERR_OK;
}

static enum err_code measure_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v,
                                  struct err *err)
{
    (void)be, (void)x, (void)a, (void)v, (void)err;
    return ERR_OK;
}

static enum err_code measure_embed_rows(struct backend *be, struct tensor *y, const struct weight *table,
                                        const int32_t *ids, struct err *err)
{
    (void)be, (void)y, (void)table, (void)ids, (void)err;
    return ERR_OK;
}

static enum err_code measure_conv2d(struct backend *be, struct tensor *y, const struct tensor *x,
                                    const struct conv_weight *w, const struct tensor *bias,
                                    const struct conv_args *args, struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)bias, (void)args, (void)err;
    return ERR_OK;
}

static const struct backend_ops measure_ops = {
    .close = measure_close,
    .mem_alloc = measure_mem_alloc,
    .mem_free = measure_mem_free,
    .upload = measure_move,
    .download = measure_move,
    .sync = measure_sync,
    .mark = measure_mark,
    .elapsed = measure_elapsed,
    .weight_load = measure_weight_load,
    .weight_unload = measure_weight_unload,
    .weight_prefetch = measure_weight_prefetch,
    .conv_weight_load = measure_conv_weight_load,
    .linear = measure_linear,
    .attention = measure_attention,
    .layer_norm = measure_norm,
    .modulate = measure_norm,
    .rms_norm = measure_rms_norm,
    .group_norm = measure_group_norm,
    .qk_norm_rope = measure_qk_norm_rope,
    .gate_add = measure_three,
    .gate_add_modulate = measure_gate_add_modulate,
    .mul = measure_three,
    .silu = measure_two,
    .axpy = measure_axpy,
    .copy = measure_two,
    .embed_rows = measure_embed_rows,
    .conv2d = measure_conv2d,
    .upsample2x = measure_two,
};

enum err_code backend_measure_open(enum dtype act, struct backend **ret, struct err *err)
{
    struct measure *measure = calloc(1, sizeof *measure);

    if (!measure)
        return err_set(err, ERR_NOMEM, "measure: no memory for the backend");
    measure->base = (struct backend){ .ops = &measure_ops, .name = "measure", .act = act, .executes = false };
    measure->next = first_address;
    *ret = &measure->base;
    return ERR_OK;
}

struct measured_weights backend_measured_weights(const struct backend *measure)
{
    return ((const struct measure *)measure)->weights;
}
