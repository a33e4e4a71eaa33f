/*
 * flux - the FLUX.1 transformer: Fill, and its relatives dev and schnell. What a file is, is read from its tensors.
 *
 * Easy to get wrong: the sequence is txt first, then img. A modulation is shift, scale, gate, in this order, for
 * attention and then for the MLP; the final layer has shift before scale (the order of BFL's names). Within qkv: q, k,
 * v, each head-major. In a single block the attention part of linear2's input comes before the MLP part.
 *
 * A job has a part that is constant over its steps (flux_prepare: txt_in of the prompt, rotary table, modulations of
 * all blocks for all steps as matrix products with n_steps rows) and flux_step, which runs one step. So the modulation
 * weights, a quarter of the file, are read once a job; a table computed elsewhere can be injected instead.
 * Streams and modulations are F32, inputs of matrix products and what blocks add to the streams have the backend's
 * `act`; nothing is read back on the host.
 *
 * Source: Black Forest Labs flux model.py, modules/layers.py; Esser et al. 2024; MODEL.md 2.
 */
#ifndef MODELS_FLUX_FLUX_H
#define MODELS_FLUX_FLUX_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/file/weights.h"

enum {
    FLUX_MAX_BLOCKS = 256, /* of one kind */
    FLUX_MAX_GRID = 1024,  /* tokens a side: 16384 pixels */
    FLUX_MAX_TXT = 4096,   /* text tokens */
    FLUX_MAX_STEPS = 1000,
    FLUX_BLOCK_MAX_WEIGHTS = 8 /* matrices that a block reads in a step */
};

struct flux_config {
    int64_t in_channels;  /* of a token: 384 Fill, 64 dev and schnell */
    int64_t out_channels; /* the velocity, and the first columns of the input: 64 */
    int64_t hidden, mlp;  /* 3072, 12288 */
    int64_t context;      /* width of prompt_embeds: 4096 */
    int64_t pooled;       /* width of pooled_prompt_embeds: 768 */
    int head_dim, n_heads, n_double, n_single;
    bool guidance; /* absent in schnell */
};

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
    struct flux_linear qkv, mlp; /* rows of linear1 */
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
    bool modulation_in_file; /* weights that only flux_modulate reads are in the mapping, not in the backend */
};

/* --- loading (flux_load.c) --- */

/* Joins the files of a transformer and finds its prefix. ERR_UNSUPPORTED for diffusers names, ERR_NOT_FOUND for what is
 * no FLUX transformer. */
MUST_CHECK enum err_code flux_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files,
                                         struct err *err);
/* Sizes from the tensors alone. ERR_NOT_FOUND names a missing tensor, ERR_UNSUPPORTED says which size cannot be. */
MUST_CHECK enum err_code flux_read_config(const struct weight_set *set, struct flux_config *ret, struct err *err);
/* ERR_UNSUPPORTED unless this is Fill: 384 input channels, 64 output channels, guidance. */
MUST_CHECK enum err_code flux_require_fill(const struct flux_config *c, struct err *err);
/* Every tensor must be there in the shape that the config asks for; unknown ones are ignored. Blocks come from `model`.
 * `ret` borrows the loader's backend, its vectors and the file. */
MUST_CHECK enum err_code flux_load(struct flux *ret, struct weight_loader *l, struct arena *model, struct err *err);

/*
 * The same, but some matrices stay in the mapping and take no memory of the backend. Those of the modulation are then
 * uploaded one by one while flux_modulate runs, with the same result, so that a job whose table comes from elsewhere
 * does without them: a quarter of the file. With FLUX_IN_FILE_ALL nothing but flux_modulate can be called.
 * The backend needs weight_unload.
 */
enum flux_in_file { FLUX_IN_FILE_NONE, FLUX_IN_FILE_MODULATION, FLUX_IN_FILE_ALL };
MUST_CHECK enum err_code flux_load_some(struct flux *ret, struct weight_loader *l, enum flux_in_file in_file,
                                        struct arena *model, struct err *err);

/* Calls visit for every tensor of such a transformer in the order of loading: BFL name, shape (n_dims 1 or 2). So a
 * benchmark or a test can make up a file. Stops at the first error and returns it. */
typedef enum err_code flux_visit_fn(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err);
MUST_CHECK enum err_code flux_describe(const struct flux_config *c, flux_visit_fn *visit, void *ctx, struct err *err);

/* --- running (flux.c) --- */

struct flux_inputs {
    int grid_rows, grid_cols;           /* image tokens: height/16, width/16 */
    const struct tensor *cond;          /* [N_img, in_channels - out_channels] F32 or BF16; NULL where that is 0 */
    const struct tensor *prompt_embeds; /* [N_txt, context] F32 or BF16 */
    const struct tensor *pooled;        /* F32 [pooled]; may be NULL with modulation */
    int n_steps;
    const float *sigmas;             /* host, [n_steps]; may be NULL with modulation */
    float guidance;                  /* 30 for Fill; ignored where the model has none */
    const struct tensor *modulation; /* NULL, or flux_modulate's result for these steps: borrowed by the job */
};

struct flux_prepared {
    int64_t n_txt, n_img;
    int n_steps;
    struct tensor tokens;     /* act [n_img, in_channels]; the latents' columns are written by each step */
    struct tensor txt;        /* F32 [n_txt, hidden] */
    struct tensor rope;       /* F32 [n_txt + n_img, head_dim] */
    struct tensor modulation; /* F32 [n_steps, flux_modulation_cols] */
};

/* The joint stream, F32 [n_txt + n_img, hidden], and its two parts as views. `a`, of the same shape and of type act, is
 * the stream as the next block reads it, under that block's first modulation. */
struct flux_stream {
    struct tensor all, txt, img, a;
};

/* Called after every block with the streams in backend memory. An error ends the step, so this can cancel one, too. */
struct flux_tap {
    enum err_code (*fn)(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err);
    void *ctx; /* kind: "double" or "single" */
};

/* Computes what is constant over the steps. `ret` lives in request_mem; step_mem and host are given back as they came.
 * ERR_INVALID for inputs that do not fit the model or a limit; ERR_NOMEM; what the backend returns. */
MUST_CHECK enum err_code flux_prepare(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                                      struct devarena *step_mem, struct arena *host, struct flux_prepared *ret,
                                      struct err *err);
/* velocity F32 [N_img, out_channels] = the network on `latents` (same shape and type) at sigmas[step]. */
MUST_CHECK enum err_code flux_step(const struct flux *f, const struct flux_prepared *job, int step,
                                   const struct tensor *latents, struct tensor *velocity, const struct flux_tap *tap,
                                   struct devarena *step_mem, struct err *err);

/* Columns of the modulation table: for each double block img then txt, 6 * hidden each; each single block 3 * hidden;
 * the final layer 2 * hidden. */
int64_t flux_modulation_cols(const struct flux_config *c);
/* ret F32 [n_steps, flux_modulation_cols], the caller's: the modulations of all blocks, from in->sigmas, guidance and
 * pooled; the rest of `in` is not looked at. */
MUST_CHECK enum err_code flux_modulate(const struct flux *f, const struct flux_inputs *in, struct tensor *ret,
                                       struct devarena *step_mem, struct arena *host, struct err *err);

/* Bytes that a job of this size takes from the two arenas: measured by running it on the measuring backend. */
MUST_CHECK enum err_code flux_measure(const struct flux *f, int grid_rows, int grid_cols, int64_t n_txt, int n_steps,
                                      struct arena *host, size_t *ret_request_bytes, size_t *ret_step_bytes,
                                      struct err *err);

/* --- single blocks, for benchmarks --- */

MUST_CHECK enum err_code flux_stream_alloc(const struct flux *f, const struct flux_prepared *job, struct devarena *mem,
                                           struct flux_stream *ret, struct err *err);
/* Block 0 .. n_double - 1 are double, n_double .. n_double + n_single - 1 single blocks, the one behind them is the
 * final layer. flux_enter_block makes s->a for the first block that is run. flux_run_block changes `s` in place and
 * leaves s->a as the block behind it reads it. */
MUST_CHECK enum err_code flux_enter_block(const struct flux *f, const struct flux_prepared *job, int step, int block,
                                          struct flux_stream *s, struct err *err);
MUST_CHECK enum err_code flux_run_block(const struct flux *f, const struct flux_prepared *job, int step, int block,
                                        struct flux_stream *s, struct devarena *step_mem, struct err *err);
/* The matrices that block reads in a step, in this order; returns their number. */
int flux_block_weights(const struct flux *f, int block, const struct weight *ret[FLUX_BLOCK_MAX_WEIGHTS]);
/* Announces them to the backend; after the last block comes the first, of the next step. */
void flux_prefetch_block(const struct flux *f, int block);

#endif
