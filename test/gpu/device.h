/*
 * device - tensors of test/support/sample.h on the CUDA device, including their guard bytes, which are uploaded and
 * downloaded with the values, so that sample_done() finds writes of a kernel outside its output.
 */
#ifndef TEST_GPU_DEVICE_H
#define TEST_GPU_DEVICE_H

#include "kernels/ops.h"
#include "models/flux/flux.h"
#include "test/support/check.h"
#include "test/support/sample.h"

/* The CUDA backend, opened once. Where there is no device, tests are skipped; the program fails where a device cannot
 * be opened or is lost (device.c). */
struct backend *device(void);
void device_close(void);         /* the next test opens it again; for tests during which no other backend may be open */
struct backend *reference(void); /* the plain backend in f32 */
void device_say(const char *line); /* for a backend's `warn` */
bool device_is_dry(void);          /* a stand-in of test/gpu/dry, on which large cases are left out */

/* Makes the card seem smaller: allocates memory until `leave` bytes are free, within 2 MiB, and keeps it until the next
 * test. Skips the test where less is free. */
void device_ballast(size_t leave);

/* A transformer with one head of the real size, whose operations take the same code paths as those of the real model.
 */
struct flux_config one_head(int n_double, int n_single);

int device_allocations(void); /* all calls of cudaMalloc and cudaMallocHost so far */
size_t device_free_bytes(void);

/* Copies `whole`, a tensor of sample.h, to the device, with its guard bytes. */
struct tensor device_copy(const struct tensor *whole);
/* Copies `dev`, a result of device_copy, back into whole's memory. */
void device_fetch(const struct tensor *dev, const struct tensor *whole);
struct weight device_weight(const struct weight *host);
/* Frees all copies; false when a guard byte changed. Weights stay until the backend closes. */
bool device_done(void);

/* Checks that the relative error is at most `limit`, or 2^-8 more when `got` is bf16 and the reference is not; and that
 * no value deviates by more than DEVICE_SPREAD limits times the sum of its size and the root mean square. NaN fails. A
 * failure prints both errors and the value with the largest deviation. */
enum { DEVICE_SPREAD = 16 /* the largest of some million normal errors is 5.5 deviations */ };
void device_check(const char *what, const struct tensor *got, const struct tensor *want, double limit);
void device_check_values(const char *what, const float *got, const float *want, size_t n, double limit);
void device_check_same(const char *what, const struct tensor *a, const struct tensor *b);

#endif
