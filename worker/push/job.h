/*
 * job - the data of a message -> struct job: which session it is about, and the names of its document and objects.
 *
 *   {"userId": "...", "sessionId": "..."}      other members are ignored, a duplicate member is refused
 *
 * Ids are 1 to JOB_ID_MAX of [A-Za-z0-9_-] and not of the reserved form __...__, so they need no escaping in a document
 * path, an object name, a URL or a log line. Source: PROTOCOL.md 11, 1.9 and 4.1.
 */
#ifndef WORKER_PUSH_JOB_H
#define WORKER_PUSH_JOB_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum {
    JOB_DATA_MAX = 64 << 10,
    JOB_DEPTH_MAX = 16,
    JOB_ID_MAX = 128,
    JOB_PATH_SIZE = 2 * JOB_ID_MAX + 48 /* "users/U/sessions/S/" and the longest file name, NUL included */
};

struct job {
    char user_id[JOB_ID_MAX + 1], session_id[JOB_ID_MAX + 1];
    char document[JOB_PATH_SIZE];  /* users/U/sessions/S, below .../documents/ */
    char original[JOB_PATH_SIZE];  /* objects in the bucket: .../original.jpg */
    char mask_auto[JOB_PATH_SIZE]; /* .../mask_auto.png */
    char edited[JOB_PATH_SIZE];    /* .../edited.jpg */
    char preview[JOB_PATH_SIZE];   /* .../preview.jpg */
};

/* ERR_INVALID, ERR_TOO_LARGE: poison; ERR_NOMEM. */
MUST_CHECK enum err_code job_parse(struct span data, struct job *ret, struct err *err);

bool job_id_is_valid(struct span id);

#endif
