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

#define SEND_AGAIN                                                                                                  \
    "mend the payload in a copy of this line, and send it with 'inpaint-worker push FILE --url URL'; or mend what " \
    "publishes such messages"

const char *outcome_remedy(enum outcome o)
{
    static const char *const table[OUTCOMES] = {
        [OUTCOME_NOT_YET_THERE] = "nothing, if the app writes the session within a minute of its message",
        [OUTCOME_MISSING] =
            "nothing, if the app has deleted the session; else the app has to write it before the message, "
            "and GOOGLE_CLOUD_PROJECT and FIRESTORE_DATABASE must name the database that holds it",
        [OUTCOME_POISON] = SEND_AGAIN,
        [OUTCOME_POISON_REFUSED] = SEND_AGAIN,
        [OUTCOME_POISON_PUBLISHED] = SEND_AGAIN,
        [OUTCOME_POISON_UNPUBLISHED] = "mend what notPublished says: until then the message comes again",
        [OUTCOME_OTHER_SUBSCRIPTION] =
            "set PUBSUB_SUBSCRIPTION to the subscription of this service, or unset it; or let that "
            "subscription push elsewhere",
    };

    assert(o > OUTCOME_OPEN && o < OUTCOMES);
    return table[o] ? table[o] : "";
}
