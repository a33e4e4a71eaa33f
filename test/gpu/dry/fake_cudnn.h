/*
 * fake_cudnn - cuDNN's attention as its documentation describes it, in plain loops, in the place of
 * kernels/cuda/cudnn/cudnn.c. Its first engine is one whose result depends on timing, which nobody may take.
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
    int n_heuristics, n_runs, n_parts; /* asked for plans, plans run, parts that live */
};
extern struct fake_cudnn fake_cudnn;

#endif
