/*
 * log - one JSON line an event on stderr, with the field names that Cloud Logging knows (PROTOCOL.md 6.6).
 *
 * The only module with a global, which log_init sets. Lines are written whole. A line has at most 8 KiB, a text in it
 * at most 2 KiB: the rest is left out, and the line says "truncated":true.
 *
 * log_event never waits. A thread writes the lines (log_queue.h); when nobody reads them and LOG_QUEUE_BYTES of them
 * wait, lines are dropped, and a WARNING at their place says how many. A process that ends calls log_flush.
 *
 * Lines of LOG_ERROR and above are also what Error Reporting calls a ReportedErrorEvent: they name the program, its
 * version and the place in the source (https://cloud.google.com/error-reporting/docs/formatting-error-messages).
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
    enum { LOG_F_END, LOG_F_STR, LOG_F_INT, LOG_F_SECONDS } kind;
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
/* A duration, written as seconds with three digits behind the point. */
static inline struct log_field log_seconds(const char *key, int64_t ms)
{
    return (struct log_field){ LOG_F_SECONDS, key, 0, ms };
}
static inline struct log_field log_end(void)
{
    return (struct log_field){ LOG_F_END, 0, 0, 0 };
}

struct log_place { /* in the source */
    const char *file, *function;
    int line;
};

enum { LOG_FLUSH_MS = 500 }; /* how long the end of a process may wait for the reader of the log */

/* Nothing is written before log_init. `project` must outlive all threads; NULL: lines have no link to their trace. */
void log_init(enum log_level least, const char *project);

/* What error reports call this program; both texts must outlive all threads. NULL or "" leaves one as it is; at first
 * they are "inpaint-worker" and none. */
void log_service(const char *service, const char *version);
const char *log_version(void); /* the program's version and commit; "" until log_service() has named them */

#define log_event(level, ...) /* context, message, fields, log_end() */ \
    log_event_at(&(const struct log_place){ __FILE__, __func__, __LINE__ }, (level), __VA_ARGS__)
void log_event_at(const struct log_place *place, enum log_level level, const struct log_context *ctx,
                  const char *message, ...);

/* Waits up to wait_ms until all lines are written; true: they are. Handlers of signals may call it. */
bool log_flush(int64_t wait_ms);

uint64_t log_dropped(void); /* lines since the start of the process */

/* Fills trace, span and sampled from the header traceparent or else X-Cloud-Trace-Context; a malformed header is
 * ignored. */
void log_context_trace(struct log_context *ctx, const char *traceparent, const char *cloud_trace);

/* Whether a terminal or a viewer of logs might take the character for more than a letter: C1 controls, separators of
 * lines and paragraphs, and what changes the direction of a text. log_event escapes them. */
bool log_is_invisible(uint32_t character);

#endif
