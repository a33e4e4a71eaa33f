/*
 * fill - the FLUX.1-Fill pipeline: picture + mask + prompt + seed -> picture. No crop, no blending, no clean-up of the
 * mask: what diffusers' FluxFillPipeline does, in this order.
 *
 *   1. picture and mask are resized to W x H (Lanczos); mask 1 = repaint where its grey is 128 or above
 *   2. the hole of the picture becomes 0 in -1 .. 1, mid-grey, and the VAE encodes that: masked_image_latents
 *   3. noise (or, with strength < 1, a mixture with the latents of the whole picture) is denoised step by step
 *   4. the VAE decodes; 0.5 x + 0.5, clamped, times 255, rounded half to even
 *
 * Easy to get wrong: with a sampled posterior the generator first draws for the unmasked picture, even where nothing
 * uses it, then the noise, then for the masked picture. Latents and Euler steps are F32.
 *
 * A model runs one request at a time. All backend memory is taken when it opens, for the largest request of its
 * options; a request that does not fit is refused with ERR_TOO_LARGE.
 * Source: diffusers pipeline_flux_fill.py; MODEL.md 1.
 */
#ifndef MODELS_FILL_FILL_H
#define MODELS_FILL_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "models/image/image.h"

enum { FILL_MAX_SIDE = 4096 /* pixels */, FILL_MIN_SIDE = 16, FILL_MAX_STEPS = 1000, FILL_MAX_T5_LEN = 512 };

/* How far loading has come; another thread may read it. */
struct fill_loading {
    _Atomic int64_t loaded_bytes, total_bytes; /* total: of all files, known soon after the start */
};

struct fill_options {
    const char *transformer;   /* a file of the folder; NULL: the one that is there */
    int max_width, max_height; /* pixels: requests of up to their product */
    int max_steps, max_t5_len;
    enum weight_mode weights;     /* AUTO unless a test or a benchmark asks for one */
    struct fill_loading *loading; /* NULL, or the caller's */
    /* The modulation's weights, a quarter of the transformer, stay in the file, and are uploaded layer by layer while a
     * job starts. Chosen by itself where a prompt pack has tables, or where memory is too short without it. */
    bool modulation_in_file;
};

/* Bytes of backend memory. */
struct fill_memory {
    int64_t weights;   /* at the least: matrices as in their files, at most two bytes a value; convolutions, vectors */
    int64_t job;       /* the largest request */
    int64_t available; /* on the backend; -1: unknown */
};

struct fill_model;

/*
 * `be` stays the caller's and outlives the model. Errors of the readers, ERR_NOT_FOUND, ERR_NOMEM, ERR_INVALID for
 * limits outside the constants above.
 *
 * On a device, memory is planned before anything is loaded: of several transformers the largest that fits is taken, and
 * where none does ERR_NOMEM says what is needed and what there is. A machine that uses the files in place only prefers
 * a transformer that fits: it works with a larger one, reading it again and again.
 */
MUST_CHECK enum err_code fill_model_open(const char *dir, const struct fill_options *options, struct backend *be,
                                         struct fill_model **ret, struct err *err);
/* What it takes of `be`: chooses as above, then opens and rehearses everything without computing. With NULL for a
 * backend of f32 whose memory is unknown. */
MUST_CHECK enum err_code fill_memory_estimate(const char *dir, const struct fill_options *options, struct backend *be,
                                              struct fill_memory *ret, struct err *err);
void fill_model_close(struct fill_model *m); /* takes NULL */

const char *fill_model_transformer(const struct fill_model *m); /* path of its file */
size_t fill_model_job_bytes(const struct fill_model *m);        /* backend memory kept for requests */

/* The prompt to ask for: `wanted`, but where a prompt pack stands in for the text encoders and lacks it, the first of
 * the pack. Others are ERR_PROMPT then. */
const char *fill_model_prompt(const struct fill_model *m, const char *wanted);

enum fill_posterior { FILL_POSTERIOR_MEAN, FILL_POSTERIOR_SAMPLE };
enum fill_phase { FILL_PHASE_ENCODE, FILL_PHASE_DENOISE, FILL_PHASE_DECODE };

const char *fill_phase_name(enum fill_phase p);

/* Takes intermediate results, f32 row-major; `data` is gone when it returns. An error ends the run. */
struct fill_dump {
    enum err_code (*fn)(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                        struct err *err);
    void *ctx;
};

/*
 * Where the time went, in milliseconds by the backend's clock: each part ends when the backend is done with it,
 * whatever the host does meanwhile. Zeros are parts that the run did not come to.
 */
struct fill_timings {
    double text;    /* the prompt, tokenised and encoded */
    double encode;  /* picture and mask in their size, the VAE, noise */
    double prepare; /* of the transformer: what is constant over the steps */
    double steps;   /* all of them, */
    double slowest_step;
    int n_steps;   /* so many */
    double decode; /* the VAE, and its values as pixels */
    /* No table holds the modulation of such a job, and its weights stayed in their file: `prepare` reads them again, a
     * quarter of the transformer, for this job alone, and on a GPU uploads them. */
    bool rereads_modulation;
};

struct fill_request {
    const struct image *picture; /* grey or RGB, any size */
    const struct image *mask;    /* grey or RGB, any size; white = repaint */
    const char *prompt;
    int width, height; /* pixels, floored to multiples of 16 */
    int steps;
    double guidance, strength;
    uint64_t seed;
    const float *noise; /* [16, h, w] of the floored size, instead of drawing it; or NULL */
    enum fill_posterior posterior;
    int t5_len; /* text tokens, padding included; a prompt pack has its own */

    /* All optional. Both are called in the running thread, `cancelled` before every step is started. A device that runs
     * behind has the next step queued when the end of one is told. */
    void (*progress)(void *ctx, enum fill_phase phase, int done, int total);
    bool (*cancelled)(void *ctx);
    void *ctx;
    const struct fill_dump *dump;
    struct fill_timings *timings; /* set as far as the run comes */
};

/* diffusers' defaults, but for the posterior: its mean makes the picture depend on the noise alone */
#define FILL_REQUEST_DEFAULTS \
    .steps = 50, .guidance = 30, .strength = 1, .posterior = FILL_POSTERIOR_MEAN, .t5_len = 512

/*
 * The painted picture, RGB, from the arena; everything else taken from there is given back.
 * ERR_INVALID  sizes, steps, strength, guidance, noise that are no such thing
 * ERR_PROMPT   not UTF-8, too long, not in the prompt pack
 * ERR_TOO_LARGE over the options of the model;  ERR_CANCELLED;  ERR_NUMERIC NaN or infinity in the latents
 * and the errors of the text encoders (the prompt) and of the backend.
 */
MUST_CHECK enum err_code fill_run(struct fill_model *m, const struct fill_request *r, struct arena *a,
                                  struct image *ret, struct err *err);

#endif
