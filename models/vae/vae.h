/*
 * vae - AutoencoderKL of FLUX.1: pictures <-> 16-channel latents an eighth their size.
 *
 * Easy to get wrong: a downsampling convolution pads one row at the bottom and one column at the right, nothing at the
 * top and left. Groups of a GroupNorm are always 32, over all pixels. Mid attention has one head as wide as the
 * channels. BFL counts the decoder's levels from the fine end, diffusers from the coarse one. Nothing here scales or
 * shifts: the latents of these functions are those of the network (latents.h has the two factors).
 *
 * Channel widths and the number of residual blocks a level come from the tensors; names of BFL and of diffusers, old
 * and new, are read. Activations are the backend's `act`; sums, statistics and results are F32.
 * Source: Esser et al. 2021; diffusers autoencoder_kl.py; BFL modules/autoencoder.py; MODEL.md 8.
 */
#ifndef MODELS_VAE_VAE_H
#define MODELS_VAE_VAE_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/file/weights.h"

enum {
    VAE_LEVELS = 4,   /* three of them halve or double the picture */
    VAE_SCALE = 8,    /* pixels a latent, each axis */
    VAE_LATENT = 16,  /* channels */
    VAE_MOMENTS = 32, /* mean, then log-variance */
    VAE_GROUPS = 32,
    VAE_MAX_RES = 8, /* residual blocks a level: encoders have 2, decoders 3 */
    VAE_MAX_WIDTH = 8192
};

struct vae_conv {
    struct conv_weight w;
    struct tensor b;
};

struct vae_norm {
    struct tensor w, b;
};

struct vae_linear {
    struct weight w;
    struct bias b;
};

struct vae_res { /* conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x) */
    struct vae_norm norm1, norm2;
    struct vae_conv conv1, conv2, shortcut;
    bool has_shortcut; /* where the width changes; else x itself */
};

struct vae_level {
    struct vae_res res[VAE_MAX_RES];
    int n_res;
    struct vae_conv resample; /* after the residual blocks, but in the last level */
    bool has_resample;
};

struct vae_attention {
    struct vae_norm norm;
    struct vae_linear q, k, v, proj;
};

/* Both halves are made of the same parts; the encoder goes levels, mid, out, the decoder mid, levels, out. */
struct vae_half {
    struct vae_conv conv_in;
    struct vae_level levels[VAE_LEVELS]; /* in the order they are run */
    struct vae_res mid[2];               /* around the attention */
    struct vae_attention attention;
    struct vae_norm norm_out;
    struct vae_conv conv_out;
};

struct vae {
    struct backend *be;
    struct vae_half encoder, decoder;
};

/* Finds the prefix. ERR_NOT_FOUND where there is no such network. */
MUST_CHECK enum err_code vae_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files,
                                        struct err *err);
/* ERR_NOT_FOUND, ERR_CORRUPT name a tensor; ERR_UNSUPPORTED: not this kind of autoencoder. `ret` borrows the loader's
 * backend and vectors. */
MUST_CHECK enum err_code vae_load(struct vae *ret, struct weight_loader *l, struct err *err);

/*
 *   rgb      [H, W, 3] F32 or act, values -1 .. 1; H, W multiples of 8
 *   moments  F32 [H/8, W/8, 32]: mean, then log-variance as the network gives it (clamp to -30 .. 20 before use)
 * `mem` is given back as it came. ERR_INVALID for shapes that do not fit; ERR_NOMEM; what the backend returns.
 */
MUST_CHECK enum err_code vae_encode(const struct vae *v, const struct tensor *rgb, struct tensor *moments,
                                    struct devarena *mem, struct err *err);
/*
 *   z    [h, w, 16] F32 or act
 *   rgb  F32 [8h, 8w, 3], nominally -1 .. 1, not clamped
 */
MUST_CHECK enum err_code vae_decode(const struct vae *v, const struct tensor *z, struct tensor *rgb,
                                    struct devarena *mem, struct err *err);

/* Bytes that the larger of the two takes from `mem` for a picture of H x W pixels, by running both on the measuring
 * backend. */
MUST_CHECK enum err_code vae_measure(const struct vae *v, int64_t height, int64_t width, size_t *ret, struct err *err);

#endif
