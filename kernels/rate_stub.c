/* rate_stub - replaces kernels/cuda/rate.c in a build without the CUDA toolkit. */
#include "kernels/bench_rate.h"

enum err_code bench_rate_open(struct backend *be, enum rate_kind kind, int64_t side, struct bench_rate **ret,
                              struct err *err)
{
    (void)be, (void)kind, (void)side, (void)ret;
    return err_set(err, ERR_UNAVAILABLE,
                   "rates can only be measured on a card, and this program was built without CUDA");
}

enum err_code bench_rate_queue(struct bench_rate *r, struct err *err)
{
    (void)r;
    return err_set(err, ERR_UNAVAILABLE, "this program was built without CUDA");
}

double bench_rate_work(const struct bench_rate *r)
{
    (void)r;
    return 0;
}

void bench_rate_close(struct bench_rate *r)
{
    (void)r;
}
