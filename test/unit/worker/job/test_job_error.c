#include "test/support/check.h"
#include "worker/job/job_error.h"

TEST(job_error__keeps_the_stable_codes_and_acks_what_cannot_get_better)
{
    CHECK_STR(job_error_info(JOB_INPUT_HEIC_UNSUPPORTED)->code, "INPUT_HEIC_UNSUPPORTED");
    for (int e = 0; e < JOB_ERROR_COUNT; e++) {
        const struct job_error_info *info = job_error_info((enum job_error)e);
        CHECK(info->code[0] && info->sentence[0]);
        CHECK((info->outcome == OUTCOME_FAILED || info->outcome == OUTCOME_EXHAUSTED ||
               info->outcome == OUTCOME_UNREADABLE) ==
              (outcome_info(info->outcome)->http_status == 204));
    }
}

TEST(job_error__gives_every_failure_a_meaning)
{
    CHECK_INT(job_error_of(ERR_HEIC), JOB_INPUT_HEIC_UNSUPPORTED);
    CHECK_INT(job_error_of(ERR_GPU), JOB_GPU_FAULT);
    CHECK_INT(job_error_of(ERR_UNAVAILABLE), JOB_BACKEND_UNAVAILABLE);
    CHECK_INT(job_error_of(ERR_INTERNAL), JOB_INTERNAL);
    CHECK_INT(job_error_of((enum err_code)999), JOB_INTERNAL);
}
