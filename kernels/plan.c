/*
 * plan - a backend that computes nothing. Its memory is addresses alone, of a kind that no processor maps for a program
 * and that therefore fault when touched. So a model that is run on it takes the same tensors from its arenas as it
 * would elsewhere, and nothing else: peak and total are measured.
 */
#include "kernels/backend.h"

#include <stdlib.h>

/* Not canonical on x86-64 with 48 or 57 bits; on arm64, which may not look at the highest byte, the kernel's half. */
static const uintptr_t first_address = (uintptr_t)3 << 55, last_address = (uintptr_t)7 << 54;
enum { ALIGN = 256 };

struct plan {
    struct backend base;
    uintptr_t next; /* address to give out */
    struct plan_weights weights;
};

static enum err_code plan_mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    struct plan *plan = (struct plan *)be;

    if (bytes > last_address - plan->next - ALIGN)
        return err_set(err, ERR_NOMEM, "plan: no addresses for %zu bytes", bytes);
    *ret = (void *)plan->next;
    plan->next += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return ERR_OK;
}

/* Addresses are never given out twice. */
static void plan_mem_free(struct backend *be, void *p)
{
    (void)be, (void)p;
}

static void plan_close(struct backend *be)
{
    free(be);
}

static enum err_code plan_move(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    (void)be, (void)dst, (void)src, (void)bytes, (void)err;
    return ERR_OK;
}

static enum err_code plan_sync(struct backend *be, struct err *err)
{
    (void)be, (void)err;
    return ERR_OK;
}

static enum err_code plan_mark(struct backend *be, int slot, struct err *err)
{
    (void)be, (void)slot, (void)err;
    return ERR_OK;
}

static enum err_code plan_elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
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

static enum err_code plan_weight_load(struct backend *be, const struct weight *host, struct weight *ret,
                                      struct err *err)
{
    struct plan *plan = (struct plan *)be;

    (void)err;
    plan->weights.matrices += matrix_bytes(host);
    *ret = *host;
    return ERR_OK;
}

static void plan_weight_unload(struct backend *be, struct weight *w)
{
    struct plan *plan = (struct plan *)be;

    plan->weights.matrices -= matrix_bytes(w);
}

static void plan_weight_prefetch(struct backend *be, const struct weight *const *w, int n)
{
    (void)be, (void)w, (void)n;
}

static enum err_code plan_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw,
                                           struct err *err)
{
    struct plan *plan = (struct plan *)be;

    (void)oihw, (void)err;
    plan->weights.conv += (int64_t)cw->c_out * cw->c_in * cw->kh * cw->kw * dtype_info(be->act)->block_bytes;
    cw->data = cw->handle = NULL;
    return ERR_OK;
}

static enum err_code plan_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                                 const struct bias *bias, enum activation act, struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)bias, (void)act, (void)err;
    return ERR_OK;
}

static enum err_code plan_attention(struct backend *be, struct tensor *out, const struct tensor *q,
                                    const struct tensor *k, const struct tensor *v, const struct attention_args *args,
                                    struct err *err)
{
    (void)be, (void)out, (void)q, (void)k, (void)v, (void)args, (void)err;
    return ERR_OK;
}

/* layer_norm and modulate */
static enum err_code plan_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *a,
                               const struct tensor *b, float eps, struct err *err)
{
    (void)be, (void)y, (void)x, (void)a, (void)b, (void)eps, (void)err;
    return ERR_OK;
}

static enum err_code plan_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                                   float eps, struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)eps, (void)err;
    return ERR_OK;
}

static enum err_code plan_group_norm(struct backend *be, struct tensor *y, const struct tensor *x,
                                     const struct tensor *w, const struct tensor *b, int n_groups, float eps, bool silu,
                                     struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)b, (void)n_groups, (void)eps, (void)silu, (void)err;
    return ERR_OK;
}

static enum err_code plan_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                       const struct tensor *rope, int n_heads, float eps, struct err *err)
{
    (void)be, (void)x, (void)scale, (void)rope, (void)n_heads, (void)eps, (void)err;
    return ERR_OK;
}

static enum err_code plan_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x,
                                            const struct tensor *y, const struct gate_modulate_args *args,
                                            struct err *err)
{
    (void)be, (void)a, (void)x, (void)y, (void)args, (void)err;
    return ERR_OK;
}

/* gate_add and mul */
static enum err_code plan_three(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                                struct err *err)
{
    (void)be, (void)y, (void)a, (void)b, (void)err;
    return ERR_OK;
}

/* silu, copy and upsample2x */
static enum err_code plan_two(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    (void)be, (void)y, (void)x, (void)err;
    return ERR_OK;
}

static enum err_code plan_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err)
{
    (void)be, (void)x, (void)a, (void)v, (void)err;
    return ERR_OK;
}

static enum err_code plan_embed_rows(struct backend *be, struct tensor *y, const struct weight *table,
                                     const int32_t *ids, struct err *err)
{
    (void)be, (void)y, (void)table, (void)ids, (void)err;
    return ERR_OK;
}

static enum err_code plan_conv2d(struct backend *be, struct tensor *y, const struct tensor *x,
                                 const struct conv_weight *w, const struct tensor *bias, const struct tensor *residual,
                                 const struct conv_args *args, struct err *err)
{
    (void)be, (void)y, (void)x, (void)w, (void)bias, (void)residual, (void)args, (void)err;
    return ERR_OK;
}

static const struct backend_ops plan_ops = {
    .close = plan_close,
    .mem_alloc = plan_mem_alloc,
    .mem_free = plan_mem_free,
    .upload = plan_move,
    .download = plan_move,
    .sync = plan_sync,
    .mark = plan_mark,
    .elapsed = plan_elapsed,
    .weight_load = plan_weight_load,
    .weight_unload = plan_weight_unload,
    .weight_prefetch = plan_weight_prefetch,
    .conv_weight_load = plan_conv_weight_load,
    .linear = plan_linear,
    .attention = plan_attention,
    .layer_norm = plan_norm,
    .modulate = plan_norm,
    .rms_norm = plan_rms_norm,
    .group_norm = plan_group_norm,
    .qk_norm_rope = plan_qk_norm_rope,
    .gate_add = plan_three,
    .gate_add_modulate = plan_gate_add_modulate,
    .mul = plan_three,
    .silu = plan_two,
    .axpy = plan_axpy,
    .copy = plan_two,
    .embed_rows = plan_embed_rows,
    .conv2d = plan_conv2d,
    .upsample2x = plan_two,
};

enum err_code backend_plan_open(enum dtype act, struct backend **ret, struct err *err)
{
    struct plan *plan = calloc(1, sizeof *plan);

    if (!plan)
        return err_set(err, ERR_NOMEM, "plan: no memory for the backend");
    plan->base = (struct backend){ .ops = &plan_ops, .name = "plan", .act = act, .executes = false };
    plan->next = first_address;
    *ret = &plan->base;
    return ERR_OK;
}

struct plan_weights backend_plan_weights(const struct backend *plan)
{
    return ((const struct plan *)plan)->weights;
}
