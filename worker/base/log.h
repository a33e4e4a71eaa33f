/*
 * log - one JSON line an event on stderr, with the field names that Cloud Logging knows (PROTOCOL.md 6.6).
 *
 * The only module with a global, which log_init sets. Lines are written whole. A line has at most 8 KiB, a text in it
 * at most 2 KiB: the rest is left out, and the line says "truncated":true.
 *
 * Never pass a token, a key, a prompt or a request body; of poison alone the first bytes (worker/serve/poison.h).
 *
 *   log_event(LOG_INFO, &ctx, "job completed", log_str("sessionId", id), log_int("ms", ms), log_end());
 */
#ifndef WORKER_BASE_LOG_H
#define WORKER_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL };

struct log_context { /* the request and session of an event; all optional */
    char trace[33];  /* 32 hex digits, or empty */
    char span[17];   /* 16 hex digits, or empty */
    bool sampled;
    char message_id[129];
    char session[1040]; /* "users/U/sessions/S", at most 1010 bytes */
};

struct log_field {
    enum { LOG_F_END, LOG_F_STR, LOG_F_INT } kind;
    const char *key;
    const char *str;
    int64_t i;
};

static inline struct log_field log_str(const char *key, const char *v)
{
    return (struct log_field){ LOG_F_STR, key, v, 0 };
}
static inline struct log_field log_int(const char *key, int64_t v)
{
    return (struct log_field){ LOG_F_INT, key, 0, v };
}
static inline struct log_field log_end(void)
{
    return (struct log_field){ LOG_F_END, 0, 0, 0 };
}

/* Nothing is written before log_init. `project` must outlive all threads; NULL: lines have no link to their trace. */
void log_init(enum log_level least, const char *project);
void log_event(enum log_level level, const struct log_context *ctx, const char *message, ...); /* log_end() last */

/* Fills trace, span and sampled from the header traceparent or else X-Cloud-Trace-Context; a malformed header is
 * ignored. */
void log_context_trace(struct log_context *ctx, const char *traceparent, const char *cloud_trace);

#endif
