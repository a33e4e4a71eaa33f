/*
 * vae - AutoencoderKL of FLUX.1: pictures <-> latents of 16 channels and an eighth of the width and height.
 *
 * Easy to get wrong: a downsampling convolution pads one row at the bottom and one column at the right, nothing at the
 * top and left. A GroupNorm always has 32 groups, each over all pixels. The attention in the middle has one head as
 * wide as the channels. BFL counts the decoder's levels from the fine end, diffusers from the coarse end. Nothing here
 * scales or shifts: the latents of these functions are those of the network (latents.h has the two factors).
 *
 * Channel widths and the number of residual blocks a level come from the tensors. The names of BFL and of diffusers,
 * old and new, are read. Activations are the backend's `act`; sums, statistics and results are F32.
 *
 * Source: Esser et al. 2021; diffusers autoencoder_kl.py; BFL modules/autoencoder.py; MODEL.md 8.
 */
#ifndef MODELS_VAE_VAE_H
#define MODELS_VAE_VAE_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/weights/weights.h"
#include "models/vae/latent_shape.h"

enum {
    VAE_LEVELS = 4,               /* three of them halve or double the picture */
    VAE_MOMENTS = 2 * VAE_LATENT, /* channels: mean, then log-variance */
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
    bool has_shortcut; /* where the width changes; elsewhere shortcut(x) is x */
};

struct vae_level {
    struct vae_res res[VAE_MAX_RES];
    int n_res;
    struct vae_conv resample; /* after the residual blocks, in every level but the last */
    bool has_resample;
};

struct vae_attention {
    struct vae_norm norm;
    struct vae_linear q, k, v, proj;
};

/* Both halves are made of the same parts. The encoder runs levels, mid, out, the decoder mid, levels, out. */
struct vae_half {
    struct vae_conv conv_in;
    struct vae_level levels[VAE_LEVELS]; /* in the order in which they run */
    struct vae_res mid[2];               /* around the attention */
    struct vae_attention attention;
    struct vae_norm norm_out;
    struct vae_conv conv_out;
};

struct vae {
    struct backend *be;
    struct vae_half encoder, decoder;
};

/* Joins the files and finds the prefix of the names. ERR_NOT_FOUND where they hold no such network. */
MUST_CHECK enum err_code vae_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files,
                                        struct err *err);
/* `ret` borrows the loader's backend and vectors. ERR_NOT_FOUND and ERR_CORRUPT name a tensor; ERR_UNSUPPORTED for
 * another kind of autoencoder. */
MUST_CHECK enum err_code vae_load(struct vae *ret, struct weight_loader *l, struct err *err);

/*
 *   rgb      [H, W, 3] F32 or act, values -1 .. 1; H, W multiples of 8
 *   moments  F32 [H/8, W/8, 32]: mean, then log-variance as the network gives it (clamp to -30 .. 20 before use)
 * What is taken from `mem` is given back. ERR_INVALID for shapes that do not fit; ERR_NOMEM; the backend's errors.
 */
MUST_CHECK enum err_code vae_encode(const struct vae *v, const struct tensor *rgb, struct tensor *moments,
                                    struct devarena *mem, struct err *err);
/*
 *   z    [h, w, 16] F32 or act
 *   rgb  F32 [8h, 8w, 3], nominally -1 .. 1, not clamped
 */
MUST_CHECK enum err_code vae_decode(const struct vae *v, const struct tensor *z, struct tensor *rgb,
                                    struct devarena *mem, struct err *err);

/* Bytes that vae_encode or vae_decode, whichever needs more, takes from `mem` for a picture of H x W pixels: found by
 * running both on the measuring backend. */
MUST_CHECK enum err_code vae_measure(const struct vae *v, int64_t height, int64_t width, size_t *ret, struct err *err);

#endif
