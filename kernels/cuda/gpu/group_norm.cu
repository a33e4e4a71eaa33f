/*
 * group_norm.cu - GroupNorm of a picture, optionally followed by SiLU.
 *
 * Maths      y = (x - mean_g) / sqrt(var_g + eps) * w[c] + b[c]; group g: all pixels of C/n_groups neighbouring
 *            channels; biased variance; SiLU(y) = y / (1 + exp(-y))
 * Shapes     x, y [H, W, C] f32 or bf16, dense; w, b [C] f32; any C and n_groups that divides it
 * Launch     1. channel_moments: grid (slabs of pixels, stripes of 1024 channels), block (channels/4 x pixels):
 *               mean and squares of each channel over each slab, into `scratch`
 *            2. group_moments: grid (n_groups): combines the moments of a group's channels and slabs
 *            3. normalise: grid and block as in 1
 * Moves      x twice, y once; at 1024 x 1024 x 256 in bf16 1.6 GB
 * Numerics   Welford in f32, combined after Chan; the order is fixed by the shapes and the size of the scratch, so
 *            the same input gives the same bits; rounded once at the store
 * Reference  kernels/plain/norm.c          Test  test_cuda_shim_norm.c, test/gpu/test_ops.c
 * Source     Wu & He 2018; Chan, Golub & LeVeque 1979
 */
#include "kernels/cuda/gpu/kernel.cuh"

extern "C" {
#include "kernels/backend.h"
}

enum { THREADS = 256, MAX_SLABS = 1024, MIN_SLAB_PIXELS = 64, AT_ONCE = 8 };

struct moments {
    float n, mean, squares; /* squares of the deviations from the mean, summed */
};

DEVICE struct moments combined(struct moments a, struct moments b)
{
    float n = a.n + b.n, delta = b.mean - a.mean;
    struct moments sum = { n, 0, 0 };

    if (b.n == 0)
        return a;
    sum.mean = a.mean + delta * (b.n / n);
    sum.squares = a.squares + b.squares + delta * delta * (a.n * (b.n / n));
    return sum;
}

/* Device memory between the three kernels. */
struct scratch {
    float2 *channels; /* [n_slabs, C] mean and squares */
    float2 *groups;   /* [n_groups] mean and 1 / standard deviation */
    int64_t n_slabs, slab_pixels;
};

DEVICE int64_t slab_end(const struct scratch &s, int64_t slab, int64_t n_pixels)
{
    return (slab + 1) * s.slab_pixels < n_pixels ? (slab + 1) * s.slab_pixels : n_pixels;
}

static __global__ void __launch_bounds__(THREADS) channel_moments(struct rows x, struct scratch s)
{
    DYNAMIC_SHARED(struct moments, shared); /* [pixels of the block][4 * channels/4] */
    int64_t col = 4 * ((int64_t)blockIdx.y * blockDim.x + threadIdx.x), end = slab_end(s, blockIdx.x, x.n_rows);
    unsigned width = 4 * blockDim.x;
    float n = 0, v[4], mean[4] = { 0, 0, 0, 0 }, squares[4] = { 0, 0, 0, 0 };

    if (col < x.n_cols)
        for (int64_t pixel = blockIdx.x * s.slab_pixels + threadIdx.y; pixel < end; pixel += blockDim.y) {
            float weight = 1.0f / (n += 1.0f);

            load4(x, pixel, col, v);
            for (int i = 0; i < 4; i++) {
                float delta = v[i] - mean[i];

                mean[i] += delta * weight;
                squares[i] += delta * (v[i] - mean[i]);
            }
        }
    for (int i = 0; i < 4; i++)
        shared[threadIdx.y * width + 4 * threadIdx.x + i] = { n, mean[i], squares[i] };
    __syncthreads();
    for (unsigned c = threadIdx.y * blockDim.x + threadIdx.x; c < width; c += THREADS) {
        int64_t channel = (int64_t)blockIdx.y * width + c;
        struct moments sum = shared[c];

        for (unsigned y = 1; y < blockDim.y; y++)
            sum = combined(sum, shared[y * width + c]);
        if (channel < x.n_cols)
            s.channels[blockIdx.x * x.n_cols + channel] = make_float2(sum.mean, sum.squares);
    }
}

/* Part i of the moments of the block's group: those of channel i % group over slab i / group. */
DEVICE struct moments part_of(const struct scratch &s, unsigned i, int64_t n_pixels, int64_t n_channels, unsigned group)
{
    int64_t slab = i / group, channel = blockIdx.x * group + i % group;
    float2 part = s.channels[slab * n_channels + channel];

    return { (float)(slab_end(s, slab, n_pixels) - slab * s.slab_pixels), part.x, part.y };
}

/* Loads AT_ONCE parts at a time: the kernel has too few warps to hide the latency of single loads. */
static __global__ void __launch_bounds__(THREADS)
    group_moments(struct scratch s, int64_t n_pixels, int64_t n_channels, int64_t group, float eps)
{
    DYNAMIC_SHARED(struct moments, shared); /* [THREADS] */
    struct moments sum = { 0, 0, 0 };
    int64_t n = s.n_slabs * group;

    for (int64_t first = threadIdx.x; first < n; first += AT_ONCE * THREADS) {
        struct moments parts[AT_ONCE];

        UNROLLED(i, AT_ONCE)
            parts[i] = part_of(s, first + i * THREADS < n ? (unsigned)(first + i * THREADS) : 0, n_pixels, n_channels,
                               (unsigned)group);
        UNROLLED(i, AT_ONCE)
            if (first + i * THREADS < n)
                sum = combined(sum, parts[i]);
    }
    shared[threadIdx.x] = sum;
    for (unsigned half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            shared[threadIdx.x] = combined(shared[threadIdx.x], shared[threadIdx.x + half]);
    }
    if (threadIdx.x == 0)
        s.groups[blockIdx.x] = make_float2(shared[0].mean, 1.0f / sqrtf(shared[0].squares / shared[0].n + eps));
}

static __global__ void __launch_bounds__(THREADS)
    normalise(struct rows y, struct rows x, struct rows w, struct rows b, int64_t group, bool silu, struct scratch s)
{
    int64_t col = 4 * ((int64_t)blockIdx.y * blockDim.x + threadIdx.x), end = slab_end(s, blockIdx.x, x.n_rows);
    float mean[4], scale[4], shift[4], v[4];

    if (col >= x.n_cols)
        return;
    load4(w, 0, col, scale);
    load4(b, 0, col, shift);
    for (int i = 0; i < 4; i++) {
        float2 g = s.groups[(unsigned)(col + i < x.n_cols ? col + i : col) / (unsigned)group];

        mean[i] = g.x;
        scale[i] *= g.y;
    }
    for (int64_t pixel = blockIdx.x * s.slab_pixels + threadIdx.y; pixel < end; pixel += blockDim.y) {
        load4(x, pixel, col, v);
        for (int i = 0; i < 4; i++) {
            v[i] = (v[i] - mean[i]) * scale[i] + shift[i];
            v[i] = silu ? v[i] / (1.0f + expf(-v[i])) : v[i];
        }
        store4(y, pixel, col, v);
    }
}

static int64_t slabs_wanted(int64_t n_pixels)
{
    return least(div_up(n_pixels, MIN_SLAB_PIXELS), MAX_SLABS);
}

/* The moments of channels over n_slabs, then those of groups, of which there are at most as many as channels. */
static size_t scratch_bytes_for(int64_t n_slabs, int64_t n_channels)
{
    return (size_t)(n_slabs + 1) * (size_t)n_channels * sizeof(float2);
}

extern "C" size_t k_group_norm_scratch(const struct tensor *x)
{
    return scratch_bytes_for(slabs_wanted(tensor_rows(x)), tensor_cols(x));
}

extern "C" int k_group_norm(struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b,
                            const struct group_norm_args *args, struct k_scratch memory, cudaStream_t stream)
{
    int64_t n_pixels = tensor_rows(x), n_channels = tensor_cols(x), n_slabs = slabs_wanted(n_pixels);
    struct scratch s = {};
    unsigned width = THREADS;
    int rc;

    while (n_slabs > 1 && scratch_bytes_for(n_slabs, n_channels) > memory.bytes)
        n_slabs /= 2;
    if (scratch_bytes_for(n_slabs, n_channels) > memory.bytes)
        return cudaErrorMemoryAllocation;
    s.slab_pixels = div_up(n_pixels, n_slabs);
    s.n_slabs = div_up(n_pixels, s.slab_pixels);
    s.channels = (float2 *)memory.data;
    s.groups = s.channels + s.n_slabs * n_channels;
    while (width > 1 && width / 2 * 4 >= n_channels)
        width /= 2;
    dim3 block(width, THREADS / width), grid((unsigned)s.n_slabs, (unsigned)div_up(n_channels, 4 * (int64_t)width));

    rc = LAUNCH(channel_moments, grid, block, 4 * THREADS * sizeof(struct moments), stream, rows_of(x), s);
    if (rc)
        return rc;
    rc = LAUNCH(group_moments, (unsigned)args->n_groups, THREADS, THREADS * sizeof(struct moments), stream, s, n_pixels,
                n_channels, n_channels / args->n_groups, args->eps);
    if (rc)
        return rc;
    return LAUNCH(normalise, grid, block, 0, stream, rows_of(y), rows_of(x), rows_of(w), rows_of(b),
                  n_channels / args->n_groups, args->act == ACT_SILU, s);
}
