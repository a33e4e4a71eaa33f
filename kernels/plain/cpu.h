/*
 * cpu - what both CPU backends share: the backend's record, its memory, and rows of activations as f32.
 *
 * A backend has one caller at a time: an operation uses all threads of OpenMP and the one scratch buffer.
 */
#ifndef KERNELS_PLAIN_CPU_H
#define KERNELS_PLAIN_CPU_H

#include "kernels/backend.h"
#include "kernels/quant.h"

/* Memory that grows to the need of the largest operation and never shrinks. */
struct cpu_buffer {
    char *p;
    size_t bytes;
};

struct cpu {
    struct backend base;
    struct cpu_buffer scratch;
    struct cpu_block *conv_weights; /* freed when the backend closes */
    double marks[BACKEND_MARKS];    /* seconds of the monotonic clock */
};

void cpu_init(struct cpu *cpu, const struct backend_ops *ops, const char *name, enum precision precision);
void cpu_done(struct cpu *cpu);

/* backend_ops.mem_alloc and mem_free; `be` is not looked at. */
MUST_CHECK enum err_code cpu_mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err);
void cpu_mem_free(struct backend *be, void *p);

/* Grows the buffer to at least n * bytes; its contents are undefined afterwards. */
MUST_CHECK enum err_code cpu_buffer_fit(struct cpu_buffer *b, size_t n, size_t bytes, struct err *err);
void cpu_buffer_done(struct cpu_buffer *b);

/* n_buffers buffers of `bytes` each, usually one a thread; 64-byte aligned, valid until the next call. *ret_stride is
 * the distance between their starts. */
MUST_CHECK enum err_code cpu_scratch(struct backend *be, int n_buffers, size_t bytes, char **ret, size_t *ret_stride,
                                     struct err *err);

/* Memory that lives until the backend closes. */
MUST_CHECK enum err_code cpu_keep(struct backend *be, size_t bytes, void **ret, struct err *err);

double cpu_clock(void); /* seconds, monotonic */
int cpu_n_threads(void);
int cpu_thread(void);

static inline char *cpu_row(const struct tensor *t, int64_t row)
{
    return (char *)t->data + row * t->row_stride * (t->dtype == DT_F32 ? 4 : 2);
}

/* A row of t as f32: the row itself, or a copy in tmp [cols]. */
static inline const float *cpu_row_load(const struct tensor *t, int64_t row, float *tmp)
{
    if (t->dtype == DT_F32)
        return (const float *)cpu_row(t, row);
    dequantise_row(DT_BF16, cpu_row(t, row), tmp, tensor_cols(t));
    return tmp;
}

static inline void cpu_store(const struct tensor *t, int64_t row, int64_t col, double value)
{
    if (t->dtype == DT_F32)
        ((float *)cpu_row(t, row))[col] = (float)value;
    else
        ((uint16_t *)cpu_row(t, row))[col] = f32_to_bf16((float)value);
}

static inline double cpu_load(const struct tensor *t, int64_t row, int64_t col)
{
    if (t->dtype == DT_F32)
        return ((const float *)cpu_row(t, row))[col];
    return bf16_to_f32(((const uint16_t *)cpu_row(t, row))[col]);
}

double cpu_activation(enum activation act, double x);

#endif
