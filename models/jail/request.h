/*
 * request - what a jailed process is asked, in memory that nobody can change any more.
 *
 *   1. struct jail_request, at 0    2. the options, behind it    3. the file, from REQUEST_FILE_AT on
 */
#ifndef MODELS_JAIL_REQUEST_H
#define MODELS_JAIL_REQUEST_H

#include <assert.h>

#include "models/jail/jail.h"

enum { REQUEST_FILE_AT = 4096 };

/* What the jailed process exits with. */
enum { JAIL_ANSWERED = 0, JAIL_NOT_ASKED = 3, JAIL_NO_ROOM = 4 /* for the answer */ };

#define REQUEST_MAGIC "decode!" /* 8 bytes with its zero */

struct jail_request {
    char magic[8];
    int64_t parent; /* process id */
    struct jail_limits limits;
    bool try_the_door; /* nothing is decoded: a call is made that must end the process */
    uint64_t options_len, file_len;
    _Alignas(16) char options[JAIL_OPTIONS_MAX];
};

static_assert(sizeof(struct jail_request) <= REQUEST_FILE_AT, "the request reaches into the file");

#endif
