#include "worker/job/stage.h"

const char *stage_name(enum stage s)
{
    static const char *const names[] = {
#define X(name, text) text,
        STAGE_MAP(X)
#undef X
    };

    return names[s];
}

void stage_times_add(struct stage_times *t, enum stage s, int64_t ms)
{
    t->has_run[s] = true;
    t->ms[s] += ms;
}

void stage_times_add_all(struct stage_times *t, const struct stage_times *more)
{
    for (int s = 0; s < STAGES; s++)
        if (more->has_run[s])
            stage_times_add(t, (enum stage)s, more->ms[s]);
}
