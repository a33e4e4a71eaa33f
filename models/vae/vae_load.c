/* vae_load - from a directory of tensors to struct vae, in each family of names. */
#include "models/vae/vae.h"

#include <stdio.h>

#include "models/layout/network_prefixes.h"

enum { NAME_SIZE = 96 };

/* The names of the same tensors in one of three families of files. "%d" stands for the level, then the block; "%s" for
 * "encoder" or "decoder". */
struct vae_names {
    const char *probe; /* a tensor of every file of this family, and of no other family */
    const char *down_block, *downsample, *up_block, *upsample;
    const char *mid_block, *mid_norm, *mid_linear;
    const char *q, *k, *v, *proj;
    const char *shortcut, *norm_out;
    int first_mid;     /* number of the first mid block */
    bool up_from_fine; /* level 0 of the decoder's names is the last to run */
};

#define DIFFUSERS_BLOCKS                                                                                           \
    .down_block = "encoder.down_blocks.%d.resnets.%d", .downsample = "encoder.down_blocks.%d.downsamplers.0.conv", \
    .up_block = "decoder.up_blocks.%d.resnets.%d", .upsample = "decoder.up_blocks.%d.upsamplers.0.conv",           \
    .mid_block = "%s.mid_block.resnets.%d", .mid_norm = "%s.mid_block.attentions.0.group_norm",                    \
    .mid_linear = "%s.mid_block.attentions.0.%s", .shortcut = "conv_shortcut", .norm_out = "%s.conv_norm_out"

static const struct vae_names families[] = {
    { .probe = "decoder.mid.attn_1.q.weight",
      .down_block = "encoder.down.%d.block.%d",
      .downsample = "encoder.down.%d.downsample.conv",
      .up_block = "decoder.up.%d.block.%d",
      .upsample = "decoder.up.%d.upsample.conv",
      .mid_block = "%s.mid.block_%d",
      .mid_norm = "%s.mid.attn_1.norm",
      .mid_linear = "%s.mid.attn_1.%s",
      .q = "q",
      .k = "k",
      .v = "v",
      .proj = "proj_out",
      .shortcut = "nin_shortcut",
      .norm_out = "%s.norm_out",
      .first_mid = 1,
      .up_from_fine = true },
    { .probe = "decoder.mid_block.attentions.0.to_q.weight",
      DIFFUSERS_BLOCKS,
      .q = "to_q",
      .k = "to_k",
      .v = "to_v",
      .proj = "to_out.0" },
    { .probe = "decoder.mid_block.attentions.0.query.weight",
      DIFFUSERS_BLOCKS,
      .q = "query",
      .k = "key",
      .v = "value",
      .proj = "proj_attn" },
};
enum { N_FAMILIES = sizeof families / sizeof *families };

enum err_code vae_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files, struct err *err)
{
    const char *const *prefixes = network_prefixes(NETWORK_VAE);

    for (int i = 0; i < N_FAMILIES; i++)
        if (weight_set_init(ret, files, n_files, prefixes, families[i].probe, NULL) == ERR_OK)
            return ERR_OK;
    return err_set(err, ERR_NOT_FOUND, "VAE: '%s' has neither '%s' nor '%s': it is not an AutoencoderKL",
                   n_files > 0 ? files[0].path : "no file", families[0].probe, families[1].probe);
}

/* The loading of one half. */
struct load {
    struct weight_loader *l;
    const struct vae_names *names;
    const char *half; /* "encoder" or "decoder" */
    struct err *err;
};

static enum err_code load_conv(const struct load *ld, struct vae_conv *c, int c_in, int c_out, int side,
                               const char *name)
{
    TRY(weights_conv(ld->l, &c->w, (int64_t[]){ c_out, c_in, side, side }, ld->err, "%s.weight", name));
    if (c->w.c_in > VAE_MAX_WIDTH || c->w.c_out > VAE_MAX_WIDTH)
        return err_set(ld->err, ERR_UNSUPPORTED, "VAE: %s takes %d channels to %d, at most %d are supported", name,
                       c->w.c_in, c->w.c_out, VAE_MAX_WIDTH);
    return weights_vector(ld->l, &c->b, c->w.c_out, ld->err, "%s.bias", name);
}

static enum err_code load_norm(const struct load *ld, struct vae_norm *n, int width, const char *name)
{
    if (width % VAE_GROUPS)
        return err_set(ld->err, ERR_UNSUPPORTED, "VAE: %s normalises %d channels, which is not a multiple of %d", name,
                       width, VAE_GROUPS);
    TRY(weights_vector(ld->l, &n->w, width, ld->err, "%s.weight", name));
    return weights_vector(ld->l, &n->b, width, ld->err, "%s.bias", name);
}

static enum err_code load_linear(const struct load *ld, struct vae_linear *m, int width, const char *part)
{
    char name[NAME_SIZE];

    (void)snprintf(name, sizeof name, ld->names->mid_linear, ld->half, part);
    TRY(weights_matrix(ld->l, &m->w, width, width, ld->err, "%s.weight", name));
    return weights_bias(ld->l, &m->b, width, ld->err, "%s.bias", name);
}

/* *width is the input's number of channels, and on success becomes the output's. */
static enum err_code load_res(const struct load *ld, struct vae_res *r, int *width, const char *block)
{
    char name[NAME_SIZE];
    int c_out;

#define PART(part) ((void)snprintf(name, sizeof name, "%.80s.%s", block, part), name)
    TRY(load_norm(ld, &r->norm1, *width, PART("norm1")));
    TRY(load_conv(ld, &r->conv1, *width, -1, 3, PART("conv1")));
    c_out = r->conv1.w.c_out;
    TRY(load_norm(ld, &r->norm2, c_out, PART("norm2")));
    TRY(load_conv(ld, &r->conv2, c_out, c_out, 3, PART("conv2")));
    r->has_shortcut = c_out != *width;
    if (r->has_shortcut)
        TRY(load_conv(ld, &r->shortcut, *width, c_out, 1, PART(ld->names->shortcut)));
#undef PART
    *width = c_out;
    return ERR_OK;
}

/* `index` is the level's number in the names. The last level to run does not resample. */
static enum err_code load_level(const struct load *ld, struct vae_level *level, int index, bool last, int *width,
                                const char *block_name, const char *resample_name)
{
    char name[NAME_SIZE];

    do {
        (void)snprintf(name, sizeof name, block_name, index, level->n_res);
        TRY(load_res(ld, &level->res[level->n_res++], width, name));
        (void)snprintf(name, sizeof name, block_name, index, level->n_res);
    } while (level->n_res < VAE_MAX_RES && weight_set_find(ld->l->set, "%s.conv1.weight", name));
    if (last)
        return ERR_OK;
    level->has_resample = true;
    (void)snprintf(name, sizeof name, resample_name, index);
    return load_conv(ld, &level->resample, *width, *width, 3, name);
}

static enum err_code load_mid(const struct load *ld, struct vae_half *half, int *width)
{
    struct vae_attention *a = &half->attention;
    char name[NAME_SIZE];
    int w = *width;

    for (int i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, ld->names->mid_block, ld->half, ld->names->first_mid + i);
        TRY(load_res(ld, &half->mid[i], width, name));
        if (*width != w)
            return err_set(ld->err, ERR_UNSUPPORTED, "VAE: %s changes the width from %d to %d", name, w, *width);
    }
    (void)snprintf(name, sizeof name, ld->names->mid_norm, ld->half);
    TRY(load_norm(ld, &a->norm, w, name));
    TRY(load_linear(ld, &a->q, w, ld->names->q));
    TRY(load_linear(ld, &a->k, w, ld->names->k));
    TRY(load_linear(ld, &a->v, w, ld->names->v));
    return load_linear(ld, &a->proj, w, ld->names->proj);
}

static enum err_code load_ends(const struct load *ld, struct vae_half *half, int width, int c_out)
{
    char name[NAME_SIZE];

    (void)snprintf(name, sizeof name, ld->names->norm_out, ld->half);
    TRY(load_norm(ld, &half->norm_out, width, name));
    (void)snprintf(name, sizeof name, "%s.conv_out", ld->half);
    return load_conv(ld, &half->conv_out, width, c_out, 3, name);
}

static enum err_code load_encoder(const struct load *ld, struct vae_half *e)
{
    const struct vae_names *n = ld->names;
    int width;

    TRY(load_conv(ld, &e->conv_in, 3, -1, 3, "encoder.conv_in"));
    width = e->conv_in.w.c_out;
    for (int i = 0; i < VAE_LEVELS; i++)
        TRY(load_level(ld, &e->levels[i], i, i == VAE_LEVELS - 1, &width, n->down_block, n->downsample));
    TRY(load_mid(ld, e, &width));
    return load_ends(ld, e, width, VAE_MOMENTS);
}

static enum err_code load_decoder(const struct load *ld, struct vae_half *d)
{
    const struct vae_names *n = ld->names;
    int width;

    TRY(load_conv(ld, &d->conv_in, VAE_LATENT, -1, 3, "decoder.conv_in"));
    width = d->conv_in.w.c_out;
    TRY(load_mid(ld, d, &width));
    for (int i = 0; i < VAE_LEVELS; i++)
        TRY(load_level(ld, &d->levels[i], n->up_from_fine ? VAE_LEVELS - 1 - i : i, i == VAE_LEVELS - 1, &width,
                       n->up_block, n->upsample));
    return load_ends(ld, d, width, 3);
}

static const struct vae_names *family_of(const struct weight_set *set)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (weight_set_find(set, "%s", families[i].probe))
            return &families[i];
    return NULL;
}

enum err_code vae_load(struct vae *ret, struct weight_loader *l, struct err *err)
{
    struct load ld = { l, family_of(l->set), "encoder", err };

    *ret = (struct vae){ .be = l->be };
    if (!ld.names)
        return err_set(err, ERR_NOT_FOUND, "VAE: no tensor '%s'", families[0].probe);
    if (weight_set_find(l->set, "quant_conv.weight") || weight_set_find(l->set, "post_quant_conv.weight"))
        return err_set(err, ERR_UNSUPPORTED, "VAE: it has a quant_conv, so it is not the autoencoder of FLUX.1");
    TRY(load_encoder(&ld, &ret->encoder));
    ld.half = "decoder";
    TRY(load_decoder(&ld, &ret->decoder));
    return weights_finish(l, err);
}
