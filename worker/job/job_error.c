#include "worker/job/job_error.h"

#include <stddef.h>

const struct job_error_info *job_error_info(enum job_error e)
{
    static const struct job_error_info table[] = {
#define X(code, outcome, retryable, sentence) { #code, OUTCOME_##outcome, retryable, sentence },
        JOB_ERROR_MAP(X)
#undef X
    };

    return &table[(unsigned)e < JOB_ERROR_COUNT ? e : JOB_INTERNAL];
}

enum job_error job_error_of(enum err_code rc)
{
    static const struct {
        enum err_code rc;
        enum job_error error;
    } table[] = {
        { ERR_NOT_FOUND, JOB_INPUT_MISSING },
        { ERR_NOT_AN_IMAGE, JOB_INPUT_NOT_AN_IMAGE },
        { ERR_HEIC, JOB_INPUT_HEIC_UNSUPPORTED },
        { ERR_TOO_LARGE, JOB_INPUT_TOO_LARGE },
        { ERR_CORRUPT, JOB_INPUT_CORRUPT },
        { ERR_UNSUPPORTED, JOB_INPUT_CORRUPT },
        { ERR_MASK_EMPTY, JOB_MASK_EMPTY },
        { ERR_MASK_FULL, JOB_MASK_FULL },
        { ERR_MASK_LARGE, JOB_MASK_TOO_LARGE },
        { ERR_MASK_AMBIGUOUS, JOB_MASK_AMBIGUOUS },
        { ERR_MASK_SIZE, JOB_MASK_SIZE_MISMATCH },
        { ERR_PROMPT, JOB_PROMPT_INVALID },
        { ERR_DEADLINE, JOB_DEADLINE },
        { ERR_NUMERIC, JOB_NUMERIC_FAULT },
        { ERR_GPU, JOB_GPU_FAULT },
        { ERR_NOMEM, JOB_OUT_OF_MEMORY },
        { ERR_UNAVAILABLE, JOB_BACKEND_UNAVAILABLE },
        { ERR_UNKNOWN_OUTCOME, JOB_BACKEND_UNAVAILABLE },
        { ERR_PROTOCOL, JOB_BACKEND_UNAVAILABLE },
        { ERR_DENIED, JOB_BACKEND_UNAVAILABLE },
        { ERR_CONFLICT, JOB_BACKEND_UNAVAILABLE },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].rc == rc)
            return table[i].error;
    return JOB_INTERNAL;
}
