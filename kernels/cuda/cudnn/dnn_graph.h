/*
 * dnn_graph - a graph for cuDNN, of one operation, and its plan: how it is computed on one card, for one shape.
 *
 * A graph is described by parts, each made, set and finished in turn, the operation last; the first failure is kept and
 * what follows does nothing, so only dnn_plan_make() has to be asked. Engines whose result depends on timing, or that
 * round inputs or sums further than their types say, are passed over. cuDNN's heuristics do not measure: the plan is
 * the same in every process on the same card.
 */
#ifndef KERNELS_CUDA_CUDNN_DNN_GRAPH_H
#define KERNELS_CUDA_CUDNN_DNN_GRAPH_H

#include <stdbool.h>

#include "kernels/cuda/cudnn/cudnn.h"
#include "kernels/tensor.h"

enum { DNN_PARTS_MAX = 32, DNN_DIMS_MAX = 4 };

/* Zeroed but for `dnn`. */
struct dnn_graph {
    const struct cudnn *dnn;
    int status, n_parts;
    const char *failed; /* what: a constant */
    void *parts[DNN_PARTS_MAX], *op;
};

struct dnn_tensor {
    int64_t uid;      /* how dnn_plan_run() is told where it is */
    enum dtype dtype; /* F32 or BF16 */
    bool by_value;    /* one value, of the host */
    int n_dims;
    int64_t dims[DNN_DIMS_MAX], strides[DNN_DIMS_MAX];
};

void *dnn_part(struct dnn_graph *g, int type, const char *what); /* `what` for messages: a constant */
void dnn_set(struct dnn_graph *g, void *part, int attribute, int type, int64_t count, const void *values);
void dnn_set_int(struct dnn_graph *g, void *part, int attribute, int type, int value); /* an enumerator */
void dnn_set_part(struct dnn_graph *g, void *part, int attribute, void *value);
void dnn_finish(struct dnn_graph *g, void *part);
void dnn_finish_op(struct dnn_graph *g, void *op); /* and it is the graph's */
void *dnn_describe(struct dnn_graph *g, const struct dnn_tensor *t);

/* --- plans --- */

/* Zeroed is a valid plan to end, and refused. */
struct dnn_plan {
    void *plan; /* NULL: cuDNN knows no way, or none that may be taken */
    int64_t workspace_bytes;
    int n_parts;
    void *parts[DNN_PARTS_MAX];
};

/* Ends the graph, which the plan takes over. ERR_UNSUPPORTED: there is no plan, and why. */
MUST_CHECK enum err_code dnn_plan_make(struct dnn_graph *g, size_t workspace_bytes, struct dnn_plan *ret,
                                       struct err *err);
void dnn_plan_done(const struct cudnn *dnn, struct dnn_plan *p);

/* Queues it. data[i] belongs to the tensor uids[i]; workspace of what the plan asks for, 256-byte aligned. ERR_GPU. */
MUST_CHECK enum err_code dnn_plan_run(const struct cudnn *dnn, const struct dnn_plan *p, int n, const int64_t *uids,
                                      void *const *data, void *workspace, struct err *err);

#endif
