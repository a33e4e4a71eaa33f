/* With a scripted worker behind the seam of http_client.h; the rest is in test/remote/remote_commands.py. */
#include "worker/remote/conform.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"
#include "worker/base/json.h"
#include "worker/base/rfc3339.h"

#define TOKEN "Bearer aaaa.bbbb.cccc"

/* The worker: it keeps the contract but for what a test says. */
static struct scene {
    struct http http;
    struct sys sys; /* time passes in sleeps alone; two threads use it */
    int64_t mono_ms;
    struct arena arena;
    struct conform c;
    struct conform_report report;
    pthread_mutex_t lock;
    int n_cold; /* answers of Cloud Run that it has no instance */
    int n_sent, n_not_ready; /* answers of /ready with 503 before it is ready */
    int poison_status, odd_poison; /* the odd one's number */
    int n_poison;
    bool dead;
    bool is_lax;                       /* reads data that is damaged a little */
    enum err_code big_fails;           /* what becomes of large headers, instead of 431; then dies_of_it */
    bool dies_of_it;
    int job_status, young_status;
    const char *loading;
    char said[512];
} s;

enum { BEGIN_S = 1700000000 };

static int64_t mono_ms(void *ctx)
{
    int64_t now;

    (void)ctx;
    (void)pthread_mutex_lock(&s.lock);
    now = s.mono_ms;
    (void)pthread_mutex_unlock(&s.lock);
    return now;
}

static int64_t wall_us(void *ctx)
{
    return (BEGIN_S * 1000LL + mono_ms(ctx)) * 1000;
}

static void sleep_ms(void *ctx, int64_t ms)
{
    (void)ctx;
    (void)pthread_mutex_lock(&s.lock);
    s.mono_ms += ms;
    (void)pthread_mutex_unlock(&s.lock);
}

static void random_bytes(void *ctx, void *buf, size_t n)
{
    static atomic_int count;

    (void)ctx;
    memset(buf, 0, n);
    ((unsigned char *)buf)[0] = (unsigned char)atomic_fetch_add(&count, 1);
}

static int n_authorizations(const struct http_request *r, const char **ret)
{
    int n = 0;

    for (int i = 0; i < r->n_headers; i++)
        if (strcmp(r->headers[i].name, "Authorization") == 0) {
            *ret = r->headers[i].value;
            n++;
        }
    return n;
}

static int answer_poison(void)
{
    return ++s.n_poison == s.odd_poison ? 604 - s.poison_status : s.poison_status; /* 400 for 204, and back */
}

/* The payload of users/conform-.../sessions/conform-... and of users/u/sessions/s in base64. */
static int answer_message(struct span body)
{
    const struct json *root;
    const char *data;
    int64_t published_us = 0;

    if (json_parse(&s.arena, body, 16, &root, NULL) || !(data = json_string(json_get(json_get(root, "message"), "data"))))
        return answer_poison();
    if (s.is_lax && strncmp(data, "eyJ1c2VySWQiOiJjb25mb3JtIi", 26) == 0) /* {"userId":"conform" */
        return 404;
    if (strcmp(data, "eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoicyJ9") == 0)
        return s.job_status;
    if (strncmp(data, "eyJ1c2VySWQiOiJjb25mb3JtL", 25) != 0) /* {"userId":"conform- */
        return answer_poison();
    CHECK(rfc3339_parse(span_of(json_text(json_get(json_get(root, "message"), "publishTime"))), &published_us));
    return (BEGIN_S * 1000LL + s.mono_ms) * 1000 - published_us < 60000000 ? s.young_status : 204;
}

static int answer_push(const struct http_request *r, struct http_reply *ret)
{
    const char *value = NULL;

    if (n_authorizations(r, &value) != 1 || strcmp(value, TOKEN) != 0) {
        ret->headers[ret->n_headers++] = (struct http_header){ "www-authenticate", "Bearer error=\"invalid_token\"" };
        return 401;
    }
    return answer_message(r->body);
}

static int answer_route(const struct http_request *r, const char *path, struct http_reply *ret)
{
    if (s.n_cold > 0) {
        s.n_cold--;
        ret->body = SPAN("Rate exceeded.");
        return 429;
    }
    if (strcmp(path, "/") == 0)
        ret->body = SPAN("{\"name\":\"inpaint-worker\",\"version\":\"1.2.3-abc\"}");
    else if (strcmp(path, "/metrics") == 0)
        ret->body = SPAN("inpaint_pushes_total 0\n");
    else if (strcmp(path, "/ready") == 0 && strcmp(r->method, "GET") == 0 && s.n_not_ready > 0) {
        s.n_not_ready--;
        ret->body = span_of(s.loading);
        return 503;
    } else if (strcmp(path, "/conform-no-such-path") == 0)
        return 404;
    if (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0)
        return 200;
    ret->headers[ret->n_headers++] = (struct http_header){ "allow", strcmp(path, "/inpaint") ? "GET" : "POST" };
    return 405;
}

static enum err_code send(void *ctx, const struct http_request *r, struct arena *a, struct http_reply *ret, struct err *err)
{
    const char *path = r->url + strlen("https://worker.example");
    enum err_code rc;

    (void)ctx, (void)a;
    (void)pthread_mutex_lock(&s.lock);
    s.n_sent++;
    *ret = (struct http_reply){ 0 };
    for (int i = 0; i < r->n_headers; i++)
        if (strcmp(r->headers[i].name, "X-Conform") == 0)
            ret->status = 431;
    rc = s.dead ? ERR_UNAVAILABLE : ret->status == 431 ? s.big_fails : ERR_OK;
    s.dead = s.dead || (rc && s.dies_of_it);
    if (!ret->status)
        ret->status = strncmp(path, "/inpaint", 8) == 0 && strcmp(r->method, "POST") == 0 ? answer_push(r, ret)
                                                                                          : answer_route(r, path, ret);
    (void)pthread_mutex_unlock(&s.lock);
    return rc ? err_set(err, rc, "refused") : ERR_OK;
}

static void say(const char *line)
{
    (void)snprintf(s.said, sizeof s.said, "%s", line);
}

static void open_scene(const char *authorization)
{
    memset(&s, 0, sizeof s);
    CHECK_OK(arena_init(&s.arena, 256 << 20, NULL), (struct err){ 0 });
    s.sys = (struct sys){ NULL, wall_us, mono_ms, sleep_ms, random_bytes };
    (void)pthread_mutex_init(&s.lock, NULL);
    s.http.send = send;
    s.poison_status = 204;
    s.job_status = 204;
    s.young_status = 404;
    s.loading = "{\"status\":\"loading\",\"stage\":\"weights\",\"progress\":40}";
    s.c = (struct conform){ .http = &s.http,
                            .sys = &s.sys,
                            .arena = &s.arena,
                            .base = "https://worker.example",
                            .authorization = authorization,
                            .subscription = "",
                            .timeout_ms = 60000,
                            .say = say };
}

static void close_scene(void)
{
    arena_done(&s.arena);
}

static const struct conform_result *result(const char *name)
{
    for (int i = 0; i < s.report.n_rows; i++)
        if (strcmp(s.report.rows[i].check->name, name) == 0)
            return &s.report.rows[i].result;
    test_fail(__FILE__, __LINE__, "there is no check %s", name);
    return NULL;
}

static void check_counts(int ok, int failed, int skipped)
{
    for (int i = 0; i < s.report.n_rows; i++)
        if (s.report.rows[i].result.verdict == CONFORM_FAILED && !failed)
            test_fail(__FILE__, __LINE__, "%s: %s, %s", s.report.rows[i].check->name, s.report.rows[i].result.got,
                      s.report.rows[i].result.note);
    CHECK_INT(s.report.n[CONFORM_OK], ok);
    CHECK_INT(s.report.n[CONFORM_FAILED], failed);
    CHECK_INT(s.report.n[CONFORM_SKIPPED], skipped);
}

TEST(conform__asks_as_much_as_it_may)
{
    open_scene(NULL);
    conform_run(&s.c, &s.report);
    check_counts(19, 0, 30);
    CHECK_STR(s.c.version, "1.2.3-abc");
    CHECK_STR(result("unknown-young")->note, "--token-file gives a token");
    CHECK_STR(result("job")->note, "--user and --session name one");
    close_scene();

    open_scene(TOKEN);
    conform_run(&s.c, &s.report);
    check_counts(26, 0, 23);
    CHECK_INT(s.n_poison, 0);
    CHECK(strstr(result("poison-null")->note, "only with --poison"));
    close_scene();
}

TEST(conform__all_poison_is_answered_alike)
{
    open_scene(TOKEN);
    s.c.poison = true;
    conform_run(&s.c, &s.report);
    check_counts(46, 0, 3);
    CHECK_INT(s.n_poison, 20);
    close_scene();

    open_scene(TOKEN);
    s.c.poison = true;
    s.poison_status = 400;
    conform_run(&s.c, &s.report);
    check_counts(46, 0, 3);
    close_scene();

    open_scene(TOKEN);
    s.c.poison = true;
    s.odd_poison = 3;
    conform_run(&s.c, &s.report);
    check_counts(45, 1, 3);
    CHECK_STR(result("poison-list")->note, "other poison was answered with 204");
    close_scene();

    open_scene(TOKEN);
    s.c.poison = true;
    s.poison_status = 500;
    conform_run(&s.c, &s.report);
    check_counts(26, 20, 3);
    close_scene();
}

TEST(conform__poison_that_is_read_as_a_message_fails)
{
    static const char *const names[] = { "poison-base64-padding", "poison-base64-bits", "poison-id-up",
                                         "poison-id-slash" };

    open_scene(TOKEN);
    s.c.poison = true;
    s.is_lax = true;
    conform_run(&s.c, &s.report);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_INT(result(names[i])->verdict, CONFORM_FAILED);
        CHECK(strstr(result(names[i])->note, "read as a good message"));
    }
    CHECK_INT(result("poison-null")->verdict, CONFORM_OK);
    close_scene();
}

/* An answer that is wrong once would be right for all that follows, a job that is never done included. */
TEST(conform__a_worker_that_takes_pushes_for_poison_gets_no_more_of_them)
{
    static const int statuses[] = { 204, 400 };

    for (int i = 0; i < 2; i++) {
        open_scene(TOKEN);
        s.c.user = "u", s.c.session = "s", s.c.poison = true;
        s.young_status = statuses[i];
        conform_run(&s.c, &s.report);
        check_counts(19, 1, 29);
        CHECK(strstr(result("unknown-young")->note, "give --subscription"));
        CHECK_STR(result("job")->note, "pushes are taken for poison: see unknown-young");
        CHECK_INT(s.n_poison, 0);
        close_scene();
    }
}

TEST(conform__large_headers_may_close_the_connection_and_no_more)
{
    static const struct {
        enum err_code rc;
        bool dies;
        int n_failed;
    } cases[] = {
        { ERR_UNKNOWN_OUTCOME, false, 0 },
        { ERR_UNKNOWN_OUTCOME, true, 1 },
        { ERR_UNAVAILABLE, false, 1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_scene(NULL);
        s.big_fails = cases[i].rc;
        s.dies_of_it = cases[i].dies;
        conform_run(&s.c, &s.report);
        check_counts(19 - cases[i].n_failed, cases[i].n_failed, 30);
        CHECK_STR(result("headers-big")->got, cases[i].n_failed ? "no answer" : "the connection was closed");
        close_scene();
    }
}

TEST(conform__names_have_one_row_each)
{
    open_scene(NULL);
    conform_run(&s.c, &s.report);
    CHECK(s.report.n_rows <= CONFORM_CHECKS_MAX);
    for (int i = 0; i < s.report.n_rows; i++)
        for (int j = 0; j < i; j++)
            CHECK(strcmp(s.report.rows[i].check->name, s.report.rows[j].check->name) != 0);
    close_scene();
}

TEST(conform__what_does_not_answer_is_asked_once)
{
    open_scene(TOKEN);
    s.dead = true;
    conform_run(&s.c, &s.report);
    check_counts(0, 1, 48);
    CHECK_INT(s.n_sent, 1);
    CHECK_STR(result("about")->note, "refused");
    CHECK(strstr(s.said, "until an instance has started"));
    CHECK_STR(result("job")->note, "nothing answers there");
    close_scene();
}

TEST(conform__waits_until_it_is_ready_and_no_longer)
{
    open_scene(TOKEN);
    s.n_not_ready = 20; /* 40 s */
    conform_run(&s.c, &s.report);
    check_counts(26, 0, 23);
    CHECK_INT(result("ready")->ms, 40000);
    CHECK_STR(s.said, "GET /ready: 503 (loading, weights, 40 %); 30 of 60 s");
    close_scene();

    open_scene(TOKEN);
    s.n_not_ready = 1000;
    conform_run(&s.c, &s.report);
    check_counts(18, 1, 30);
    CHECK_STR(result("ready")->note, "not ready after 60 s: loading, weights, 40 %");
    CHECK_STR(result("unknown-young")->note, "the worker is not ready");
    close_scene();
}

TEST(conform__waits_for_a_service_that_has_no_instance_yet)
{
    open_scene(NULL);
    s.n_cold = 5; /* 10 s */
    conform_run(&s.c, &s.report);
    check_counts(19, 0, 30);
    CHECK_INT(result("about")->ms, 10000);
    CHECK(strstr(s.said, "GET /: 429 (without a reason); 0 of 60 s"));
    close_scene();
}

TEST(conform__another_version_fails)
{
    open_scene(NULL);
    s.c.expected_version = "abd";
    conform_run(&s.c, &s.report);
    check_counts(18, 1, 30);
    CHECK_STR(result("about")->note, "another version than --expect-version 'abd'");
    close_scene();
}

TEST(conform__a_job_that_does_not_end_well_has_no_duplicate)
{
    open_scene(TOKEN);
    s.c.user = "u", s.c.session = "s";
    s.job_status = 503;
    conform_run(&s.c, &s.report);
    check_counts(26, 2, 21);
    CHECK_STR(result("job")->got, "503");
    CHECK_STR(result("job-again")->note, "the job was not done");
    close_scene();
}

TEST(conform__the_report_is_a_line_a_check_and_the_same_as_json)
{
    static const char first[] = "ok       about                  GET /: 200, inpaint-worker 1.2.3-abc (expected 200, which names "
                                "the program and its version), 0.00 s\n";
    const struct json *root, *row;
    struct span text;
    struct err err = { 0 };
    char *lines = NULL;
    size_t size = 0;
    int n = 0;
    int64_t count = 0;

    open_scene(NULL);
    s.report.to = open_memstream(&lines, &size);
    conform_run(&s.c, &s.report);
    CHECK(fclose(s.report.to) == 0);
    CHECK(strncmp(lines, first, sizeof first - 1) == 0);
    CHECK(strstr(lines, "\nskipped  job                    a message about the session: --user and --session name one\n"));
    CHECK(strstr(lines, "\n49 checks: 19 ok, 0 failed, 30 skipped\n"));
    for (size_t i = 0; i < size; i++)
        n += lines[i] == '\n';
    CHECK_INT(n, 50);
    free(lines);

    CHECK_OK(conform_report_json(&s.report, &s.c, &s.arena, &text, &err), err);
    CHECK_OK(json_parse(&s.arena, text, 8, &root, &err), err);
    CHECK(json_integer(json_get(root, "skipped"), &count) && count == 30);
    CHECK_STR(json_text(json_get(root, "url")), "https://worker.example");
    CHECK_STR(json_text(json_get(root, "version")), "1.2.3-abc");
    row = json_first(json_get(root, "checks"));
    CHECK_STR(json_text(json_get(row, "name")), "about");
    CHECK_STR(json_text(json_get(row, "verdict")), "ok");
    CHECK_INT(json_count(json_get(root, "checks")), 49);
    close_scene();
}

TEST(conform__what_a_terminal_would_obey_is_not_shown)
{
    static const struct conform_check check = { .name = "x", .sent = "x", .expected = "x" };
    struct conform_result r = { .verdict = CONFORM_FAILED };

    open_scene(NULL);
    conform_fail(&r, "%s", "a\033[2Jb\nc\xc3\xa9");
    conform_report_add(&s.report, &check, &r);
    CHECK_STR(s.report.rows[0].result.note, "a?[2Jb?c??");
    close_scene();

    open_scene(NULL);
    s.n_not_ready = 1;
    s.loading = "{\"status\":\"\\u001b[2J\",\"reason\":\"\\r\"}";
    conform_run(&s.c, &s.report);
    CHECK_STR(s.said, "GET /ready: 503 (?[2J: ?); 0 of 60 s");
    close_scene();
}
