/*
 * fast - the CPU backend with oneDNN: what its files share. Operations that it does not replace are the plain ones.
 *
 * An operation is cut into tasks, each done by one thread with its own primitives and scratch memory. So what a thread
 * expands or computes stays in its cache, and threads wait for each other only at the end. How an operation is cut
 * depends on its shape and never on the number of threads: the same request gives the same bytes with any number.
 */
#ifndef KERNELS_CPU_FAST_H
#define KERNELS_CPU_FAST_H

#include <string.h>

#include "kernels/cpu/onednn.h"
#include "kernels/plain/cpu.h"

enum {
    FAST_MAX_THREADS = 256,
    FAST_WHY_MAX = 96,
    FAST_STRIP_KINDS = 2 /* all strips of a convolution but the last have the same number of rows */
};

struct fast {
    struct cpu cpu;
    struct backend_ops ops;
    enum dtype products;          /* type of the operands of matrix products and convolutions: fast_choose() */
    char described[FAST_WHY_MAX]; /* the reason for this type, for backend_describe() */
    bool to_warn;                 /* products are in f32 although bf16 was asked for, and no warning was given yet */
    int n_threads;
    struct onednn *solo[FAST_MAX_THREADS];        /* one for each thread */
    struct cpu_buffer operands;                   /* operands in the type of products */
    struct cpu_buffer whole;                      /* a result before it is rounded */
    struct cpu_buffer arranged[FAST_STRIP_KINDS]; /* weights of a convolution in other layouts */
};

/* PRECISION_AUTO takes bf16 where its products are at least this many times as fast as those of f32. With AMX the
 * factor was 3.3 and more even on a busy machine, so two starts do not choose differently. */
#define FAST_BF16_PAYS 1.5

struct fast_choice {
    enum dtype act, products;
    char why[FAST_WHY_MAX]; /* the reason in words, for operators */
};
/* gain: the speed of bf16 divided by that of f32, for PRECISION_AUTO on a processor with AMX; 0: it could not be
 * measured. Without AMX products take f32 whatever was asked for: with AVX-512 BF16 alone, bf16 was measured at 0.5 to
 * 0.8 of the speed of f32, and on other processors it is not known well enough to risk that two starts differ. */
struct fast_choice fast_choose(enum precision precision, enum onednn_bf16 has, double gain);
/* Measures the gain; takes 20 ms on a quiet machine. */
MUST_CHECK enum err_code fast_bf16_gain(struct fast *f, double *ret, struct err *err);
/* Fills b with n values of type t between 1 and 2: products of zeros or subnormals might take another time. */
MUST_CHECK enum err_code fast_sample(struct cpu_buffer *b, enum dtype t, int64_t n, struct err *err);

/* Runs task(ctx, d, scratch, i, err) for i = 0 .. n - 1 on all threads, each with scratch_bytes of memory. Stops early
 * at an error and returns it. */
typedef enum err_code fast_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err);
MUST_CHECK enum err_code fast_run(struct fast *f, fast_task *task, const void *ctx, int64_t n, size_t scratch_bytes,
                                  struct err *err);

/* y = x, by all threads. */
enum err_code fast_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);

/* The n tensors x in the type of products: the tensors themselves, or dense copies valid until the next call. */
MUST_CHECK enum err_code fast_operands(struct fast *f, int n, const struct tensor *const *x, struct tensor *ret,
                                       struct err *err);
/* Whether oneDNN can write type t from operands in the type of products. */
bool fast_writes(const struct fast *f, enum dtype t);

/* For tasks of whole rows: how many rows of n values make one task, and how many tasks y has. */
enum { FAST_VALUES_A_TASK = 1 << 15 };
static inline int64_t fast_rows_a_task(int64_t n)
{
    return (FAST_VALUES_A_TASK - 1) / n + 1;
}

static inline int64_t fast_n_tasks(const struct tensor *y)
{
    int64_t rows = fast_rows_a_task(tensor_cols(y));

    return (tensor_rows(y) + rows - 1) / rows;
}

/* Where to compute a row of y in f32: the row itself, or tmp. */
static inline void *fast_row_out(const struct tensor *y, int64_t row, float *tmp)
{
    return y->dtype == DT_F32 ? (float *)cpu_row(y, row) : tmp;
}

/* Stores a row that was computed where fast_row_out() said. */
static inline void fast_row_done(const struct tensor *y, int64_t row, const float *values)
{
    if (y->dtype == DT_BF16)
        dequantise_row_bf16(DT_F32, values, (uint16_t *)cpu_row(y, row), tensor_cols(y));
}

/* Copies a row of x to y and converts it if their types differ. */
static inline void fast_row_copy(const struct tensor *y, const struct tensor *x, int64_t row)
{
    int64_t n = tensor_cols(y);

    if (x->dtype == y->dtype)
        memmove(cpu_row(y, row), cpu_row(x, row), dtype_row_bytes(y->dtype, n));
    else if (y->dtype == DT_F32)
        dequantise_row(x->dtype, cpu_row(x, row), (float *)cpu_row(y, row), n);
    else
        dequantise_row_bf16(x->dtype, cpu_row(x, row), (uint16_t *)cpu_row(y, row), n);
}

enum err_code fast_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                          const struct bias *bias, enum activation act, struct err *err);
enum err_code fast_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                             const struct tensor *v, const struct attention_args *args, struct err *err);
enum err_code fast_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              const struct tensor *b, float eps, struct err *err);
enum err_code fast_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                            const struct tensor *scale, float eps, struct err *err);
enum err_code fast_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                            float eps, struct err *err);
enum err_code fast_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              const struct tensor *b, const struct group_norm_args *args, struct err *err);
enum err_code fast_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                const struct tensor *rope, int n_heads, float eps, struct err *err);
enum err_code fast_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                            struct err *err);
enum err_code fast_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                     const struct gate_modulate_args *args, struct err *err);
enum err_code fast_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                       struct err *err);
enum err_code fast_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
enum err_code fast_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err);
enum err_code fast_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err);
enum err_code fast_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                          const struct tensor *bias, const struct conv_args *args, struct err *err);

#endif
