/*
 * fake_cudnn - cuDNN's attention as its documentation describes it, in plain loops, in place of
 * kernels/cuda/cudnn/cudnn.c. The result of its first engine depends on timing, so this engine must not be used.
 */
#ifndef TEST_GPU_DRY_FAKE_CUDNN_H
#define TEST_GPU_DRY_FAKE_CUDNN_H

enum fake_cudnn_mood {
    CUDNN_WORKS,
    CUDNN_IS_MISSING,
    CUDNN_HAS_NO_PLAN,
    CUDNN_WANTS_TOO_MUCH,
    CUDNN_FAILS,
    CUDNN_BREAKS
};

struct fake_cudnn {
    enum fake_cudnn_mood mood;
    int n_heuristics, n_runs, n_parts; /* requests for plans, executed plans, parts not yet destroyed */
};
extern struct fake_cudnn fake_cudnn;

#endif
