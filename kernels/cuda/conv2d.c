/*
 * conv2d.c - which kernels compute a convolution.
 *
 * A 1x1 convolution is a matrix product of the picture, so cuBLASLt computes it. For others conv_mma.cu reads the
 * picture directly: nearly all of the autoencoder's work. What remains are pictures of 3 channels and latents of 16:
 * they become a matrix product of the weights with a matrix that has a row of input values for each output pixel. Its
 * rows (conv_rows.cu) are written to the workspace a tile at a time, small enough to stay in the second-level cache
 * until they are read. In all three cases bias and residual are added to the f32 sum before its one rounding.
 *
 * cuDNN is not used. Its libraries would add a gigabyte to the container, and on Hopper it does not pay either: its
 * compiled kernels round the sums to bf16, which makes the error of the autoencoder one and a half times as large; for
 * results in f32 it has kernels with Ampere's instructions, or one with Hopper's that takes a second or more to compile
 * for each of the twenty-odd shapes of a picture's size (version 9.19).
 */
#include "kernels/cuda/product.h"
#include "kernels/cuda/gpu/product_kernels.h"

enum { TILE_STEP = 128, PRODUCT_TILE = 128 * 128 /* values of a product that a multiprocessor computes at a time */ };

struct conv {
    struct cuda *cuda;
    struct tensor x, y; /* [H, W, C] */
    const struct conv_weight *w;
    const struct conv_args *args;
    struct cuda_product product; /* the product of all rows */
    char *tile;
};

int64_t cuda_conv_row(const struct conv_weight *w)
{
    return ((int64_t)w->kh * w->kw * w->c_in + 7) & ~(int64_t)7;
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A tile fills half the second-level cache, or more where the product would leave multiprocessors idle. */
static int64_t tile_rows(const struct conv *c)
{
    int64_t row_bytes = c->product.k * 2, m = c->product.m;
    int64_t room = (int64_t)(c->cuda->workspace_bytes - (size_t)(c->tile - (char *)c->cuda->workspace)) / row_bytes;
    int64_t cached = c->cuda->l2_bytes / 2 / row_bytes;
    int64_t busy = (int64_t)c->cuda->n_multiprocessors * PRODUCT_TILE / at_least(c->product.n, TILE_STEP);
    int64_t rows = at_least(cached, busy);

    rows = rows < room ? rows : room;
    if (rows > TILE_STEP)
        rows -= rows % TILE_STEP;
    return rows < m ? rows : m;
}

static enum err_code run_tile(const struct conv *c, int64_t first, int64_t n, struct err *err)
{
    struct tensor tile = tensor_2d(DT_BF16, n, c->product.k, c->tile);
    struct cuda_product p = c->product;
    size_t offset = (size_t)(first * p.n) * (p.d_type == DT_F32 ? 4 : 2);
    int status = k_conv_rows(&tile, &c->x, first, c->y.dims[1], c->w, c->args, c->cuda->stream);

    p.m = n;
    p.a = c->tile;
    p.d = (char *)p.d + offset;
    p.add = p.add ? (const char *)p.add + offset : NULL;
    TRY(cuda_status((cudaError_t)status, "conv2d", err));
    return cuda_product_run(c->cuda, &p, err);
}

static enum err_code run_tiles(const struct conv *c, struct err *err)
{
    int64_t rows = tile_rows(c), m = c->product.m;

    if (rows <= 0)
        return err_set(err, ERR_TOO_LARGE,
                       "cuda: a convolution that reads %lld values a pixel does not fit the workspace",
                       (long long)c->product.k);
    for (int64_t first = 0; first < m; first += rows)
        TRY(run_tile(c, first, m - first < rows ? m - first : rows, err));
    return ERR_OK;
}

/* Whether each output pixel reads exactly one row of x, so that the convolution is a matrix product. */
static bool rows_are_pixels(const struct conv *c)
{
    const struct conv_args *a = c->args;

    return c->w->kh == 1 && c->w->kw == 1 && a->stride == 1 && !a->pad_top && !a->pad_left && !a->pad_bottom &&
           !a->pad_right && c->x.dtype == DT_BF16 && cuda_conv_row(c->w) == c->w->c_in;
}

static enum err_code run_product(struct conv *c, const struct tensor *bias, struct err *err)
{
    const struct tensor *residual = c->args->residual;
    bool add = residual && residual->dtype == c->y.dtype;

    c->product = (struct cuda_product){ .m = c->y.dims[0] * c->y.dims[1],
                                        .n = c->w->c_out,
                                        .k = cuda_conv_row(c->w),
                                        .b = c->w->data,
                                        .a = c->x.data,
                                        .d = c->y.data,
                                        .d_type = c->y.dtype };
    c->product.a_stride = c->product.b_stride = c->product.k;
    c->product.d_stride = c->w->c_out;
    c->product.add = add ? residual->data : NULL;
    TRY(cuda_product_bias(c->cuda, &(struct bias){ .f32 = *bias }, c->y.dtype, &c->tile, &c->product.bias, err));
    TRY(rows_are_pixels(c) ? cuda_product_run(c->cuda, &c->product, err) : run_tiles(c, err));
    return residual && !add ? cuda_gate_add(&c->cuda->base, &c->y, NULL, residual, err) : ERR_OK;
}

enum err_code cuda_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                          const struct tensor *bias, const struct conv_args *args, struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    struct conv c = { .cuda = cuda, .x = *x, .y = *y, .w = w, .args = args, .tile = cuda->workspace };

    if (rows_are_pixels(&c) || !k_conv_mma_fits(x, w))
        return run_product(&c, bias, err);
    return cuda_status((cudaError_t)k_conv_mma(y, x, w, bias, args, cuda->stream), "conv2d", err);
}
