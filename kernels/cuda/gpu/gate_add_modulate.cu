/*
 * gate_add_modulate.cu - a gated sum into the residual stream and the modulation that reads it next, in one pass.
 *
 * Maths      x += gate[c] * y;  a = (x - mean) / sqrt(var + eps) * (1 + scale[c]) + shift[c], biased variance of x
 * Shapes     x [rows, cols] f32, y and a [rows, cols] bf16, cols a multiple of 4 up to MAX_COLS, rows may have gaps but
 *            are aligned to four values; gate, shift, scale [cols] f32: the shapes in the blocks of the transformer.
 *            The two kernels that this one joins compute all others
 * Launch     grid (rows), block (256), shared 32 B; one block owns one row, which a thread keeps in registers: up to
 *            CHUNKS times four columns
 * Moves      12 bytes a value (x in and out, y in, a out); gate_add (10) and modulate (6) would move 16. The vectors
 *            (12 KB at 3072) stay in the caches
 * FLOPs      about 10 a value: bound by memory
 * Numerics   the operations of gate_add (elementwise.cu) and modulate (norm.cu) in their order, so the same bytes: one
 *            fused multiply-add, f32 sums of 256 partial sums, the variance in a second pass over the registers, a
 *            rounded once at the store. a may be y: a thread writes only columns that it has read
 * Reference  kernels/plain/norm.c          Test  test_cuda_shim_norm.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"

extern "C" {
#include "kernels/backend.h"
}

enum { THREADS = 256, WARPS = THREADS / 32, CHUNKS = 4, MAX_COLS = 4 * THREADS * CHUNKS };

/* Visits the thread's chunks of four columns; i is their index in its registers. */
#define FOR_MY_CHUNKS(i, col, n) \
    UNROLLED(i, CHUNKS)          \
        if (const int64_t col = 4 * ((int64_t)threadIdx.x + (int64_t)(i) * THREADS); col < (n))

/* Lets the compiler know the type of the rows, and that they are read four values at a time: the launcher has checked
 * both. */
DEVICE struct rows known(struct rows r, bool f32)
{
    r.f32 = f32;
    r.wide = true;
    return r;
}

/* Starts all loads before it uses the first value. */
DEVICE void add_gated(const struct rows &x, const struct rows &y, const struct rows &gate, int64_t row,
                      float kept[CHUNKS][4])
{
    float added[CHUNKS][4];

    FOR_MY_CHUNKS(i, col, x.n_cols) {
        load4(x, row, col, kept[i]);
        load4(y, row, col, added[i]);
    }
    FOR_MY_CHUNKS(i, col, x.n_cols) {
        float g[4];

        load4(gate, 0, col, g);
        UNROLLED(j, 4)
            kept[i][j] = fmaf(g[j], added[i][j], kept[i][j]);
    }
    FOR_MY_CHUNKS(i, col, x.n_cols)
        store4(x, row, col, kept[i]);
}

DEVICE float sum_of(const float kept[CHUNKS][4], int64_t n, float *shared)
{
    float sum = 0;

    FOR_MY_CHUNKS(i, col, n)
        sum += (kept[i][0] + kept[i][1]) + (kept[i][2] + kept[i][3]);
    return block_sum(sum, shared);
}

/* The sum of the squared deviations from `centre`. */
DEVICE float squares_of(const float kept[CHUNKS][4], int64_t n, float centre, float *shared)
{
    float sum = 0;

    FOR_MY_CHUNKS(i, col, n)
        UNROLLED(j, 4)
            sum += (kept[i][j] - centre) * (kept[i][j] - centre);
    return block_sum(sum, shared);
}

static __global__ void __launch_bounds__(THREADS)
    gate_add_modulate(struct rows to, struct rows stream, struct rows from, struct rows gate, struct rows shift,
                      struct rows scale, float eps)
{
    DYNAMIC_SHARED(float, shared);
    const struct rows a = known(to, false), x = known(stream, true), y = known(from, false);
    float n = (float)x.n_cols, kept[CHUNKS][4];

    for (int64_t row = blockIdx.x; row < x.n_rows; row += gridDim.x) {
        add_gated(x, y, known(gate, true), row, kept);

        float mean = sum_of(kept, x.n_cols, shared) / n;
        float inverse = 1.0f / sqrtf(squares_of(kept, x.n_cols, mean, shared) / n + eps);

        FOR_MY_CHUNKS(i, col, x.n_cols) {
            float factor[4], offset[4];

            load4(known(scale, true), 0, col, factor);
            load4(known(shift, true), 0, col, offset);
            UNROLLED(j, 4)
                kept[i][j] = (kept[i][j] - mean) * inverse * (1.0f + factor[j]) + offset[j];
            store4(a, row, col, kept[i]);
        }
    }
}

extern "C" int k_gate_add_modulate(struct tensor *a, struct tensor *x, const struct tensor *y,
                                   const struct gate_modulate_args *args, cudaStream_t stream)
{
    const struct rows to = rows_of(a), at = rows_of(x), from = rows_of(y), gate = rows_of(args->gate),
                      shift = rows_of(args->shift), scale = rows_of(args->scale);
    bool wide = to.wide && at.wide && from.wide && gate.wide && shift.wide && scale.wide;
    int rc;

    if (wide && at.f32 && !to.f32 && !from.f32 && at.n_cols <= MAX_COLS)
        return LAUNCH(gate_add_modulate, (unsigned)least(at.n_rows, 1 << 30), THREADS, WARPS * sizeof(float), stream,
                      to, at, from, gate, shift, scale, args->eps);
    rc = k_gate_add(x, args->gate, y, stream);
    return rc ? rc : k_modulate(a, x, args->shift, args->scale, args->eps, stream);
}
