#include "worker/http/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test/support/check.h"

enum { BODY_MAX = 1 << 20 };

/* The server under test, and what its handlers were called with. */
static struct {
    struct http_server *server;
    struct err err;
    pthread_mutex_t lock;
    int looked, asked;
    bool too_large;
    char body[256], headers[512], path[64], trace[33];
    size_t body_len;
    int n_authorization;
    sem_t entered, released; /* posted by the slow route and by the test */
    int sleep_ms;
} t = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool check_token(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct span values[2];
    int n = http_server_values(req, "Authorization", values, 2);

    (void)ctx;
    (void)pthread_mutex_lock(&t.lock);
    t.looked++;
    t.n_authorization = n;
    (void)pthread_mutex_unlock(&t.lock);
    if (n == 1 && span_is(values[0], "Bearer good"))
        return true;
    reply->status = 401;
    http_server_reply_header(reply, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    return false;
}

static void take_push(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    (void)ctx;
    (void)pthread_mutex_lock(&t.lock);
    t.asked++;
    t.too_large = req->body_too_large;
    t.body_len = req->body.len;
    (void)snprintf(t.body, sizeof t.body, "%.*s", (int)req->body.len, req->body.ptr);
    (void)snprintf(t.path, sizeof t.path, "%s", req->path);
    (void)snprintf(t.trace, sizeof t.trace, "%s", req->log.trace);
    (void)pthread_mutex_unlock(&t.lock);
    if (t.sleep_ms)
        sys_sleep_ms(&sys_real, t.sleep_ms);
    reply->status = 204;
}

static void be_slow(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    (void)ctx, (void)req;
    (void)sem_post(&t.entered);
    (void)sem_wait(&t.released);
    reply->status = 200;
    reply->body = SPAN("slow");
}

static void be_ready(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    char *text = NULL;

    (void)ctx;
    if (arena_printf(req->arena, &text, NULL, "{\"path\":\"%s\"}", req->path))
        return;
    reply->status = 200;
    reply->content_type = "application/json";
    reply->body = span_of(text);
}

static const struct http_server_route routes[] = {
    { "POST", "/push", .on_headers = check_token, .on_request = take_push },
    { "POST", "/slow", .on_request = be_slow },
    { "GET", "/ready", .quick = true, .on_request = be_ready },
};

static void stop(void)
{
    if (t.server)
        CHECK(http_server_stop(t.server, 5000));
    t.server = NULL;
}

static struct {
    int64_t head_ms, body_ms, answer_ms;
} times; /* total times of the next server; 0: its own */

enum { MAX_CONNECTIONS = 40 };

static void start(int idle_timeout_s, int max_handlers)
{
    struct http_server_options o = { .loopback_only = true,
                                     .routes = routes,
                                     .n_routes = 3,
                                     .max_body_bytes = BODY_MAX,
                                     .arena_bytes = 4 << 20,
                                     .max_connections = MAX_CONNECTIONS,
                                     .max_handlers = max_handlers,
                                     .idle_timeout_s = idle_timeout_s,
                                     .head_ms = times.head_ms,
                                     .body_ms = times.body_ms,
                                     .answer_ms = times.answer_ms,
                                     .sys = &sys_real };

    stop();
    t.err = (struct err){ 0 };
    t.looked = t.asked = t.sleep_ms = 0;
    (void)sem_init(&t.entered, 0, 0);
    (void)sem_init(&t.released, 0, 0);
    CHECK_OK(http_server_start(&o, &t.server, &t.err), t.err);
}

/* Waits until a slow handler has begun; fails after 5 s instead of hanging. */
static void wait_for_entry(void)
{
    struct timespec end;

    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 5;
    CHECK(sem_timedwait(&t.entered, &end) == 0);
}

/* ---- a client that can misbehave ---- */

static int dial_from(uint32_t from)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(from) };
    struct sockaddr_in addr = { .sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)http_server_port(t.server)) };
    struct timeval patience = { 5, 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    CHECK(bind(fd, (struct sockaddr *)&here, sizeof here) == 0);
    CHECK(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    return fd;
}

static int dial(void)
{
    return dial_from(INADDR_LOOPBACK);
}

static bool say_bytes(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);

        if (done <= 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

static bool say(int fd, const char *text)
{
    return say_bytes(fd, text, strlen(text));
}

/* Reads one reply: its head, and a body of the length it states. NULL: the connection ended, or was silent for 5 s. */
static const char *hear(int fd)
{
    static char text[8192];
    size_t n = 0, want = SIZE_MAX;

    while (n < sizeof text - 1 && n < want) {
        const char *end, *length;

        if (recv(fd, text + n, 1, 0) != 1)
            return NULL;
        text[++n] = 0;
        end = want == SIZE_MAX ? strstr(text, "\r\n\r\n") : NULL;
        if (!end)
            continue;
        length = strcasestr(text, "\r\nContent-Length: ");
        want = n + (length ? strtoul(length + 18, NULL, 10) : 0);
    }
    return text;
}

static bool is_over(int fd)
{
    char c;

    return recv(fd, &c, 1, 0) <= 0;
}

static int status_of(const char *reply)
{
    return reply && strncmp(reply, "HTTP/1.1 ", 9) == 0 ? atoi(reply + 9) : 0;
}

static int ask(const char *text)
{
    int fd = dial(), status;

    CHECK(say(fd, text));
    status = status_of(hear(fd));
    (void)close(fd);
    return status;
}

#define HEAD(method, path) method " " path " HTTP/1.1\r\nHost: x\r\n"
#define GOOD               "Authorization: Bearer good\r\n"

TEST(http_server__answers_quick_routes_and_keeps_the_connection)
{
    const char *reply;
    int fd;

    start(30, 4);
    fd = dial();
    for (int i = 0; i < 3; i++) {
        CHECK(say(fd, HEAD("GET", "/ready?x=y") "\r\n"));
        reply = hear(fd);
        CHECK_INT(status_of(reply), 200);
        CHECK(strcasestr(reply, "\r\nContent-Type: application/json\r\n"));
        CHECK(strstr(reply, "\r\n\r\n{\"path\":\"/ready\"}"));
    }
    CHECK(say(fd, HEAD("GET", "/ready") "\r\n" HEAD("GET", "/ready") "\r\n")); /* two requests in one write */
    CHECK_INT(status_of(hear(fd)), 200);
    CHECK_INT(status_of(hear(fd)), 200);
    (void)close(fd);
    stop();
}

TEST(http_server__unknown_paths_are_404_and_other_methods_405_with_allow)
{
    static const char *const methods[] = { "GET", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "BREW", "post" };
    char text[128];

    start(30, 4);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        const char *reply;
        int fd = dial();

        (void)snprintf(text, sizeof text, "%s /push HTTP/1.1\r\nHost: x\r\n\r\n", methods[i]);
        CHECK(say(fd, text));
        reply = hear(fd);
        CHECK_INT(status_of(reply), 405);
        CHECK(strcasestr(reply, "\r\nAllow: POST\r\n"));
        (void)close(fd);
    }
    CHECK_INT(ask(HEAD("POST", "/ready") "Content-Length: 2\r\n\r\nhi"), 405);
    CHECK_INT(ask(HEAD("GET", "/") "\r\n"), 404);
    CHECK_INT(ask(HEAD("GET", "/ready/") "\r\n"), 404);
    CHECK_INT(ask(HEAD("GET", "/%72eady") "\r\n"), 404);
    CHECK_INT(ask(HEAD("GET", "/ready%00x") "\r\n"), 404);
    CHECK_INT(ask(HEAD("POST", "/push%2F") "Content-Length: 2\r\n\r\nhi"), 404);
    CHECK_INT(t.looked, 0);
    stop();
}

TEST(http_server__gives_the_handler_body_headers_and_trace)
{
    start(30, 4);
    CHECK_INT(ask(HEAD("POST", "/push?a=b") GOOD
                  "Content-Length: 5\r\n"
                  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\nhello"),
              204);
    CHECK_STR(t.body, "hello");
    CHECK_STR(t.path, "/push");
    CHECK_STR(t.trace, "0af7651916cd43dd8448eb211c80319c");
    CHECK_INT(ask(HEAD("POST", "/push") GOOD "\r\n"), 204); /* without a body */
    CHECK_INT(t.body_len, 0);
    CHECK_INT(ask(HEAD("POST", "/push") GOOD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              204);
    CHECK_STR(t.body, "abcde");
    CHECK_INT(ask(HEAD("POST", "/push") GOOD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 204);
    CHECK_INT(t.body_len, 0);
    CHECK_INT(t.asked, 4);
    stop();
}

TEST(http_server__gives_the_handler_every_authorization_header)
{
    start(30, 4);
    CHECK_INT(ask(HEAD("POST", "/push") GOOD "authorization: Bearer evil\r\nContent-Length: 2\r\n\r\nhi"), 401);
    CHECK_INT(t.n_authorization, 2);
    CHECK_INT(t.asked, 0);
    stop();
}

TEST(http_server__refuses_before_the_body_is_read)
{
    const char *reply;
    int fd;

    start(30, 4);
    fd = dial();
    CHECK(say(fd, HEAD("POST", "/push") "Content-Length: 500\r\n\r\n")); /* without a byte of the body */
    reply = hear(fd);
    CHECK_INT(status_of(reply), 401);
    CHECK(strstr(reply, "\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\n"));
    CHECK(strcasestr(reply, "\r\nConnection: close\r\n"));
    CHECK(is_over(fd));
    (void)close(fd);
    CHECK_INT(ask(HEAD("POST", "/push") "Expect: 100-continue\r\nContent-Length: 500\r\n\r\n"), 401);
    CHECK_INT(ask(HEAD("POST", "/push") "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), 401);
    CHECK_INT(t.asked, 0);
    stop();
}

TEST(http_server__a_sender_that_expects_is_told_to_continue)
{
    int fd;

    start(30, 4);
    fd = dial();
    CHECK(say(fd, HEAD("POST", "/push") GOOD "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    CHECK_INT(status_of(hear(fd)), 100);
    CHECK(say(fd, "hi"));
    CHECK_INT(status_of(hear(fd)), 204);
    CHECK_STR(t.body, "hi");
    (void)close(fd);
    stop();
}

/* Sends the whole of a large body before it reads the answer, as simple clients do: the answer must not be lost. */
static int push_large(const char *head, size_t n)
{
    char *body = calloc(1, n);
    int fd = dial(), status;

    CHECK(body && say(fd, head));
    CHECK(say_bytes(fd, body, n));
    status = status_of(hear(fd));
    (void)close(fd);
    free(body);
    return status;
}

TEST(http_server__an_early_answer_reaches_a_sender_that_does_not_listen)
{
    start(30, 4);
    for (int i = 0; i < 3; i++)
        CHECK_INT(push_large(HEAD("POST", "/push") "Content-Length: 14000000\r\n\r\n", 14000000), 401);
    CHECK_INT(t.asked, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(push_large(HEAD("POST", "/push") GOOD "Content-Length: 14000000\r\n\r\n", 14000000), 204);
    CHECK_INT(t.asked, 3);
    CHECK(t.too_large && t.body_len == 0);
    stop();
}

TEST(http_server__a_body_over_the_cap_is_for_the_handler_to_judge)
{
    static char chunk[70000];
    int fd;

    start(30, 4);
    CHECK_INT(ask(HEAD("POST", "/push") GOOD "Content-Length: 1048577\r\n\r\n"), 204); /* without a byte of the body */
    CHECK(t.too_large);
    CHECK_INT(push_large(HEAD("POST", "/push") GOOD "Content-Length: 1048576\r\n\r\n", BODY_MAX), 204);
    CHECK(!t.too_large && t.body_len == BODY_MAX);
    fd = dial();
    CHECK(say(fd, HEAD("POST", "/push") GOOD "Transfer-Encoding: chunked\r\n\r\n"));
    memset(chunk, 'x', sizeof chunk);
    for (int i = 0; i < 16; i++)
        CHECK(say(fd, "10000\r\n") && say_bytes(fd, chunk, 65536) && say(fd, "\r\n"));
    CHECK(say(fd, "1\r\nx\r\n0\r\n\r\n"));
    CHECK_INT(status_of(hear(fd)), 204);
    CHECK(t.too_large && t.body_len == 0);
    (void)close(fd);
    stop();
}

TEST(http_server__framing_that_two_readers_understand_differently_is_refused)
{
    static const char *const bad[] = {
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 2,2\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 2x\r\n",
        "Content-Length : 2\r\n",
        "Content-Length\t: 2\r\n",
        "Content-Length: 2\r\n x\r\n",
        "Content-Lengt: 2\r\n h\r\n",
        "X: y\r\n\tz\r\nContent-Length: 2\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    };
    char text[256];

    start(30, 4);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, HEAD("POST", "/push") GOOD "%s\r\nhi", bad[i]);
        CHECK_INT(ask(text) / 100, 4);
    }
    CHECK_INT(t.looked + t.asked, 0);
    CHECK_INT(ask(HEAD("GET", "/ready") "\r\n"), 200);
    stop();
}

TEST(http_server__garbage_and_floods_do_no_harm)
{
    static char text[200000];
    size_t n;

    start(30, 4);
    for (int i = 0; i < 3; i++) {
        static const char *const garbage[] = { "\x16\x03\x01\x02", "GET\r\n\r\n", "\r\n\r\n \r\n\r\n" };
        int fd = dial();

        CHECK(say(fd, garbage[i]));
        (void)shutdown(fd, SHUT_WR);
        CHECK(status_of(hear(fd)) != 200);
        (void)close(fd);
    }
    n = (size_t)snprintf(text, sizeof text, HEAD("GET", "/ready"));
    for (int i = 0; i < HTTP_SERVER_MAX_HEADERS + 1; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "X-%d: y\r\n", i);
    (void)snprintf(text + n, sizeof text - n, "\r\n");
    CHECK_INT(ask(text), 431);
    memset(text, 'x', 150000);
    memcpy(text, "GET /", 5);
    (void)strcpy(text + 150000, " HTTP/1.1\r\n\r\n");
    CHECK(ask(text) != 200);
    CHECK_INT(ask(HEAD("GET", "/ready") "\r\n"), 200);
    stop();
}

/* libmicrohttpd keeps a record of each name in a query and in a cookie, many times as large as the name. */
TEST(http_server__queries_and_cookies_of_many_names_are_ignored)
{
    static const char *const names[] = { "a&", "a=&", "=&", "&", "?&?a=%00", "a;", "a=b; ", ";", "=", "," };
    static char text[120000], many[50000];

    start(30, 4);
    for (size_t i = 0; i < 4 * (sizeof names / sizeof *names); i++) {
        int most = i % 4 == 0 ? 1 : i % 4 == 1 ? 12000 : 3000;
        size_t n = 0;

        for (int k = 0; k < most && n + 10 < sizeof many; k++)
            n += (size_t)snprintf(many + n, sizeof many - n, "%s", names[i / 4]);
        (void)snprintf(text, sizeof text, "POST /push?%s HTTP/1.1\r\nHost: x\r\n" GOOD "Content-Length: 2\r\n%s%s\r\n\r\nhi",
                       i / 4 < 5 ? many : "", i / 4 < 5 ? "X: " : "Cookie: b=c\r\nCookie: " + (i % 4 == 3 ? 0 : 13),
                       i / 4 < 5 ? "" : many);
        CHECK_INT(ask(text), 204);
        CHECK_STR(t.path, "/push");
    }
    stop();
}

TEST(http_server__silent_clients_are_cut_off_and_slow_handlers_are_not)
{
    int64_t begin_ms = sys_mono_ms(&sys_real);
    int half, idle, patient, status;

    start(1, 4);
    t.sleep_ms = 1600;
    half = dial();
    CHECK(say(half, HEAD("POST", "/push") GOOD "Content-Length: 100\r\n\r\n12345"));
    idle = dial();
    patient = dial();
    CHECK(say(patient, HEAD("POST", "/push") GOOD "Content-Length: 2\r\n\r\nhi"));
    status = status_of(hear(half));
    CHECK(status == 0 || status == 408);
    CHECK(is_over(idle));
    CHECK(sys_mono_ms(&sys_real) - begin_ms < 4000); /* so the server closed it, not the client's timeout */
    CHECK_INT(status_of(hear(patient)), 204);
    CHECK_INT(t.asked, 1);
    (void)close(half);
    (void)close(idle);
    (void)close(patient);
    stop();
}

TEST(http_server__probes_are_answered_while_handlers_run_and_the_rest_is_429)
{
    int slow[2];

    start(30, 2);
    for (int i = 0; i < 2; i++) {
        slow[i] = dial();
        CHECK(say(slow[i], HEAD("POST", "/slow") "Content-Length: 2\r\n\r\nhi"));
        wait_for_entry();
    }
    CHECK_INT(ask(HEAD("GET", "/ready") "\r\n"), 200);
    CHECK_INT(ask(HEAD("POST", "/slow") "Content-Length: 2\r\n\r\nhi"), 429);
    for (int i = 0; i < 2; i++)
        (void)sem_post(&t.released);
    for (int i = 0; i < 2; i++) {
        CHECK(strstr(hear(slow[i]), "\r\n\r\nslow"));
        (void)close(slow[i]);
    }
    stop();
}

TEST(http_server__clients_that_go_away_leave_nothing_behind)
{
    struct linger at_once = { 1, 0 };

    start(30, 4);
    for (int i = 0; i < 6; i++) {
        int fd = dial();

        CHECK(say(fd, i % 2 ? HEAD("POST", "/slow") "Content-Length: 2\r\n\r\nhi"
                            : HEAD("POST", "/push") GOOD "Content-Length: 100\r\n\r\nhalf of it"));
        if (i % 2)
            wait_for_entry();
        if (i % 3)
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        (void)close(fd);
        if (i % 2)
            (void)sem_post(&t.released);
    }
    CHECK_INT(ask(HEAD("GET", "/ready") "\r\n"), 200);
    stop(); /* waits until every handler has returned */
    CHECK_INT(t.asked, 0);
}

TEST(http_server__a_client_that_has_closed_its_side_does_not_stay)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        { HEAD("GET", "/ready") "\r\n", 200 },
        { HEAD("POST", "/push") GOOD "Content-Length: 3\r\n\r\nhi", 0 },
        { "GET /rea", 0 },
    };

    start(30, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t begin_ms = sys_mono_ms(&sys_real);
        int fd = dial();

        CHECK(say(fd, cases[i].request));
        (void)shutdown(fd, SHUT_WR);
        CHECK_INT(status_of(hear(fd)), cases[i].status);
        CHECK(sys_mono_ms(&sys_real) - begin_ms < 2000);
        (void)close(fd);
    }
    stop();
}

static void *release_soon(void *arg)
{
    (void)arg;
    sys_sleep_ms(&sys_real, 60);
    (void)sem_post(&t.released);
    return NULL;
}

TEST(http_server__stopping_takes_no_more_and_delivers_what_is_under_way)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const char *reply;
    pthread_t thread;
    int fd, late;

    start(30, 4);
    addr.sin_port = htons((uint16_t)http_server_port(t.server));
    http_server_drain(t.server);
    fd = dial();
    CHECK(say(fd, HEAD("GET", "/ready") "\r\n"));
    CHECK(strcasestr(hear(fd), "\r\nConnection: close\r\n"));
    (void)close(fd);

    fd = dial();
    CHECK(say(fd, HEAD("POST", "/slow") "Content-Length: 2\r\n\r\nhi"));
    wait_for_entry();
    CHECK(!http_server_stop(t.server, 20)); /* the handler still runs */
    late = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(late, (struct sockaddr *)&addr, sizeof addr) != 0);
    (void)close(late);
    CHECK(pthread_create(&thread, NULL, release_soon, NULL) == 0);
    CHECK(http_server_stop(t.server, 5000));
    t.server = NULL;
    (void)pthread_join(thread, NULL);
    reply = hear(fd);
    CHECK_INT(status_of(reply), 200);
    CHECK(strcasestr(reply, "\r\nConnection: close\r\n") && strstr(reply, "\r\n\r\nslow"));
    (void)close(fd);
}

/* ---- slow clients ---- */

/* What they send first, and then again and again; and which total time ends that. */
static const struct slow {
    const char *first, *more;
    enum { HEAD_TIME, BODY_TIME, LATER_HEAD_TIME, UP_TO_HEAD_TIME } time;
} slow[] = {
    { "", "", HEAD_TIME },
    { "GET /rea", "d", HEAD_TIME },
    { "\r\n", "\r\n", UP_TO_HEAD_TIME }, /* libmicrohttpd 1.0 refuses more than a few */
    { HEAD("POST", "/push"), "X: y\r\n", HEAD_TIME },
    { HEAD("POST", "/push") GOOD "Content-Length: 10", "0", HEAD_TIME },
    { HEAD("GET", "/ready") "\r\nGET /rea", "d", LATER_HEAD_TIME },
    { HEAD("POST", "/push") GOOD "Content-Length: 1000\r\n\r\n", "x", BODY_TIME },
    { HEAD("POST", "/push") GOOD "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", BODY_TIME },
    { HEAD("POST", "/push") GOOD "Transfer-Encoding: chunked\r\n\r\n1;a=", "b", BODY_TIME },
    { HEAD("POST", "/push") GOOD "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", "y", BODY_TIME },
};

enum { SLOW = sizeof slow / sizeof *slow, CROWD = 300 };

/* Whether the server has closed it; skips what the server has sent. */
static bool is_closed(int fd)
{
    char c[256];
    ssize_t n;

    while ((n = recv(fd, c, sizeof c, MSG_DONTWAIT)) > 0)
        ;
    return n == 0 || errno != EAGAIN;
}

/* Takes two seconds at most. While the heads of a crowd are looked at, a push may have to come again. */
static void check_in_good_order(void)
{
    int64_t begin_ms = sys_mono_ms(&sys_real);
    int status;

    CHECK_INT(ask(HEAD("GET", "/ready") "\r\n"), 200);
    do
        status = ask(HEAD("POST", "/push") GOOD "Content-Length: 2\r\n\r\nhi");
    while (status == 429 && sys_mono_ms(&sys_real) - begin_ms < 2000);
    CHECK_INT(status, 204);
    CHECK(sys_mono_ms(&sys_real) - begin_ms < 2000);
}

TEST(http_server__a_crowd_of_slow_clients_keeps_nobody_out)
{
    static int fds[CROWD];

    start(30, 4);
    for (int kind = 0; kind <= SLOW; kind++) { /* the last crowd is of all kinds */
        for (int i = 0; i < CROWD; i++) {
            fds[i] = dial();
            (void)say(fds[i], slow[kind < SLOW ? kind : i % SLOW].first);
        }
        check_in_good_order();
        for (int i = 0; i < CROWD; i++)
            (void)say(fds[i], slow[kind < SLOW ? kind : i % SLOW].more);
        check_in_good_order();
        for (int i = 0; i < CROWD; i++)
            (void)close(fds[i]);
    }
    stop();
}

TEST(http_server__no_byte_prolongs_a_total_time)
{
    int fds[SLOW];
    int64_t ended_ms[SLOW] = { 0 }, begin_ms, now_ms;

    times.head_ms = 300;
    times.body_ms = 700;
    start(1, 4);
    begin_ms = sys_mono_ms(&sys_real);
    for (int i = 0; i < SLOW; i++) {
        fds[i] = dial();
        (void)say(fds[i], slow[i].first);
    }
    do {
        sys_sleep_ms(&sys_real, 20);
        now_ms = sys_mono_ms(&sys_real) - begin_ms;
        for (int i = 0; i < SLOW; i++) {
            if (!ended_ms[i] && is_closed(fds[i]))
                ended_ms[i] = now_ms;
            if (!ended_ms[i])
                (void)say(fds[i], slow[i].more);
        }
    } while (now_ms < 2600);
    for (int i = 0; i < SLOW; i++) {
        static const struct {
            int64_t least, most;
        } limits[] = { [HEAD_TIME] = { 300, 1300 },
                       [BODY_TIME] = { 700, 1700 },
                       [LATER_HEAD_TIME] = { 1300, 2300 },
                       [UP_TO_HEAD_TIME] = { 1, 1300 } };
        int64_t least = limits[slow[i].time].least, most = limits[slow[i].time].most;

        if (ended_ms[i] < least || ended_ms[i] > most)
            test_fail(__FILE__, __LINE__, "'%s' ended after %lld ms, want %lld to %lld", slow[i].first,
                      (long long)ended_ms[i], (long long)least, (long long)most);
        (void)close(fds[i]);
    }
    stop();
}

TEST(http_server__total_times_spare_handlers_and_connections_between_requests)
{
    int fd;

    times.head_ms = times.body_ms = times.answer_ms = 300;
    start(30, 4);
    t.sleep_ms = 600;
    fd = dial();
    for (int i = 0; i < 2; i++) {
        CHECK(say(fd, HEAD("POST", "/push") GOOD "Content-Length: 2\r\n\r\nhi"));
        CHECK_INT(status_of(hear(fd)), 204);
        sys_sleep_ms(&sys_real, 500);
    }
    (void)close(fd);
    stop();
}

TEST(http_server__a_client_that_does_not_read_is_cut_off)
{
    static const char question[] = HEAD("GET", "/ready") "\r\n";
    static char many[1000 * sizeof question];
    int64_t begin_ms = sys_mono_ms(&sys_real);
    size_t n = 0;
    int fd;

    while (n + sizeof question <= sizeof many)
        n += (size_t)snprintf(many + n, sizeof many - n, "%s", question);
    times.answer_ms = 300;
    start(30, 4);
    fd = dial();
    while (send(fd, many, n, MSG_NOSIGNAL | MSG_DONTWAIT) > 0 || errno == EAGAIN) {
        CHECK(sys_mono_ms(&sys_real) - begin_ms < 10000);
        check_in_good_order();
    }
    (void)close(fd);
    stop();
}

TEST(http_server__one_address_has_a_share_of_the_connections)
{
    enum { OTHERS = 9, SHARE = MAX_CONNECTIONS - OTHERS };
    static int crowd[CROWD];
    int other[OTHERS], open = 0;

    start(30, 4);
    for (int i = 0; i < OTHERS; i++) {
        other[i] = dial_from(INADDR_LOOPBACK + 1);
        CHECK(say(other[i], HEAD("GET", "/ready") "\r\n"));
        CHECK_INT(status_of(hear(other[i])), 200);
    }
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = dial();
        CHECK(say(crowd[i], i % 2 ? HEAD("GET", "/ready") "\r\n" : "GET /re"));
    }
    check_in_good_order();
    sys_sleep_ms(&sys_real, 300);
    for (int i = 0; i < CROWD; i++)
        open += !is_closed(crowd[i]);
    CHECK(open > SHARE - 4 && open <= SHARE);
    for (int i = 0; i < OTHERS; i++) {
        CHECK(say(other[i], HEAD("GET", "/ready") "\r\n"));
        CHECK_INT(status_of(hear(other[i])), 200);
        (void)close(other[i]);
    }
    for (int i = 0; i < CROWD; i++)
        (void)close(crowd[i]);
    stop();
}
