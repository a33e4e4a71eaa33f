/*
 * cpu - what the files of the CPU backends share: the backend's record, rows of activations as f32, and the plain
 * operations. The fast backend starts from the plain table and replaces what is worth replacing.
 *
 * One caller at a time: operations use all threads of OpenMP and one scratch buffer of the backend.
 */
#ifndef KERNELS_PLAIN_CPU_H
#define KERNELS_PLAIN_CPU_H

#include "kernels/backend.h"
#include "kernels/quant.h"

/* Memory that grows to what the largest operation needs and stays. */
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

extern const struct backend_ops plain_ops;

void cpu_init(struct cpu *cpu, const struct backend_ops *ops, const char *name, enum precision precision);
void cpu_done(struct cpu *cpu);

/* At least n * bytes, contents undefined. */
MUST_CHECK enum err_code cpu_buffer_fit(struct cpu_buffer *b, size_t n, size_t bytes, struct err *err);
void cpu_buffer_done(struct cpu_buffer *b);

/* n_buffers buffers of `bytes` each, 64-byte aligned, valid until the next call: one a thread, say.
 * *ret_stride is the distance between them. */
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

/* Row of t as f32: itself, or expanded into tmp [cols]. */
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

/* The plain operations, as in backend.h. */
enum err_code plain_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                           const struct bias *bias, enum activation act, struct err *err);
enum err_code plain_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                              const struct tensor *v, const struct attention_args *args, struct err *err);
enum err_code plain_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                               const struct tensor *b, float eps, struct err *err);
enum err_code plain_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                             const struct tensor *scale, float eps, struct err *err);
enum err_code plain_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                             float eps, struct err *err);
enum err_code plain_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                               const struct tensor *b, int n_groups, float eps, bool silu, struct err *err);
enum err_code plain_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                 const struct tensor *rope, int n_heads, float eps, struct err *err);
enum err_code plain_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                             struct err *err);
enum err_code plain_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                      const struct gate_modulate_args *args, struct err *err);
enum err_code plain_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                        struct err *err);
enum err_code plain_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
enum err_code plain_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err);
enum err_code plain_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
enum err_code plain_embed_rows(struct backend *be, struct tensor *y, const struct weight *table, const int32_t *ids,
                               struct err *err);
enum err_code plain_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err);
enum err_code plain_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                           const struct tensor *bias, const struct tensor *residual, const struct conv_args *args,
                           struct err *err);
enum err_code plain_upsample2x(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);

#endif
