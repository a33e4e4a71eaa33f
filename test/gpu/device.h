/*
 * device - tensors of test/support/sample.h on the CUDA device, guard bytes included: they go up with the values and
 * come back with them, so that sample_done() sees what a kernel wrote beside its output.
 */
#ifndef TEST_GPU_DEVICE_H
#define TEST_GPU_DEVICE_H

#include "kernels/ops.h"
#include "models/flux/flux.h"
#include "test/support/check.h"
#include "test/support/sample.h"

/* The CUDA backend, opened once. No test runs where there is no device, and the program fails where there is one that
 * cannot be opened, or that is lost (device.c). */
struct backend *device(void);
void device_close(void);           /* until the next test opens it again: for what must not find another one open */
struct backend *reference(void);   /* the plain backend in f32 */
void device_say(const char *line); /* for a backend's `warn` */
bool device_is_dry(void);          /* a stand-in of test/gpu/dry: what is large is left out */

/* Takes memory of the card until `leave` bytes are free, within 2 MiB, and keeps it until the next test: as if the card
 * were smaller. Skips the test where less is free. */
void device_ballast(size_t leave);

/* A transformer of one head of the real size: its operations go the same ways as the real one's. */
struct flux_config one_head(int n_double, int n_single);

int device_allocations(void); /* calls of cudaMalloc and cudaMallocHost so far, by whomever */
size_t device_free_bytes(void);

/* A copy on the device of `whole`, which sample.h made: the bytes around it too. */
struct tensor device_copy(const struct tensor *whole);
/* Back into whole's memory. `dev` is what device_copy gave. */
void device_fetch(const struct tensor *dev, const struct tensor *whole);
struct weight device_weight(const struct weight *host);
/* Frees all copies; false when a guard byte changed. Weights stay until the backend closes. */
bool device_done(void);

/* Relative error of at most `limit`, and 2^-8 more when `got` is bf16 and the reference is not; no value further off
 * than DEVICE_SPREAD limits of its own size and the root mean square together. NaN fails. A failure tells both, and the
 * value that is furthest off. */
enum { DEVICE_SPREAD = 16 /* of some million errors like normal ones the largest is 5.5 deviations */ };
void device_check(const char *what, const struct tensor *got, const struct tensor *want, double limit);
void device_check_values(const char *what, const float *got, const float *want, size_t n, double limit);
void device_check_same(const char *what, const struct tensor *a, const struct tensor *b);

#endif
