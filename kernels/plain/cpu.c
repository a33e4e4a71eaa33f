#include "kernels/plain/cpu.h"

#include <math.h>
#include <omp.h>
#include <sys/mman.h>
#include <time.h>

/* The header in front of every block of memory; its size keeps the block 256-byte aligned. */
struct cpu_block {
    size_t bytes; /* including this header */
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

/* Mapped directly: zeroed, page-aligned, and backed by memory only where it is touched. */
enum err_code cpu_mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    struct cpu_block *block;
    size_t total;

    (void)be;
    if (__builtin_add_overflow(bytes, sizeof *block, &total))
        return err_set(err, ERR_NOMEM, "cpu: the size of %zu bytes overflows", bytes);
    block = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "cpu: no memory for %zu bytes", bytes);
    block->bytes = total;
    *ret = block + 1;
    return ERR_OK;
}

void cpu_mem_free(struct backend *be, void *p)
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
        return err_set(err, ERR_NOMEM, "cpu: the size of %zu buffers of %zu bytes overflows", n, bytes);
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
    enum err_code rc = stride < bytes ? err_set(err, ERR_NOMEM, "cpu: the size of %zu bytes overflows", bytes)
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

double cpu_activation(enum activation act, double x)
{
    switch (act) {
    case ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case ACT_QUICK_GELU:
        return x / (1.0 + exp(-1.702 * x));
    case ACT_SILU:
        return x / (1.0 + exp(-x));
    case ACT_NONE:
        break;
    }
    return x;
}
