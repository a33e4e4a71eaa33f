/*
 * answer - what an answer to a push means, and who gave it.
 *
 * Before a worker on Cloud Run stand Google's front end and, unless it is switched off, Cloud Run's own IAM check. Both
 * answer with pages of HTML or a line of text, where the worker's answers to pushes are empty and those of its probes
 * JSON or Prometheus text. A proxy in between may answer as well.
 */
#ifndef WORKER_REMOTE_ANSWER_H
#define WORKER_REMOTE_ANSWER_H

#include <stdbool.h>

#include "worker/http/http_client.h"

enum answer_by {
    ANSWER_BY_WORKER,
    ANSWER_BY_IAM,       /* Cloud Run's check of the token */
    ANSWER_BY_CLOUD_RUN, /* no instance, or too much to do */
    ANSWER_BY_FRONT_END, /* Google's: there is no such service */
    ANSWER_BY_OTHER      /* a page of somebody else's */
};

struct answer {
    enum answer_by by;
    const char *words; /* what it means, and what to do: a part of a sentence */
};

bool answer_is_ack(int status); /* PROTOCOL.md 1.5 */

/* The meaning of an answer to a push. */
struct answer answer_judge(const struct http_reply *reply);

/* The names in worker/job/outcome.h that a worker's answer may stand for, on stdout: " (its outcome is one of: ...)";
 * nothing where there are none. */
void answer_print_outcomes(int status);

#endif
