#include "kernels/plain/plain.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base/host_memory.h"
#include "kernels/plain/cpu.h"

static struct backend_memory memory(struct backend *be)
{
    (void)be;
    return (struct backend_memory){ .available = host_memory_available() };
}

static void plain_close(struct backend *be)
{
    cpu_done((struct cpu *)be);
    free(be);
}

static enum err_code move(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    (void)be, (void)err;
    memcpy(dst, src, bytes);
    return ERR_OK;
}

static enum err_code sync(struct backend *be, struct err *err)
{
    (void)be, (void)err;
    return ERR_OK;
}

static enum err_code mark(struct backend *be, int slot, struct err *err)
{
    (void)err;
    ((struct cpu *)be)->marks[slot] = cpu_clock();
    return ERR_OK;
}

static enum err_code elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    const double *marks = ((struct cpu *)be)->marks;

    (void)err;
    *ret_ms = 1e3 * (marks[to] - marks[from]);
    return ERR_OK;
}

static enum err_code weight_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err)
{
    (void)be, (void)err;
    *ret = *host;
    return ERR_OK;
}

static void weight_unload(struct backend *be, struct weight *w)
{
    (void)be, (void)w;
}

/* Asks the system to read the pages of the mapping ahead. */
static void weight_prefetch(struct backend *be, const struct weight *const *w, int n)
{
    (void)be;
    for (int i = 0; i < n; i++) {
        uintptr_t start = (uintptr_t)w[i]->data & ~(uintptr_t)4095;
        uintptr_t end = (uintptr_t)w[i]->data + (size_t)w[i]->rows * dtype_row_bytes(w[i]->dtype, w[i]->cols);

        (void)madvise((void *)start, end - start, MADV_WILLNEED);
    }
}

const struct backend_ops plain_ops = {
    .close = plain_close,
    .mem_alloc = cpu_mem_alloc,
    .mem_free = cpu_mem_free,
    .memory = memory,
    .upload = move,
    .download = move,
    .sync = sync,
    .mark = mark,
    .elapsed = elapsed,
    .weight_load = weight_load,
    .weight_unload = weight_unload,
    .weight_prefetch = weight_prefetch,
    .conv_weight_load = plain_conv_weight_load,
    .linear = plain_linear,
    .attention = plain_attention,
    .layer_norm = plain_layer_norm,
    .modulate = plain_modulate,
    .rms_norm = plain_rms_norm,
    .group_norm = plain_group_norm,
    .qk_norm_rope = plain_qk_norm_rope,
    .gate_add = plain_gate_add,
    .gate_add_modulate = plain_gate_add_modulate,
    .mul = plain_mul,
    .silu = plain_silu,
    .axpy = plain_axpy,
    .copy = plain_copy,
    .embed_rows = plain_embed_rows,
    .conv2d = plain_conv2d,
    .upsample2x = plain_upsample2x,
};

enum err_code backend_plain_open(enum precision precision, struct backend **ret, struct err *err)
{
    struct cpu *cpu = malloc(sizeof *cpu);

    if (!cpu)
        return err_set(err, ERR_NOMEM, "cpu: no memory for the backend");
    cpu_init(cpu, &plain_ops, "plain", precision);
    *ret = &cpu->base;
    return ERR_OK;
}
