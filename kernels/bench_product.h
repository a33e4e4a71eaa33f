/*
 * bench_product - what the fast CPU backend is compared with: one bare matrix product by oneDNN on all threads.
 *
 * c[m,n] = a[m,k] b, b stored as [n,k] and expanded beforehand. All three have the type in which the backend `cpu`,
 * named "cpu", computes its products; see enum precision for why that is not always its act. *ret_seconds is the time
 * of one run. ERR_UNAVAILABLE in a build without oneDNN.
 */
#ifndef KERNELS_BENCH_PRODUCT_H
#define KERNELS_BENCH_PRODUCT_H

#include "kernels/backend.h"

struct bench_product;

MUST_CHECK enum err_code bench_product_open(const struct backend *cpu, int64_t m, int64_t n, int64_t k,
                                            struct bench_product **ret, struct err *err);
MUST_CHECK enum err_code bench_product_run(struct bench_product *p, double *ret_seconds, struct err *err);
void bench_product_close(struct bench_product *p); /* takes NULL */

double bench_clock(void); /* seconds, monotonic */

#endif
