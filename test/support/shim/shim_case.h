/*
 * shim_case - what the tests of CUDA kernels on the shim share: forms of operands, twins of tensors, running a kernel
 * with its threads in both orders, comparison with the plain backend.
 */
#ifndef TEST_SUPPORT_SHIM_SHIM_CASE_H
#define TEST_SUPPORT_SHIM_SHIM_CASE_H

#include "kernels/backend.h"
#include "kernels/cuda/gpu/kernels.h"
#include "test/support/check.h"
#include "test/support/shim/cuda_shim.h"
#include "test/support/sample.h"

/* Types of input and output, gaps between their rows, and values before their first column: aligned rows are read four
 * values at a time, others one by one. */
struct shim_form {
    enum dtype x, y;
    int64_t gap_x, gap_y, lead;
};

extern const struct shim_form shim_forms[];
enum { N_SHIM_FORMS = 8 };

/* rows x cols seeded values, with the type and gaps that the form gives x or y. */
struct tensor shim_x(const struct shim_form *f, int64_t rows, int64_t cols);
struct tensor shim_y(const struct shim_form *f, int64_t rows, int64_t cols);
/* Another tensor with the type, gaps, alignment and values of t. */
struct tensor shim_twin(const struct tensor *t);

struct backend *shim_plain(void); /* the reference, opened once */

/* Runs `call`, which writes to *out, once with y and once, with the threads in reverse order, with its twin: the bytes
 * must be the same. The value of `call` is a cudaError_t. */
#define ON_SHIM(y, call)                                     \
    do {                                                     \
        struct tensor again_ = shim_twin(y), *out = &again_; \
        cuda_shim_backwards(true);                           \
        CHECK_INT(call, 0);                                  \
        cuda_shim_backwards(false);                          \
        out = (y);                                           \
        CHECK_INT(call, 0);                                  \
        shim_check_same(&again_, (y));                       \
    } while (0)

void shim_check_same(const struct tensor *a, const struct tensor *b);
/* Checks that the relative error in f32 is at most `limit`. In bf16 both sides round nearly the same values, so the
 * limit is 2^-11 higher: as if one value in 64 were rounded the other way. */
void shim_check_close(const char *what, const struct tensor *got, const struct tensor *want, double limit);

#endif
