/*
 * flux - the FLUX.1 transformer: Fill, and its relatives dev and schnell. Its tensors say which of them a file holds.
 *
 * Easy to get wrong: the sequence is txt first, then img. A modulation is shift, scale, gate, in this order, for
 * attention and then for the MLP; the final layer has shift before scale (the order of BFL's names). Within qkv: q, k,
 * v, each head-major. In a single block the attention part of linear2's input comes before the MLP part.
 *
 * flux_prepare computes once per request what is constant over its steps: txt_in of the prompt, the rotary table, and
 * the modulations of all blocks for all steps, as matrix products with n_steps rows. So the modulation weights, a
 * quarter of the file, are read once per request; a table computed elsewhere can be given instead. flux_step then runs
 * one step.
 * Streams and modulations are F32; inputs of matrix products, and the sums that blocks add to the streams, have the
 * backend's `act`. Nothing is read back to the host.
 *
 * Matrices stay in the type of their file (Q4_K, say) up to the backend. The CPU's products expand rows of them as they
 * use them (kernels/quant.h); a GPU expands whole matrices to bf16, when they are loaded or before each use
 * (kernels/cuda/weight.c).
 *
 * Source: Black Forest Labs flux model.py, modules/layers.py; Esser et al. 2024; MODEL.md 2.
 */
#ifndef MODELS_FLUX_FLUX_H
#define MODELS_FLUX_FLUX_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/weights/weights.h"
#include "models/flux/latents.h"

enum {
    FLUX_MAX_BLOCKS = 256,                       /* of one kind */
    FLUX_MAX_GRID = IMAGE_MAX_SIDE / TOKEN_SIDE, /* tokens a side */
    FLUX_MAX_TXT = 4096,                         /* text tokens */
    FLUX_BLOCK_MAX_WEIGHTS = 8                   /* matrices that a block reads in a step */
};

struct flux_config {
    int64_t in_channels;  /* values a token: 384 in Fill, 64 in dev and schnell */
    int64_t out_channels; /* width of the velocity, and of the latents, which are a token's first values: 64 */
    int64_t hidden, mlp;  /* 3072, 12288 */
    int64_t context;      /* width of prompt_embeds: 4096 */
    int64_t pooled;       /* width of pooled_prompt_embeds: 768 */
    int head_dim, n_heads, n_double, n_single;
    bool guidance; /* false in schnell */
};

/* The sizes of FLUX.1-Fill. A model's own are read from its tensors; these say what is to be expected of one. */
extern const struct flux_config flux_fill_config;

struct flux_linear {
    struct weight w;
    struct bias b;
};

struct flux_embedder { /* out_layer(silu(in_layer(x))) */
    struct flux_linear in_layer, out_layer;
};

struct flux_double_stream {
    struct flux_linear mod, qkv, proj, mlp_0, mlp_2;
    struct tensor query_norm, key_norm; /* F32 [head_dim] */
};

struct flux_double_block {
    struct flux_double_stream img, txt;
};

struct flux_single_block {
    struct flux_linear mod, linear1, linear2;
    struct flux_linear qkv, mlp; /* views of linear1's rows */
    struct tensor query_norm, key_norm;
};

struct flux {
    struct backend *be;
    struct flux_config config;
    struct flux_linear img_in, txt_in;
    struct flux_embedder time_in, vector_in, guidance_in;
    struct flux_double_block *double_blocks; /* [n_double] */
    struct flux_single_block *single_blocks; /* [n_single] */
    struct flux_linear final_mod, final_linear;
    bool modulation_in_file; /* weights that only flux_modulate reads are in the file's mapping, not in the backend */
};

/* --- loading (flux_load.c) --- */

/* Joins the files of a transformer, with BFL's names or diffusers', and finds the prefix of its names. ERR_NOT_FOUND
 * for files of another model. */
MUST_CHECK enum err_code flux_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files,
                                         struct err *err);
/* Reads the sizes off the tensors. ERR_NOT_FOUND, ERR_CORRUPT and ERR_UNSUPPORTED as flux_load. */
MUST_CHECK enum err_code flux_read_config(const struct weight_set *set, struct flux_config *ret, struct err *err);
/* ERR_UNSUPPORTED unless this is Fill: 384 input channels, 64 output channels, guidance. */
MUST_CHECK enum err_code flux_require_fill(const struct flux_config *c, struct err *err);
/* Reads the sizes off the tensors; then every tensor must be there in the shape that these sizes ask for, and no
 * layer may have tensors that are not understood. ERR_NOT_FOUND names a missing tensor, ERR_UNSUPPORTED a size that is
 * not supported. The array of blocks comes from `model`. `ret` borrows the loader's backend and vectors, and the file.
 */
MUST_CHECK enum err_code flux_load(struct flux *ret, struct weight_loader *l, struct arena *model, struct err *err);

/*
 * As flux_load, but some matrices stay in the file's mapping and take no memory of the backend. flux_modulate then
 * uploads the modulation's matrices one by one, with the same result, so a request whose table comes from elsewhere
 * never reads them: a quarter of the file. With FLUX_IN_FILE_ALL only flux_modulate can be called.
 * ERR_UNSUPPORTED where the backend has no weight_unload.
 */
enum flux_in_file { FLUX_IN_FILE_NONE, FLUX_IN_FILE_MODULATION, FLUX_IN_FILE_ALL };
MUST_CHECK enum err_code flux_load_some(struct flux *ret, struct weight_loader *l, enum flux_in_file in_file,
                                        struct arena *model, struct err *err);

/* Calls `visit` for every tensor of a transformer of these sizes, in the order of loading: BFL name, shape (n_dims 1 or
 * 2). Benchmarks and tests make up a file with it. Stops at the first error and returns it. */
typedef enum err_code flux_visit_fn(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err);
MUST_CHECK enum err_code flux_describe(const struct flux_config *c, flux_visit_fn *visit, void *ctx, struct err *err);

/* Whether a tensor of this BFL name decides what flux_modulate computes. */
bool flux_is_of_modulation(const char *name);

/* --- running (flux_prepare.c, flux_step.c) --- */

struct flux_inputs {
    int grid_rows, grid_cols;           /* image tokens: pixels / TOKEN_SIDE */
    const struct tensor *cond;          /* [N_img, in_channels - out_channels] F32 or BF16; NULL where that is 0 */
    const struct tensor *prompt_embeds; /* [N_txt, context] F32 or BF16 */
    const struct tensor *pooled;        /* F32 [pooled]; may be NULL with modulation */
    int n_steps;
    const float *sigmas;             /* host, [n_steps]; may be NULL with modulation */
    float guidance;                  /* 30 for Fill; ignored where the model has none */
    const struct tensor *modulation; /* NULL, or flux_modulate's result for these steps: borrowed */
};

/* A request of `flux`, ready for its steps. */
struct flux_prepared {
    const struct flux *flux;
    int64_t n_txt, n_img;
    int n_steps;
    struct tensor tokens;     /* act [n_img, in_channels]; the latents' columns are written by each step */
    struct tensor txt;        /* F32 [n_txt, hidden] */
    struct tensor rope;       /* F32 [n_txt + n_img, head_dim] */
    struct tensor modulation; /* F32 [n_steps, flux_modulation_cols] */
};

/* The joint stream, F32 [n_txt + n_img, hidden], and its two parts as views. `a`, of the same shape and of type act, is
 * the stream under the first modulation of the next block, which reads it. */
struct flux_stream {
    struct tensor all, txt, img, a;
};

/* Called after every block with the streams in backend memory; `kind` is "double" or "single". An error ends the step.
 */
struct flux_tap {
    enum err_code (*fn)(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err);
    void *ctx;
};

/* Computes what is constant over the steps. `ret` lives in request_mem and borrows `f`; whatever is taken from step_mem
 * and host is given back. ERR_INVALID for inputs that do not fit the model or a limit; ERR_NOMEM; the backend's. */
MUST_CHECK enum err_code flux_prepare(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                                      struct devarena *step_mem, struct arena *host, struct flux_prepared *ret,
                                      struct err *err);
/* velocity F32 [N_img, out_channels] = the network on `latents` (same shape and type) at sigmas[step]. `tap` may be
 * NULL. */
MUST_CHECK enum err_code flux_step(const struct flux_prepared *p, int step, const struct tensor *latents,
                                   struct tensor *velocity, const struct flux_tap *tap, struct devarena *step_mem,
                                   struct err *err);

/* Columns of the modulation table: for each double block 6 * hidden of img, then of txt; for each single block
 * 3 * hidden; 2 * hidden for the final layer. */
int64_t flux_modulation_cols(const struct flux_config *c);
/* ret F32 [n_steps, flux_modulation_cols], the caller's: the modulations of all blocks, from in->n_steps, sigmas,
 * guidance and pooled; the rest of `in` is not read. */
MUST_CHECK enum err_code flux_modulate(const struct flux *f, const struct flux_inputs *in, struct tensor *ret,
                                       struct devarena *step_mem, struct arena *host, struct err *err);

struct flux_size {
    int grid_rows, grid_cols; /* image tokens */
    int64_t n_txt;            /* text tokens */
    int n_steps;
};

struct flux_memory {
    size_t request_bytes, step_bytes; /* taken from request_mem and step_mem */
};

/* The memory that a request of this size takes, by running it on the measuring backend. */
MUST_CHECK enum err_code flux_measure(const struct flux *f, const struct flux_size *size, struct arena *host,
                                      struct flux_memory *ret, struct err *err);

/* --- single blocks, for benchmarks --- */

/*
 * Blocks are numbered consecutively: 0 .. n_double - 1 are double blocks, the next n_single are single blocks, and the
 * next number is the final layer. flux_enter_block computes s->a for the first block that is run. flux_run_block
 * changes `s` in place and leaves s->a ready for the next block.
 */
MUST_CHECK enum err_code flux_stream_alloc(const struct flux_prepared *p, struct devarena *mem, struct flux_stream *ret,
                                           struct err *err);
MUST_CHECK enum err_code flux_enter_block(const struct flux_prepared *p, int step, int block, struct flux_stream *s,
                                          struct err *err);
MUST_CHECK enum err_code flux_run_block(const struct flux_prepared *p, int step, int block, struct flux_stream *s,
                                        struct devarena *step_mem, struct err *err);
/* The matrices that a block reads in a step, in the order of use; returns their number. */
int flux_block_weights(const struct flux *f, int block, const struct weight *ret[FLUX_BLOCK_MAX_WEIGHTS]);
/* Announces a block's matrices to the backend; after the last block comes the first block of the next step. */
void flux_prefetch_block(const struct flux *f, int block);

#endif
