/*
 * job - the data of a message -> struct job: which session it is about, and the names of its document and objects.
 *
 *   {"userId": "...", "sessionId": "..."}      or user_id, session_id; if both spellings are present they must be equal
 *
 *   1. other members are ignored, a duplicate member is refused
 *   2. an id is a string, or an integer without a sign, which stands for its digits as written
 *   3. an id has 1 to JOB_ID_MAX_CHARACTERS characters of UTF-8, at most JOB_ID_MAX bytes; none of them is a control
 *      character (C0, DEL, C1) or one of / \ % # ? * [ ]; it is not "." or "..", and not of the form __...__, which
 *      Firestore reserves. Nothing is normalised: two spellings of a letter are two ids.
 *   4. the longest object name, users/U/sessions/S/mask_auto.png, has at most JOB_OBJECT_NAME_MAX bytes
 *
 * So an id is one segment of a path wherever it stands. In a URL it must be percent-encoded, in a log line escaped.
 * Source: PROTOCOL.md 1.2, 4.1 and 5.1.
 */
#ifndef WORKER_PUSH_JOB_H
#define WORKER_PUSH_JOB_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum {
    JOB_DATA_MAX = 64 << 10,
    JOB_DEPTH_MAX = 16,
    JOB_ID_MAX_CHARACTERS = 128,
    JOB_ID_MAX = 4 * JOB_ID_MAX_CHARACTERS, /* bytes */
    JOB_OBJECT_NAME_MAX = 1024,             /* bytes: the limit of Cloud Storage */
    JOB_PATH_SIZE = JOB_OBJECT_NAME_MAX + 1 /* with the NUL */
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
