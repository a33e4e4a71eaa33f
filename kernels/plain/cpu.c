#include "kernels/cpu/fast.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/base/host_memory.h"

/* In front of every block of memory; its size keeps the block 256-byte aligned. */
struct cpu_block {
    size_t bytes; /* with this header */
    struct cpu_block *next;
    char pad[256 - 2 * sizeof(size_t)];
};

_Static_assert(sizeof(struct cpu_block) == 256, "blocks are promised 256-byte aligned");

double cpu_clock(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int cpu_n_threads(void)
{
    return omp_get_max_threads();
}

int cpu_thread(void)
{
    return omp_get_thread_num();
}

/* From the system itself: zeroed, page-aligned, and memory only where it is touched. */
static enum err_code cpu_mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    struct cpu_block *block;
    size_t total;

    (void)be;
    if (__builtin_add_overflow(bytes, sizeof *block, &total))
        return err_set(err, ERR_NOMEM, "cpu: %zu bytes overflow", bytes);
    block = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "cpu: no memory for %zu bytes", bytes);
    block->bytes = total;
    *ret = block + 1;
    return ERR_OK;
}

static void cpu_mem_free(struct backend *be, void *p)
{
    struct cpu_block *block = p;

    (void)be;
    if (block)
        (void)munmap(block - 1, block[-1].bytes);
}

enum err_code cpu_keep(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    struct cpu *cpu = (struct cpu *)be;
    struct cpu_block *block;
    enum err_code rc = cpu_mem_alloc(be, bytes, ret, err);

    if (rc)
        return rc;
    block = (struct cpu_block *)*ret - 1;
    block->next = cpu->conv_weights;
    cpu->conv_weights = block;
    return ERR_OK;
}

enum err_code cpu_buffer_fit(struct cpu_buffer *b, size_t n, size_t bytes, struct err *err)
{
    void *grown = NULL;
    size_t total;
    enum err_code rc;

    if (__builtin_mul_overflow(n, bytes, &total))
        return err_set(err, ERR_NOMEM, "cpu: %zu buffers of %zu bytes overflow", n, bytes);
    if (total <= b->bytes)
        return ERR_OK;
    rc = cpu_mem_alloc(NULL, total, &grown, err);
    if (rc)
        return rc;
    cpu_buffer_done(b);
    *b = (struct cpu_buffer){ grown, total };
    return ERR_OK;
}

void cpu_buffer_done(struct cpu_buffer *b)
{
    cpu_mem_free(NULL, b->p);
    *b = (struct cpu_buffer){ 0 };
}

enum err_code cpu_scratch(struct backend *be, int n_buffers, size_t bytes, char **ret, size_t *ret_stride,
                          struct err *err)
{
    struct cpu *cpu = (struct cpu *)be;
    size_t stride = (bytes + 63) & ~(size_t)63;
    enum err_code rc = stride < bytes ? err_set(err, ERR_NOMEM, "cpu: %zu bytes overflow", bytes)
                                      : cpu_buffer_fit(&cpu->scratch, (size_t)n_buffers, stride, err);

    if (rc)
        return rc;
    *ret = cpu->scratch.p;
    *ret_stride = stride;
    return ERR_OK;
}

void cpu_init(struct cpu *cpu, const struct backend_ops *ops, const char *name, enum precision precision)
{
    *cpu = (struct cpu){ .base = {
                             .ops = ops,
                             .name = name,
                             .act = precision == PRECISION_BF16 ? DT_BF16 : DT_F32,
                             .executes = true,
                             .in_place = true,
                         } };
}

void cpu_done(struct cpu *cpu)
{
    while (cpu->conv_weights) {
        struct cpu_block *block = cpu->conv_weights;

        cpu->conv_weights = block->next;
        cpu_mem_free(NULL, block + 1);
    }
    cpu_buffer_done(&cpu->scratch);
}

static struct backend_memory cpu_memory(struct backend *be)
{
    (void)be;
    return (struct backend_memory){ .available = host_memory_available() };
}

static void plain_close(struct backend *be)
{
    cpu_done((struct cpu *)be);
    free(be);
}

static enum err_code cpu_move(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    (void)be, (void)err;
    memcpy(dst, src, bytes);
    return ERR_OK;
}

static enum err_code cpu_sync(struct backend *be, struct err *err)
{
    (void)be, (void)err;
    return ERR_OK;
}

static enum err_code cpu_mark(struct backend *be, int slot, struct err *err)
{
    (void)err;
    ((struct cpu *)be)->marks[slot] = cpu_clock();
    return ERR_OK;
}

static enum err_code cpu_elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    const double *marks = ((struct cpu *)be)->marks;

    (void)err;
    *ret_ms = 1e3 * (marks[to] - marks[from]);
    return ERR_OK;
}

static enum err_code cpu_weight_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err)
{
    (void)be, (void)err;
    *ret = *host;
    return ERR_OK;
}

static void cpu_weight_unload(struct backend *be, struct weight *w)
{
    (void)be, (void)w;
}

/* Has the pages of a mapping read ahead. */
static void cpu_weight_prefetch(struct backend *be, const struct weight *const *w, int n)
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
    .memory = cpu_memory,
    .upload = cpu_move,
    .download = cpu_move,
    .sync = cpu_sync,
    .mark = cpu_mark,
    .elapsed = cpu_elapsed,
    .weight_load = cpu_weight_load,
    .weight_unload = cpu_weight_unload,
    .weight_prefetch = cpu_weight_prefetch,
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

static enum err_code plain_open(enum precision precision, struct backend **ret, struct err *err)
{
    struct cpu *cpu = malloc(sizeof *cpu);

    if (!cpu)
        return err_set(err, ERR_NOMEM, "cpu: no memory for the backend");
    cpu_init(cpu, &plain_ops, "plain", precision);
    *ret = &cpu->base;
    return ERR_OK;
}

enum err_code backend_cpu_open(bool fast, enum precision precision, struct backend **ret, struct err *err)
{
#ifdef HAVE_ONEDNN
    if (fast)
        return fast_open(precision, ret, err);
#else
    (void)fast;
#endif
    return plain_open(precision, ret, err);
}
