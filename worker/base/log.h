/*
 * log - one JSON line an event on stderr, in the field names Cloud Logging takes out (PROTOCOL.md 6.6).
 *
 * The one module with a global, set once by log_init before any thread starts. Lines are written whole.
 * A line has an end (8 KiB, 2 KiB a text): what does not fit is cut and the line says "truncated":true.
 * Never pass a token, a key, a prompt or a request body: fields are typed so that each is a decision.
 *
 *   log_event(LOG_INFO, &ctx, "job completed", log_str("sessionId", id), log_int("ms", ms), log_end());
 */
#ifndef WORKER_BASE_LOG_H
#define WORKER_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL };

struct log_context { /* who an event belongs to; all optional */
    char trace[33];  /* 32 hex digits, or empty */
    char span[17];   /* 16 hex digits, or empty */
    bool sampled;
    char message_id[129];
    char session[304]; /* "users/U/sessions/S" */
};

struct log_field {
    enum { LOG_F_END, LOG_F_STR, LOG_F_INT, LOG_F_NUM } kind;
    const char *key;
    const char *str;
    int64_t i;
    double d;
};

static inline struct log_field log_str(const char *key, const char *v)
{
    return (struct log_field){ LOG_F_STR, key, v, 0, 0 };
}
static inline struct log_field log_int(const char *key, int64_t v)
{
    return (struct log_field){ LOG_F_INT, key, 0, v, 0 };
}
static inline struct log_field log_num(const char *key, double v)
{
    return (struct log_field){ LOG_F_NUM, key, 0, 0, v };
}
static inline struct log_field log_end(void)
{
    return (struct log_field){ LOG_F_END, 0, 0, 0, 0 };
}

/* Until log_init nothing is written. project NULL: no trace link; else it must outlive the process's threads. */
void log_init(enum log_level least, const char *project);
void log_event(enum log_level level, const struct log_context *ctx, const char *message, ...); /* log_end() last */

/* Fills trace, span and sampled from traceparent, else from X-Cloud-Trace-Context; malformed ones are ignored. */
void log_context_trace(struct log_context *ctx, const char *traceparent, const char *cloud_trace);

#endif
