/* Where memory is short, products and convolutions fail, and the process lives. */
#if defined(HAVE_ONEDNN) && !defined(__SANITIZE_ADDRESS__) /* whose own memory no limit leaves room for */

#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cpu/onednn.h"
#include "test/support/check.h"
#include "test/support/limits.h"

enum { THREADS = 3, FITS = 40, NO_MEMORY = 41, OTHER_ERROR = 42, STEP = 2 << 20, MOST = 80 << 20 };

static float a[256 * 512], b[256 * 512], bias[64];

static enum err_code compute(struct onednn *d, enum dtype type, float *c, struct err *err)
{
    const struct onednn_matmul product = { .m = 100,
                                           .n = 64,
                                           .k = 512,
                                           .lda = 512,
                                           .ldb = 512,
                                           .ldc = 64,
                                           .in_type = type,
                                           .out_type = DT_F32,
                                           .b_transposed = 1,
                                           .bias = 1,
                                           .act = ACT_SILU };
    const struct onednn_conv conv = { .h = 18,
                                      .w = 16,
                                      .c_in = 32,
                                      .h_out = 16,
                                      .w_out = 16,
                                      .c_out = 32,
                                      .kh = 3,
                                      .kw = 3,
                                      .stride = 1,
                                      .pad_left = 1,
                                      .pad_right = 1,
                                      .in_type = type,
                                      .out_type = DT_F32 };
    const struct onednn_layout *layout;
    size_t bytes;

    TRY(onednn_matmul(d, &product, a, b, bias, c, err));
    TRY(onednn_conv_layout(d, &conv, &layout, &bytes, err));
    return onednn_conv(d, &conv, a, b, bias, c, err);
}

/* In a process of its own: all threads meet the limit at the same time. */
static int compute_with(size_t bytes)
{
    struct onednn *d[THREADS] = { NULL };
    int worst = FITS;

    omp_set_num_threads(THREADS);
    for (int i = 0; i < THREADS; i++)
        if (onednn_open(&d[i], NULL))
            return OTHER_ERROR;
#pragma omp parallel num_threads(THREADS)
    onednn_alone();
    limit_address_space(bytes);
#pragma omp parallel num_threads(THREADS)
    {
        static float results[THREADS][64 * 512];
        struct err err = { 0 };
        int me = omp_get_thread_num(), status = FITS;

        onednn_alone();
        for (int i = 0; i < 3 && status == FITS; i++) {
            enum err_code rc = compute(d[me], i == 1 && onednn_bf16() ? DT_BF16 : DT_F32, results[me], &err);

            status = rc == ERR_OK ? FITS : rc == ERR_NOMEM ? NO_MEMORY : OTHER_ERROR;
        }
#pragma omp critical
        worst = status > worst ? status : worst;
    }
    return worst;
}

TEST(onednn__a_lack_of_memory_is_an_error_and_not_the_end_of_the_process)
{
    int n_fit = 0, n_short = 0;

    for (size_t bytes = 0; bytes <= MOST; bytes += STEP) {
        pid_t child = fork();
        int status = 0;

        if (child == 0)
            _exit(compute_with(bytes));
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != FITS && WEXITSTATUS(status) != NO_MEMORY))
            test_fail(__FILE__, __LINE__, "with %zu KiB: status %x", bytes >> 10, (unsigned)status);
        n_fit += WEXITSTATUS(status) == FITS;
        n_short += WEXITSTATUS(status) == NO_MEMORY;
    }
    CHECK(n_fit > 0 && n_short > 0);
}

#endif
