/*
 * remote - what the commands that speak to a running worker share: its address, the caller's token, memory.
 *
 * A token is read from a file, from standard input or from the metadata server, never from an argument, which other
 * users of the machine could see. It stays in an arena that is overwritten at the end, and in no message.
 */
#ifndef WORKER_REMOTE_REMOTE_H
#define WORKER_REMOTE_REMOTE_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"

struct remote {
    struct arena arena;
    struct arena secrets; /* the token; overwritten at the end */
    struct http *http;
    struct gauth *gauth;
    char *authorization; /* NULL: none */
};

MUST_CHECK enum err_code remote_open(struct remote *r, struct err *err);
void remote_close(struct remote *r); /* takes one that is zeroed or half open */

/* A token and a user's ids travel there, so plain HTTP is for this machine alone. The URL gets the path "/" where it
 * has none. `option` names it in messages. ERR_INVALID, ERR_NOMEM. */
MUST_CHECK enum err_code remote_check_url(const char *option, const char *url, struct arena *a, const char **ret,
                                          struct err *err);

/* The token of a file ("-": standard input) or, for an audience, of the metadata server; sets r->authorization. Both
 * NULL: there is none. */
MUST_CHECK enum err_code remote_authorize(struct remote *r, const char *token_file, const char *audience,
                                          struct err *err);

/* All of a text: a file, or standard input for "-", of which max_bytes + 1 come where it has more, for the caller to
 * refuse. ERR_IO, ERR_NOMEM and those of file_read(). */
MUST_CHECK enum err_code remote_read_text(const char *path, size_t max_bytes, struct arena *a, struct span *ret,
                                          struct err *err);

#endif
