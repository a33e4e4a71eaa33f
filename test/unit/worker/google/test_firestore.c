/* U1 to U10 of PROTOCOL.md 9.3; the value forms and the commit of PROTOCOL.md 4.2, 4.5. */
#include <math.h>
#include <stdio.h>

#include "test/support/check.h"
#include "test/support/fake/script.h"
#include "worker/google/firestore.h"

#define DOC  "users/u1/sessions/s1"
#define NAME "projects/demo/databases/(default)/documents/" DOC
#define FOUND(fields) \
    "{\"name\":\"" NAME "\"," fields "\"createTime\":\"c\",\"updateTime\":\"2026-11-20T09:25:36.344385Z\"}"
#define COMMITTED           "{\"writeResults\":[{\"updateTime\":\"2026-11-20T09:25:37Z\"}],\"commitTime\":\"x\"}"
#define ERROR(code, status) "{\"error\":{\"code\":" code ",\"message\":\"why\",\"status\":\"" status "\"}}"

#define MISSING(message)    "{\"error\":{\"code\":404,\"message\":\"" message "\",\"status\":\"NOT_FOUND\"}}"

struct fixture {
    struct script s;
    struct gauth *g;
    struct firestore fs;
    struct arena a;
    struct err err;
};

static struct fixture f;

static enum err_code init(const char *emulator_host, struct err *err)
{
    const struct firestore_options o = {
        .http = &f.s.http, .gauth = f.g, .project = "demo", .emulator_host = emulator_host
    };

    return firestore_init(&f.fs, &o, &f.a, err);
}

static void start_with(const char *emulator_host, const char *metadata_token)
{
    struct gauth_options o;

    memset(&f, 0, sizeof f);
    script_init(&f.s);
    CHECK_OK(arena_init(&f.a, 32 << 20, &f.err), f.err);
    o = (struct gauth_options){ .http = &f.s.http,
                                .sys = &f.s.sys,
                                .project = "demo",
                                .emulator = { emulator_host != NULL, emulator_host != NULL } };
    CHECK_OK(gauth_open(&o, &f.g, &f.err), f.err);
    CHECK_OK(init(emulator_host, &f.err), f.err);
    if (metadata_token)
        script_will(&f.s, (struct script_reply){ .status = 200,
                                                 .body = span_of(metadata_token),
                                                 .headers = { { "metadata-flavor", "Google" } } });
}

static void start(void)
{
    start_with("127.0.0.1:8185", NULL);
}

static void stop(void)
{
    gauth_close(f.g);
    arena_done(&f.a);
    script_done(&f.s);
}

static void will(int status, const char *body)
{
    script_will(&f.s, (struct script_reply){ .status = status, .body = span_of(body) });
}

static struct firestore_document doc;

static enum err_code get(void)
{
    static const char *const mask[] = { "processingStatus", "inpaint.lease", "`a-b`" };

    f.err = (struct err){ 0 };
    return firestore_get(&f.fs, DOC, (struct firestore_mask){ mask, 3 }, &f.s.budget, &f.a, &doc, &f.err);
}

static char update_time[FIRESTORE_TIME_SIZE];

static enum err_code patch(void)
{
    const struct firestore_field fields[] = { { "processingStatus", firestore_v_string("processing") } };
    const struct firestore_patch patch = {
        .document = DOC,
        .fields = fields,
        .n_fields = 1,
        .update_time = "2026-11-20T09:25:36.344385Z",
        .policy = &firestore_result_policy,
    };

    f.err = (struct err){ 0 };
    (void)snprintf(update_time, sizeof update_time, "untouched");
    return firestore_patch(&f.fs, &patch, &f.s.budget, &f.a, update_time, &f.err);
}

/* A field by its path; names that are not bare words stand in backticks. */
static struct stored firestore_field(const struct firestore_document *d, const char *path)
{
    struct stored value = { { NULL, 0 } };

    for (bool first = true; *path; first = false) {
        bool quoted = *path == '`';
        size_t n = strcspn(path + quoted, quoted ? "`" : ".");
        char name[64];

        (void)snprintf(name, sizeof name, "%.*s", (int)n, path + quoted);
        value = first ? stored_in(d->fields, name) : stored_member(value, name);
        path += n + 2 * quoted;
        path += *path == '.';
    }
    return value;
}

/* Whether a value is of this kind, whatever it holds. */
static bool is_kind(struct stored v, const char *kind)
{
    struct stored content = stored_in(v.json, kind);

    return !stored_is_absent(content) && *content.json.ptr == '{';
}

static bool is_map(struct stored v)
{
    return is_kind(v, "mapValue");
}

static bool is_array(struct stored v)
{
    return is_kind(v, "arrayValue");
}

TEST(firestore__gets_a_document_under_a_mask)
{
    start();
    will(200, FOUND("\"fields\":{\"processingStatus\":{\"stringValue\":\"pending\"}},"));
    CHECK_OK(get(), f.err);
    CHECK_STR(f.s.requests[0].method, "GET");
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:8185/v1/" NAME "?mask.fieldPaths=processingStatus"
                                   "&mask.fieldPaths=inpaint.lease&mask.fieldPaths=%60a-b%60&prettyPrint=false");
    CHECK(script_sent_header(&f.s, 0, "Authorization: Bearer owner"));
    CHECK_INT(f.s.requests[0].timeout_ms, 10000);
    CHECK_STR(doc.update_time, "2026-11-20T09:25:36.344385Z");
    CHECK(stored_is_text(firestore_field(&doc, "processingStatus"), "pending"));
    CHECK(stored_is_absent(firestore_field(&doc, "inpaint.lease.id")));
    will(200, FOUND(""));
    CHECK_OK(get(), f.err);
    CHECK(!doc.fields.len && stored_is_absent(firestore_field(&doc, "processingStatus")));
    stop();
}

TEST(firestore__ids_are_encoded_in_the_url_and_compared_as_they_are)
{
    static const char document[] = "users/a|b@c.d:\xc3\xa9\xe4\xb8\xad/sessions/... +&";
    static const char root[] = "projects/demo/databases/(default)/documents/";
    char answer[512];

    start();
    (void)snprintf(answer, sizeof answer, "{\"name\":\"%s%s\",\"updateTime\":\"2026-11-20T09:25:36.344385Z\"}", root, document);
    will(200, answer);
    CHECK_OK(firestore_get(&f.fs, document, (struct firestore_mask){ NULL, 0 }, &f.s.budget, &f.a, &doc, &f.err), f.err);
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:8185/v1/projects/demo/databases/(default)/documents/users/"
                                   "a%7Cb%40c.d%3A%C3%A9%E4%B8%AD/sessions/...%20%2B%26?prettyPrint=false");
    (void)snprintf(answer, sizeof answer, "{\"name\":\"%susers/a%%7Cb%%40c.d%%3A%%C3%%A9%%E4%%B8%%AD/sessions/...%%20%%2B%%26\","
                   "\"updateTime\":\"2026-11-20T09:25:36.344385Z\"}", root);
    will(200, answer);
    CHECK_INT(firestore_get(&f.fs, document, (struct firestore_mask){ NULL, 0 }, &f.s.budget, &f.a, &doc, NULL), ERR_PROTOCOL);
    stop();
}

TEST(firestore__speaks_to_google_with_a_token)
{
    start_with(NULL, "{\"access_token\":\"t1\",\"expires_in\":3599}");
    will(200, FOUND(""));
    CHECK_OK(get(), f.err);
    CHECK(strncmp(f.s.requests[1].url, "https://firestore.googleapis.com/v1/projects/demo/", 50) == 0);
    CHECK(script_sent_header(&f.s, 1, "Authorization: Bearer t1"));
    stop();
}

TEST(firestore__checks_the_name_of_every_answer) /* U5, U6 */
{
    static const char *const bad[] = {
        "{}",
        "",
        "[]",
        "{\"name\":\"projects/demo/databases/(default)/documents/users/u1/sessions/s2\",\"updateTime\":\"x\"}",
        "{\"name\":\"" NAME "\"}",
        "{\"name\":\"" NAME "\",\"updateTime\":\"\"}",
        "{\"name\":\"" NAME "\",\"updateTime\":5}",
        "{\"name\":\"" NAME "\",\"updateTime\":\"x\\u0000y\"}",
        "{\"name\":\"" NAME "\",\"updateTime\":\"x\",\"fields\":[]}",
        "<html>",
        "{\"documents\":[]}",
        "{\"name\":5}"
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        start();
        will(200, bad[i]);
        CHECK_INT(get(), ERR_PROTOCOL);
        CHECK_INT(f.s.n_requests, 1);
        stop();
    }
}

TEST(firestore__reports_absent_only_when_firestore_does)
{
    start();
    will(200, FOUND(""));
    CHECK_OK(get(), f.err);
    will(404, ERROR("404", "NOT_FOUND"));
    CHECK_INT(get(), ERR_NOT_FOUND);
    will(404, "Not Found\n"); /* from a front end: it does not say that the document is missing */
    CHECK_INT(get(), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 3);
    stop();
}

TEST(firestore__names_the_role_that_a_refused_account_may_lack)
{
    start();
    will(403, ERROR("403", "PERMISSION_DENIED"));
    CHECK_INT(get(), ERR_DENIED);
    CHECK(strstr(f.err.msg, "roles/datastore.user") && strstr(f.err.msg, "why"));
    stop();
}

TEST(firestore__classifies_by_status_and_then_by_number) /* 4.7, U7 */
{
    static char huge[100000];
    const struct {
        int http;
        const char *body;
        enum firestore_outcome read, write;
    } cases[] = {
        { 200, "{}", FIRESTORE_DONE, FIRESTORE_DONE },
        { 400, ERROR("400", "INVALID_ARGUMENT"), FIRESTORE_FINAL, FIRESTORE_FINAL },
        { 400, ERROR("400", "OUT_OF_RANGE"), FIRESTORE_FINAL, FIRESTORE_FINAL },
        { 400, ERROR("400", "FAILED_PRECONDITION"), FIRESTORE_FINAL, FIRESTORE_REREAD },
        { 401, ERROR("401", "UNAUTHENTICATED"), FIRESTORE_NEW_TOKEN, FIRESTORE_NEW_TOKEN },
        { 403, ERROR("403", "PERMISSION_DENIED"), FIRESTORE_REFUSED, FIRESTORE_REFUSED },
        { 404, ERROR("404", "NOT_FOUND"), FIRESTORE_ABSENT, FIRESTORE_ABSENT },
        { 409, ERROR("409", "ALREADY_EXISTS"), FIRESTORE_FINAL, FIRESTORE_REREAD },
        { 409, ERROR("409", "ABORTED"), FIRESTORE_RETRY, FIRESTORE_REREAD },
        { 429, ERROR("429", "RESOURCE_EXHAUSTED"), FIRESTORE_RETRY, FIRESTORE_RETRY },
        { 499, ERROR("499", "CANCELLED"), FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 500, ERROR("500", "INTERNAL"), FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 500, ERROR("500", "UNKNOWN"), FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 503, ERROR("503", "UNAVAILABLE"), FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 504, ERROR("504", "DEADLINE_EXCEEDED"), FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 409, "[" ERROR("409", "ABORTED") "]", FIRESTORE_RETRY, FIRESTORE_REREAD },
        { 400, "[\n" ERROR("400", "FAILED_PRECONDITION") "\n]", FIRESTORE_FINAL, FIRESTORE_REREAD },
        { 400, "{\"error\":{\"status\":\"FAILED_PRECONDITION\"}}", FIRESTORE_FINAL, FIRESTORE_REREAD },
        { 503, "<html>overloaded</html>", FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 502, "", FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 400, "{\"error\":\"invalid_grant\"}", FIRESTORE_FOREIGN, FIRESTORE_FOREIGN },
        { 401, "{\"error\":\"invalid_grant\"}", FIRESTORE_NEW_TOKEN, FIRESTORE_NEW_TOKEN },
        { 403, "", FIRESTORE_REFUSED, FIRESTORE_REFUSED },
        { 408, "", FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 409, "", FIRESTORE_RETRY, FIRESTORE_REREAD },
        { 429, huge, FIRESTORE_RETRY, FIRESTORE_RETRY },
        { 400, "{\"error\":{\"code\":400}}", FIRESTORE_FOREIGN, FIRESTORE_FOREIGN },
        { 400, "{\"error\":{\"status\":7}}", FIRESTORE_FOREIGN, FIRESTORE_FOREIGN },
        { 500, "{\"error\":{\"status\":\"SOMETHING_NEW\"}}", FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
        { 302, "", FIRESTORE_FOREIGN, FIRESTORE_FOREIGN },
        { 204, "", FIRESTORE_FOREIGN, FIRESTORE_FOREIGN },
        { 599, "[[[[[[[[[[", FIRESTORE_RETRY, FIRESTORE_UNKNOWN },
    };

    memset(huge, 'x', sizeof huge - 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(firestore_classify(FIRESTORE_READ, cases[i].http, span_of(cases[i].body)), cases[i].read);
        CHECK_INT(firestore_classify(FIRESTORE_CONDITIONAL_WRITE, cases[i].http, span_of(cases[i].body)),
                  cases[i].write);
    }
}

TEST(firestore__retries_a_read_after_transient_failures)
{
    start();
    will(503, ERROR("503", "UNAVAILABLE"));
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNAVAILABLE });
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME, .status = 200, .body = SPAN("{\"na") });
    will(409, ERROR("409", "ABORTED"));
    will(200, FOUND(""));
    CHECK_OK(get(), f.err);
    CHECK_INT(f.s.n_requests, 5);
    for (int i = 0; i < 6; i++)
        will(503, "");
    CHECK_INT(get(), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 10);
    stop();
    start(); /* a page of somebody else, by its number; a read has no outcome that could be unknown */
    script_will(&f.s, (struct script_reply){ .rc = ERR_TOO_LARGE, .status = 503 });
    will(200, FOUND(""));
    CHECK_OK(get(), f.err);
    for (int i = 0; i < 5; i++)
        script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_INT(get(), ERR_UNAVAILABLE);
    stop();
}

TEST(firestore__waits_as_long_as_the_server_asks) /* U10 */
{
    static const struct {
        const char *retry_after;
        int64_t least_ms, most_ms;
    } cases[] = { { "2", 2000, 2100 },
                  { "Tue, 14 Nov 2023 22:15:10 GMT", 9000, 10200 },
                  { "abc", 0, 5000 },
                  { "9999", 60000, 60100 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) { /* the clock says 22:15:00 */
        start();
        script_will(&f.s,
                    (struct script_reply){ .status = 429, .headers = { { "retry-after", cases[i].retry_after } } });
        will(200, FOUND(""));
        CHECK_OK(get(), f.err);
        if (f.s.slept_ms < cases[i].least_ms || f.s.slept_ms > cases[i].most_ms)
            test_fail(__FILE__, __LINE__, "Retry-After %s: %lld ms", cases[i].retry_after, (long long)f.s.slept_ms);
        stop();
    }
}

TEST(firestore__keeps_to_the_budget)
{
    start();
    f.s.budget.deadline_mono_ms = f.s.mono_ms + 10500;
    script_will(&f.s, (struct script_reply){ .status = 503, .takes_ms = 600 });
    CHECK_INT(get(), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 1);
    stop();
}

TEST(firestore__refreshes_a_refused_token_once) /* U8, U9 */
{
    static const char second[] = "{\"access_token\":\"t2\",\"expires_in\":3599}";
    const struct script_reply token = { .status = 200,
                                        .body = SPAN(second),
                                        .headers = { { "metadata-flavor", "Google" } } };

    start_with(NULL, "{\"access_token\":\"t1\",\"expires_in\":3599}");
    will(401, ERROR("401", "UNAUTHENTICATED"));
    script_will(&f.s, token);
    will(200, FOUND(""));
    CHECK_OK(get(), f.err);
    CHECK(script_sent_header(&f.s, 1, "Authorization: Bearer t1"));
    CHECK(script_sent_header(&f.s, 3, "Authorization: Bearer t2"));
    CHECK_INT(f.s.n_requests, 4);
    will(401, "");
    script_will(&f.s, token);
    will(401, "");
    CHECK_INT(get(), ERR_DENIED);
    CHECK_INT(f.s.n_requests, 7);
    stop();
}

TEST(firestore__does_not_retry_a_token_that_cannot_be_fetched)
{
    start_with(NULL, NULL);
    CHECK_INT(get(), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 5); /* the tries at the metadata server, not repeated */
    stop();
}

TEST(firestore__commits_a_patch_under_a_precondition)
{
    const struct firestore_field lease[] = { { "id", firestore_v_string("uuid") },
                                             { "expiresAt", firestore_v_timestamp(1714979289123456) } };
    const struct firestore_value list[] = { firestore_v_string("a"), firestore_v_integer(-2) };
    const struct firestore_field fields[] = {
        { "processingStatus", firestore_v_string("processing") },
        { "inpaint.lease", firestore_v_map(lease, 2) },
        { "inpaint.attempts", firestore_v_integer(INT64_MAX) },
        { "inpaint.stage", firestore_v_delete() },
        { "errorMessage", firestore_v_delete() },
        { "gone.all", firestore_v_delete() },
        { "cost", firestore_v_double(0.125) },
        { "x.`a-b`.c", firestore_v_bool(true) },
        { "list", firestore_v_array(list, 2) },
        { "nan", firestore_v_double((double)NAN) },
    };
    const struct firestore_patch claim = { .document = DOC,
                                           .fields = fields,
                                           .n_fields = 10,
                                           .update_time = "T",
                                           .policy = &firestore_claim_policy };

    start();
    will(200, COMMITTED);
    CHECK_OK(firestore_patch(&f.fs, &claim, &f.s.budget, &f.a, update_time, &f.err), f.err);
    CHECK_STR(update_time, "2026-11-20T09:25:37Z");
    CHECK_STR(f.s.requests[0].method, "POST");
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:8185/v1/projects/demo/databases/(default)/documents:commit");
    CHECK(script_sent_header(&f.s, 0, "Content-Type: application/json"));
    CHECK_STR(
        f.s.requests[0].body.ptr,
        "{\"writes\":[{\"update\":{\"name\":\"" NAME "\",\"fields\":{"
        "\"processingStatus\":{\"stringValue\":\"processing\"},"
        "\"inpaint\":{\"mapValue\":{\"fields\":{"
        "\"lease\":{\"mapValue\":{\"fields\":{\"id\":{\"stringValue\":\"uuid\"},"
        "\"expiresAt\":{\"timestampValue\":\"2024-05-06T07:08:09.123456Z\"}}}},"
        "\"attempts\":{\"integerValue\":\"9223372036854775807\"}}}},"
        "\"cost\":{\"doubleValue\":0.125},"
        "\"x\":{\"mapValue\":{\"fields\":{\"a-b\":{\"mapValue\":{\"fields\":{\"c\":{\"booleanValue\":true}}}}}}},"
        "\"list\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"a\"},{\"integerValue\":\"-2\"}]}},"
        "\"nan\":{\"doubleValue\":\"NaN\"}}},"
        "\"updateMask\":{\"fieldPaths\":[\"processingStatus\",\"inpaint.lease\",\"inpaint.attempts\",\"inpaint.stage\","
        "\"errorMessage\",\"gone.all\",\"cost\",\"x.`a-b`.c\",\"list\",\"nan\"]},"
        "\"currentDocument\":{\"updateTime\":\"T\"}}]}");
    stop();
}

static enum err_code patch_fields(const struct firestore_field *fields, int n, const char *since)
{
    const struct firestore_patch patch = { .document = DOC,
                                           .fields = fields,
                                           .n_fields = n,
                                           .update_time = since,
                                           .policy = &firestore_result_policy };

    return firestore_patch(&f.fs, &patch, &f.s.budget, &f.a, NULL, NULL);
}

TEST(firestore__refuses_a_patch_that_means_two_things)
{
    static const char *const pairs[][2] = { { "a", "a" },       { "a", "a.b" }, { "a.b", "a" },
                                            { "a.b.c", "a.b" }, { "a-b", "c" }, { "", "c" },
                                            { "a.", "c" },      { ".a", "c" },  { "a..b", "c" },
                                            { "`a", "c" },      { "1a", "c" },  { "a.b.c.d.e.f.g.h.i", "c" },
                                            { "`a`b", "c" },    { "``", "c" } };
    const struct firestore_value inner[] = { firestore_v_array(NULL, 0) };
    const struct firestore_field nested = { "a", firestore_v_array(inner, 1) };
    const struct firestore_field flat = { "a", firestore_v_integer(1) };

    start();
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const struct firestore_field fields[] = { { pairs[i][0], firestore_v_integer(1) },
                                                  { pairs[i][1], firestore_v_integer(2) } };

        CHECK_INT(patch_fields(fields, 2, "T"), ERR_INVALID);
    }
    CHECK_INT(patch_fields(&nested, 1, "T"), ERR_INVALID);
    CHECK_INT(patch_fields(&nested, 0, "T"), ERR_INVALID);
    CHECK_INT(patch_fields(&flat, 1, NULL), ERR_INVALID);
    CHECK_INT(patch_fields(&flat, 1, ""), ERR_INVALID);
    CHECK_INT(f.s.n_requests, 0);
    stop();
}

TEST(firestore__never_sends_a_commit_again_that_may_have_landed) /* U1 to U4 */
{
    const struct {
        struct script_reply reply;
        enum err_code want;
    } cases[] = {
        { { .status = 409, .body = SPAN(ERROR("409", "ABORTED")) }, ERR_CONFLICT },
        { { .status = 409, .body = SPAN(ERROR("409", "ALREADY_EXISTS")) }, ERR_CONFLICT },
        { { .status = 400, .body = SPAN(ERROR("400", "FAILED_PRECONDITION")) }, ERR_CONFLICT },
        { { .rc = ERR_UNKNOWN_OUTCOME }, ERR_UNKNOWN_OUTCOME },
        { { .status = 503, .body = SPAN(ERROR("503", "UNAVAILABLE")) }, ERR_UNKNOWN_OUTCOME },
        { { .status = 500 }, ERR_UNKNOWN_OUTCOME },
        { { .status = 404, .body = SPAN(ERROR("404", "NOT_FOUND")) }, ERR_UNAVAILABLE }, /* of what? */
        { { .status = 404, .body = SPAN(MISSING("No document to update: " NAME)) }, ERR_NOT_FOUND },
        { { .status = 400, .body = SPAN(ERROR("400", "INVALID_ARGUMENT")) }, ERR_INVALID },
        { { .status = 403, .body = SPAN(ERROR("403", "PERMISSION_DENIED")) }, ERR_DENIED },
        { { .status = 200, .body = SPAN("{}") }, ERR_UNKNOWN_OUTCOME },
        { { .status = 200, .body = SPAN("<html>") }, ERR_UNKNOWN_OUTCOME },
        { { .status = 200, .body = SPAN("{\"writeResults\":[]}") }, ERR_UNKNOWN_OUTCOME },
        { { .status = 200, .body = SPAN("{\"writeResults\":[{\"updateTime\":\"\"}]}") }, ERR_UNKNOWN_OUTCOME },
        { { .status = 200, .body = SPAN("{\"writeResults\":[{\"updateTime\":\"2026-11-20T09:39:12.00000000000000000000000000000000000000000000000000000000000Z\"}]}") }, ERR_UNKNOWN_OUTCOME },
        { { .status = 200, .rc = ERR_TOO_LARGE }, ERR_UNKNOWN_OUTCOME },
        { { .status = 400, .rc = ERR_TOO_LARGE }, ERR_UNAVAILABLE },
        { { .status = 404, .body = SPAN("<html>") }, ERR_UNAVAILABLE }, /* somebody else: it says nothing about the document */
        { { .status = 200, .body = SPAN(COMMITTED) }, ERR_OK },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        script_will(&f.s, cases[i].reply);
        CHECK_INT(patch(), cases[i].want);
        CHECK_INT(f.s.n_requests, 1);
        CHECK_STR(update_time, cases[i].want ? "untouched" : "2026-11-20T09:25:37Z");
        stop();
    }
}

TEST(firestore__sends_a_commit_again_that_surely_did_not_land)
{
    start();
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNAVAILABLE });
    will(429, ERROR("429", "RESOURCE_EXHAUSTED"));
    will(200, COMMITTED);
    CHECK_INT(patch(), ERR_OK);
    CHECK_INT(f.s.n_requests, 3);
    CHECK_STR(f.s.requests[0].body.ptr, f.s.requests[2].body.ptr);
    stop();
}

static struct span text_of(struct stored v)
{
    struct span text;

    CHECK_OK(stored_text(v, &f.a, &text, &f.err), f.err);
    return text;
}

TEST(firestore__reads_values_of_every_type)
{
    static const char fields[] = "\"fields\":{\"s\":{\"stringValue\":\"x\"},\"i\":{\"integerValue\":\"-"
                                 "9223372036854775808\"},\"in\":{\"integerValue\":12},"
                                 "\"d\":{\"doubleValue\":1.5},\"di\":{\"doubleValue\":3},\"nan\":{\"doubleValue\":"
                                 "\"NaN\"},\"inf\":{\"doubleValue\":\"-Infinity\"},"
                                 "\"b\":{\"booleanValue\":true},\"t\":{\"timestampValue\":\"2024-05-06T07:08:09."
                                 "123456Z\"},\"n\":{\"nullValue\":null},"
                                 "\"m\":{\"mapValue\":{\"fields\":{\"k\":{\"mapValue\":{\"fields\":{\"a-b\":{"
                                 "\"stringValue\":\"deep\"}}}}}}},\"e\":{\"mapValue\":{}},"
                                 "\"l\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"one\"},{\"integerValue\":\"2\"}"
                                 "]}},\"le\":{\"arrayValue\":{}},"
                                 "\"bad\":{\"integerValue\":\"12x\"},\"odd\":5,\"dx\":{\"doubleValue\":\"1.5\"}},";
    static char body[4096];
    struct span list;
    int64_t i;

    (void)snprintf(body, sizeof body, FOUND("%s"), fields);
    start();
    will(200, body);
    CHECK_OK(get(), f.err);
#define F(path) firestore_field(&doc, path)
    CHECK(stored_is_text(F("s"), "x") && !stored_is_text(F("s"), "y"));
    CHECK_STR(text_of(F("s")).ptr, "x");
    CHECK(!text_of(F("i")).ptr && !text_of(F("absent")).ptr && !text_of(F("odd")).ptr);
    CHECK(stored_integer(F("i"), &i) && i == INT64_MIN);
    CHECK(stored_integer(F("in"), &i) && i == 12);
    CHECK(stored_integer(F("di"), &i) && i == 3);
    CHECK(!stored_integer(F("d"), &i) && !stored_integer(F("s"), &i) && !stored_integer(F("bad"), &i) &&
          !stored_integer(F("nan"), &i));
    CHECK(stored_timestamp(F("t"), &i) && i == 1714979289123456);
    CHECK(!stored_timestamp(F("s"), &i));
    CHECK(stored_is_null(F("n")) && !stored_is_null(F("absent")) && !stored_is_null(F("s")));
    CHECK(stored_is_text(F("m.k.`a-b`"), "deep"));
    CHECK(stored_is_text(stored_member(F("m.k"), "a-b"), "deep"));
    CHECK(is_map(F("e")) && is_map(F("m")) && !is_map(F("s")) && !is_map(F("absent")));
    CHECK(is_array(F("l")) && is_array(F("le")) && !is_array(F("m")) && !is_array(F("absent")));
    list = stored_list(F("l"));
    CHECK(stored_is_text(stored_next(&list), "one"));
    CHECK(stored_integer(stored_next(&list), &i) && i == 2);
    CHECK(stored_is_absent(stored_next(&list)) && stored_is_absent(stored_next(&list)));
    list = stored_list(F("le"));
    CHECK(stored_is_absent(stored_next(&list)));
    list = stored_list(F("s"));
    CHECK(stored_is_absent(stored_next(&list)));
#undef F
    stop();
}

TEST(firestore__checks_the_emulators_address)
{
    static const char *const bad[] = { "http://127.0.0.1:1", "127.0.0.1:1/", "a b", "u@h" };

    start();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(init(bad[i], NULL), ERR_INVALID);
    stop();
}

/* ---- what was not found ---- */

#define NO_DATABASE "The database (default) does not exist for project demo Please visit https://console.cloud.google.com/datastore/setup?project=demo to add a Cloud Datastore or Cloud Firestore database. "

TEST(firestore__tells_a_missing_document_from_a_missing_database)
{
    static const struct {
        const char *message;
        enum firestore_missing want;
    } cases[] = {
        { "Document (projects\\/demo\\/databases\\/(default)\\/documents\\/users\\/u1\\/sessions\\/s1) not found.", FIRESTORE_MISSING_DOCUMENT },
        { "Document \"projects/demo/databases/(default)/documents/users/u1/sessions/s1\" not found.", FIRESTORE_MISSING_DOCUMENT },
        { "No document to update: " NAME, FIRESTORE_MISSING_DOCUMENT },
        { "users/u1/sessions/s1", FIRESTORE_MISSING_DOCUMENT },
        { "document " NAME " of the project is not there", FIRESTORE_MISSING_DOCUMENT },
        { NO_DATABASE, FIRESTORE_MISSING_DATABASE },
        { "The database named-one does not exist for project demo", FIRESTORE_MISSING_DATABASE },
        { "DATABASE not found", FIRESTORE_MISSING_DATABASE },
        { "Project 'projects/demo' not found or deleted.", FIRESTORE_MISSING_DATABASE },
        { "projects/demo/databases/(default)", FIRESTORE_MISSING_DATABASE },
        { "The database of projects/demo/databases/(default)/documents/users is gone", FIRESTORE_MISSING_DATABASE },
        { "Requested entity was not found.", FIRESTORE_MISSING_UNSAID },
        { "no entity to update: app: \"dev~demo\" path < Element { type: \"users\" name: \"u1\" } >", FIRESTORE_MISSING_UNSAID },
        { "", FIRESTORE_MISSING_UNSAID },
        { "users/u1/sessions/s10", FIRESTORE_MISSING_UNSAID },
        { "The database (default) does not exist for project demo: \"" NAME "\"", FIRESTORE_MISSING_DATABASE },
        { "Project demo has no database for " NAME, FIRESTORE_MISSING_DATABASE },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (firestore_missing(cases[i].message, DOC) != cases[i].want)
            test_fail(__FILE__, __LINE__, "%s: %d", cases[i].message, firestore_missing(cases[i].message, DOC));
}

TEST(firestore__a_missing_database_is_an_outage_with_a_remedy)
{
    for (int alive = 0; alive < 2; alive++) {
        start();
        if (alive) {
            will(200, FOUND(""));
            CHECK_OK(get(), f.err);
        }
        will(404, MISSING(NO_DATABASE));
        CHECK_INT(get(), ERR_UNAVAILABLE);
        CHECK(strstr(f.err.msg, "FIRESTORE_DATABASE") && strstr(f.err.msg, "projects/demo/databases/(default)"));
        will(404, MISSING(NO_DATABASE));
        CHECK_INT(patch(), ERR_UNAVAILABLE);
        CHECK_INT(f.s.n_requests, 2 + alive);
        stop();
    }
}

TEST(firestore__a_not_found_that_names_nothing_is_believed_of_a_database_that_has_answered)
{
    static const char *const proofs[] = { FOUND(""), MISSING("Document (" NAME ") not found.") };

    for (int i = 0; i < 2; i++) {
        start();
        will(404, MISSING("Requested entity was not found."));
        CHECK_INT(get(), ERR_UNAVAILABLE);
        will(i ? 404 : 200, proofs[i]);
        CHECK_INT(get(), i ? ERR_NOT_FOUND : ERR_OK);
        will(404, MISSING("Requested entity was not found."));
        CHECK_INT(get(), ERR_NOT_FOUND);
        will(404, "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\"}}");
        CHECK_INT(get(), ERR_NOT_FOUND);
        stop();
    }
}

TEST(firestore__names_the_database_that_was_set)
{
    const struct firestore_options o = {
        .http = &f.s.http, .gauth = NULL, .project = "demo", .emulator_host = "127.0.0.1:1", .database = "eur3-two"
    };

    start();
    CHECK_OK(firestore_init(&f.fs, &o, &f.a, &f.err), f.err);
    CHECK_STR(f.fs.documents, "projects/demo/databases/eur3-two/documents");
    stop();
}

/* ---- whose clock ---- */

TEST(firestore__tells_the_servers_time_where_it_is_plausible)
{
    static const struct {
        const char *date;
        int64_t seconds;
    } cases[] = {
        { "Tue, 14 Nov 2023 22:13:20 GMT", 1700000000 },
        { "Sun, 06 Nov 2094 08:49:37 GMT", 3939871777 },
        { NULL, 0 },
        { "", 0 },
        { "Sun, 06 Nov 1994 08:49:37 GMT", 0 },
        { "Tue, 14 Nov 9023 22:13:20 GMT", 0 },
        { "Tue, 31 Feb 2023 22:13:20 GMT", 0 },
        { "Tue, 14 Nov 2023 22:13:20 CET", 0 },
        { "Tue, 14 Nov 2023 22:13:20 GMT, Tue, 14 Nov 2023 22:13:20 GMT", 0 },
        { "Tue, 14 ovD 2023 22:13:20 GMT", 0 },
        { "Tue, -4 Nov 2023 22:13:20 GMT", 0 },
        { "2023-11-14T22:13:20Z", 0 },
        { "Tuesday, 14-Nov-23 22:13:20 GMT", 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        script_will(&f.s, (struct script_reply){ .status = i % 2 ? 404 : 200, .headers = { { cases[i].date ? "date" : "x", cases[i].date } },
                                                 .body = i % 2 ? SPAN(MISSING(NAME)) : SPAN(FOUND("")) });
        CHECK_INT(get(), i % 2 ? ERR_NOT_FOUND : ERR_OK);
        if (doc.server_us != cases[i].seconds * 1000000)
            test_fail(__FILE__, __LINE__, "%s: %lld", cases[i].date, (long long)doc.server_us);
        stop();
    }
}

TEST(firestore__asks_for_the_time)
{
    static const char *const bad[] = { "[]", "{}", "[{}]", "[{\"readTime\":5}]", "[{\"readTime\":\"x\"}]", "<html>", "" };
    int64_t us = 0;

    start();
    will(200, "[{\n\"missing\": \"x\",\n\"readTime\": \"2024-05-06T07:08:09.123456Z\"\n}\n]");
    CHECK_OK(firestore_read_time(&f.fs, DOC, &f.s.budget, &f.a, &us, &f.err), f.err);
    CHECK_INT(us, 1714979289123456);
    CHECK_STR(f.s.requests[0].method, "POST");
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:8185/v1/projects/demo/databases/(default)/documents:batchGet");
    CHECK_STR(f.s.requests[0].body.ptr, "{\"documents\":[\"" NAME "\"],\"mask\":{\"fieldPaths\":[\"none\"]}}");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        will(200, bad[i]);
        CHECK_INT(firestore_read_time(&f.fs, DOC, &f.s.budget, &f.a, &us, NULL), ERR_PROTOCOL);
    }
    will(404, "Not Found\n"); /* it does not know this call */
    CHECK_INT(firestore_read_time(&f.fs, DOC, &f.s.budget, &f.a, &us, NULL), ERR_PROTOCOL);
    will(503, "");
    CHECK_INT(firestore_read_time(&f.fs, DOC, &f.s.budget, &f.a, &us, NULL), ERR_UNAVAILABLE);
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNAVAILABLE });
    CHECK_INT(firestore_read_time(&f.fs, DOC, &f.s.budget, &f.a, &us, NULL), ERR_UNAVAILABLE);
    stop();
}

TEST(firestore__takes_whatever_a_document_may_hold)
{
    static const char *const fields[] = {
        "{\"s\":{\"stringValue\":\"a\\u0000b\"}}", "{\"s\":{\"stringValue\":\"\\ud800\"}}", "{\"\\u0000\":{\"nullValue\":null}}",
        "{\"s\":{\"doubleValue\":1.7976931348623157E308}}", "{\"s\":{\"doubleValue\":4.9E-324}}", "{\"s\":{\"bytesValue\":\"\"}}",
        "{\"s\":{\"geoPointValue\":{\"latitude\":-90,\"longitude\":180}}}", "{\"s\":{\"referenceValue\":\"projects/x\"}}",
    };
    static char deep[4000], body[8000];
    size_t at = 0;

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        (void)snprintf(body, sizeof body, FOUND("\"fields\":%s,"), fields[i]);
        start();
        will(200, body);
        CHECK_OK(get(), f.err);
        stop();
    }
    at = (size_t)snprintf(deep, sizeof deep, "{\"k\":");
    for (int i = 0; i < 20; i++)
        at += (size_t)snprintf(deep + at, sizeof deep - at, "{\"mapValue\":{\"fields\":{\"k\":");
    at += (size_t)snprintf(deep + at, sizeof deep - at, "{\"geoPointValue\":{\"latitude\":1}}");
    for (int i = 0; i < 20; i++)
        at += (size_t)snprintf(deep + at, sizeof deep - at, "}}}");
    (void)snprintf(deep + at, sizeof deep - at, "}");
    (void)snprintf(body, sizeof body, FOUND("\"fields\":%s,"), deep);
    start();
    will(200, body);
    CHECK_OK(get(), f.err);
    CHECK(is_map(firestore_field(&doc, "k.k.k.k.k.k.k.k")));
    stop();
}
