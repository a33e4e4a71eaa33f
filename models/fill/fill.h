/*
 * fill - the FLUX.1-Fill pipeline: picture + mask + prompt + seed -> picture. As in diffusers' FluxFillPipeline, there
 * is no crop, no blending and no clean-up of the mask:
 *
 *   1. picture and mask are resized to W x H (Lanczos); the mask is 1 = repaint where mask_marks() says so
 *      (models/image/mask.h)
 *   2. the picture's hole becomes mid-grey (0 in -1 .. 1), and the VAE encodes the result: masked_image_latents
 *   3. noise (or, with strength < 1, a mixture with the latents of the whole picture) is denoised step by step
 *   4. the VAE decodes; 0.5 x + 0.5, clamped, times 255, rounded half to even
 *
 * Easy to get wrong: with a sampled posterior the generator first draws for the unmasked picture, even where that draw
 * is not used, then the noise, then for the masked picture. Latents and Euler steps are F32.
 *
 * A model serves one request at a time. All backend memory is taken when the model opens, for the largest request of
 * its options; a larger request is refused with ERR_TOO_LARGE.
 * Source: diffusers pipeline_flux_fill.py; MODEL.md 1.
 */
#ifndef MODELS_FILL_FILL_H
#define MODELS_FILL_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "models/flux/flow_match.h"
#include "models/flux/latents.h"
#include "models/image/image.h"
#include "models/text/text_limits.h"

/* Limits of any request; sides are in pixels. */
enum {
    FILL_MIN_SIDE = TOKEN_SIDE,
    FILL_MAX_SIDE = 4096,
    FILL_MAX_STEPS = FLOW_MATCH_MAX_STEPS,
    FILL_MAX_GUIDANCE = 1000
};

/* How far loading has come; another thread may read it. */
struct fill_loading {
    _Atomic int64_t loaded_bytes, total_bytes; /* total_bytes: size of all files, set early in loading */
    _Atomic int64_t read_bytes;                /* of the tensors that were needed: the rest stays in the files */
};

/* What an operator should hear about a model that was opened: a sentence each. More than fit are dropped. */
enum { FILL_NOTES_MAX = 4 };
struct fill_notes {
    int n;
    char text[FILL_NOTES_MAX][ERR_MESSAGE_MAX];
};
void fill_note(struct fill_notes *n, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* n may be NULL */

/* LoRAs that are merged into the transformer while it loads. */
enum { FILL_MAX_LORAS = 8, FILL_LORAS_TEXT_BYTES = 2048, FILL_MAX_LORA_SCALE = 10 };
struct fill_lora {
    const char *path; /* a file's, or a name in the model folder or in its folder `loras` */
    double scale;     /* 1: as it was trained */
};
/* A list of them as text, "FILE[:SCALE], ...", with or without blanks; zeroed: none. */
struct fill_loras {
    struct fill_lora items[FILL_MAX_LORAS];
    int n;
    char text[FILL_LORAS_TEXT_BYTES]; /* to which the items point: the struct is not copied */
    size_t n_text;
};
/* Appends what a text lists. ERR_INVALID: a name is missing, or a scale is not within its limits; ERR_TOO_LARGE. */
MUST_CHECK enum err_code fill_loras_add(struct fill_loras *l, const char *text, struct err *err);
/* Those of a command's options or, where there are none, those of a setting; NULL: none. */
MUST_CHECK enum err_code fill_loras_choose(struct fill_loras *l, const char *const *options, int n_options,
                                           const char *setting, struct err *err);

struct fill_options {
    const char *transformer;       /* a file of the folder; NULL: the largest that fits */
    const struct fill_lora *loras; /* [n_loras]; the caller's, kept until it is open */
    int n_loras;
    int max_width, max_height; /* pixels; a request may have up to max_width * max_height pixels */
    int max_steps, max_t5_len;
    enum weight_mode weights;     /* AUTO, except in tests and benchmarks */
    struct fill_loading *loading; /* the caller's, or NULL */
    struct fill_notes *notes;     /* likewise */
    /* The modulation's weights, a quarter of the transformer, stay in the file and are uploaded layer by layer when a
     * request starts. fill_model_open does this unasked where a prompt pack has tables, or where memory is too short
     * otherwise. */
    bool modulation_in_file;
};

/* Bytes of backend memory. */
struct fill_memory {
    int64_t weights;   /* the least: matrices as in their files, at most two bytes a value; convolutions, vectors */
    int64_t request;   /* the largest request */
    int64_t available; /* free on the backend; -1: unknown */
    int not_taken;     /* tensors of the files that belong to other networks */
};

struct fill_model;

/*
 * `be` stays the caller's and outlives the model. Errors of the readers, ERR_NOT_FOUND, ERR_NOMEM, ERR_INVALID for
 * options outside the limits above.
 *
 * On a device, the transformer is chosen before anything is loaded: the largest of the folder that fits into memory, or
 * ERR_NOMEM with the bytes needed and available. A backend that uses weights in place prefers a transformer that fits,
 * but also works with a larger one, which it reads from the disk again in every step.
 */
MUST_CHECK enum err_code fill_model_open(const char *dir, const struct fill_options *options, struct backend *be,
                                         struct fill_model **ret, struct err *err);
/* The memory that a model takes from `be`: chooses as fill_model_open, then opens it and serves the largest request on
 * the measuring backend. With `be` NULL, an f32 backend whose memory is unknown is assumed. */
MUST_CHECK enum err_code fill_memory_estimate(const char *dir, const struct fill_options *options, struct backend *be,
                                              struct fill_memory *ret, struct err *err);
void fill_model_close(struct fill_model *m); /* takes NULL */

const char *fill_model_transformer(const struct fill_model *m); /* path of its file, or of its index */
/* The LoRAs that are merged into it, "FILE:SCALE (digest), ..."; NULL: none. */
const char *fill_model_loras(const struct fill_model *m);
const char *fill_model_lora_path(const struct fill_model *m, int i); /* of each file, from 0 on; NULL: no more */
const char *fill_model_lora_list(const struct fill_model *m); /* as fill_loras_add() reads it: "FILE:SCALE,..." */
/* The weight_digest of transformer (with its LoRAs), VAE, T5 and CLIP, "-" for what the folder lacks; FILL_DIGESTS_SIZE
 * is enough. */
enum { FILL_DIGESTS_SIZE = 300 };
void fill_model_digests(const struct fill_model *m, char ret[FILL_DIGESTS_SIZE]);

/* A prompt that the model accepts: `wanted`, or the first of the prompt pack where there are no text encoders and the
 * pack lacks it. */
const char *fill_model_prompt(const struct fill_model *m, const char *wanted);

enum fill_posterior { FILL_POSTERIOR_MEAN, FILL_POSTERIOR_SAMPLE };
enum fill_phase { FILL_PHASE_ENCODE, FILL_PHASE_DENOISE, FILL_PHASE_DECODE };

const char *fill_phase_name(enum fill_phase p);

/* `fn` is given intermediate results, f32 row-major; `data` is valid until it returns. An error ends the request. */
struct fill_dump {
    enum err_code (*fn)(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                        struct err *err);
    void *ctx;
};

/*
 * Where the time went, in milliseconds by the backend's clock: a part ends when the backend has finished it, whatever
 * the host does meanwhile. Zero for a part that the request did not reach.
 */
struct fill_timings {
    double text;    /* tokenising and encoding the prompt */
    double encode;  /* resizing picture and mask, the VAE's encoder, noise */
    double prepare; /* the transformer: what is constant over the steps */
    double steps;   /* all steps together */
    double slowest_step;
    int n_steps;
    double decode; /* the VAE's decoder, and the conversion to pixels */
    /* The prompt pack has no modulation table for this request, and the weights that compute one stayed in their file:
     * `prepare` reads them, a quarter of the transformer, for this request alone, and on a GPU uploads them. */
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
    const float *noise; /* [16, h, w] of the floored size; NULL: draw it */
    enum fill_posterior posterior;
    int t5_len; /* text tokens, padding included; prompts of a pack have lengths of their own */

    /* All optional. The functions are called in the thread of fill_run, `cancelled` before each step is queued. On a
     * device that runs behind, the next step is already queued when `progress` reports the end of a step. */
    void (*progress)(void *ctx, enum fill_phase phase, int done, int total);
    bool (*cancelled)(void *ctx);
    void *ctx;
    const struct fill_dump *dump;
    struct fill_timings *timings; /* not set for a refused request; after a failure, the parts until then */
};

/* diffusers' defaults, except for the posterior: with its mean, only the noise is random. */
#define FILL_REQUEST_DEFAULTS \
    .steps = 50, .guidance = 30, .strength = 1, .posterior = FILL_POSTERIOR_MEAN, .t5_len = T5_MAX_TOKENS

/*
 * Serves a request. `ret`: the painted picture, RGB, from the arena; everything else taken from the arena is given
 * back.
 *
 *   ERR_INVALID    size, steps, strength or guidance outside the limits
 *   ERR_PROMPT     not UTF-8, too long, not in the prompt pack
 *   ERR_TOO_LARGE  more than the options of the model
 *   ERR_IO         a model file was lost while it was in use (models/file/file_map.h)
 *   ERR_CANCELLED, ERR_NUMERIC (NaN or infinity on the way), and the errors of the backend
 */
MUST_CHECK enum err_code fill_run(struct fill_model *m, const struct fill_request *r, struct arena *a,
                                  struct image *ret, struct err *err);

#endif
