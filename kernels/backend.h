/*
 * backend - the one table of operations. cpu/ is the reference and the fast CPU path, cuda/ the product, measure.c
 * executes nothing and so measures memory. Models call op_*() of ops.h, which checks dtypes and shapes once and
 * then calls the table, so implementations may trust what they get.
 *
 * Shapes: M rows (tokens or pixels) by columns, row-major. Activations are F32 or BF16 (`act` of the backend is
 * the type of matrix-product inputs); every operation computes in f32 (or better) and rounds once at the store.
 * Vectors of parameters (norm scale, shift, gate, the bias of a convolution) are F32; a product's is a struct bias.
 * Queues on the backend's stream: results may be read after sync() or download().
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

/* The vectors of gate_add_modulate, F32 [cols] each: the gate of what is added, and the modulation of the sum. */
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
    int n_groups; /* of as many neighbouring channels each */
    float eps;
    enum activation act; /* of the result: ACT_NONE or ACT_SILU */
};

struct conv_args {
    int stride;                                   /* 1 or 2, both axes */
    int pad_top, pad_left, pad_bottom, pad_right; /* zeros */
    const struct tensor *residual;                /* added to the result, of its shape; NULL: none */
};

/*
 * How a device with memory of its own keeps matrices. DEQUANT: as products take them. STREAM: as in their file, and
 * expanded each time they are used, which takes less memory and more time. AUTO: the first where everything fits.
 * Results are the same.
 */
enum weight_mode { WEIGHTS_AUTO, WEIGHTS_DEQUANT, WEIGHTS_STREAM };

/* Of the memory that mem_alloc and weight_load take from, in bytes. */
struct backend_memory {
    int64_t available; /* for both together, less what the backend wants for itself; -1: unknown */
    int64_t used;      /* of a device with memory of its own, by everybody who uses it; 0 elsewhere */
};

/* What a card says of itself. Texts are "" and numbers NaN where it does not. */
struct backend_card {
    char name[96];      /* "NVIDIA L4" */
    char driver[40];    /* its version */
    char libraries[96]; /* those that compute, with their versions */
    double power_limit_w;
    double power_w, clock_mhz, temperature_c; /* as of now */
    double energy_j; /* used since the driver was loaded: watts over any time between two calls */
};

enum { BACKEND_MARKS = 8 };

/* Who computes what a library may compute in the place of a device's own kernels: whoever is expected to be faster on
 * this card, never the library, or the library wherever it can. Results agree within their rounding. */
enum library_use { LIBRARY_AUTO, LIBRARY_NEVER, LIBRARY_ALWAYS };

struct backend_ops {
    void (*close)(struct backend *be);

    /* memory: `bytes` of backend memory, 256-byte aligned, zeroed; not while a job runs */
    enum err_code (*mem_alloc)(struct backend *be, size_t bytes, void **ret, struct err *err);
    void (*mem_free)(struct backend *be, void *p);
    /* NULL: nothing is known. Read it through backend_memory(). */
    struct backend_memory (*memory)(struct backend *be);
    enum err_code (*upload)(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err);
    enum err_code (*download)(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err);
    enum err_code (*sync)(struct backend *be, struct err *err);

    /* time, without waiting in between: a mark stands in the queue behind what was queued before it, and may be set
     * again, to another place. elapsed() waits until the work before mark `to` is done, and not for what came after it;
     * `from` was set earlier. slot: 0 .. BACKEND_MARKS - 1 */
    enum err_code (*mark)(struct backend *be, int slot, struct err *err);
    enum err_code (*elapsed)(struct backend *be, int from, int to, double *ret_ms, struct err *err);

    /* NULL where there is no card; takes a millisecond or so and waits for nothing that is queued */
    void (*card)(struct backend *be, struct backend_card *ret);

    /* NULL where there is no choice. Read them through backend_use_library() and backend_describe(). */
    void (*use_library)(struct backend *be, enum library_use use);
    const char *(*describe)(struct backend *be);

    /* weights: `host` lies in a mapping that outlives the backend's use of it.
     * weights_expect comes before all others and says how large all matrices are at two bytes a value, for AUTO; NULL
     * where there is no choice */
    void (*weights_expect)(struct backend *be, enum weight_mode mode, size_t expanded_bytes);
    enum err_code (*weight_load)(struct backend *be, const struct weight *host, struct weight *ret, struct err *err);
    /* undoes weight_load once what is queued has run; NULL where weights can only stay until the backend closes */
    void (*weight_unload)(struct backend *be, struct weight *w);
    /* these are used next, in this order: a hint; may do nothing */
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
    /* x += gate * y, then a = LN(x) * (1 + scale) + shift; the bytes are those of gate_add and modulate. a may be y */
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

/* What a device's library for matrix products knew no way for. The results are right, the time is not. */
struct backend_refused {
    int64_t shapes;     /* taken in parts since */
    int64_t plain_runs; /* products made by plain loops, orders of magnitude slower */
};

struct backend {
    const struct backend_ops *ops;
    const char *name; /* "cpu", "plain", "cuda", "measure" */
    enum dtype act;   /* DT_F32 or DT_BF16; see backend_precision() */
    bool executes;    /* false: the measuring backend, whose memory must not be read */
    bool runs_behind; /* operations are queued and return before they have run */
    bool in_place;    /* matrices are used where they lie in the file's mapping, and take no memory of their own */
    char without_cuda[ERR_MESSAGE_MAX]; /* opened as AUTO, and this is why it is no CUDA; else empty */
    struct backend_refused refused;
    /* set by who opened it; NULL: nobody wants to know. A line about what is slower than it should be, once a cause */
    void (*warn)(const char *line);
};

enum backend_kind { BACKEND_AUTO, BACKEND_CPU, BACKEND_PLAIN, BACKEND_CUDA };

/*
 * The type of the inputs of matrix products, which becomes `act`. DEFAULT: f32 on the CPU and bf16 on CUDA, for
 * commands, whose results shall not depend on the processor. AUTO, which the service takes: bf16 on CUDA, f32 on the
 * plain backend, and on the CPU what a short product shows to pay when the backend is opened. CUDA computes in bf16
 * alone. Where bf16 is asked for on a processor that has none or is slower with it, values are rounded to bf16 all the
 * same and products are computed in f32; backend_describe() says so.
 */
enum precision { PRECISION_DEFAULT, PRECISION_F32, PRECISION_BF16, PRECISION_AUTO };

/*
 * Opens a backend. AUTO: CUDA where the build has it, a device answers and the precision is one of CUDA's, else CPU.
 * CPU: oneDNN where the build has it, else plain. PLAIN: the reference loops.
 * ERR_UNAVAILABLE when the one asked for cannot run here, with the reason.
 * The caller ends it with backend_close(), after everything that was loaded into it.
 */
MUST_CHECK enum err_code backend_open(enum backend_kind kind, enum precision precision, struct backend **ret,
                                      struct err *err);
void backend_close(struct backend *be); /* takes NULL */

/* The card that a backend computes on; false where it computes on none. */
bool backend_card(struct backend *be, struct backend_card *ret);

/* As of now; { -1, 0 } where nothing is known. */
struct backend_memory backend_memory(struct backend *be);

/* Before weights are loaded; without it a device expands them all. `expanded_bytes`: of all matrices together, two
 * bytes a value; 0 where the mode says it all. Backends without a choice take no notice. */
void backend_expect_weights(struct backend *be, enum weight_mode mode, size_t expanded_bytes);

/* Not while a job runs; without it a backend chooses. For tests and measurements. */
void backend_use_library(struct backend *be, enum library_use use);
/* In words who computes what, as of now; "" where there is no choice. Valid until the next call. */
const char *backend_describe(struct backend *be);

/* "f32" or "bf16", by `act`. */
const char *backend_precision(const struct backend *be);

/* Every operation checks and succeeds, its memory is addresses that fault when touched: running a model on it measures
 * its arenas. An arena of PLENTY holds more than any model takes, and costs nothing. */
#define BACKEND_MEASURE_PLENTY ((size_t)1 << 42)
MUST_CHECK enum err_code backend_measure_open(enum dtype act, struct backend **ret, struct err *err);

/* What was loaded into a measuring backend, in bytes. */
struct measured_weights {
    int64_t matrices; /* as a device keeps them that is short of memory: at most two bytes a value */
    int64_t conv;     /* convolutions, in the type of matrix products */
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
