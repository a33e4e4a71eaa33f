#include "worker/http/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/fake_sys.h"
#include "test/support/fake/peer.h"

/* The fixture of every test in this file. A failed check leaves it open, so each test closes it first. */
static struct {
    struct peer *peer;
    struct http *http;
    struct arena arena;
    struct err err;
    struct http_reply reply;
    char url[256];
} t;

static void stop(void)
{
    peer_close(t.peer);
    http_client_close(t.http);
    arena_done(&t.arena);
    memset(&t, 0, sizeof t);
}

static void start(void)
{
    stop();
    t.peer = peer_open();
    CHECK_OK(http_client_open(&t.http, &t.err), t.err);
    CHECK_OK(arena_init(&t.arena, 32 << 20, &t.err), t.err);
}

static struct http_request request(const char *method, const char *path)
{
    (void)snprintf(t.url, sizeof t.url, "%s%s", peer_url(t.peer), path);
    return (struct http_request){
        .method = method, .url = t.url, .timeout_ms = 5000, .max_reply_bytes = 1 << 20, .allow_plain = true
    };
}

static enum err_code send_request(const struct http_request *req)
{
    t.err = (struct err){ 0 };
    return http_send(t.http, req, &t.arena, &t.reply, &t.err);
}

static enum err_code get(const char *path)
{
    struct http_request req = request("GET", path);

    return send_request(&req);
}

static enum err_code post(const char *path, struct span body)
{
    struct http_request req = request("POST", path);

    req.body = body;
    return send_request(&req);
}

TEST(http_client__sends_method_path_headers_and_body_as_given)
{
    static const char *const methods[] = { "POST", "PUT", "PATCH", "DELETE", "GET" };
    char value[64];

    start();
    for (int i = 0; i < 5; i++) {
        struct http_request req = request(methods[i], "/a/../b%2Fc?x=1&y=%20");
        const struct peer_request *got;

        req.body = i < 3 ? SPAN("{\"k\":\"v\0w\"}") : (struct span){ 0 };
        http_request_header(&req, "X-Goog-Meta-A", "1");
        http_request_header(&req, "X-Empty", "");
        peer_will(t.peer, (struct peer_reply){ .status = 200 });
        CHECK_OK(send_request(&req), t.err);
        got = peer_request(t.peer, i);
        CHECK_STR(got->method, methods[i]);
        CHECK_STR(got->target, "/a/../b%2Fc?x=1&y=%20");
        CHECK(span_eq(got->body, req.body));
        CHECK_STR(peer_header(got, "x-goog-meta-a", value, sizeof value), "1");
        CHECK_STR(peer_header(got, "x-empty", value, sizeof value), "");
        CHECK(!peer_header(got, "expect", value, sizeof value));
        CHECK(!peer_header(got, "content-type", value, sizeof value));
        CHECK(!peer_header(got, "accept-encoding", value, sizeof value));
    }
    stop();
}

TEST(http_client__an_empty_post_has_a_length_and_a_large_one_does_not_wait)
{
    static char large[3 << 20];
    char value[64];

    start();
    memset(large, 'x', sizeof large);
    peer_will(t.peer, (struct peer_reply){ .status = 200 });
    peer_will(t.peer, (struct peer_reply){ .status = 200 });
    CHECK_OK(post("/", (struct span){ 0 }), t.err);
    CHECK_STR(peer_header(peer_request(t.peer, 0), "content-length", value, sizeof value), "0");
    CHECK_OK(post("/", (struct span){ large, sizeof large }), t.err);
    CHECK(!peer_header(peer_request(t.peer, 1), "expect", value, sizeof value));
    CHECK_INT(peer_request(t.peer, 1)->body.len, sizeof large);
    stop();
}

TEST(http_client__a_head_request_waits_for_no_body)
{
    struct http_request req;
    char value[64];

    start();
    peer_will(t.peer, (struct peer_reply){ .raw = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" });
    req = request("HEAD", "/");
    CHECK_OK(send_request(&req), t.err);
    CHECK_INT(t.reply.status, 200);
    CHECK_INT(t.reply.body.len, 0);
    CHECK_STR(peer_request(t.peer, 0)->method, "HEAD");
    CHECK(!peer_header(peer_request(t.peer, 0), "content-length", value, sizeof value));
    stop();
}

TEST(http_client__a_chunked_body_has_no_length_and_says_how_much_was_sent)
{
    struct http_request req;
    char value[64];

    start();
    peer_will(t.peer, (struct peer_reply){ .status = 204 });
    req = request("POST", "/x");
    req.body = SPAN("{\"k\":1}");
    req.chunked = true;
    CHECK_OK(send_request(&req), t.err);
    CHECK(span_eq(peer_request(t.peer, 0)->body, req.body));
    CHECK_STR(peer_header(peer_request(t.peer, 0), "transfer-encoding", value, sizeof value), "chunked");
    CHECK(!peer_header(peer_request(t.peer, 0), "content-length", value, sizeof value));
    CHECK_INT(t.reply.sent_bytes, 7);
    stop();
}

TEST(http_client__gives_headers_in_lower_case_and_joins_repeated_ones)
{
    start();
    peer_will(t.peer, (struct peer_reply){ .status = 200,
                                           .headers = "X-Goog-Hash: crc32c=AAAAAA==\r\nx-goog-hash:md5=abc \r\n"
                                                      "Content-Encoding:\r\n",
                                           .body = SPAN("a\0b") });
    CHECK_OK(get("/"), t.err);
    CHECK_INT(t.reply.status, 200);
    CHECK_STR(http_reply_header(&t.reply, "x-goog-hash"), "crc32c=AAAAAA==, md5=abc");
    CHECK_STR(http_reply_header(&t.reply, "content-encoding"), "");
    CHECK(!http_reply_header(&t.reply, "X-Goog-Hash"));
    CHECK(span_eq(t.reply.body, SPAN("a\0b")));
    CHECK(t.reply.body.ptr[3] == 0);
    stop();
}

TEST(http_client__a_header_that_is_repeated_very_often_takes_memory_for_its_bytes_alone)
{
    static char headers[28000]; /* newer ones of libcurl take 5000 headers at most */
    size_t n = 0;

    start();
    while (n + 8 < sizeof headers)
        n += (size_t)snprintf(headers + n, sizeof headers - n, "a:bc\r\n");
    peer_will(t.peer, (struct peer_reply){ .status = 200, .headers = headers });
    CHECK_OK(get("/"), t.err);
    CHECK_INT(strlen(http_reply_header(&t.reply, "a")), n / 6 * 4 - 2);
    CHECK(t.arena.used < 512 << 10);
    stop();
}

TEST(http_client__any_status_is_an_answer_and_no_redirect_is_followed)
{
    static const int codes[] = { 204, 301, 307, 308, 400, 404, 412, 429, 500, 503 };

    start();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        peer_will(t.peer, (struct peer_reply){ .status = codes[i], .headers = "Location: /elsewhere\r\n" });
        CHECK_OK(post("/", SPAN("x")), t.err);
        CHECK_INT(t.reply.status, codes[i]);
    }
    CHECK_INT(peer_count(t.peer), sizeof codes / sizeof *codes);
    stop();
}

TEST(http_client__reuses_its_connection)
{
    start();
    for (int i = 0; i < 4; i++) {
        peer_will(t.peer, (struct peer_reply){ .status = 200, .body = SPAN("x") });
        CHECK_OK(i % 2 ? post("/", SPAN("y")) : get("/"), t.err);
        CHECK_INT(peer_request(t.peer, i)->connection, 0);
    }
    stop();
}

TEST(http_client__no_proxy_and_no_decoding)
{
    start();
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    peer_will(t.peer, (struct peer_reply){
                          .status = 200, .headers = "Content-Encoding: gzip\r\n", .body = SPAN("\x1F\x8Bnot really") });
    CHECK_INT(get("/"), ERR_OK);
    (void)unsetenv("http_proxy");
    CHECK(span_eq(t.reply.body, SPAN("\x1F\x8Bnot really")));
    stop();
}

TEST(http_client__interim_replies_and_trailers_leave_no_header)
{
    start();
    peer_will(t.peer, (struct peer_reply){ .raw = "HTTP/1.1 103 Early Hints\r\nX-A: early\r\n\r\n"
                                                  "HTTP/1.1 200 OK\r\nX-B: b\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                  "2\r\nok\r\n0\r\nX-Goog-Generation: 7\r\n\r\n" });
    CHECK_OK(get("/"), t.err);
    CHECK_INT(t.reply.status, 200);
    CHECK(!http_reply_header(&t.reply, "x-a") && !http_reply_header(&t.reply, "x-goog-generation"));
    CHECK_STR(http_reply_header(&t.reply, "x-b"), "b");
    CHECK(span_eq(t.reply.body, SPAN("ok")));
    stop();
}

TEST(http_client__refuses_what_must_not_be_sent)
{
    struct http_request req;

    start();
    req = request("GET", "/");
    req.allow_plain = false;
    CHECK_INT(send_request(&req), ERR_INVALID);
    req = request("GET", "/a b");
    CHECK_INT(send_request(&req), ERR_INVALID);
    req = request("GET", "/a\r\nHost: x");
    CHECK_INT(send_request(&req), ERR_INVALID);
    req = request("TRACE", "/");
    CHECK_INT(send_request(&req), ERR_INVALID);
    req = request("GET", "/");
    req.timeout_ms = 0;
    CHECK_INT(send_request(&req), ERR_INVALID);
    req.timeout_ms = 1000;
    req.url = "ftp://127.0.0.1/";
    CHECK_INT(send_request(&req), ERR_INVALID);
    req.url = "file:///etc/passwd";
    CHECK_INT(send_request(&req), ERR_INVALID);
    (void)snprintf(t.url, sizeof t.url, "http://user:secret@127.0.0.1:%d/", peer_port(t.peer));
    req.url = t.url; /* libcurl would make an Authorization header of it */
    CHECK_INT(send_request(&req), ERR_INVALID);
    CHECK(!strstr(t.err.msg, "secret"));
    req = request("GET", "/");
    http_request_header(&req, "X-A", "1\r\nX-B: 2");
    CHECK_INT(send_request(&req), ERR_INVALID);
    req.headers[0].value = "1\nX-B: 2";
    CHECK_INT(send_request(&req), ERR_INVALID);
    req.headers[0] = (struct http_header){ "X-A: y\r\nX-B", "2" };
    CHECK_INT(send_request(&req), ERR_INVALID);
    CHECK_INT(peer_count(t.peer), 0);
    stop();
}

TEST(http_client__messages_hold_no_path_and_no_query)
{
    start();
    peer_will(t.peer, (struct peer_reply){ .status = 0 });
    CHECK_INT(get("/users/u1?X-Goog-Signature=secret"), ERR_UNKNOWN_OUTCOME);
    CHECK(strstr(t.err.msg, peer_url(t.peer)));
    CHECK(!strstr(t.err.msg, "u1") && !strstr(t.err.msg, "secret"));
    stop();
}

/* A port that refuses connections: it is bound, so that no other program takes it, but not listening. */
static int dead_port(int *ret_fd)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof addr;

    *ret_fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(*ret_fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    CHECK(getsockname(*ret_fd, (struct sockaddr *)&addr, &size) == 0);
    return ntohs(addr.sin_port);
}

TEST(http_client__refused_connection_and_failed_tls_are_unavailable)
{
    struct http_request req;
    int fd;

    start();
    req = request("POST", "/");
    req.body = SPAN("x");
    (void)snprintf(t.url, sizeof t.url, "http://127.0.0.1:%d/", dead_port(&fd));
    CHECK_INT(send_request(&req), ERR_UNAVAILABLE);
    (void)close(fd);
    /* the peer takes the TLS handshake for a request and waits for its rest: a timeout before any request was sent */
    (void)snprintf(t.url, sizeof t.url, "https://127.0.0.1:%d/", peer_port(t.peer));
    req.timeout_ms = 100;
    CHECK_INT(send_request(&req), ERR_UNAVAILABLE);
    CHECK_INT(peer_count(t.peer), 0);
    stop();
}

TEST(http_client__no_whole_answer_is_an_unknown_outcome)
{
    static const struct peer_reply deaths[] = {
        { .status = 0 },
        { .status = 0, .reset = true },
        { .status = 200, .body = SPAN("0123456789"), .cut_after = 9 },
        { .status = 200, .body = SPAN("0123456789"), .cut_after = 30, .reset = true },
        { .status = 200, .body = SPAN("0123456789"), .cut_after = 54 },
        { .status = 200, .body = SPAN("0123456789"), .chunked = true, .cut_after = 65 },
        { .raw = "hello, this is not HTTP\r\n\r\n" },
        { .status = 200, .delay_ms = 300 },
        { .status = 200, .body = SPAN("0123456789"), .raw = "HTTP/1.1 2" },
    };

    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        struct http_request req;

        start();
        req = request("POST", "/");
        req.body = SPAN("x");
        req.timeout_ms = 150;
        peer_will(t.peer, deaths[i]);
        CHECK_INT(send_request(&req), ERR_UNKNOWN_OUTCOME);
        CHECK_INT(peer_count(t.peer), 1);
    }
    stop();
}

TEST(http_client__gives_what_came_of_a_reply_that_broke_off)
{
    start();
    peer_will(t.peer,
              (struct peer_reply){
                  .status = 206, .headers = "X-A: a\r\n", .body = SPAN("0123456789"), .cut_after = 57, .reset = true });
    CHECK_INT(get("/"), ERR_UNKNOWN_OUTCOME);
    CHECK_INT(t.reply.status, 206);
    CHECK_STR(http_reply_header(&t.reply, "x-a"), "a");
    CHECK(span_eq(t.reply.body, SPAN("0123")));
    peer_will(t.peer, (struct peer_reply){ .status = 206, .body = SPAN("0123456789"), .cut_after = 40 });
    CHECK_INT(get("/"), ERR_UNKNOWN_OUTCOME);
    CHECK_INT(t.reply.status, 0); /* a head that broke off is not reported */
    CHECK_INT(t.reply.body.len, 0);
    stop();
}

TEST(http_client__a_write_on_a_connection_that_dies_is_sent_once)
{
    static const char *const methods[] = { "POST", "PATCH", "PUT", "DELETE" };

    for (int i = 0; i < 4; i++) {
        struct http_request req;

        start();
        peer_will(t.peer, (struct peer_reply){ .status = 200 });
        peer_will(t.peer, (struct peer_reply){ .status = 0 });
        peer_will(t.peer, (struct peer_reply){ .status = 200 });
        CHECK_OK(get("/"), t.err);
        req = request(methods[i], "/");
        req.body = i < 3 ? SPAN("{}") : (struct span){ 0 };
        CHECK_INT(send_request(&req), ERR_UNKNOWN_OUTCOME);
        CHECK_INT(peer_count(t.peer), 2);
    }
    stop();
}

TEST(http_client__a_kept_connection_that_was_closed_meanwhile_is_replaced)
{
    start();
    for (int i = 0; i < 3; i++) {
        peer_will(t.peer, (struct peer_reply){ .status = 200, .close = true });
        CHECK_OK(post("/", SPAN("x")), t.err);
        (void)usleep(20000); /* until the peer's close has arrived */
    }
    CHECK_INT(peer_count(t.peer), 3);
    stop();
}

TEST(http_client__a_reply_over_its_cap_is_too_large)
{
    static char large[5000];
    static const struct {
        struct peer_reply reply;
        size_t cap;
        enum err_code want;
    } cases[] = {
        { { .status = 200, .body = { large, 5000 } }, 4999, ERR_TOO_LARGE },
        { { .status = 200, .body = { large, 5000 }, .chunked = true }, 4999, ERR_TOO_LARGE },
        { { .status = 500, .body = { large, 5000 }, .no_length = true }, 0, ERR_TOO_LARGE },
        { { .status = 200, .body = { large, 5000 }, .chunked = true }, 5000, ERR_OK },
        { { .status = 200, .body = { large, 5000 }, .no_length = true }, 5000, ERR_OK },
        { { .status = 200 }, 0, ERR_OK },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_request req;

        start();
        memset(large, 'x', sizeof large);
        req = request("GET", "/");
        req.max_reply_bytes = cases[i].cap;
        peer_will(t.peer, cases[i].reply);
        CHECK_INT(send_request(&req), cases[i].want);
        CHECK_INT(t.reply.status, cases[i].reply.status);
        if (!cases[i].want)
            CHECK_INT(t.reply.body.len, cases[i].reply.body.len);
    }
    stop();
}

TEST(http_client__a_flood_of_headers_is_too_large)
{
    static char headers[80000];
    size_t n = 0;

    start();
    for (int i = 0; i < 65; i++)
        n += (size_t)snprintf(headers + n, sizeof headers - n, "X-%d: y\r\n", i);
    peer_will(t.peer, (struct peer_reply){ .status = 200, .headers = headers });
    CHECK_INT(get("/"), ERR_TOO_LARGE);
    stop();
    start();
    for (n = 0; n + 1100 < sizeof headers;)
        n += (size_t)snprintf(headers + n, sizeof headers - n, "X: %01000d\r\n", 1);
    peer_will(t.peer, (struct peer_reply){ .status = 200, .headers = headers });
    CHECK_INT(get("/"), ERR_TOO_LARGE);
    stop();
}

/* ---- the budget of a call, and Retry-After ---- */

static bool after_first_request(void *ctx)
{
    return peer_count(ctx) > 0;
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

TEST(http_client__a_cancelled_budget_ends_the_transfer)
{
    struct budget budget = { .sys = &sys_real, .deadline_mono_ms = INT64_MAX, .cancelled = after_first_request };
    static char body[50000];
    struct http_request req;
    int64_t start_ms;

    start();
    budget.cancel_ctx = t.peer;
    req = request("GET", "/");
    req.budget = &budget;
    peer_will(t.peer, (struct peer_reply){ .status = 200, .body = { body, sizeof body }, .pace_ms = 100 });
    start_ms = sys_mono_ms(&sys_real);
    CHECK_INT(send_request(&req), ERR_CANCELLED);
    CHECK(sys_mono_ms(&sys_real) - start_ms < 3000); /* the whole body would take five seconds */
    budget.cancelled = always;
    CHECK_INT(send_request(&req), ERR_CANCELLED);
    CHECK_INT(peer_count(t.peer), 1);
    stop();
}

TEST(http_client__the_budget_shortens_the_timeout)
{
    struct budget budget = { .sys = &sys_real };
    struct http_request req;

    start();
    req = request("GET", "/");
    req.budget = &budget;
    budget.deadline_mono_ms = sys_mono_ms(&sys_real) + 100;
    peer_will(t.peer, (struct peer_reply){ .status = 200, .delay_ms = 400 });
    CHECK_INT(send_request(&req), ERR_UNKNOWN_OUTCOME);
    CHECK_INT(send_request(&req), ERR_DEADLINE);
    CHECK_INT(peer_count(t.peer), 1);
    stop();
}

TEST(http_client__a_slow_transfer_is_given_up_before_its_time_is_over)
{
    static char body[9000];
    struct http_request req;
    int64_t start_ms;

    start();
    req = request("GET", "/");
    req.low_speed_ms = 1000;
    peer_will(t.peer, (struct peer_reply){ .status = 200, .body = { body, sizeof body }, .pace_ms = 450 });
    start_ms = sys_mono_ms(&sys_real);
    CHECK_INT(send_request(&req), ERR_UNKNOWN_OUTCOME);
    CHECK(sys_mono_ms(&sys_real) - start_ms < 3500); /* of the 4 s that the whole would take */
    stop();
}

TEST(http_client__own_addresses_are_on_their_server_whatever_they_look_like)
{
    static const char base[] = "http://127.0.0.1:9199";
    static const char *const pieces[] = { "http:", "https:", "//", "/", "127.0.0.1", ":9199", ":80", "@",    "evil.example", ".",
                                          "%2f",   "%40",    "?",  "#", "\\",       "user",  " ",   "\r\n", "[::1]",        "x" };
    char text[200], url[300];
    int taken = 0;

    srandom(11);
    for (int i = 0; i < 20000; i++) {
        size_t n = (size_t)snprintf(text, sizeof text, "%s", i % 2 ? base : "");

        for (int k = (int)(random() % 7); k > 0; k--)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s",
                                  pieces[(size_t)random() % (sizeof pieces / sizeof *pieces)]);
        if (http_own_url(base, text, url, sizeof url, NULL))
            continue;
        taken++;
        if (strncmp(url, base, strlen(base)) != 0 || !strchr("/?", url[strlen(base)]) || strchr(url, '#') ||
            strchr(url, '\\'))
            test_fail(__FILE__, __LINE__, "'%s' leads to '%s'", text, url);
    }
    CHECK(taken > 500);
    CHECK_INT(http_own_url(base, "/a-path", url, 20, NULL), ERR_PROTOCOL); /* no room */
    CHECK_INT(http_own_url(base, "http://127%2e0.0.1:9199/", url, sizeof url, NULL), ERR_PROTOCOL);
}

TEST(http_client__reads_retry_after_as_seconds_or_as_a_date)
{
    /* 1700000000 is Tue, 14 Nov 2023 22:13:20 GMT */
    static const struct {
        const char *text;
        int64_t want_ms;
    } cases[] = {
        { "2", 2000 },
        { "60", 60000 },
        { "61", 60000 },
        { "99999999999999999999999", 60000 },
        { "Tue, 14 Nov 2023 22:13:25 GMT", 5000 },
        { "Tuesday, 14-Nov-23 22:13:30 GMT", 10000 },
        { "Tue Nov 14 22:13:35 2023", 15000 },
        { "Wed, 15 Nov 2023 22:13:20 GMT", 60000 },
        { "Mon, 13 Nov 2023 22:13:20 GMT", 0 },
        { "abc", 0 },
        { "", 0 },
        { "-5", 0 },
        { "2x", 0 },
    };
    struct http_reply reply = { .status = 503 };
    struct fake_sys fake;

    fake_sys_init(&fake, 1700000000, 1);
    CHECK_INT(http_retry_after_ms(&reply, &fake.sys), 0);
    reply.n_headers = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reply.headers[0] = (struct http_header){ "retry-after", cases[i].text };
        CHECK_INT(http_retry_after_ms(&reply, &fake.sys), cases[i].want_ms);
    }
    reply.n_headers = 2; /* by the clock of the server that sets the date */
    reply.headers[0].value = "Wed, 15 Nov 2023 01:00:07 GMT";
    reply.headers[1] = (struct http_header){ "date", "Wed, 15 Nov 2023 01:00:00 GMT" };
    CHECK_INT(http_retry_after_ms(&reply, &fake.sys), 7000);
}

TEST(http_client__encodes_everything_but_the_unreserved_characters)
{
    char *text = NULL;

    start();
    CHECK_OK(http_encode(&t.arena, SPAN("users/u-1/a b.jpg~_\xC3\xA9%\0?"), &text, &t.err), t.err);
    CHECK_STR(text, "users%2Fu-1%2Fa%20b.jpg~_%C3%A9%25%00%3F");
    CHECK_OK(http_encode(&t.arena, (struct span){ 0 }, &text, &t.err), t.err);
    CHECK_STR(text, "");
    stop();
}

TEST(http_client__transient_statuses_are_those_of_the_contract)
{
    int n = 0;

    for (int status = 100; status < 600; status++)
        n += http_status_is_transient(status);
    CHECK_INT(n, 6);
    CHECK(http_status_is_transient(429) && http_status_is_transient(503) && !http_status_is_transient(501));
}

/* What a request's `take` has got. */
static struct {
    char bytes[8000];
    size_t n;
    int status, most; /* most: bytes that it wants; 0: all */
} taken;

static bool take(void *ctx, int status, const char *bytes, size_t n)
{
    (void)ctx;
    taken.status = status;
    if (taken.n + n > sizeof taken.bytes || (taken.most && taken.n + n > (size_t)taken.most))
        return false;
    memcpy(taken.bytes + taken.n, bytes, n);
    taken.n += n;
    return true;
}

static enum err_code get_taken(int most)
{
    struct http_request req = request("GET", "/x");

    memset(&taken, 0, sizeof taken);
    taken.most = most;
    req.take = take;
    req.max_reply_bytes = 5000;
    return send_request(&req);
}

TEST(http_client__hands_over_the_body_of_a_success_as_it_comes_and_of_nothing_else)
{
    static char body[6000];

    start();
    memset(body, 'x', sizeof body);
    peer_will(t.peer, (struct peer_reply){ .status = 206, .headers = "Content-Range: bytes 0-3999/9000\r\n",
                                           .body = { body, 4000 }, .pace_ms = 1 });
    CHECK_OK(get_taken(0), t.err);
    CHECK_INT(taken.n, 4000);
    CHECK_INT(taken.status, 206);
    CHECK(memcmp(taken.bytes, body, 4000) == 0);
    CHECK_INT(t.reply.body.len, 0);
    CHECK_STR(http_reply_header(&t.reply, "content-range"), "bytes 0-3999/9000");
    peer_will(t.peer, (struct peer_reply){ .status = 503, .body = SPAN("busy") });
    CHECK_OK(get_taken(0), t.err);
    CHECK_INT(taken.n, 0);
    CHECK(span_is(t.reply.body, "busy"));
    peer_will(t.peer, (struct peer_reply){ .status = 200, .body = { body, 6000 } }); /* over max_reply_bytes */
    CHECK_INT(get_taken(0), ERR_TOO_LARGE);
    peer_will(t.peer, (struct peer_reply){ .status = 200, .headers = "X-A: 1\r\n", .body = { body, 4000 } });
    CHECK_INT(get_taken(1), ERR_TOO_LARGE);
    CHECK_STR(http_reply_header(&t.reply, "x-a"), "1"); /* the head is there, to judge by */
    peer_will(t.peer, (struct peer_reply){ .status = 206, .headers = "X-A: 2\r\n", .body = { body, 4000 },
                                           .cut_after = 1000 });
    CHECK_INT(get_taken(0), ERR_UNKNOWN_OUTCOME);
    CHECK(taken.n > 500 && taken.n < 1000);
    CHECK_STR(http_reply_header(&t.reply, "x-a"), "2");
    stop();
}
