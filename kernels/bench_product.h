/*
 * bench_product - the measure for the fast CPU backend: one plain matrix product by oneDNN on all threads.
 *
 * c[m,n] = a[m,k] b, b as [n,k] expanded beforehand, all of the type in which `cpu`, a backend of the name "cpu",
 * computes its products: not always its act, see enum precision. *ret_seconds is the time of this run.
 * ERR_UNAVAILABLE in a build without oneDNN.
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
