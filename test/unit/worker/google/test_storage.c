/* U10 to U15 of PROTOCOL.md 9.3; checksums, uploads, idempotence: PROTOCOL.md 5.3, 5.4, 5.5. */
#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"
#include "test/support/fake/peer.h"
#include "test/support/fake/script.h"
#include "worker/google/storage.h"

#define NAME "users/u1/sessions/s1/a b+\xc3\xa9.jpg"
#define PATH                                                \
    "http://127.0.0.1:9199/storage/v1/b/demo.appspot.com/o" \
    "/users%2Fu1%2Fsessions%2Fs1%2Fa%20b%2B%C3%A9.jpg"
#define META(size, more) "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"" size "\"" more "}"
#define HELLO            META("5", ",\"crc32c\":\"mnG7TA==\",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\"")

struct fixture {
    struct script s;
    struct gauth *g;
    struct storage st;
    struct arena a;
    struct err err;
};

static struct fixture f;

static enum err_code init(const char *bucket, const char *host, const char *firebase_host, struct err *err)
{
    const struct storage_options o = { .http = &f.s.http,
                                       .gauth = f.g,
                                       .sys = &f.s.sys,
                                       .bucket = bucket,
                                       .emulator_host = host,
                                       .firebase_emulator_host = firebase_host };

    return storage_init(&f.st, &o, &f.a, err);
}

static void start(void)
{
    struct gauth_options o;

    memset(&f, 0, sizeof f);
    script_init(&f.s);
    CHECK_OK(arena_init(&f.a, 256 << 20, &f.err), f.err);
    o = (struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys, .project = "demo", .emulator = { true, true } };
    CHECK_OK(gauth_open(&o, &f.g, &f.err), f.err);
    CHECK_OK(init("demo.appspot.com", NULL, "127.0.0.1:9199", &f.err), f.err);
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

static void will_with(int status, const char *body, const char *name, const char *value)
{
    script_will(&f.s, (struct script_reply){ .status = status, .body = span_of(body), .headers = { { name, value } } });
}

static struct storage_object object;
static struct storage_download got;

static enum err_code get(size_t max)
{
    f.err = (struct err){ 0 };
    return storage_get(&f.st, NAME, max, &f.s.budget, &f.a, &got, &f.err);
}

static enum err_code put_bytes(struct span bytes, int64_t if_generation)
{
    struct storage_put put = { .object = NAME,
                               .content_type = "image/jpeg",
                               .cache_control = "private, max-age=3600",
                               .job_id = "m1",
                               .body = bytes,
                               .if_generation = if_generation };

    f.err = (struct err){ 0 };
    return storage_put(&f.st, &put, &f.s.budget, &f.a, &object, &f.err);
}

static enum err_code put(void)
{
    return put_bytes(SPAN("hello"), 0);
}

/* ---- addresses ---- */

TEST(storage__finds_its_base)
{
    static const struct {
        const char *storage, *firebase, *base;
    } cases[] = {
        { NULL, NULL, "https://storage.googleapis.com" },
        { "", "", "https://storage.googleapis.com" },
        { "http://127.0.0.1:1", NULL, "http://127.0.0.1:1" },
        { "http://127.0.0.1:1/", "127.0.0.1:2", "http://127.0.0.1:1" },
        { "127.0.0.1:1", NULL, "http://127.0.0.1:1" },
        { NULL, "127.0.0.1:2", "http://127.0.0.1:2" },
        { "https://x.example/", NULL, "https://x.example" },
    };
    static const char *const hosts[] = { "ftp://x", "a b", "u@h", "/", "http://x?y" };
    static const char *const buckets[] = { "", "gs://b", "a/b", "UPPER", "ab", "a b" };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(init("b-1", cases[i].storage, cases[i].firebase, &f.err), f.err);
        CHECK_STR(f.st.base, cases[i].base);
        CHECK_INT(f.st.emulator, i >= 2);
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        CHECK_INT(init("b-1", hosts[i], NULL, NULL), ERR_INVALID);
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
        CHECK_INT(init(buckets[i], NULL, NULL, NULL), ERR_INVALID);
    CHECK_INT(init(NULL, NULL, NULL, NULL), ERR_INVALID);
    stop();
}

TEST(storage__refuses_texts_that_are_not_names)
{
    static const char *const bad[] = { "", ".", "..", "a\nb", "a\rb", ".well-known/acme-challenge/x" };
    char longest[STORAGE_NAME_MAX + 2];

    start();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(storage_stat(&f.st, bad[i], &f.s.budget, &f.a, &object, NULL), ERR_INVALID);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK_INT(storage_stat(&f.st, longest, &f.s.budget, &f.a, &object, NULL), ERR_INVALID);
    CHECK_INT(f.s.n_requests, 0);
    stop();
}

/* ---- stat ---- */

TEST(storage__stats_an_object)
{
    start();
    will(200,
         META("5", ",\"crc32c\":\"mnG7TA==\",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\",\"contentType\":\"image/png\","
                   "\"metadata\":{\"jobId\":\"j\"},\"metageneration\":\"1\""));
    CHECK_OK(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, &f.err), f.err);
    CHECK(strncmp(f.s.requests[0].url, PATH "?fields=name,", strlen(PATH) + 13) == 0);
    CHECK(!strstr(f.s.requests[0].header_text, "Authorization"));
    CHECK_INT(object.generation, 7);
    CHECK_INT(object.size_bytes, 5);
    CHECK_STR(object.content_type, "image/png");
    CHECK_STR(object.content_encoding, "");
    CHECK_STR(object.job_id, "j");
    CHECK(object.has_crc32c && object.crc32c == 0x9a71bb4c && object.has_md5 && object.md5[0] == 0x5d);
    /* some emulators use nanoseconds as generations */
    will(200, "{\"name\":\"" NAME "\",\"generation\":\"1795262550778751473\",\"size\":5}");
    CHECK_OK(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, &f.err), f.err);
    CHECK_INT(object.generation, 1795262550778751473);
    CHECK(!object.has_crc32c && !object.has_md5);
    stop();
}

TEST(storage__refuses_metadata_that_is_nonsense)
{
    static const char *const bad[] = { "",
                                       "<html>",
                                       "{}",
                                       "[]",
                                       "{\"name\":\"other\",\"generation\":\"7\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"0\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"-7\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"5x\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"99999999999999999999\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":-1}" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        start();
        will(200, bad[i]);
        CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), ERR_PROTOCOL);
        stop();
    }
}

TEST(storage__judges_refusals)
{
    static const struct {
        int status;
        enum err_code want;
        int requests;
    } cases[] = { { 404, ERR_NOT_FOUND, 1 },   { 403, ERR_DENIED, 1 },   { 401, ERR_DENIED, 2 },
                  { 400, ERR_INVALID, 1 },     { 412, ERR_CONFLICT, 1 }, { 503, ERR_UNAVAILABLE, 5 },
                  { 429, ERR_UNAVAILABLE, 5 }, { 301, ERR_INVALID, 1 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        for (int k = 0; k < 6; k++)
            will(cases[i].status, "No such object: b/o");
        CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), cases[i].want);
        CHECK_INT(f.s.n_requests, cases[i].requests);
        stop();
    }
    start();
    for (int k = 0; k < 6; k++)
        script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), ERR_UNAVAILABLE);
    stop();
}

TEST(storage__names_the_role_that_a_refused_account_may_lack)
{
    start();
    will(403, "");
    CHECK_INT(get(5), ERR_DENIED);
    CHECK(strstr(f.err.msg, "roles/storage.objectUser") && strstr(f.err.msg, "no such object)"));
    stop();
}

/* ---- get ---- */

TEST(storage__gets_the_generation_that_stat_has_reported)
{
    start();
    will(200, HELLO);
    will_with(200, "hello", "x-goog-hash", "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==");
    CHECK_OK(get(5), f.err);
    CHECK(!got.replaced);
    CHECK(span_is(got.body, "hello"));
    CHECK_INT(got.object.generation, 7);
    CHECK_STR(f.s.requests[1].url, PATH "?alt=media&generation=7");
    CHECK(!strstr(f.s.requests[1].header_text, "Range"));
    CHECK_INT(f.s.requests[1].timeout_ms, 60000);
    stop();
}

TEST(storage__stops_at_the_limit_before_it_downloads)
{
    start();
    will(200, HELLO);
    CHECK_INT(get(4), ERR_TOO_LARGE);
    will(200, META("99999999999", ""));
    CHECK_INT(get((size_t)-1), ERR_TOO_LARGE);
    will(200, META("5", ",\"contentEncoding\":\"gzip\""));
    CHECK_INT(get(100), ERR_UNSUPPORTED);
    CHECK_INT(f.s.n_requests, 3);
    stop();
}

TEST(storage__takes_an_empty_object)
{
    start();
    will(200, META("0", ",\"crc32c\":\"AAAAAA==\""));
    CHECK_OK(get(100), f.err);
    CHECK_INT(got.body.len, 0);
    CHECK_INT(f.s.n_requests, 1);
    stop();
}

TEST(storage__downloads_again_what_does_not_match) /* U11 */
{
    static const struct {
        const char *meta, *bytes, *hash;
        bool good;
    } cases[] = {
        { HELLO, "hell", NULL, false },
        { HELLO, "hellooo", NULL, false },
        { HELLO, "", NULL, false },
        { HELLO, "hallo", NULL, false },
        { HELLO, "hello", "crc32c=AAAAAA==", false },
        { HELLO, "hello", "crc32c=mnG7TA==, md5=AAAA", true },
        { HELLO, "hello", "nonsense", true },
        { META("5", ""), "hello", "md5=XUFAKrxLKna5cZ2REBfFkg==", true },
        { META("5", ""), "hallo", "md5=XUFAKrxLKna5cZ2REBfFkg==", false },
        { META("5", ""), "hallo", "md5=XUFAKrxLKna5cZ2REBfFkg==, crc32c=mnG7TA==", false },
        { META("5", ",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\""), "hallo", NULL, false },
        { META("5", ",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\""), "hello", NULL, true },
        { META("5", ""), "anyth", NULL, true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        will(200, cases[i].meta);
        if (cases[i].hash)
            will_with(200, cases[i].bytes, "x-goog-hash", cases[i].hash);
        else
            will(200, cases[i].bytes);
        will(200, "hello");
        CHECK_OK(get(100), f.err);
        if (f.s.n_requests != (cases[i].good ? 2 : 3))
            test_fail(__FILE__, __LINE__, "case %zu: %d requests", i, f.s.n_requests);
        CHECK_INT(got.body.len, 5);
        stop();
    }
    start();
    will(200, HELLO);
    for (int i = 0; i < 6; i++)
        will(200, "hallo");
    CHECK_INT(get(100), ERR_PROTOCOL);
    CHECK_INT(f.s.n_requests, 7);
    stop();
}

TEST(storage__goes_on_where_a_download_broke_off)
{
    start();
    will(200, HELLO);
    script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN("he"), .rc = ERR_UNKNOWN_OUTCOME });
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNAVAILABLE });
    script_will(&f.s, (struct script_reply){ .status = 206,
                                             .body = SPAN("l"),
                                             .rc = ERR_UNKNOWN_OUTCOME,
                                             .headers = { { "content-range", "bytes 2-4/5" } } });
    will_with(206, "lo", "content-range", "bytes 3-4/5");
    CHECK_OK(get(5), f.err);
    CHECK(span_is(got.body, "hello"));
    CHECK(script_sent_header(&f.s, 2, "Range: bytes=2-"));
    CHECK(script_sent_header(&f.s, 3, "Range: bytes=2-"));
    CHECK(script_sent_header(&f.s, 4, "Range: bytes=3-"));
    CHECK_STR(f.s.requests[4].url, f.s.requests[1].url);
    stop();
}

TEST(storage__takes_a_download_that_broke_off_after_its_last_byte)
{
    start();
    will(200, HELLO);
    script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN("hello"), .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_OK(get(5), f.err);
    CHECK_INT(f.s.n_requests, 2);
    stop();
}

TEST(storage__rejects_a_piece_that_was_not_asked_for) /* U12 */
{
    static const char *const ranges[] = { "bytes 0-4/5", "bytes 2-3/5", "bytes 2-4/6", "bytes 2-4/*", "2-4/5", "",
                                          "bytes 2-4/5 " };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        start();
        will(200, HELLO);
        script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN("he"), .rc = ERR_UNKNOWN_OUTCOME });
        will_with(206, "llo", "content-range", ranges[i]);
        will(200, "hello");
        CHECK_OK(get(5), f.err);
        CHECK_INT(f.s.n_requests, 4);
        CHECK(!strstr(f.s.requests[3].header_text, "Range")); /* starts over */
        CHECK(span_is(got.body, "hello"));
        stop();
    }
    start();
    will(200, HELLO);
    will_with(206, "hello", "content-range", "bytes 0-4/5"); /* no range was asked for */
    will(200, "hello");
    CHECK_OK(get(5), f.err);
    CHECK_INT(f.s.n_requests, 3);
    stop();
    start();
    will(200, HELLO);
    script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN("he"), .rc = ERR_UNKNOWN_OUTCOME });
    will(200, "hello"); /* the server ignored the range and sent the whole object */
    CHECK_OK(get(5), f.err);
    CHECK(span_is(got.body, "hello"));
    CHECK_INT(f.s.n_requests, 3);
    stop();
}

TEST(storage__starts_over_when_the_object_is_replaced_meanwhile)
{
    start();
    will(200, HELLO);
    will(404, "No such object");
    will(200, "{\"name\":\"" NAME "\",\"generation\":\"8\",\"size\":\"5\"}");
    will_with(200, "other", "x-goog-generation", "9");
    will(200, "{\"name\":\"" NAME "\",\"generation\":\"9\",\"size\":\"5\"}");
    will_with(200, "other", "x-goog-generation", "9");
    CHECK_OK(get(5), f.err);
    CHECK_INT(got.object.generation, 9);
    CHECK(got.replaced);
    CHECK(span_is(got.body, "other"));
    CHECK_INT(f.s.n_requests, 6);
    stop();
    start();
    for (int i = 0; i < 3; i++) {
        will(200, HELLO);
        will(404, "");
    }
    CHECK_INT(get(5), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 6);
    will(404, "");
    CHECK_INT(get(5), ERR_NOT_FOUND);
    stop();
}

/* ---- what a 404 is about ---- */

#define SAYS(message) "{\"error\":{\"code\":404,\"message\":\"" message "\",\"errors\":[{\"reason\":\"notFound\"}]}}"

TEST(storage__tells_a_missing_bucket_from_a_missing_object)
{
    static const struct {
        const char *body;
        enum err_code want;
    } cases[] = {
        { SAYS("No such object: demo.appspot.com/" NAME), ERR_NOT_FOUND },
        { SAYS("The specified bucket does not exist."), ERR_UNAVAILABLE },
        { "No such object: demo.appspot.com/" NAME, ERR_NOT_FOUND },
        { "No such object: demo.appspot.com/users/The specified bucket does not exist./x", ERR_NOT_FOUND },
        { "The specified bucket does not exist.", ERR_UNAVAILABLE },
        { SAYS("Bucket demo.appspot.com does not exist."), ERR_UNAVAILABLE },
        { SAYS("Live version of object demo.appspot.com/" NAME " does not exist."), ERR_NOT_FOUND },
        { SAYS("OBJECT NOT FOUND"), ERR_NOT_FOUND },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        will(404, cases[i].body);
        if (storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, &f.err) != cases[i].want || f.s.n_requests != 1)
            test_fail(__FILE__, __LINE__, "case %zu: %d requests, %s", i, f.s.n_requests, f.err.msg);
        if (cases[i].want == ERR_UNAVAILABLE)
            CHECK(strstr(f.err.msg, "FIREBASE_STORAGE_BUCKET"));
        stop();
    }
}

TEST(storage__asks_for_the_bucket_where_a_404_does_not_say)
{
    static const char *const unclear[] = { "", "Not Found", "{}", SAYS("Not Found"), SAYS("no bucket, no object"),
                                           "[1", "<html>404</html>", "{\"error\":\"x\"}", "\xff\xfe" };
    static const struct {
        int status;
        enum err_code want;
        int requests;
    } answers[] = { { 200, ERR_NOT_FOUND, 2 },   { 403, ERR_NOT_FOUND, 2 },   { 400, ERR_NOT_FOUND, 2 },
                    { 404, ERR_UNAVAILABLE, 2 }, { 503, ERR_UNAVAILABLE, 6 }, { 401, ERR_DENIED, 3 } };

    for (size_t i = 0; i < sizeof unclear / sizeof *unclear; i++)
        for (size_t k = 0; k < sizeof answers / sizeof *answers; k++) {
            start();
            will(404, unclear[i]);
            for (int n = 0; n < 6; n++)
                will(answers[k].status, "{}");
            if (storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, &f.err) != answers[k].want ||
                f.s.n_requests != answers[k].requests)
                test_fail(__FILE__, __LINE__, "case %zu, %zu: %d requests, %s", i, k, f.s.n_requests, f.err.msg);
            CHECK_STR(f.s.requests[1].url, "http://127.0.0.1:9199/storage/v1/b/demo.appspot.com?fields=name");
            stop();
        }
}

TEST(storage__does_not_ask_for_a_bucket_that_it_has_seen)
{
    start();
    will(200, HELLO);
    CHECK_OK(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, &f.err), f.err);
    will(404, "");
    CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), ERR_NOT_FOUND);
    CHECK_INT(f.s.n_requests, 2);
    will(404, "The specified bucket does not exist."); /* deleted meanwhile */
    CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), ERR_UNAVAILABLE);
    will(404, "");
    will(404, "");
    CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 5);
    stop();
}

TEST(storage__looks_again_for_a_bucket_that_was_missing)
{
    start();
    CHECK_OK(storage_look_again(&f.st, &f.s.budget, &f.a, &f.err), f.err);
    CHECK_INT(f.s.n_requests, 0);
    will(404, "The specified bucket does not exist.");
    CHECK_INT(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, NULL), ERR_UNAVAILABLE);
    will(404, "{}");
    CHECK_INT(storage_look_again(&f.st, &f.s.budget, &f.a, NULL), ERR_UNAVAILABLE);
    will(200, "{}");
    CHECK_OK(storage_look_again(&f.st, &f.s.budget, &f.a, &f.err), f.err);
    CHECK_OK(storage_look_again(&f.st, &f.s.budget, &f.a, &f.err), f.err);
    CHECK_INT(f.s.n_requests, 3);
    stop();
}

TEST(storage__a_delete_in_a_missing_bucket_says_so)
{
    start();
    will(404, SAYS("The specified bucket does not exist."));
    CHECK_INT(storage_delete(&f.st, NAME, 7, &f.s.budget, &f.a, NULL), ERR_UNAVAILABLE);
    will(404, SAYS("Not Found"));
    will(200, "{}");
    CHECK_OK(storage_delete(&f.st, NAME, 7, &f.s.budget, &f.a, &f.err), f.err);
    stop();
}

/* ---- what an upload keeps ---- */

/* The resource that was sent over an object with these members, between the two lines that end a head. */
static const char *resource(enum download_tokens tokens, const char *old, int want_dropped)
{
    static char text[40000];
    struct storage_put put = { .object = NAME,
                               .content_type = "image/jpeg",
                               .cache_control = "private, max-age=3600",
                               .job_id = "m1",
                               .body = SPAN("hello"),
                               .if_generation = old ? 7 : 0 };
    int dropped = -1;
    const char *at;
    size_t n;

    start();
    f.st.tokens = tokens;
    put.ret_dropped = &dropped;
    if (old) {
        char *meta;

        CHECK_OK(arena_printf(&f.a, &meta, &f.err, "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"9\"%s}", old),
                 f.err);
        will(200, meta);
        CHECK_OK(storage_stat(&f.st, NAME, &f.s.budget, &f.a, &object, &f.err), f.err);
        put.replaces = &object;
    }
    will(200, HELLO);
    CHECK_OK(storage_put(&f.st, &put, &f.s.budget, &f.a, NULL, &f.err), f.err);
    CHECK_INT(dropped, want_dropped);
    at = strstr(f.s.requests[f.s.n_requests - 1].body.ptr, "\r\n\r\n") + 4;
    n = strcspn(at, "\r");
    CHECK(n < sizeof text);
    (void)snprintf(text, sizeof text, "%.*s", (int)n, at);
    stop();
    return text;
}

#define TOKENS          ",\"metadata\":{\"firebaseStorageDownloadTokens\":\"t-1,t-2\",\"owner\":\"u\\u00e9\",\"jobId\":\"old\"}"
#define SENT(more)      "{\"name\":\"" NAME "\",\"contentType\":\"image/jpeg\"," more
#define OURS            "\"cacheControl\":\"private, max-age=3600\",\"crc32c\":\"mnG7TA==\","
#define SENT_OURS(meta) SENT(OURS "\"metadata\":{" meta "}}")

TEST(storage__an_upload_keeps_what_the_app_has_set)
{
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, NULL, 0), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, "", 0), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, TOKENS, 0),
              SENT_OURS("\"jobId\":\"m1\",\"firebaseStorageDownloadTokens\":\"t-1,t-2\",\"owner\":\"u\xc3\xa9\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_NONE, TOKENS, 0), SENT_OURS("\"jobId\":\"m1\",\"owner\":\"u\xc3\xa9\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_CREATE, TOKENS, 0),
              SENT_OURS("\"jobId\":\"m1\",\"firebaseStorageDownloadTokens\":\"t-1,t-2\",\"owner\":\"u\xc3\xa9\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP,
                       ",\"cacheControl\":\"no-store\",\"contentDisposition\":\"inline; filename*=utf-8''edited.jpg\","
                       "\"contentLanguage\":\"de\",\"contentEncoding\":\"gzip\",\"contentType\":\"image/png\"",
                       0),
              SENT("\"cacheControl\":\"no-store\",\"contentDisposition\":\"inline; filename*=utf-8''edited.jpg\","
                   "\"contentLanguage\":\"de\",\"crc32c\":\"mnG7TA==\",\"metadata\":{\"jobId\":\"m1\"}}"));
}

TEST(storage__a_fresh_token_is_a_random_uuid)
{
    static const char before[] = "\"firebaseStorageDownloadTokens\":\"";
    static const char *const old[] = { NULL, "", ",\"metadata\":{\"firebaseStorageDownloadTokens\":\"\"}",
                                       ",\"metadata\":{\"firebaseStorageDownloadTokens\":7}" };

    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        const char *at = strstr(resource(DOWNLOAD_TOKENS_CREATE, old[i], i == 3), before);

        CHECK(at);
        at += strlen(before);
        CHECK(strcspn(at, "\"") == 36 && at[14] == '4' && strchr("89ab", at[19]) && at[8] == '-' && at[23] == '-');
    }
}

TEST(storage__drops_metadata_that_cannot_be_kept)
{
    static const struct {
        const char *old, *kept;
        int dropped;
    } cases[] = {
        { "\"a\":1,\"b\":null,\"c\":[\"x\"],\"d\":{\"e\":\"f\"},\"g\":true,\"h\":\"i\"", ",\"h\":\"i\"", 5 },
        { "\"a\":\"x\\u0000y\",\"b\":\"\\ud800\",\"c\":\"\\udc00\\ud800x\",\"d\":\"e\"", ",\"d\":\"e\"", 3 },
        { "\"a\\u0000\":\"x\",\"b\":\"\\ud83d\\ude00 \\\\u0000\"", ",\"b\":\"\xf0\x9f\x98\x80 \\\\u0000\"", 1 },
        { "\"\":\"x\",\"JOBID\":\"y\",\"FirebaseStorageDownloadTokens\":\"z\",\"a\":\"two\\nlines\"",
          ",\"a\":\"two\\nlines\"", 0 },
    };
    char old[200];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(old, sizeof old, ",\"metadata\":{%s}", cases[i].old);
        CHECK(strstr(resource(DOWNLOAD_TOKENS_KEEP, old, cases[i].dropped), cases[i].kept));
    }
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, ",\"metadata\":[\"x\"]", 1), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, ",\"metadata\":null", 0), SENT_OURS("\"jobId\":\"m1\""));
}

TEST(storage__kept_metadata_is_as_large_as_the_cloud_takes)
{
    static char old[30000], *at;
    const char *sent;

    at = old + snprintf(old, sizeof old, ",\"cacheControl\":\"%01100d\",\"metadata\":{\"huge\":\"%09000d\"", 0, 0);
    for (int i = 0; i < 9; i++)
        at += snprintf(at, 1200, ",\"k%d\":\"%0998d\"", i, i);
    (void)snprintf(at, 100, ",\"firebaseStorageDownloadTokens\":\"t\"}");
    sent = resource(DOWNLOAD_TOKENS_KEEP, old, 3); /* cacheControl, huge, and the ninth thousand */
    CHECK(strstr(sent, "\"firebaseStorageDownloadTokens\":\"t\"")); /* the last, and the dearest */
    CHECK(strstr(sent, "\"k7\"") && !strstr(sent, "\"k8\"") && !strstr(sent, "huge"));
    CHECK(strstr(sent, "\"cacheControl\":\"private, max-age=3600\""));
}

/* ---- put ---- */

TEST(storage__uploads_in_one_multipart_request)
{
    const struct script_request *r;
    const char *type, *at;
    char boundary[33], want[2048];

    start();
    will(200, HELLO);
    CHECK_OK(put(), f.err);
    CHECK_INT(object.generation, 7);
    r = &f.s.requests[0];
    CHECK_STR(r->method, "POST");
    CHECK(strncmp(r->url,
                  "http://127.0.0.1:9199/upload/storage/v1/b/demo.appspot.com/"
                  "o?uploadType=multipart&ifGenerationMatch=0&fields=",
                  105) == 0);
    type = strstr(r->header_text, "Content-Type: multipart/related; boundary=");
    CHECK(type);
    at = type + strlen("Content-Type: multipart/related; boundary=");
    CHECK_INT(strcspn(at, "\n"), 32);
    (void)snprintf(boundary, sizeof boundary, "%.32s", at);
    (void)snprintf(want, sizeof want,
                   "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
                   "{\"name\":\"" NAME "\",\"contentType\":\"image/jpeg\",\"cacheControl\":\"private, max-age=3600\","
                   "\"crc32c\":\"mnG7TA==\",\"metadata\":{\"jobId\":\"m1\"}}\r\n"
                   "--%s\r\nContent-Type: image/jpeg\r\n\r\nhello\r\n--%s--\r\n",
                   boundary, boundary, boundary);
    CHECK(span_is(r->body, want));
    will(200, HELLO);
    CHECK_OK(put_bytes(SPAN("hello"), 6), f.err);
    CHECK(strstr(f.s.requests[1].url, "&ifGenerationMatch=6&"));
    stop();
}

TEST(storage__recognises_its_own_first_try) /* U13 */
{
    const struct script_reply lost[] = {
        { .status = 503 }, { .rc = ERR_UNKNOWN_OUTCOME }, { .status = 429 }, { .rc = ERR_UNAVAILABLE }
    };

    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        start();
        script_will(&f.s, lost[i]);
        will(412, "{\"error\":{\"code\":412}}");
        will(200, META("5", ",\"crc32c\":\"mnG7TA==\",\"metadata\":{\"jobId\":\"m1\"}"));
        CHECK_OK(put(), f.err);
        CHECK_INT(object.generation, 7);
        CHECK_STR(object.job_id, "m1");
        CHECK(span_eq(f.s.requests[0].body, f.s.requests[1].body));
        stop();
    }
}

TEST(storage__leaves_a_foreign_object_alone) /* U14 */
{
    static const char *const foreign[] = { META("5", ",\"crc32c\":\"AAAAAA==\""), META("6", ",\"crc32c\":\"mnG7TA==\""),
                                           META("5", "") };

    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        start();
        will(412, "");
        will(200, foreign[i]);
        CHECK_INT(put(), ERR_CONFLICT);
        CHECK_INT(f.s.n_requests, 2);
        stop();
    }
    start();
    will(412, "");
    will(404, "No such object: demo.appspot.com/" NAME);
    CHECK_INT(put_bytes(SPAN("hello"), 5), ERR_CONFLICT);
    stop();
}

TEST(storage__reports_how_an_upload_ended)
{
    start();
    for (int i = 0; i < 6; i++)
        script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_INT(put(), ERR_UNKNOWN_OUTCOME);
    CHECK_INT(f.s.n_requests, 6);
    stop();
    start();
    will(400, "crc32c mismatch");
    CHECK_INT(put(), ERR_INVALID);
    will(403, "");
    CHECK_INT(put(), ERR_DENIED);
    will(404, ""); /* there is no such bucket: not for the app's user to mend */
    CHECK_INT(put(), ERR_UNAVAILABLE);
    CHECK(strstr(f.err.msg, "FIREBASE_STORAGE_BUCKET") && strstr(f.err.msg, "'demo.appspot.com'"));
    will(200, META("5", ",\"crc32c\":\"AAAAAA==\""));
    CHECK_INT(put(), ERR_PROTOCOL);
    will(200, META("4", ""));
    CHECK_INT(put(), ERR_PROTOCOL);
    will(200, META("5", ""));
    CHECK_INT(put(), ERR_OK); /* the server states no checksum */
    stop();
}

/* ---- resumable ---- */

enum { BIG = STORAGE_MULTIPART_MAX + 1000000 };

static char *big(void)
{
    static char *bytes;

    if (!bytes) {
        bytes = malloc(BIG);
        CHECK(bytes);
        memset(bytes, 'x', BIG);
    }
    return bytes;
}

static enum err_code put_big(void)
{
    return put_bytes((struct span){ big(), BIG }, 0);
}

static void will_keep(const char *range)
{
    script_will(&f.s, (struct script_reply){ .status = 308, .headers = { { range ? "range" : NULL, range } } });
}

static const char *stored(void)
{
    static char text[256];

    (void)snprintf(text, sizeof text, META("%d", ""), BIG);
    return text;
}

static const char session_url[] = "http://127.0.0.1:9199/session/1";

TEST(storage__uploads_large_bodies_in_a_session)
{
    char line[64];

    start();
    will_with(200, "", "location", session_url);
    will(200, stored());
    CHECK_OK(put_big(), f.err);
    CHECK(
        strstr(f.s.requests[0].url, "/upload/storage/v1/b/demo.appspot.com/o?uploadType=resumable&name=users%2Fu1%2F"));
    CHECK(strstr(f.s.requests[0].url, "&ifGenerationMatch=0&"));
    CHECK(script_sent_header(&f.s, 0, "X-Upload-Content-Type: image/jpeg"));
    (void)snprintf(line, sizeof line, "X-Upload-Content-Length: %d", BIG);
    CHECK(script_sent_header(&f.s, 0, line));
    CHECK(span_starts(f.s.requests[0].body, "{\"name\":"));
    CHECK_STR(f.s.requests[1].method, "PUT");
    CHECK_STR(f.s.requests[1].url, session_url);
    (void)snprintf(line, sizeof line, "Content-Range: bytes 0-%d/%d", BIG - 1, BIG);
    CHECK(script_sent_header(&f.s, 1, line));
    CHECK_INT(f.s.requests[1].body.len, BIG);
    stop();
}

TEST(storage__resumes_an_upload_where_the_server_says) /* U15 */
{
    char line[80];

    start();
    will(503, "");
    will_with(200, "", "location", session_url);
    will_keep(NULL); /* nothing stored: send from byte 0 */
    will_keep("bytes=0-524287");
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    will_keep("bytes=0-1048575"); /* the answer to how much is stored */
    will(200, stored());
    CHECK_OK(put_big(), f.err);
    CHECK_INT(f.s.n_requests, 7);
    CHECK_INT(f.s.requests[3].body.len, BIG);
    (void)snprintf(line, sizeof line, "Content-Range: bytes 524288-%d/%d", BIG - 1, BIG);
    CHECK(script_sent_header(&f.s, 4, line));
    (void)snprintf(line, sizeof line, "Content-Range: bytes */%d", BIG);
    CHECK(script_sent_header(&f.s, 5, line));
    CHECK_INT(f.s.requests[5].body.len, 0);
    CHECK_INT(f.s.requests[6].body.len, BIG - 1048576);
    stop();
}

TEST(storage__opens_a_new_session_when_the_old_one_is_gone) /* U15 */
{
    start();
    will_with(200, "", "location", session_url);
    will(404, "");
    will_with(200, "", "location", "http://127.0.0.1:9199/session/2");
    will(410, "");
    will_with(200, "", "location", "http://127.0.0.1:9199/session/3");
    will(200, stored());
    CHECK_OK(put_big(), f.err);
    CHECK_STR(f.s.requests[5].url, "http://127.0.0.1:9199/session/3");
    CHECK_INT(f.s.requests[5].body.len, BIG);
    stop();
}

TEST(storage__does_not_loop_in_a_session)
{
    static const char *const ranges[] = {
        "bytes=0-99999999", "bytes=5-9", "bytes=0-", "0-5", "bytes=0-x", "bytes=0--5"
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        start();
        will_with(200, "", "location", session_url);
        will_keep(ranges[i]);
        CHECK_INT(put_big(), ERR_PROTOCOL);
        CHECK_INT(f.s.n_requests, 2);
        stop();
    }
    start();
    will_with(200, "", "location", session_url);
    for (int i = 0; i < 10; i++)
        will_keep("bytes=0-99");
    CHECK_INT(put_big(), ERR_PROTOCOL);
    CHECK_INT(f.s.n_requests, 7);
    stop();
    start();
    will(200, "");
    CHECK_INT(put_big(), ERR_PROTOCOL);
    will_with(200, "", "location", "ftp://x/");
    CHECK_INT(put_big(), ERR_PROTOCOL);
    will(412, "");
    will(200, META("5", ",\"crc32c\":\"AAAAAA==\""));
    CHECK_INT(put_big(), ERR_CONFLICT);
    stop();
}

TEST(storage__sends_nothing_to_a_session_on_another_host)
{
    static const char *const foreign[] = {
        "http://127.0.0.1:9198/session/1",
        "http://127.0.0.1/session/1",
        "https://127.0.0.1:9199/session/1",
        "http://localhost:9199/session/1",
        "http://user:secret@127.0.0.1:9199/session/1",
        "http://127.0.0.1:9199@evil.example/session/1",
        "http://127.0.0.1:9199\\@evil.example/session/1",
        "http://127.0.0.1:9199%2f@evil.example/session/1",
        "http://127.0.0.1%2eevil.example:9199/session/1",
        "http://127.0.0.1:9199.evil.example/session/1",
        "http://evil.example/?http://127.0.0.1:9199/session/1",
        "http://127.0.0.1:9199/session/1#here",
        "//evil.example/session/1",
        "//user@127.0.0.1:9199/session/1",
        "http:\\\\127.0.0.1:9199\\session",
        "http://127.0.0.1:9199/session/1\r\nX: y",
        "http://[::1]:9199/session/1",
        "ftp://127.0.0.1:9199/session/1",
        "file:///etc/passwd",
        "http://",
    };

    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        start();
        will_with(200, "", "location", foreign[i]);
        if (put_big() != ERR_PROTOCOL || f.s.n_requests != 1)
            test_fail(__FILE__, __LINE__, "%s: %d requests, %s", foreign[i], f.s.n_requests, f.err.msg);
        CHECK(strstr(f.err.msg, "http://127.0.0.1:9199") && !strstr(f.err.msg, "secret") &&
              !strstr(f.err.msg, "session/1"));
        stop();
    }
}

TEST(storage__takes_every_spelling_of_its_own_host)
{
    static const struct {
        const char *base, *location, *want;
    } cases[] = {
        { NULL, "https://storage.googleapis.com/upload/x?upload_id=A%2fb&k=v",
          "https://storage.googleapis.com/upload/x?upload_id=A%2fb&k=v" },
        { NULL, "HTTPS://Storage.GoogleAPIs.com:443/upload/x", "https://Storage.GoogleAPIs.com:443/upload/x" },
        { NULL, "/upload/x?y=z", "https://storage.googleapis.com/upload/x?y=z" },
        { NULL, "https://www.googleapis.com/upload/x", NULL },
        { NULL, "https://storage.googleapis.com./upload/x", NULL },
        { NULL, "https://storage.googleapis.com.evil.example/upload/x", NULL },
        { NULL, "http://storage.googleapis.com:443/upload/x", NULL },
        { NULL, "https://storage.googleapis.com:8443/upload/x", NULL },
        { "http://gcs:80", "http://gcs/x/../y", "http://gcs/x/../y" },
        { "https://x.example/prefix", "https://x.example/x", "https://x.example/x" },
    };
    char url[4096];

    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err_code rc;

        CHECK_OK(init("b-1", cases[i].base, NULL, &f.err), f.err);
        rc = http_own_url(f.st.base, cases[i].location, url, sizeof url, NULL);
        if (rc != (cases[i].want ? ERR_OK : ERR_PROTOCOL) || (!rc && strcmp(url, cases[i].want) != 0))
            test_fail(__FILE__, __LINE__, "%s: %d %s", cases[i].location, (int)rc, rc ? "" : url);
    }
    stop();
}

/* ---- delete ---- */

TEST(storage__deletes_one_generation)
{
    start();
    will(503, "");
    will(204, "");
    CHECK_OK(storage_delete(&f.st, NAME, 7, &f.s.budget, &f.a, &f.err), f.err);
    CHECK_STR(f.s.requests[1].method, "DELETE");
    CHECK_STR(f.s.requests[1].url, PATH "?ifGenerationMatch=7");
    will(404, "{\"error\":{\"code\":404,\"message\":\"No such object: demo.appspot.com/x\"}}");
    CHECK_OK(storage_delete(&f.st, NAME, 7, &f.s.budget, &f.a, &f.err), f.err);
    will(412, "");
    CHECK_INT(storage_delete(&f.st, NAME, 7, &f.s.budget, &f.a, NULL), ERR_CONFLICT);
    will(403, "");
    CHECK_INT(storage_delete(&f.st, NAME, 7, &f.s.budget, &f.a, NULL), ERR_DENIED);
    stop();
}

/* ---- through libcurl, over a connection that really breaks ---- */

TEST(storage__survives_a_connection_that_breaks)
{
    static char bytes[200000], meta[256];
    struct peer *p = peer_open();
    struct storage_options o;
    struct storage st;
    struct http *http;

    start();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + i % 23);
    (void)snprintf(meta, sizeof meta, META("%zu", ""), sizeof bytes);
    CHECK_OK(http_client_open(&http, &f.err), f.err);
    o = (struct storage_options){
        .http = http, .gauth = f.g, .sys = &f.s.sys, .bucket = "demo.appspot.com", .emulator_host = peer_url(p)
    };
    CHECK_OK(storage_init(&st, &o, &f.a, &f.err), f.err);
    peer_will(p, (struct peer_reply){ .status = 200, .body = span_of(meta) });
    peer_will(
        p, (struct peer_reply){ .status = 200, .body = { bytes, sizeof bytes }, .cut_after = 100000, .reset = true });
    peer_will(p, (struct peer_reply){ .status = 200, .body = { bytes, sizeof bytes } });
    CHECK_OK(storage_get(&st, NAME, sizeof bytes, &f.s.budget, &f.a, &got, &f.err), f.err);
    CHECK(span_eq(got.body, (struct span){ bytes, sizeof bytes }));
    CHECK_INT(peer_count(p), 3);
    http_client_close(http);
    peer_close(p);
    stop();
}
