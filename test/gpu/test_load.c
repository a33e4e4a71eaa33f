/* `bench load` on a device: a file of weights goes through the loader in both weight modes. */
#include <unistd.h>

#include "models/bench/bench_load.h"
#include "models/bench/random_file.h"
#include "test/gpu/device.h"

enum { VALUES = 12288 * 3072 };

/* device_bytes is the growth of the memory in use. A driver or library that is used for the first time may add to it,
 * so it is only compared with the least that it must be. */
static struct bench_load_model load(const char *path, enum weight_mode mode)
{
    struct bench_load_model b = { 0 };
    struct backend *be = NULL;
    struct err err = { 0 };
    int64_t before;

    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    before = backend_memory(be).used;
    CHECK_OK(bench_load_model(path, be, mode, &b, &err), err);
    b.device_bytes -= before;
    backend_close(be);
    return b;
}

TEST(gpu_load__puts_a_file_on_the_device_as_it_is_or_as_bf16)
{
    char path[RANDOM_FILE_PATH];
    struct bench_load_model stored, expanded;
    struct err err = { 0 };
    int fd = -1;

    (void)device();
    CHECK_OK(random_file_open(DT_Q4_0, 1, path, &fd, &err), err);
    stored = load(path, WEIGHTS_STREAM);
    expanded = load(path, WEIGHTS_DEQUANT);
    CHECK_INT(stored.n_matrices, 1);
    CHECK_INT(stored.bytes, VALUES / 32 * 18);
    CHECK(stored.seconds > 0 && stored.device_bytes >= stored.bytes);
    CHECK(expanded.seconds > 0 && expanded.device_bytes >= 2 * (int64_t)VALUES);
    CHECK(close(fd) == 0);
}
