/*
 * model - a backend with the arenas that a model needs to run, and the tensors of a golden case.
 */
#ifndef TEST_SUPPORT_MODEL_H
#define TEST_SUPPORT_MODEL_H

#include "kernels/devarena.h"
#include "models/file/tensor_file.h"
#include "models/weights/weights.h"

/* The backends that every machine has, and how close they come to the official f32 numbers. */
struct rig_kind {
    enum backend_kind kind;
    enum precision precision;
    double limit; /* relative error of a whole transformer: f32 rounding, and bf16 inputs of matrix products */
};
enum { N_RIG_KINDS = 4 };
extern const struct rig_kind rig_kinds[N_RIG_KINDS];

struct rig {
    struct backend *be;
    struct arena arena, scratch; /* host */
    struct devarena weights, request_mem, step_mem;
    struct tensor_file files[4];
    struct weight_set set;
    struct weight_loader loader; /* loads tensors of `set` into `weights` */
};

/* Fails the test when something does not open. */
void rig_open(struct rig *r, const struct rig_kind *kind);
void rig_close(struct rig *r);

/* Opens a file into r->files[i]. */
void rig_file(struct rig *r, int i, const char *path);

/* The f32 values of a case's tensor [rows, cols] (a vector is one row), copied to the rig's arena. A size of -1 accepts
 * any size; both sizes are written back. */
const float *rig_golden(struct rig *r, const struct tensor_file *f, int64_t *rows, int64_t *cols, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool rig_has(const struct tensor_file *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An F32 tensor of these values in the memory of requests. */
struct tensor rig_upload(struct rig *r, const float *values, int64_t rows, int64_t cols);
/* The values of a tensor, which may be a view, copied to the rig's arena. */
const float *rig_download(struct rig *r, const struct tensor *t);

#endif
