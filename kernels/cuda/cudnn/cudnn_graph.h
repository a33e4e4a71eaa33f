/*
 * cudnn_graph - a graph for cuDNN, of one operation, and its plan: how it is computed on one card, for one shape.
 *
 * A graph is described by parts, each made, set and finished in turn, the operation last; the first failure is kept and
 * what follows does nothing, so only cudnn_plan_make() has to be asked. Engines whose result depends on timing, or that
 * round inputs or sums further than their types say, are passed over. cuDNN's heuristics do not measure: the plan is
 * the same in every process on the same card.
 */
#ifndef KERNELS_CUDA_CUDNN_CUDNN_GRAPH_H
#define KERNELS_CUDA_CUDNN_CUDNN_GRAPH_H

#include <stdbool.h>

#include "kernels/cuda/cudnn/cudnn.h"
#include "kernels/tensor.h"

/* Named as the library names them; cudnn.c, which may include its headers, does without. */
enum {
#define X(name, value) CUDNN_##name = value,
    CUDNN_CONSTANTS(X) CUDNN_CONSTANTS_OF_9_8(X) CUDNN_CONSTANTS_OF_9_13(X)
#undef X
};

enum { CUDNN_PARTS_MAX = 32, CUDNN_TENSOR_DIMS = 4 };

/* Zeroed but for `lib`. */
struct cudnn_graph {
    const struct cudnn *lib;
    int status, n_parts;
    const char *failed; /* what: a constant */
    void *parts[CUDNN_PARTS_MAX], *op;
};

struct cudnn_tensor {
    int64_t uid;      /* how cudnn_plan_run() is told where it is */
    enum dtype dtype; /* F32 or BF16 */
    bool by_value;    /* one value, of the host */
    int n_dims;
    int64_t dims[CUDNN_TENSOR_DIMS], strides[CUDNN_TENSOR_DIMS];
};

void *cudnn_part(struct cudnn_graph *g, int type, const char *what); /* `what` for messages: a constant */
void cudnn_set(struct cudnn_graph *g, void *part, int attribute, int type, int64_t count, const void *values);
void cudnn_set_int(struct cudnn_graph *g, void *part, int attribute, int type, int value); /* an enumerator */
void cudnn_set_part(struct cudnn_graph *g, void *part, int attribute, void *value);
void cudnn_finish(struct cudnn_graph *g, void *part);
void cudnn_finish_op(struct cudnn_graph *g, void *op); /* and it is the graph's */
void *cudnn_describe(struct cudnn_graph *g, const struct cudnn_tensor *t);

/* --- plans --- */

/* Zeroed is a valid plan to end, and refused. */
struct cudnn_plan {
    void *plan; /* NULL: cuDNN knows no way, or none that may be taken */
    int64_t workspace_bytes;
    int n_parts;
    void *parts[CUDNN_PARTS_MAX];
};

/* Ends the graph, which the plan takes over. ERR_UNSUPPORTED: there is no plan, and why. */
MUST_CHECK enum err_code cudnn_plan_make(struct cudnn_graph *g, size_t workspace_bytes, struct cudnn_plan *ret,
                                         struct err *err);
void cudnn_plan_done(const struct cudnn *lib, struct cudnn_plan *p);

/* Queues it. data[i] belongs to the tensor uids[i]; workspace of what the plan asks for, 256-byte aligned. ERR_GPU. */
MUST_CHECK enum err_code cudnn_plan_run(const struct cudnn *lib, const struct cudnn_plan *p, int n, const int64_t *uids,
                                        void *const *data, void *workspace, struct err *err);

#endif
