/*
 * vae - running the two halves.
 *
 * The picture in progress is F32, and the inputs of convolutions are copies in `act`: keeping the picture itself in
 * bf16 makes the error one and a half times (encoder) to nearly twice (decoder) as large.
 *
 * Large activations are stored in three slots, each as big as the largest tensor that passes through it: a residual
 * block needs its input, a normalised copy and one result, and no more. So the network is passed through twice, first
 * to find the slots' sizes and then to compute. At 1024 x 1024 the slots of the decoder hold 256 channels of F32, 256
 * of `act` and 128 of F32.
 */
#include "models/vae/vae.h"

#include <math.h>

#include "kernels/ops.h"

enum { N_SLOTS = 3, HW_DIMS = 3 };
static const float norm_eps = 1e-6f;

/* A pass through one half: the picture in progress, and the slot it is in. */
struct pass {
    struct backend *be;
    bool sizes_only; /* notes how large the slots must be, and computes nothing */
    size_t bytes[N_SLOTS];
    void *base[N_SLOTS];
    struct tensor x; /* the picture [h, w, c], F32 */
    int at;          /* its slot */
    struct err *err;
};

/* The slot that is i after the picture's, cyclically: 1 and 2 give the two free slots. */
static int other_slot(const struct pass *p, int i)
{
    return (p->at + i) % N_SLOTS;
}

/* A tensor at the start of a slot, whose former contents are lost. */
static struct tensor in_slot(struct pass *p, enum dtype t, int slot, int64_t h, int64_t w, int64_t c)
{
    size_t bytes = dtype_row_bytes(t, c) * (size_t)(h * w);

    if (p->sizes_only && bytes > p->bytes[slot])
        p->bytes[slot] = bytes;
    return tensor_3d(t, h, w, c, p->base[slot]);
}

static void move_on(struct pass *p, const struct tensor *x, int slot)
{
    p->x = *x;
    p->at = slot;
}

/* --- layers --- */

static enum err_code group_norm(struct pass *p, struct tensor *y, const struct tensor *x, const struct vae_norm *n,
                                enum activation act)
{
    struct group_norm_args args = { VAE_GROUPS, norm_eps, act };

    if (p->sizes_only)
        return ERR_OK;
    return op_group_norm(p->be, y, x, &n->w, &n->b, &args, p->err);
}

/* Keeps the size: 3x3 with one pixel of padding all around, 1x1 with none. */
static enum err_code conv(struct pass *p, struct tensor *y, const struct tensor *x, const struct vae_conv *c,
                          const struct tensor *residual)
{
    int pad = c->w.kh / 2;
    struct conv_args args = { 1, pad, pad, pad, pad, residual };

    if (p->sizes_only)
        return ERR_OK;
    return op_conv2d(p->be, y, x, &c->w, &c->b, &args, p->err);
}

/* The picture as an input of a convolution, in another slot. */
static enum err_code conv_input(struct pass *p, int slot, struct tensor *ret)
{
    *ret = in_slot(p, p->be->act, slot, p->x.dims[0], p->x.dims[1], p->x.dims[2]);
    return p->sizes_only ? ERR_OK : op_copy(p->be, ret, &p->x, p->err);
}

static enum err_code res_block(struct pass *p, const struct vae_res *r)
{
    int64_t h = p->x.dims[0], w = p->x.dims[1], c_in = p->x.dims[2], c_out = r->conv1.w.c_out;
    int a = p->at, b = other_slot(p, 1), c = other_slot(p, 2);
    struct tensor n = in_slot(p, p->be->act, b, h, w, c_in), out = in_slot(p, DT_F32, c, h, w, c_out);

    TRY(group_norm(p, &n, &p->x, &r->norm1, ACT_SILU));
    TRY(conv(p, &out, &n, &r->conv1, NULL));
    if (r->has_shortcut) {
        TRY(conv_input(p, b, &n));
        p->x = in_slot(p, DT_F32, a, h, w, c_out);
        TRY(conv(p, &p->x, &n, &r->shortcut, NULL));
    }
    n = in_slot(p, p->be->act, b, h, w, c_out);
    TRY(group_norm(p, &n, &out, &r->norm2, ACT_SILU));
    TRY(conv(p, &out, &n, &r->conv2, &p->x));
    move_on(p, &out, c);
    return ERR_OK;
}

static enum err_code linear(struct pass *p, struct tensor *y, const struct tensor *x, const struct vae_linear *m)
{
    if (p->sizes_only)
        return ERR_OK;
    return op_linear(p->be, y, x, &m->w, &m->b, ACT_NONE, p->err);
}

/* q, k and v are side by side in one slot; the result of attention takes the place of the normalised picture. */
static enum err_code attention(struct pass *p, const struct vae_attention *a)
{
    int64_t h = p->x.dims[0], w = p->x.dims[1], width = p->x.dims[2], n = h * w;
    struct attention_args args = { .n_heads = 1, .head_dim = (int)width, .scale = (float)(1.0 / sqrt((double)width)) };
    struct tensor norm = in_slot(p, p->be->act, other_slot(p, 1), h, w, width);
    struct tensor qkv = in_slot(p, p->be->act, other_slot(p, 2), h, w, 3 * width), q, k, v, rows, x, y;

    if (p->sizes_only)
        return ERR_OK;
    qkv = tensor_as_2d(&qkv, n, 3 * width);
    q = tensor_col_view(&qkv, 0, width);
    k = tensor_col_view(&qkv, width, width);
    v = tensor_col_view(&qkv, 2 * width, width);
    TRY(group_norm(p, &norm, &p->x, &a->norm, ACT_NONE));
    rows = tensor_as_2d(&norm, n, width);
    TRY(linear(p, &q, &rows, &a->q));
    TRY(linear(p, &k, &rows, &a->k));
    TRY(linear(p, &v, &rows, &a->v));
    TRY(op_attention(p->be, &rows, &q, &k, &v, &args, p->err));
    y = tensor_2d(DT_F32, n, width, qkv.data); /* over q, k and v, which are larger */
    TRY(linear(p, &y, &rows, &a->proj));
    x = tensor_as_2d(&p->x, n, width);
    return op_gate_add(p->be, &x, NULL, &y, p->err);
}

static enum err_code mid(struct pass *p, const struct vae_half *half)
{
    TRY(res_block(p, &half->mid[0]));
    TRY(attention(p, &half->attention));
    return res_block(p, &half->mid[1]);
}

/* Pixel (y, x) sees rows 2y .. 2y + 2 and columns 2x .. 2x + 2 of the larger picture. */
static enum err_code downsample(struct pass *p, const struct vae_conv *c)
{
    static const struct conv_args args = { .stride = 2, .pad_bottom = 1, .pad_right = 1 };
    struct tensor big, y;

    TRY(conv_input(p, other_slot(p, 1), &big));
    y = in_slot(p, DT_F32, p->at, p->x.dims[0] / 2, p->x.dims[1] / 2, c->w.c_out);
    if (!p->sizes_only)
        TRY(op_conv2d(p->be, &y, &big, &c->w, &c->b, &args, p->err));
    move_on(p, &y, p->at);
    return ERR_OK;
}

/* The result overwrites the small picture, so that only two slots grow. */
static enum err_code upsample(struct pass *p, const struct vae_conv *c)
{
    int64_t h = 2 * p->x.dims[0], w = 2 * p->x.dims[1];
    struct tensor big = in_slot(p, p->be->act, other_slot(p, 1), h, w, p->x.dims[2]), small, y;

    TRY(conv_input(p, other_slot(p, 2), &small));
    if (!p->sizes_only)
        TRY(op_upsample2x(p->be, &big, &small, p->err));
    y = in_slot(p, DT_F32, p->at, h, w, c->w.c_out);
    TRY(conv(p, &y, &big, c, NULL));
    move_on(p, &y, p->at);
    return ERR_OK;
}

static enum err_code levels(struct pass *p, const struct vae_half *half,
                            enum err_code (*resample)(struct pass *, const struct vae_conv *))
{
    for (int i = 0; i < VAE_LEVELS; i++) {
        const struct vae_level *level = &half->levels[i];

        for (int b = 0; b < level->n_res; b++)
            TRY(res_block(p, &level->res[b]));
        if (level->has_resample)
            TRY(resample(p, &level->resample));
    }
    return ERR_OK;
}

/* conv_in, on a copy of the input in a slot unless the input is `act` already. */
static enum err_code input(struct pass *p, const struct tensor *in, const struct vae_conv *conv_in)
{
    int64_t h = in->dims[0], w = in->dims[1];
    struct tensor x = *in, y;

    if (in->dtype != p->be->act) {
        x = in_slot(p, p->be->act, 0, h, w, in->dims[2]);
        if (!p->sizes_only)
            TRY(op_copy(p->be, &x, in, p->err));
    }
    y = in_slot(p, DT_F32, 1, h, w, conv_in->w.c_out);
    TRY(conv(p, &y, &x, conv_in, NULL));
    move_on(p, &y, 1);
    return ERR_OK;
}

static enum err_code output(struct pass *p, struct tensor *out, const struct vae_half *half)
{
    struct tensor n = in_slot(p, p->be->act, other_slot(p, 1), p->x.dims[0], p->x.dims[1], p->x.dims[2]);

    TRY(group_norm(p, &n, &p->x, &half->norm_out, ACT_SILU));
    return conv(p, out, &n, &half->conv_out, NULL);
}

static enum err_code encode(struct pass *p, const struct vae_half *e, const struct tensor *in, struct tensor *out)
{
    TRY(input(p, in, &e->conv_in));
    TRY(levels(p, e, downsample));
    TRY(mid(p, e));
    return output(p, out, e);
}

static enum err_code decode(struct pass *p, const struct vae_half *d, const struct tensor *in, struct tensor *out)
{
    TRY(input(p, in, &d->conv_in));
    TRY(mid(p, d));
    TRY(levels(p, d, upsample));
    return output(p, out, d);
}

typedef enum err_code half_fn(struct pass *p, const struct vae_half *half, const struct tensor *in, struct tensor *out);

/* Passes through a half twice: for the sizes of the slots, and for the result. */
static enum err_code run_half(half_fn *run, const struct vae *v, const struct vae_half *half, const struct tensor *in,
                              struct tensor *out, struct devarena *mem, struct err *err)
{
    DEVARENA_SCRATCH(mem);
    struct pass p = { .be = v->be, .sizes_only = true, .err = err };

    TRY(run(&p, half, in, out));
    for (int i = 0; i < N_SLOTS; i++)
        TRY(devarena_alloc(mem, p.bytes[i], &p.base[i], err));
    p.sizes_only = false;
    return run(&p, half, in, out);
}

static bool is_picture(const struct tensor *t, int64_t channels)
{
    return t->n_dims == HW_DIMS && t->dims[0] > 0 && t->dims[1] > 0 && t->dims[2] == channels &&
           dtype_is_activation(t->dtype) && t->data;
}

enum err_code vae_encode(const struct vae *v, const struct tensor *rgb, struct tensor *moments, struct devarena *mem,
                         struct err *err)
{
    if (!is_picture(rgb, 3) || !is_picture(moments, VAE_MOMENTS) || moments->dtype != DT_F32 ||
        rgb->dims[0] != moments->dims[0] * VAE_SCALE || rgb->dims[1] != moments->dims[1] * VAE_SCALE)
        return err_set(err, ERR_INVALID, "VAE: the shapes of picture and moments do not fit each other");
    return run_half(encode, v, &v->encoder, rgb, moments, mem, err);
}

enum err_code vae_decode(const struct vae *v, const struct tensor *z, struct tensor *rgb, struct devarena *mem,
                         struct err *err)
{
    if (!is_picture(z, VAE_LATENT) || !is_picture(rgb, 3) || rgb->dtype != DT_F32 ||
        rgb->dims[0] != z->dims[0] * VAE_SCALE || rgb->dims[1] != z->dims[1] * VAE_SCALE)
        return err_set(err, ERR_INVALID, "VAE: the shapes of latents and picture do not fit each other");
    return run_half(decode, v, &v->decoder, z, rgb, mem, err);
}

/* Both halves on latents of h x w; `other` holds the tensors that a caller owns. */
static enum err_code rehearse(const struct vae *v, int64_t h, int64_t w, struct devarena *mem, struct devarena *other,
                              struct err *err)
{
    struct tensor rgb, z, moments;

    TRY(devarena_init(mem, v->be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(devarena_init(other, v->be, BACKEND_MEASURE_PLENTY, 0, err));
    TRY(devarena_3d(other, DT_F32, h * VAE_SCALE, w * VAE_SCALE, 3, &rgb, err));
    TRY(devarena_3d(other, DT_F32, h, w, VAE_LATENT, &z, err));
    TRY(devarena_3d(other, DT_F32, h, w, VAE_MOMENTS, &moments, err));
    TRY(vae_encode(v, &rgb, &moments, mem, err));
    return vae_decode(v, &z, &rgb, mem, err);
}

enum err_code vae_measure(const struct vae *v, int64_t height, int64_t width, size_t *ret, struct err *err)
{
    struct devarena mem = { 0 }, other = { 0 };
    struct vae rehearsed = *v;
    enum err_code rc;

    if (height < VAE_SCALE || width < VAE_SCALE || height % VAE_SCALE || width % VAE_SCALE)
        return err_set(err, ERR_INVALID, "VAE: the sides of %lld x %lld pixels are not multiples of %d",
                       (long long)width, (long long)height, VAE_SCALE);
    TRY(backend_measure_open(v->be->act, &rehearsed.be, err));
    rc = rehearse(&rehearsed, height / VAE_SCALE, width / VAE_SCALE, &mem, &other, err);
    if (rc == ERR_OK)
        *ret = mem.peak;
    devarena_done(&other);
    devarena_done(&mem);
    backend_close(rehearsed.be);
    return rc;
}
