#include "worker/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/support/check.h"
#include "worker/base/json.h"

/* Captures what is written to stderr between capture_start and capture_stop. */
static struct {
    int saved, pipe[2];
    char text[16384];
} capture;

static void capture_start(enum log_level least, const char *project)
{
    (void)fflush(stderr);
    capture.saved = dup(STDERR_FILENO);
    if (pipe(capture.pipe) != 0 || dup2(capture.pipe[1], STDERR_FILENO) < 0)
        abort();
    log_init(least, project);
}

static const char *capture_stop(void)
{
    ssize_t n;

    log_init(LOG_CRITICAL + 1, NULL);
    (void)log_flush(5000);
    (void)dup2(capture.saved, STDERR_FILENO);
    (void)close(capture.saved);
    (void)close(capture.pipe[1]);
    n = read(capture.pipe[0], capture.text, sizeof capture.text - 1);
    capture.text[n > 0 ? n : 0] = 0;
    (void)close(capture.pipe[0]);
    return capture.text;
}

/* Parses a text that must be one line; the result lives in the arena. */
static const struct json *one_line(struct arena *a, const char *text)
{
    const struct json *v = NULL;
    struct err err = { 0 };

    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK_OK(arena_init(a, 1 << 20, &err), err);
    CHECK_OK(json_parse(a, span_of(text), 4, &v, &err), err);
    return v;
}

TEST(log__writes_one_json_line_in_the_names_of_cloud_logging)
{
    static const struct log_context ctx = { .trace = "0af7651916cd43dd8448eb211c80319c",
                                            .span = "b7ad6b7169203331",
                                            .sampled = true,
                                            .message_id = "17",
                                            .session = "users/u/sessions/s" };
    struct arena a;
    const struct json *v;
    const char *text;
    int64_t ms;

    capture_start(LOG_INFO, "demo");
    log_event(LOG_WARNING, &ctx, "say \"hi\"\n", log_str("path", "a\\b"), log_int("ms", -5), log_str("none", NULL),
              log_end());
    text = capture_stop();
    v = one_line(&a, text);
    CHECK_STR(json_string(json_get(v, "severity")), "WARNING");
    CHECK_STR(json_string(json_get(v, "message")), "say \"hi\"\n");
    CHECK_STR(json_string(json_get(v, "logging.googleapis.com/trace")),
              "projects/demo/traces/0af7651916cd43dd8448eb211c80319c");
    CHECK_STR(json_string(json_get(v, "logging.googleapis.com/spanId")), "b7ad6b7169203331");
    CHECK(strstr(text, "\"logging.googleapis.com/trace_sampled\":true"));
    CHECK_STR(json_string(json_get(v, "messageId")), "17");
    CHECK_STR(json_string(json_get(v, "session")), "users/u/sessions/s");
    CHECK_STR(json_string(json_get(v, "path")), "a\\b");
    CHECK(json_integer(json_get(v, "ms"), &ms) && ms == -5);
    CHECK_STR(json_string(json_get(v, "none")), "");
    CHECK_INT(strlen(json_string(json_get(v, "time"))), strlen("2026-01-02T03:04:05.123456789Z"));
    CHECK(!json_get(v, "truncated"));
    arena_done(&a);
}

TEST(log__durations_are_seconds_with_three_digits)
{
    const char *text;

    capture_start(LOG_INFO, NULL);
    log_event(LOG_INFO, NULL, "x", log_seconds("a", 0), log_seconds("b", 7), log_seconds("c", 12345),
              log_seconds("d", -1), log_seconds("e", -61002), log_end());
    text = capture_stop();
    CHECK(strstr(text, ",\"a\":0.000,\"b\":0.007,\"c\":12.345,\"d\":-0.001,\"e\":-61.002}"));
}

TEST(log__escapes_what_a_viewer_might_obey)
{
    static const char text[] = "a\xc2\x85" "b\xc2\x9b" "c\xe2\x80\xa8" "d\xe2\x80\xae" "e\xe2\x81\xa9" "f\xef\xbb\xbf" "g\xd8\x9c" "h"
                               "\x1b[31m\x7f";
    static const char kept[] = "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\xd8\xa7";
    struct arena a;
    const char *line;
    const struct json *v;

    capture_start(LOG_INFO, "demo");
    log_event(LOG_ERROR, NULL, text, log_str("kept", kept), log_end());
    line = capture_stop();
    for (const char *p = line; *p; p++)
        CHECK((unsigned char)*p >= 0x20 || *p == '\n');
    CHECK(strstr(line, "a\\u0085b\\u009bc\\u2028d\\u202ee\\u2069f\\ufeffg\\u061ch\\u001b[31m\\u007f"));
    CHECK(strstr(line, kept));
    v = one_line(&a, line);
    CHECK_STR(json_string(json_get(v, "message")), text);
    arena_done(&a);
}

TEST(log__a_session_may_be_as_long_as_the_name_of_an_object)
{
    struct log_context ctx = { 0 };
    char session[sizeof ctx.session];
    struct arena a;
    const struct json *v;

    memset(session, 's', sizeof session - 1);
    session[1010] = 0;
    (void)snprintf(ctx.session, sizeof ctx.session, "%s", session);
    capture_start(LOG_INFO, "demo");
    log_event(LOG_ERROR, &ctx, "x", log_end());
    v = one_line(&a, capture_stop());
    CHECK_STR(json_string(json_get(v, "session")), session);
    arena_done(&a);
}

TEST(log__keeps_quiet_below_its_level_and_without_a_project_leaves_the_trace_out)
{
    static const struct log_context ctx = { .trace = "0af7651916cd43dd8448eb211c80319c" };
    const char *text;

    capture_start(LOG_NOTICE, NULL);
    log_event(LOG_INFO, NULL, "quiet", log_end());
    log_event(LOG_NOTICE, &ctx, "loud", log_end());
    text = capture_stop();
    CHECK(!strstr(text, "quiet") && strstr(text, "loud") && !strstr(text, "trace"));
}

TEST(log__broken_bytes_and_floods_still_make_one_valid_line)
{
    struct arena a;
    const struct json *v;
    static char flood[20000];
    const char *text;

    memset(flood, '\x01', sizeof flood - 1);
    capture_start(LOG_INFO, "demo");
    log_event(LOG_ERROR, NULL, "x\xFFy\xC3", log_str("a", flood), log_str("b", flood), log_str("c", "short"),
              log_end());
    text = capture_stop();
    v = one_line(&a, text);
    CHECK_STR(json_string(json_get(v, "message")), "x\xEF\xBF\xBDy\xEF\xBF\xBD");
    CHECK(!json_get(v, "a") && !json_get(v, "b")); /* 2,048 escapes of 6 characters do not fit */
    CHECK_STR(json_string(json_get(v, "c")), "short");
    CHECK(strstr(text, "\"truncated\":true"));
    arena_done(&a);
}

TEST(log__severe_lines_are_error_reports_and_no_others)
{
    static const char type[] = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent";
    const enum log_level levels[] = { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL };
    const struct json *v, *service, *where;
    struct arena a;
    int64_t line;

    log_service("photos", "photos-00042-abc");
    log_service(NULL, "");
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        capture_start(LOG_DEBUG, NULL);
        log_event(levels[i], NULL, "it happened", log_end());
        v = one_line(&a, capture_stop());
        if (levels[i] < LOG_ERROR) {
            CHECK(!json_get(v, "@type") && !json_get(v, "serviceContext") && !json_get(v, "context"));
        } else {
            CHECK_STR(json_string(json_get(v, "@type")), type);
            service = json_get(v, "serviceContext");
            CHECK_STR(json_string(json_get(service, "service")), "photos");
            CHECK_STR(json_string(json_get(service, "version")), "photos-00042-abc");
            where = json_get(json_get(v, "context"), "reportLocation");
            CHECK_STR(json_string(json_get(where, "filePath")), __FILE__);
            CHECK_STR(json_string(json_get(where, "functionName")), __func__);
            CHECK(json_integer(json_get(where, "lineNumber"), &line) && line > __LINE__ - 20 && line < __LINE__);
        }
        arena_done(&a);
    }
}

TEST(log__an_error_report_without_names_has_the_program_and_no_version)
{
    const struct json *v;
    struct arena a;

    capture_start(LOG_DEBUG, NULL);
    log_event(LOG_ERROR, NULL, "it happened", log_end());
    v = one_line(&a, capture_stop());
    CHECK_STR(json_string(json_get(json_get(v, "serviceContext"), "service")), "inpaint-worker");
    CHECK(!json_get(json_get(v, "serviceContext"), "version"));
    arena_done(&a);
}

TEST(log__traceparent_wins_over_the_cloud_header)
{
    struct log_context ctx = { 0 };

    log_context_trace(&ctx, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                      "105445aa7843bc8bf206b12000100000/1;o=0");
    CHECK_STR(ctx.trace, "0af7651916cd43dd8448eb211c80319c");
    CHECK_STR(ctx.span, "b7ad6b7169203331");
    CHECK(ctx.sampled);
}

TEST(log__the_span_of_the_cloud_header_is_decimal)
{
    struct log_context ctx = { 0 };

    log_context_trace(&ctx, "00-bad", "105445AA7843bc8bf206b12000100000/18446744073709551615;o=1");
    CHECK_STR(ctx.trace, "105445aa7843bc8bf206b12000100000");
    CHECK_STR(ctx.span, "ffffffffffffffff");
    CHECK(ctx.sampled);
    log_context_trace(&ctx, NULL, "105445aa7843bc8bf206b12000100000/74;o=0");
    CHECK_STR(ctx.span, "000000000000004a");
    CHECK(!ctx.sampled);
    log_context_trace(&ctx, NULL, "105445aa7843bc8bf206b12000100001");
    CHECK_STR(ctx.trace, "105445aa7843bc8bf206b12000100001");
    CHECK_STR(ctx.span, "");
}

TEST(log__malformed_trace_headers_are_ignored)
{
    static const char *const parents[] = {
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    };
    static const char *const clouds[] = {
        "",
        "x",
        "105445aa7843bc8bf206b1200010000",
        "105445aa7843bc8bf206b12000100000/",
        "105445aa7843bc8bf206b12000100000/1;o=2",
        "105445aa7843bc8bf206b12000100000/18446744073709551616;o=1",
        "105445aa7843bc8bf206b12000100000/1;o=1 ",
        "105445aa7843bc8bf206b12000100000/-1",
        "00000000000000000000000000000000/1;o=1",
    };

    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
        struct log_context ctx = { 0 };

        log_context_trace(&ctx, parents[i], NULL);
        CHECK_STR(ctx.trace, "");
    }
    for (size_t i = 0; i < sizeof clouds / sizeof *clouds; i++) {
        struct log_context ctx = { 0 };

        log_context_trace(&ctx, NULL, clouds[i]);
        CHECK_STR(ctx.trace, "");
    }
}
