/* fuzz_push - any bytes as the body of a push: as an envelope with a job in it, and as the job itself. */
#include <stdint.h>
#include <stdlib.h>

#include "worker/push/job.h"
#include "worker/push/pubsub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = { 0 };
    struct push_message msg;
    struct job job;

    if (arena_init(&a, 4 << 20, NULL))
        abort();
    if (!pubsub_parse((struct span){ (const char *)data, size }, NULL, &a, &msg, NULL))
        (void)!job_parse(msg.data, &job, NULL);
    (void)!job_parse((struct span){ (const char *)data, size }, &job, NULL);
    arena_done(&a);
    return 0;
}
