#include "worker/base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/json_scan.h"
#include "worker/base/log_queue.h"

enum { LINE_MAX_BYTES = 8192, TEXT_MAX_BYTES = 2048, NOTHING = LOG_CRITICAL + 1 };

static const char *const level_names[] = { "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL" };

static char ring[LOG_QUEUE_BYTES];
static size_t report_gap(char *ret, const struct log_gap *gap);

static struct {
    _Atomic int least; /* enum log_level or NOTHING; atomic, as log_init may come again once the project is known */
    const char *_Atomic project, *_Atomic service, *_Atomic version;
    pthread_once_t started;
    struct log_queue queue;
} logger = { .least = NOTHING,
             .service = "inpaint-worker",
             .started = PTHREAD_ONCE_INIT,
             .queue = LOG_QUEUE_INIT(STDERR_FILENO, report_gap, ring) };

struct line {
    size_t len;
    bool truncated;
    char buf[LINE_MAX_BYTES + 32]; /* 32: for "truncated" and the closing brace */
};

static_assert(sizeof((struct line *)0)->buf <= LOG_QUEUE_LINE_MAX, "the queue takes every line");

static void start_queue(void)
{
    log_queue_start(&logger.queue);
}

void log_init(enum log_level least, const char *project)
{
    (void)pthread_once(&logger.started, start_queue);
    logger.least = (int)least;
    logger.project = project;
}

void log_service(const char *service, const char *version)
{
    if (service && *service)
        logger.service = service;
    if (version && *version)
        logger.version = version;
}

const char *log_version(void)
{
    const char *version = logger.version;

    return version ? version : "";
}

bool log_flush(int64_t wait_ms)
{
    return log_queue_flush(&logger.queue, wait_ms);
}

uint64_t log_dropped(void)
{
    return logger.queue.dropped;
}

/* ---- one line ---- */

static bool put(struct line *l, const char *text, size_t n)
{
    if (n > LINE_MAX_BYTES - l->len) {
        l->truncated = true;
        return false;
    }
    memcpy(l->buf + l->len, text, n);
    l->len += n;
    return true;
}

static bool put_text(struct line *l, const char *text)
{
    return put(l, text, strlen(text));
}

bool log_is_invisible(uint32_t c)
{
    return (c >= 0x80 && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

/* The code unit of a character that has one in UTF-16, and 2 or 3 bytes in UTF-8. */
static unsigned code_unit(const unsigned char *p, size_t n)
{
    return n == 2 ? (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu) : (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
}

/* Writes one character of text as JSON; each byte of broken UTF-8 becomes U+FFFD. Returns the bytes read. */
static size_t put_char(struct line *l, struct span text, bool *fits)
{
    unsigned char c = (unsigned char)text.ptr[0];
    size_t n = json_utf8_length(text);
    unsigned unit = n == 2 || n == 3 ? code_unit((const unsigned char *)text.ptr, n) : 0;
    char escape[8];

    if (log_is_invisible(unit)) {
        (void)snprintf(escape, sizeof escape, "\\u%04x", unit & 0xFFFF);
        *fits = put_text(l, escape);
        return n;
    }
    if (n == 0) {
        *fits = put_text(l, "\\ufffd");
        return 1;
    }
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) {
        *fits = put(l, text.ptr, n);
        return n;
    }
    (void)snprintf(escape, sizeof escape, c == '"' || c == '\\' ? "\\%c" : "\\u%04x", c);
    *fits = put_text(l, escape);
    return 1;
}

static bool put_string(struct line *l, const char *string)
{
    struct span text = span_of(string ? string : "");
    bool fits = put_text(l, "\"");

    if (text.len > TEXT_MAX_BYTES) {
        l->truncated = true;
        text.len = TEXT_MAX_BYTES;
    }
    while (fits && text.len > 0) {
        size_t n = put_char(l, text, &fits);

        text.ptr += n;
        text.len -= n;
    }
    return fits && put_text(l, "\"");
}

/* Writes a whole `,"key":value` or nothing, so that a full line is still JSON. */
static void put_field(struct line *l, const struct log_field *f)
{
    size_t before = l->len;
    char number[32];
    bool fits = put_text(l, before > 1 ? "," : "") && put_string(l, f->key) && put_text(l, ":");

    switch (f->kind) {
    case LOG_F_STR:
        fits = fits && put_string(l, f->str);
        break;
    case LOG_F_INT:
        (void)snprintf(number, sizeof number, "%" PRId64, f->i);
        fits = fits && put_text(l, number);
        break;
    case LOG_F_SECONDS:
        (void)snprintf(number, sizeof number, "%s%" PRId64 ".%03d", f->i < 0 ? "-" : "", (int64_t)llabs(f->i / 1000),
                       abs((int)(f->i % 1000)));
        fits = fits && put_text(l, number);
        break;
    case LOG_F_END:
        fits = false;
        break;
    }
    if (!fits)
        l->len = before;
}

static void put_str(struct line *l, const char *key, const char *value)
{
    struct log_field f = log_str(key, value);

    put_field(l, &f);
}

static void put_time(struct line *l, const char *key, const struct timespec *time)
{
    struct tm utc;
    char text[64];
    size_t n;

    (void)gmtime_r(&time->tv_sec, &utc);
    n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + n, sizeof text - n, ".%09ldZ", time->tv_nsec);
    put_str(l, key, text);
}

static void begin_line(struct line *l, enum log_level level, const char *message)
{
    struct timespec now;

    l->len = 0;
    l->truncated = false;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)put_text(l, "{");
    put_str(l, "severity", level_names[level]);
    put_time(l, "time", &now);
    put_str(l, "message", message);
}

static void end_line(struct line *l)
{
    static const char cut[] = ",\"truncated\":true";

    if (l->truncated) {
        memcpy(l->buf + l->len, cut, sizeof cut - 1);
        l->len += sizeof cut - 1;
    }
    memcpy(l->buf + l->len, "}\n", 2);
    l->len += 2;
}

static void put_context(struct line *l, const struct log_context *ctx)
{
    char trace[256];

    if (ctx->trace[0] && logger.project) {
        (void)snprintf(trace, sizeof trace, "projects/%s/traces/%s", logger.project, ctx->trace);
        put_str(l, "logging.googleapis.com/trace", trace);
        if (ctx->span[0])
            put_str(l, "logging.googleapis.com/spanId", ctx->span);
        (void)put_text(l, ctx->sampled ? ",\"logging.googleapis.com/trace_sampled\":true"
                                       : ",\"logging.googleapis.com/trace_sampled\":false");
    }
    if (ctx->message_id[0])
        put_str(l, "messageId", ctx->message_id);
    if (ctx->session[0])
        put_str(l, "session", ctx->session);
}

/* `@type` alone makes Error Reporting take the line; the service and the place are what it groups and shows. */
static void put_error_report(struct line *l, const struct log_place *place)
{
    const char *version = logger.version;
    size_t before = l->len;
    char number[16];
    bool fits =
        put_text(l,
                 ",\"@type\":\"type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent\"") &&
        put_text(l, ",\"serviceContext\":{\"service\":") && put_string(l, logger.service);

    if (version)
        fits = fits && put_text(l, ",\"version\":") && put_string(l, version);
    (void)snprintf(number, sizeof number, "%d", place->line);
    fits = fits && put_text(l, "},\"context\":{\"reportLocation\":{\"filePath\":") && put_string(l, place->file) &&
           put_text(l, ",\"lineNumber\":") && put_text(l, number) && put_text(l, ",\"functionName\":") &&
           put_string(l, place->function) && put_text(l, "}}");
    if (!fits)
        l->len = before;
}

void log_event_at(const struct log_place *place, enum log_level level, const struct log_context *ctx,
                  const char *message, ...)
{
    struct line l;
    va_list ap;

    if ((int)level < logger.least)
        return;
    begin_line(&l, level, message);
    if (ctx)
        put_context(&l, ctx);
    if (level >= LOG_ERROR)
        put_error_report(&l, place);
    va_start(ap, message);
    for (;;) {
        struct log_field f = va_arg(ap, struct log_field);

        if (f.kind == LOG_F_END)
            break;
        put_field(&l, &f);
    }
    va_end(ap);
    end_line(&l);
    log_queue_put(&logger.queue, l.buf, l.len);
}

static size_t report_gap(char *ret, const struct log_gap *gap)
{
    const struct log_field lines = log_int("lines", (int64_t)gap->n);
    struct line l;

    begin_line(&l, LOG_WARNING, "lines of the log were dropped, because standard error did not take them");
    put_field(&l, &lines);
    put_time(&l, "since", &gap->since);
    end_line(&l);
    memcpy(ret, l.buf, l.len);
    return l.len;
}

/* ---- trace headers ---- */

static bool is_hex(const char *text, size_t n, const char *digits)
{
    return strspn(text, digits) >= n;
}

static bool is_zero(const char *text, size_t n)
{
    return strspn(text, "0") >= n;
}

static void set_id(char *ret, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    ret[n] = 0;
}

/* W3C Trace Context 3.2: 00-<32>-<16>-<2>, lower case, ids not zero; a later version may continue behind a '-'. */
static bool take_traceparent(struct log_context *ctx, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    unsigned flags;

    if (!is_hex(text, 2, hex) || text[2] != '-' || !is_hex(text + 3, 32, hex) || text[35] != '-' ||
        !is_hex(text + 36, 16, hex) || text[52] != '-' || !is_hex(text + 53, 2, hex))
        return false;
    if (text[55] && (text[55] != '-' || is_zero(text, 2)))
        return false;
    if (strncmp(text, "ff", 2) == 0 || is_zero(text + 3, 32) || is_zero(text + 36, 16))
        return false;
    if (sscanf(text + 53, "%2x", &flags) != 1)
        return false;
    set_id(ctx->trace, text + 3, 32);
    set_id(ctx->span, text + 36, 16);
    ctx->sampled = flags & 1;
    return true;
}

/* <32 hex>[/<decimal u64>][;o=<0|1>]; the span is decimal here, and hexadecimal in the log. */
static bool take_cloud_trace(struct log_context *ctx, const char *text)
{
    const char *p = text + 32;
    uint64_t span = 0;
    bool sampled = false;

    if (!is_hex(text, 32, "0123456789abcdefABCDEF") || is_zero(text, 32))
        return false;
    if (*p == '/') {
        if (p[1] < '0' || p[1] > '9')
            return false;
        for (p++; *p >= '0' && *p <= '9'; p++)
            if (__builtin_mul_overflow(span, 10, &span) || __builtin_add_overflow(span, (uint64_t)(*p - '0'), &span))
                return false;
    }
    if (strncmp(p, ";o=", 3) == 0 && (p[3] == '0' || p[3] == '1')) {
        sampled = p[3] == '1';
        p += 4;
    }
    if (*p)
        return false;
    set_id(ctx->trace, text, 32);
    ctx->span[0] = 0;
    if (span)
        (void)snprintf(ctx->span, sizeof ctx->span, "%016" PRIx64, span);
    ctx->sampled = sampled;
    return true;
}

void log_context_trace(struct log_context *ctx, const char *traceparent, const char *cloud_trace)
{
    if (traceparent && take_traceparent(ctx, traceparent))
        return;
    if (cloud_trace)
        (void)take_cloud_trace(ctx, cloud_trace);
}
