#include "models/bench/random_file.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "kernels/quant.h"
#include "models/bench/bench_load.h"
#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { COLS = 3072 };

/* 30 MB take two matrices, because one of Q5_0 is 26 MB. */
TEST(random_file__is_a_gguf_of_matrices_whose_values_differ)
{
    static float row[2][COLS];
    char path[RANDOM_FILE_PATH];
    struct tensor_file f;
    struct arena a;
    struct err err = { 0 };
    double sum = 0;
    int fd = -1;

    CHECK_OK(random_file_open(DT_Q5_0, 30 * 1000 * 1000, path, &fd, &err), err);
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    CHECK_INT(f.n_entries, 2);
    for (int i = 0; i < 2; i++) {
        const struct tensor_entry *e = &f.entries[i];

        CHECK(e->dtype == DT_Q5_0 && e->n_dims == 2 && e->dims[0] == 12288 && e->dims[1] == COLS);
        dequantise_row(e->dtype, (const char *)e->data + e->bytes - dtype_row_bytes(e->dtype, COLS), row[i], COLS);
        for (int k = 0; k < COLS; k++)
            sum += (double)row[i][k] * (double)row[i][k];
    }
    CHECK(isfinite(sum) && sum > 0 && memcmp(row[0], row[1], sizeof row[0]) != 0);
    arena_done(&a);
    CHECK(close(fd) == 0);
    CHECK(access(path, F_OK) != 0);
    CHECK_INT(random_file_open(DT_Q5_0, INT64_MAX / 2, path, &fd, NULL), ERR_INVALID);
}

TEST(bench_load__puts_every_matrix_of_a_file_into_a_backend)
{
    char path[RANDOM_FILE_PATH];
    struct bench_load_model b = { 0 };
    struct backend *be = NULL;
    struct err err = { 0 };
    int fd = -1;

    CHECK_OK(random_file_open(DT_Q4_0, 1, path, &fd, &err), err);
    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_F32, &be, &err), err);
    CHECK_OK(bench_load_model(path, be, WEIGHTS_AUTO, &b, &err), err);
    CHECK_INT(b.n_matrices, 1);
    CHECK_INT(b.bytes, 12288 * COLS / 32 * 18);
    CHECK(b.seconds > 0 && b.own_bytes > 0 && b.device_bytes == 0);
    CHECK_INT(bench_load_model("/nowhere", be, WEIGHTS_AUTO, &b, NULL), ERR_NOT_FOUND);
    CHECK_INT(bench_load_model(temp_file("bench-load", "no tensors", 10), be, WEIGHTS_AUTO, &b, NULL), ERR_UNSUPPORTED);
    backend_close(be);
    CHECK(close(fd) == 0);
}
