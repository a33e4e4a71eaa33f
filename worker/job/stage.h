/*
 * stage - the stages of a job, in order and under the names of inpaint.stage, and how long each took.
 */
#ifndef WORKER_JOB_STAGE_H
#define WORKER_JOB_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#define STAGE_MAP(X)        \
    X(DOWNLOAD, "download") \
    X(DECODE, "decode")     \
    X(ENCODE, "encode")     \
    X(DENOISE, "denoise")   \
    X(COMPOSE, "compose")   \
    X(UPLOAD, "upload")

enum stage {
#define X(name, text) STAGE_##name,
    STAGE_MAP(X)
#undef X
        STAGES
};

const char *stage_name(enum stage s);

struct stage_times { /* zeroed: no stage has run */
    bool has_run[STAGES];
    int64_t ms[STAGES];
};

void stage_times_add(struct stage_times *t, enum stage s, int64_t ms);
void stage_times_add_all(struct stage_times *t, const struct stage_times *more);

#endif
