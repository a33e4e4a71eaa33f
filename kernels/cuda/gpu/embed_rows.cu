/*
 * embed_rows.cu - rows of a table of any storage type, by number.
 *
 * Maths      y[i, :] = table[ids[i], :], times the table's scale unless it is 0
 * Shapes     table [rows, cols] as stored; y [n, cols] f32 or bf16, rows may have gaps
 * Launch     grid (cols / 2048, ids), block (256), shared 2048 values as stored; at most 512 ids a launch: they are
 *            passed as a kernel parameter (2 KB of 4), so the host's array may change when the launcher returns
 * Moves      the rows in and out: 512 x 4096 of T5 12 MB
 * Numerics   as dequantise.cu
 * Reference  kernels/plain/elementwise.c          Test  test_cuda_shim_dequantise.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/dequantise.cuh"
#include "kernels/cuda/gpu/kernel.cuh"

enum { MAX_IDS = 512 };

struct ids {
    int32_t id[MAX_IDS];
};

template <enum dtype T>
static __global__ void __launch_bounds__(TILE_THREADS, 4)
    embed_rows(struct rows y, int64_t first_row, const uint8_t *table, int64_t row_bytes, float scale, struct ids ids)
{
    DYNAMIC_SHARED(uint8_t, shared);

    expand_tile<T>(y, first_row + blockIdx.y, table + ids.id[blockIdx.y] * row_bytes, scale, blockIdx.x, shared);
}

template <enum dtype T>
static int embed_rows_launch(const struct rows &y, const struct weight *table, const int32_t *ids, cudaStream_t stream)
{
    int64_t row_bytes = (int64_t)dtype_row_bytes(T, table->cols);
    int rc = 0;

    for (int64_t first = 0; !rc && first < y.n_rows; first += MAX_IDS) {
        int64_t n = least(y.n_rows - first, MAX_IDS);
        dim3 grid((unsigned)div_up(y.n_cols, TILE_VALUES), (unsigned)n);
        struct ids some;

        for (int64_t i = 0; i < MAX_IDS; i++)
            some.id[i] = i < n ? ids[first + i] : 0;
        rc = LAUNCH(embed_rows<T>, grid, TILE_THREADS, (size_t)layout<T>::TILE_BYTES, stream, y, first,
                    (const uint8_t *)table->data, row_bytes, table->scale, some);
    }
    return rc;
}

extern "C" int k_embed_rows(struct tensor *y, const struct weight *table, const int32_t *ids, cudaStream_t stream)
{
    switch (table->dtype) {
#define X(id, eight) \
    case id:         \
        return embed_rows_launch<id>(rows_of(y), table, ids, stream);
        LAYOUTS(X)
#undef X
    default:
        return cudaErrorInvalidValue;
    }
}
