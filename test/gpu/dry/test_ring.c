/* The ring of expanded weights: whatever is announced, and in whatever order it is used, a matrix in use is complete
 * and stays until the next one is used. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/ring.h"
#include "kernels/quant.h"
#include "test/gpu/device.h"

enum { N_MATRICES = 40, MATRIX_BYTES = 8192, N_USES = 400, COLS = 32 };

static uint64_t seed = 1;

static int below(int n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

/* What expanding matrix i gives: its number, and 64 times as much where it has a scale. All are different, and exact in
 * bf16. */
static uint16_t value_of(int i)
{
    return f32_to_bf16((float)(i % 2 ? 64 * (i + 1) : i + 1));
}

static struct stored_matrix make(int i)
{
    struct stored_matrix m = {
        .dtype = DT_BF16, .rows = 1 + below(MATRIX_BYTES / 2 / COLS), .cols = COLS, .scale = i % 2 ? 64 : 0
    };
    struct err err = { 0 };
    uint16_t values[MATRIX_BYTES / 2];

    for (int64_t k = 0; k < m.rows * m.cols; k++)
        values[k] = f32_to_bf16((float)(i + 1));
    CHECK(ring_takes(MATRIX_BYTES, m.rows, m.cols));
    CHECK_OK(device()->ops->mem_alloc(device(), sizeof values, &m.data, &err), err);
    CHECK_OK(device()->ops->upload(device(), m.data, values, sizeof values, &err), err);
    return m;
}

static void check_whole(const struct stored_matrix *m, int i, const uint16_t *values)
{
    for (int64_t k = 0; k < m->rows * m->cols; k++)
        CHECK_INT(values[k], value_of(i));
}

static void use(struct ring *r, const struct stored_matrix *all, int i, const uint16_t **ret)
{
    struct err err = { 0 };
    const void *values = NULL;

    CHECK_OK(ring_use(r, &all[i], &values, &err), err);
    *ret = values;
    check_whole(&all[i], i, values);
}

/* Blocks of `block` matrices are announced one block ahead, as in models; sometimes another matrix, or none, is used.
 */
static void run(struct ring *r, const struct stored_matrix *all, int block, int mistakes)
{
    const uint16_t *values = NULL;

    for (int at = 0; at < N_USES; at++) {
        int i = at % N_MATRICES, j = mistakes && below(mistakes) == 0 ? below(N_MATRICES) : i;

        if (at % block == 0)
            for (int k = 0; k < block; k++)
                ring_announce(r, &all[(i + block + k) % N_MATRICES]);
        use(r, all, j, &values);
        if (below(3) == 0)
            use(r, all, j, &values); /* another part of the same matrix */
        if (below(5) == 0)
            ring_announce(r, &all[below(N_MATRICES)]);
        check_whole(&all[j], j, values);
    }
}

TEST(dry_ring__a_used_matrix_is_complete_whatever_was_announced)
{
    struct cuda *cuda = cuda_of(device());
    struct stored_matrix all[N_MATRICES];
    struct ring *r = NULL;
    struct err err = { 0 };

    for (int i = 0; i < N_MATRICES; i++)
        all[i] = make(i);
    for (int block = 1; block <= 8; block++) {
        CHECK_OK(ring_open(cuda, MATRIX_BYTES, &r, &err), err);
        run(r, all, block, 0);
        run(r, all, block, 20);
        run(r, all, block, 2);
        CHECK_OK(device()->ops->sync(device(), &err), err);
        CHECK_INT(cudaStreamSynchronize(cuda->expand), cudaSuccess);
        ring_close(r);
    }
    for (int i = 0; i < N_MATRICES; i++)
        device()->ops->mem_free(device(), all[i].data);
}
