#include "worker/job/outcome.h"

#include <assert.h>

const struct outcome_info *outcome_info(enum outcome o)
{
    static const struct outcome_info table[OUTCOMES] = {
#define X(outcome, http, name, job, counter, level, message) \
    [OUTCOME_##outcome] = { http, name, job, counter, LOG_##level, message },
        OUTCOME_MAP(X)
#undef X
    };

    assert(o > OUTCOME_OPEN && o < OUTCOMES);
    return &table[o];
}
