/*
 * backend - the one table of operations. plain/ is the reference, cpu/ the fast CPU backend, cuda/ the GPU backend;
 * measure.c computes nothing: it finds the memory that a model takes. Models compute through op_*() of ops.h, which
 * checks dtypes and shapes and then calls the table, so implementations may trust their arguments. Everything else
 * (memory, weights, marks) is called through `ops` directly.
 *
 * Shapes: M rows (tokens or pixels) by columns, row-major. Activations are F32 or BF16 (`act` of the backend is
 * the type of matrix-product inputs); every operation computes in f32 (or better) and rounds once at the store.
 * Vectors of parameters (norm scale, shift, gate, the bias of a convolution) are F32; the bias of a product is a struct
 * bias. Operations are queued on the backend's stream: results may be read after sync() or download().
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/tensor.h"

struct backend;

enum activation { ACT_NONE, ACT_GELU_TANH, ACT_QUICK_GELU, ACT_SILU };

struct attention_args {
    int n_heads, head_dim; /* columns of q, k, v, out = n_heads * head_dim, head-major */
    float scale;           /* logits = scale * q.k (+ bias) */
    bool causal;           /* key j <= query i only */
    /* T5: [n_heads, 2*max - 1] F32, dense; logit(i, j) += rel_bias[head, j - i + max - 1]; NULL: none.
     * max >= number of tokens. */
    const struct tensor *rel_bias;
};

/* The vectors of gate_add_modulate, F32 [cols] each: the gate of the added tensor, and the modulation of the sum. */
struct gate_modulate_args {
    const struct tensor *gate, *shift, *scale;
    float eps;
};

/* Convolution weights in the backend's own layout, made by conv_weight_load from OIHW f32. */
struct conv_weight {
    int c_out, c_in, kh, kw;
    void *data; /* backend memory */
    void *handle;
};

struct group_norm_args {
    int n_groups; /* each of channels / n_groups neighbouring channels */
    float eps;
    enum activation act; /* applied to the result: ACT_NONE or ACT_SILU */
};

struct conv_args {
    int stride;                                   /* 1 or 2, both axes */
    int pad_top, pad_left, pad_bottom, pad_right; /* zeros */
    const struct tensor *residual;                /* has the result's shape and is added to it; NULL: none */
};

/*
 * How a device with memory of its own keeps matrices. DEQUANT: expanded to the type of products. STREAM: as in their
 * file, and expanded each time they are used, which takes less memory and more time. AUTO: DEQUANT where all matrices
 * fit, else STREAM. The results are the same.
 */
enum weight_mode { WEIGHTS_AUTO, WEIGHTS_DEQUANT, WEIGHTS_STREAM };

/* The memory that mem_alloc and weight_load take from, in bytes. */
struct backend_memory {
    int64_t available; /* free for both together, after the backend's own needs; -1: unknown */
    int64_t used;      /* by all processes, on a device with memory of its own; 0 elsewhere */
};

/* What the driver reports about a card. A text is "" and a number NaN where it reports nothing. */
struct backend_card {
    char name[96];      /* "NVIDIA L4" */
    char driver[40];    /* version */
    char libraries[96]; /* names and versions of the libraries that compute */
    double power_limit_w;
    double power_w, clock_mhz, temperature_c; /* at the time of the call */
    double energy_j; /* used since the driver was loaded; two readings give the mean power between them */
};

enum { BACKEND_MARKS = 8 };

/* Whether an optional library computes instead of our own kernels. AUTO: where it is expected to be faster on this
 * card; NEVER; ALWAYS: wherever it can. The results agree within their rounding. */
enum library_use { LIBRARY_AUTO, LIBRARY_NEVER, LIBRARY_ALWAYS };

struct backend_ops {
    void (*close)(struct backend *be);

    /* memory: `bytes` of backend memory, 256-byte aligned, zeroed; not while a request is computed */
    enum err_code (*mem_alloc)(struct backend *be, size_t bytes, void **ret, struct err *err);
    void (*mem_free)(struct backend *be, void *p);
    /* NULL: unknown. Read it through backend_memory(). */
    struct backend_memory (*memory)(struct backend *be);
    enum err_code (*upload)(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err);
    enum err_code (*download)(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err);
    enum err_code (*sync)(struct backend *be, struct err *err);

    /* time, measured without stopping the queue: a mark is queued after the work so far, and setting it again moves it.
     * elapsed() waits for the work before mark `to` and not for the work after it; `from` was set earlier. slot: 0 ..
     * BACKEND_MARKS - 1 */
    enum err_code (*mark)(struct backend *be, int slot, struct err *err);
    enum err_code (*elapsed)(struct backend *be, int from, int to, double *ret_ms, struct err *err);

    /* NULL where there is no card; takes about a millisecond and does not wait for queued work */
    void (*card)(struct backend *be, struct backend_card *ret);

    /* NULL where there is no choice. Read them through backend_use_library() and backend_describe(). */
    void (*use_library)(struct backend *be, enum library_use use);
    const char *(*describe)(struct backend *be);

    /* weights: `host` points into a mapping that outlives the backend's use of it.
     * weights_expect is called before the first weight is loaded; expanded_bytes is the size of all matrices together
     * at two bytes a value, for AUTO; NULL where there is no choice */
    void (*weights_expect)(struct backend *be, enum weight_mode mode, size_t expanded_bytes);
    enum err_code (*weight_load)(struct backend *be, const struct weight *host, struct weight *ret, struct err *err);
    /* undoes weight_load after the queued work has run; NULL where weights stay until the backend closes */
    void (*weight_unload)(struct backend *be, struct weight *w);
    /* a hint: these weights are used next, in this order; may do nothing */
    void (*weight_prefetch)(struct backend *be, const struct weight *const *w, int n);
    enum err_code (*conv_weight_load)(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err);

    /* y[M,N] = act(x[M,K] w^T + bias), w [N,K] of any dtype, bias [N] or NULL */
    enum err_code (*linear)(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                            const struct bias *bias, enum activation act, struct err *err);
    /* out[i,:] = sum_j softmax_j(logits) v[j,:] per head; out may not overlap q, k, v */
    enum err_code (*attention)(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                               const struct tensor *v, const struct attention_args *args, struct err *err);
    /* y = LN(x) * w + b over columns; biased variance; w, b F32 [cols] or NULL */
    enum err_code (*layer_norm)(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                                const struct tensor *b, float eps, struct err *err);
    /* y = LN(x) * (1 + scale) + shift */
    enum err_code (*modulate)(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                              const struct tensor *scale, float eps, struct err *err);
    /* y = x * w / sqrt(mean(x^2) + eps) over columns */
    enum err_code (*rms_norm)(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                              float eps, struct err *err);
    /* x [H,W,C]: statistics over all pixels of C/n_groups neighbouring channels; y = act(GN(x) * w + b) */
    enum err_code (*group_norm)(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                                const struct tensor *b, const struct group_norm_args *args, struct err *err);
    /* In place on x [M, n_heads*d]: per head RMSNorm(scale F32 [d], eps), then rotation of adjacent pairs.
     * rope F32 [M, d] holds (cos, sin) for each of the d/2 pairs; NULL: no rotation */
    enum err_code (*qk_norm_rope)(struct backend *be, struct tensor *x, const struct tensor *scale,
                                  const struct tensor *rope, int n_heads, float eps, struct err *err);
    /* x += gate * y, gate F32 [cols] or NULL for 1 */
    enum err_code (*gate_add)(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                              struct err *err);
    /* x += gate * y, then a = LN(x) * (1 + scale) + shift; same bytes as gate_add followed by modulate. a may be y */
    enum err_code (*gate_add_modulate)(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                       const struct gate_modulate_args *args, struct err *err);
    enum err_code (*mul)(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                         struct err *err);
    enum err_code (*silu)(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
    /* x += a * v, all F32 (the Euler step) */
    enum err_code (*axpy)(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err);
    /* y = x, strided and with a change of dtype */
    enum err_code (*copy)(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
    /* y[i,:] = table[ids[i],:]; ids on the host, each in 0 .. table->rows - 1 (checked) */
    enum err_code (*embed_rows)(struct backend *be, struct tensor *y, const struct weight *table, const int32_t *ids,
                                struct err *err);
    /* x [H,W,C_in] -> y [H',W',C_out]; cross-correlation, bias F32 [C_out]; y may be the residual */
    enum err_code (*conv2d)(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                            const struct tensor *bias, const struct conv_args *args, struct err *err);
    /* y[2H,2W,C] = nearest neighbour of x[H,W,C] */
    enum err_code (*upsample2x)(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
};

/* Matrix products that the device's library had no algorithm for. Their results are right, but they are slow. */
struct backend_refused {
    int64_t shapes;     /* computed in parts, by the library and a kernel of ours */
    int64_t plain_runs; /* products computed by plain loops, which are slower by orders of magnitude */
};

struct backend {
    const struct backend_ops *ops;
    const char *name;                   /* "cpu", "plain", "cuda", "measure" */
    enum dtype act;                     /* DT_F32 or DT_BF16; see backend_precision() */
    bool executes;                      /* false: the measuring backend, whose memory must not be read */
    bool runs_behind;                   /* operations are queued and return before they have run */
    bool in_place;                      /* matrices are read from the file's mapping and take no memory of their own */
    char without_cuda[ERR_MESSAGE_MAX]; /* why AUTO did not open CUDA; empty: it did, or was not asked */
    struct backend_refused refused;
    /* set by the caller of backend_open(); called with one line for each cause of slowness. NULL: lines are dropped
     */
    void (*warn)(const char *line);
};

enum backend_kind { BACKEND_AUTO, BACKEND_CPU, BACKEND_PLAIN, BACKEND_CUDA };

/* The words for users, in the order of enum backend_kind, NULL at the end. */
extern const char *const backend_kind_names[];

/*
 * The type of the inputs of matrix products, which becomes `act`. DEFAULT: f32 on the CPU and bf16 on CUDA, for
 * commands, whose results must not depend on the processor. AUTO, used by the service: bf16 on CUDA, f32 on the plain
 * backend, and on the CPU the type that was faster in a short product when the backend was opened. CUDA computes in
 * bf16 only. Where bf16 is asked for on a processor that has no bf16 products or slow ones, values are still rounded to
 * bf16 but products are computed in f32; backend_describe() says so.
 */
enum precision { PRECISION_DEFAULT, PRECISION_F32, PRECISION_BF16, PRECISION_AUTO };

/*
 * Opens a backend. AUTO: CUDA where the build has it, a device answers and CUDA has the precision; else CPU. A device
 * that answers and then fails is an error.
 * CPU: oneDNN where the build has it, else plain. PLAIN: the reference loops.
 * ERR_UNAVAILABLE with the reason where the backend cannot run.
 * The caller ends it with backend_close(), after everything that was loaded into it.
 */
MUST_CHECK enum err_code backend_open(enum backend_kind kind, enum precision precision, struct backend **ret,
                                      struct err *err);
void backend_close(struct backend *be); /* takes NULL */

/* The card that the backend computes on; false: it uses no card. */
bool backend_card(struct backend *be, struct backend_card *ret);

/* At the time of the call; { -1, 0 } where it is unknown. */
struct backend_memory backend_memory(struct backend *be);

/* Call it before weights are loaded; without it a device expands them all. expanded_bytes: the size of all matrices
 * together at two bytes a value; only AUTO needs it. Backends without a choice ignore the call. */
void backend_expect_weights(struct backend *be, enum weight_mode mode, size_t expanded_bytes);

/* Not while a request is computed; the default is AUTO. For tests and measurements. */
void backend_use_library(struct backend *be, enum library_use use);
/* What computes attention, or in which type products are computed, in words; "" where there is no choice. The text is
 * valid until the next call. */
const char *backend_describe(struct backend *be);

/* The name of `act`: "f32" or "bf16". */
const char *backend_precision(const struct backend *be);

/* The measuring backend: every operation checks its arguments and succeeds, and memory is addresses that fault when
 * touched, so that running a model measures its arenas. An arena of PLENTY bytes is larger than any model needs, and
 * costs nothing. */
#define BACKEND_MEASURE_PLENTY ((size_t)1 << 42)
MUST_CHECK enum err_code backend_measure_open(enum dtype act, struct backend **ret, struct err *err);

/* The weights that were loaded into a measuring backend, in bytes. */
struct measured_weights {
    int64_t matrices; /* as stored, but at most two bytes a value: what a device that is short of memory keeps */
    int64_t conv;     /* weights of convolutions, in the type of matrix products */
};
struct measured_weights backend_measured_weights(const struct backend *measure);

/* One function opens each backend; ERR_UNAVAILABLE with the reason where it cannot run. */
MUST_CHECK enum err_code backend_plain_open(enum precision precision, struct backend **ret, struct err *err);
/* Only in builds with oneDNN. */
MUST_CHECK enum err_code backend_fast_open(enum precision precision, struct backend **ret, struct err *err);
MUST_CHECK enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err);
/* The faster of the two CPU backends that the build has. */
MUST_CHECK enum err_code backend_cpu_open(enum precision precision, struct backend **ret, struct err *err);

#endif
