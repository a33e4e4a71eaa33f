#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "test/support/fake/script.h"
#include "worker/google/gauth.h"

#define TOKEN(name, expires) "{\"access_token\":\"" name "\",\"expires_in\":" expires ",\"token_type\":\"Bearer\"}"

struct fixture {
    struct script s;
    struct gauth *g;
    struct gauth_options o;
    struct arena a;
    char account[20000];
};

static struct fixture f;

static void prepare(void)
{
    struct err err = { 0 };

    memset(&f, 0, sizeof f);
    script_init(&f.s);
    f.s.budget.deadline_mono_ms = INT64_MAX / 2;
    CHECK_OK(arena_init(&f.a, 1 << 20, &err), err);
    f.o = (struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys };
}

static void start(void)
{
    struct err err = { 0 };

    CHECK_OK(gauth_open(&f.o, &f.g, &err), err);
}

static void stop(void)
{
    gauth_close(f.g);
    arena_done(&f.a);
    script_done(&f.s);
}

static const char *account(void)
{
    const char *pem = test_key(2048, 65537, 0)->private_pem;
    size_t n = (size_t)snprintf(
        f.account, sizeof f.account,
        "{\"type\":\"service_account\",\"client_email\":\"w@demo.example\",\"project_id\":\"from-key\","
        "\"token_uri\":\"http://127.0.0.1:1/token\",\"private_key\":\"");

    for (; *pem; pem++)
        n += (size_t)snprintf(f.account + n, sizeof f.account - n, *pem == '\n' ? "\\n" : "%c", *pem);
    (void)snprintf(f.account + n, sizeof f.account - n, "\"}");
    return f.account;
}

static void will_give(const char *body)
{
    script_will(&f.s, (struct script_reply){
                          .status = 200, .body = span_of(body), .headers = { { "metadata-flavor", "Google" } } });
}

static enum err_code header(const char **ret)
{
    *ret = "untouched";
    return gauth_header(f.g, GAUTH_FIRESTORE, &f.s.budget, &f.a, ret, NULL);
}

static const char *must_have(void)
{
    const char *value;

    CHECK_INT(header(&value), ERR_OK);
    return value;
}

TEST(gauth__answers_for_emulators_without_a_request)
{
    const char *value = "x";
    struct err err = { 0 };

    prepare();
    f.o.emulator[GAUTH_FIRESTORE] = f.o.emulator[GAUTH_STORAGE] = true;
    f.o.project = "demo";
    f.o.firebase_credentials = "nonsense";
    start();
    CHECK_STR(must_have(), "Bearer owner");
    CHECK_OK(gauth_header(f.g, GAUTH_STORAGE, &f.s.budget, &f.a, &value, &err), err);
    CHECK(!value);
    CHECK_OK(gauth_project(f.g, &f.s.budget, &value, &err), err);
    CHECK_STR(value, "demo");
    CHECK_STR(gauth_source(f.g), "emulator");
    gauth_drop(f.g, NULL);
    CHECK_INT(f.s.n_requests, 0);
    stop();
}

TEST(gauth__knows_the_account_of_the_key_and_asks_for_that_of_the_machine)
{
    static const char *const bad[] = { "", "nobody", "a b@c", "x@y'; rm", "a@\nb" };
    char account_name[GAUTH_ACCOUNT_SIZE];

    prepare();
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = true;
    start();
    CHECK(gauth_account(f.g, &f.s.budget, account_name));
    CHECK_STR(account_name, "w@demo.example");
    CHECK_INT(f.s.n_requests, 0);
    stop();
    prepare();
    start();
    will_give("m@demo.example");
    CHECK(gauth_account(f.g, &f.s.budget, account_name));
    CHECK_STR(account_name, "m@demo.example");
    CHECK_STR(f.s.requests[0].url,
              "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/email");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        will_give(bad[i]);
        CHECK(!gauth_account(f.g, &f.s.budget, account_name));
    }
    script_will(&f.s, (struct script_reply){ .status = 404 });
    CHECK(!gauth_account(f.g, &f.s.budget, account_name));
    stop();
}

TEST(gauth__asks_the_metadata_server_and_remembers)
{
    prepare();
    start();
    will_give(TOKEN("ya29.c.one....", "3599"));
    CHECK_STR(must_have(), "Bearer ya29.c.one....");
    CHECK_STR(f.s.requests[0].url,
              "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token");
    CHECK(script_sent_header(&f.s, 0, "Metadata-Flavor: Google"));
    CHECK_INT(f.s.requests[0].timeout_ms, 3000);
    script_pass(&f.s, (3599 - 225) * 1000);
    CHECK_STR(must_have(), "Bearer ya29.c.one....");
    CHECK_INT(f.s.n_requests, 1);
    will_give(TOKEN("two", "3599"));
    script_pass(&f.s, 1);
    CHECK_STR(must_have(), "Bearer two");
    CHECK_INT(f.s.n_requests, 2);
    CHECK_STR(gauth_source(f.g), "metadata server");
    stop();
}

TEST(gauth__asks_where_gce_metadata_host_says)
{
    struct gauth *g;

    prepare();
    f.o.metadata_host = "127.0.0.1:8123";
    start();
    will_give(TOKEN("t", "3599"));
    CHECK_STR(must_have(), "Bearer t");
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:8123/computeMetadata/v1/instance/service-accounts/default/token");
    f.o.metadata_host = "http://x/";
    CHECK_INT(gauth_open(&f.o, &g, NULL), ERR_INVALID);
    stop();
}

TEST(gauth__uses_the_old_token_to_its_last_ten_seconds)
{
    const char *value;

    prepare();
    start();
    will_give(TOKEN("one", "3600"));
    CHECK_STR(must_have(), "Bearer one");
    script_pass(&f.s, (3600 - 200) * 1000);
    CHECK_STR(must_have(), "Bearer one");
    CHECK_INT(f.s.n_requests, 2); /* one failed try, without waiting */
    CHECK_STR(must_have(), "Bearer one");
    CHECK_INT(f.s.n_requests, 2); /* the next try comes after 15 s */
    script_pass(&f.s, 15000);
    CHECK_STR(must_have(), "Bearer one");
    CHECK_INT(f.s.n_requests, 3);
    script_pass(&f.s, 174000);
    CHECK_STR(must_have(), "Bearer one");
    script_pass(&f.s, 1000); /* ten seconds left */
    CHECK_INT(header(&value), ERR_UNAVAILABLE);
    CHECK_STR(value, "untouched");
    CHECK_INT(f.s.n_requests, 4 + 5);
    will_give(TOKEN("two", "3600"));
    CHECK_STR(must_have(), "Bearer two");
    stop();
}

TEST(gauth__reads_any_lifetime) /* U16 */
{
    static const struct {
        const char *body;
        int64_t fresh_ms; /* how long the token is reused; 0: not at all */
    } cases[] = {
        { TOKEN("t", "\"3599\""), (3599 - 225) * 1000 },
        { TOKEN("t", "3599"), (3599 - 225) * 1000 },
        { TOKEN("t", "0"), 0 },
        { TOKEN("t", "-1"), 0 },
        { "{\"access_token\":\"t\"}", (300 - 225) * 1000 },
        { TOKEN("t", "null"), (300 - 225) * 1000 },
        { TOKEN("t", "\"soon\""), (300 - 225) * 1000 },
        { TOKEN("t", "1e12"), (3600 - 225) * 1000 },
        { TOKEN("t", "3599.9"), (3599 - 225) * 1000 },
        { TOKEN("t", "[1]"), (300 - 225) * 1000 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prepare();
        start();
        will_give(cases[i].body);
        will_give(TOKEN("next", "3599"));
        CHECK_STR(must_have(), "Bearer t");
        if (cases[i].fresh_ms) {
            script_pass(&f.s, cases[i].fresh_ms);
            CHECK_STR(must_have(), "Bearer t");
            script_pass(&f.s, 1);
        }
        CHECK_STR(must_have(), "Bearer next");
        stop();
    }
}

TEST(gauth__refuses_a_server_that_is_not_the_metadata_server) /* U17 */
{
    struct script_reply bare = { .status = 200, .body = SPAN(TOKEN("evil", "3599")) };
    const char *value;

    prepare();
    start();
    script_will(&f.s, bare);
    CHECK_INT(header(&value), ERR_PROTOCOL);
    bare.headers[0] = (struct http_header){ "metadata-flavor", "google" };
    script_will(&f.s, bare);
    CHECK_INT(header(&value), ERR_PROTOCOL);
    CHECK_INT(f.s.n_requests, 2);
    stop();
}

TEST(gauth__refuses_answers_without_a_token)
{
    static const char *const bodies[] = { "",
                                          "<html>",
                                          "[]",
                                          "{}",
                                          "{\"access_token\":5}",
                                          "{\"access_token\":\"\"}",
                                          "{\"access_token\":\"a b\"}",
                                          "{\"access_token\":\"a\\r\\nX: y\"}",
                                          "{\"access_token\":\"t\",\"token_type\":\"mac\"}",
                                          "{\"access_token\":\"t\",\"access_token\":\"u\"}" };
    const char *value;

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        prepare();
        start();
        will_give(bodies[i]);
        CHECK_INT(header(&value), ERR_PROTOCOL);
        CHECK_INT(f.s.n_requests, 1);
        stop();
    }
}

TEST(gauth__refuses_an_answer_that_is_too_long) /* as callers know it, ERR_TOO_LARGE is about their own answer */
{
    static char body[(64 << 10) + 2];
    const char *value;

    memset(body, ' ', sizeof body - 1);
    prepare();
    start();
    will_give(body);
    CHECK_INT(header(&value), ERR_PROTOCOL);
    CHECK_INT(f.s.n_requests, 1);
    stop();
}

TEST(gauth__tries_again_within_the_budget)
{
    const char *value;

    prepare();
    start();
    script_will(&f.s, (struct script_reply){ .status = 503 });
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNAVAILABLE });
    script_will(&f.s, (struct script_reply){ .status = 429, .headers = { { "retry-after", "2" } } });
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    will_give(TOKEN("t", "3599"));
    CHECK_STR(must_have(), "Bearer t");
    CHECK_INT(f.s.n_requests, 5);
    CHECK(f.s.slept_ms >= 2000);
    gauth_drop(f.g, "Bearer t");
    f.s.budget.deadline_mono_ms = f.s.mono_ms + 3100;
    script_will(&f.s, (struct script_reply){ .status = 503, .takes_ms = 200 });
    CHECK_INT(header(&value), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 6);
    stop();
}

TEST(gauth__forgets_a_refused_token_once)
{
    prepare();
    start();
    will_give(TOKEN("one", "3599"));
    CHECK_STR(must_have(), "Bearer one");
    gauth_drop(f.g, "Bearer one");
    will_give(TOKEN("two", "3599"));
    CHECK_STR(must_have(), "Bearer two");
    gauth_drop(f.g, "Bearer one"); /* a late report of another thread */
    CHECK_STR(must_have(), "Bearer two");
    CHECK_INT(f.s.n_requests, 2);
    stop();
}

/* The same second and the same key make the same bytes, which the server has just refused. */
TEST(gauth__a_refused_token_is_not_signed_again)
{
    const char *value[4];

    prepare();
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = true;
    start();
    for (int i = 0; i < 4; i++) {
        value[i] = must_have();
        for (int k = 0; k < i; k++)
            CHECK(strcmp(value[i], value[k]) != 0);
        CHECK_STR(must_have(), value[i]);
        gauth_drop(f.g, value[i]);
        script_pass(&f.s, i == 2 ? 1000 : 0);
    }
    stop();
}

TEST(gauth__signs_with_a_key_file_without_a_request)
{
    const char *first, *second;

    prepare();
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = true;
    start();
    first = must_have();
    CHECK(strncmp(first, "Bearer eyJ", 10) == 0);
    CHECK_STR(must_have(), first);
    script_pass(&f.s, (3600 - 224) * 1000);
    second = must_have();
    CHECK(strcmp(first, second) != 0);
    CHECK_INT(f.s.n_requests, 0);
    CHECK_STR(gauth_source(f.g), "FIREBASE_CREDENTIALS");
    stop();
}

TEST(gauth__exchanges_an_assertion_with_jwt_bearer_grant)
{
    static const char head[] = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ";

    prepare();
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = f.o.jwt_bearer_grant = true;
    start();
    script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN(TOKEN("granted", "3599")) });
    CHECK_STR(must_have(), "Bearer granted");
    CHECK_STR(f.s.requests[0].method, "POST");
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:1/token");
    CHECK(span_starts(f.s.requests[0].body, head));
    CHECK(script_sent_header(&f.s, 0, "Content-Type: application/x-www-form-urlencoded"));
    stop();
}

TEST(gauth__judges_refusals_of_the_token_endpoint)
{
    const struct {
        struct script_reply first;
        int requests; /* requests sent if every later answer is good */
    } cases[] = {
        { { .status = 400, .body = SPAN("{\"error\":\"invalid_grant\",\"error_description\":\"x\"}") }, 2 },
        { { .status = 401, .body = SPAN("{\"error\":\"invalid_client\"}") }, 1 },
        { { .status = 400, .body = SPAN("{\"error\":\"invalid_scope\"}") }, 1 },
        { { .status = 400, .body = SPAN("{\"error\":\"internal_failure\"}") }, 2 },
        { { .status = 400, .body = SPAN("{\"error\":{\"code\":400}}") }, 1 },
        { { .status = 500, .body = SPAN("<html>") }, 2 },
        { { .status = 403, .body = SPAN("") }, 1 },
        { { .rc = ERR_UNKNOWN_OUTCOME }, 2 },
    };
    const char *value;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prepare();
        f.o.firebase_credentials = account();
        f.o.allow_loopback_token_uri = f.o.jwt_bearer_grant = true;
        start();
        script_will(&f.s, cases[i].first);
        script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN(TOKEN("t", "3599")) });
        CHECK_INT(header(&value), cases[i].requests == 2 ? ERR_OK : ERR_DENIED);
        CHECK_INT(f.s.n_requests, cases[i].requests);
        stop();
    }
    prepare();
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = f.o.jwt_bearer_grant = true;
    start();
    script_will(&f.s, cases[0].first);
    script_will(&f.s, cases[0].first);
    script_will(&f.s, cases[0].first);
    CHECK_INT(header(&value), ERR_DENIED);
    CHECK_INT(f.s.n_requests, 2);
    stop();
}

TEST(gauth__reads_a_key_from_a_file)
{
    char path[] = "/tmp/test-gauth-XXXXXX";
    struct gauth *g;
    struct err err = { 0 };
    const char *project;
    int fd = mkstemp(path);

    prepare();
    (void)account();
    CHECK(fd >= 0 && write(fd, f.account, strlen(f.account)) == (ssize_t)strlen(f.account) && close(fd) == 0);
    f.o.credentials_file = path;
    CHECK_INT(gauth_open(&f.o, &g, NULL), ERR_INVALID); /* its token_uri is allowed in tests only */
    f.o.allow_loopback_token_uri = true;
    start();
    CHECK_STR(gauth_source(f.g), "GOOGLE_APPLICATION_CREDENTIALS");
    CHECK_OK(gauth_project(f.g, &f.s.budget, &project, &err), err);
    CHECK_STR(project, "from-key");
    CHECK_INT(unlink(path), 0);
    CHECK_INT(gauth_open(&f.o, &g, NULL), ERR_NOT_FOUND);
    f.o.credentials_file = "/tmp";
    CHECK_INT(gauth_open(&f.o, &g, NULL), ERR_IO);
    stop();
}

/* The whole message of gauth_open. */
static const char *refusal(void)
{
    static struct err err;
    struct gauth *g;

    err = (struct err){ 0 };
    CHECK(gauth_open(&f.o, &g, &err));
    return err.msg;
}

TEST(gauth__names_the_setting_that_is_wrong)
{
    char path[] = "/tmp/test-gauth-XXXXXX";
    int fd = mkstemp(path);

    prepare();
    CHECK(fd >= 0 && write(fd, "CANARY!", 7) == 7 && close(fd) == 0);
    f.o.firebase_credentials = "CANARY!";
    f.o.credentials_file = "/there/is/no/such/file"; /* not used, as both are set */
    CHECK_STR(refusal(), "FIREBASE_CREDENTIALS: the text is neither JSON nor base64; it must be the JSON key of a service "
                         "account, or its base64");
    f.o.emulator[GAUTH_FIRESTORE] = f.o.emulator[GAUTH_STORAGE] = true; /* its project is wanted */
    CHECK(strstr(refusal(), "FIREBASE_CREDENTIALS: "));
    f.o.emulator[GAUTH_FIRESTORE] = f.o.emulator[GAUTH_STORAGE] = false;
    f.o.firebase_credentials = NULL;
    CHECK_STR(refusal(), "GOOGLE_APPLICATION_CREDENTIALS: /there/is/no/such/file cannot be opened: No such file or directory");
    f.o.credentials_file = path;
    CHECK_STR(refusal(), "GOOGLE_APPLICATION_CREDENTIALS: the text is neither JSON nor base64; it must be the JSON key of a "
                         "service account, or its base64");
    CHECK_INT(unlink(path), 0);
    CHECK_INT(mkfifo(path, 0600), 0); /* nobody ever writes into it */
    CHECK(strstr(refusal(), " cannot be read: is it a file?"));
    CHECK_INT(unlink(path), 0);
    f.o.credentials_file = "/dev/zero";
    CHECK(strstr(refusal(), "/dev/zero cannot be read: is it a file?"));
    f.o.credentials_file = account(); /* the key itself, where a path belongs */
    CHECK_STR(refusal(), "GOOGLE_APPLICATION_CREDENTIALS: the value is not the path of a file, without blanks, quotes or line "
                         "breaks around it; a key itself belongs in FIREBASE_CREDENTIALS");
    stop();
}

TEST(gauth__says_that_there_is_no_metadata_server)
{
    static const struct {
        const char *host, *why, *want;
    } cases[] = {
        { NULL, "http: GET http://metadata.google.internal: Could not resolve host: metadata.google.internal",
          "metadata server: metadata.google.internal does not resolve: this is not Cloud Run; set FIREBASE_CREDENTIALS to the "
          "JSON key of a service account, or GOOGLE_APPLICATION_CREDENTIALS to its path" },
        { NULL, "http: GET http://metadata.google.internal: Failed to connect",
          "metadata server: metadata.google.internal cannot be reached: is this Cloud Run? If not, set FIREBASE_CREDENTIALS to "
          "the JSON key of a service account, or GOOGLE_APPLICATION_CREDENTIALS to its path" },
        { "127.0.0.1:9", "http: GET http://127.0.0.1:9: Connection refused",
          "metadata server: scripted: http: GET http://127.0.0.1:9: Connection refused; is GCE_METADATA_HOST right?" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *value;
        struct err err = { 0 };

        prepare();
        f.o.metadata_host = cases[i].host;
        start();
        for (int n = 0; n < 10; n++)
            script_will(&f.s, (struct script_reply){ .rc = ERR_UNAVAILABLE, .why = cases[i].why });
        CHECK_INT(gauth_header(f.g, GAUTH_FIRESTORE, &f.s.budget, &f.a, &value, &err), ERR_UNAVAILABLE);
        CHECK_STR(err.msg, cases[i].want);
        CHECK(!strstr(err.msg, "deleted"));
        err = (struct err){ 0 };
        CHECK_INT(gauth_project(f.g, &f.s.budget, &value, &err), ERR_UNAVAILABLE);
        CHECK(strstr(err.msg, cases[i].want) == err.msg && strstr(err.msg, "GOOGLE_CLOUD_PROJECT"));
        stop();
    }
}

TEST(gauth__finds_the_project)
{
    struct err err = { 0 };
    const char *project;
    struct gauth *g;

    prepare();
    start();
    script_will(&f.s, (struct script_reply){ .status = 503 });
    will_give("my-project");
    CHECK_OK(gauth_project(f.g, &f.s.budget, &project, &err), err);
    CHECK_STR(project, "my-project");
    CHECK_STR(f.s.requests[1].url, "http://metadata.google.internal/computeMetadata/v1/project/project-id");
    CHECK_OK(gauth_project(f.g, &f.s.budget, &project, &err), err);
    CHECK_INT(f.s.n_requests, 2);
    gauth_close(f.g);
    start();
    will_give("no/project");
    CHECK_INT(gauth_project(f.g, &f.s.budget, &project, NULL), ERR_PROTOCOL);
    gauth_close(f.g);
    f.o.project = "given";
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = true;
    start();
    CHECK_OK(gauth_project(f.g, &f.s.budget, &project, &err), err);
    CHECK_STR(project, "given");
    f.o.project = "a b";
    CHECK_INT(gauth_open(&f.o, &g, NULL), ERR_INVALID);
    stop();
}

/* ---- many threads ---- */

static int answers_given;

static struct script_reply slow_answer(void *ctx, const struct script_request *req)
{
    (void)ctx, (void)req;
    (void)usleep(50000);
    __atomic_add_fetch(&answers_given, 1, __ATOMIC_RELAXED);
    return (struct script_reply){ .status = 200,
                                  .body = SPAN(TOKEN("t", "3599")),
                                  .headers = { { "metadata-flavor", "Google" } } };
}

static void *get_header(void *arg)
{
    struct arena a = { 0 };
    const char *value = NULL;

    *(int *)arg = !arena_init(&a, 1 << 16, NULL) && !gauth_header(f.g, GAUTH_STORAGE, &f.s.budget, &a, &value, NULL) &&
                  strcmp(value, "Bearer t") == 0;
    arena_done(&a);
    return NULL;
}

TEST(gauth__fetches_once_for_many_threads)
{
    pthread_t threads[8];
    int good[8];

    prepare();
    start();
    answers_given = 0;
    f.s.handle = slow_answer;
    for (int i = 0; i < 8; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, get_header, &good[i]), 0);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
        CHECK(good[i]);
    }
    CHECK_INT(answers_given, 1);
    stop();
}

/* A server that answers once the test sets `may_answer`. */
static _Atomic bool is_asked, may_answer;

static struct script_reply late_answer(void *ctx, const struct script_request *req)
{
    is_asked = true;
    while (!may_answer)
        (void)usleep(1000);
    return slow_answer(ctx, req);
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

TEST(gauth__waits_for_another_thread_no_longer_than_its_own_call_may_take)
{
    struct budget cancelled, late;
    const char *value = NULL;
    pthread_t first, second;
    int good[2];

    prepare();
    start();
    is_asked = may_answer = false;
    f.s.handle = late_answer;
    cancelled = late = f.s.budget;
    cancelled.cancelled = always;
    late.deadline_mono_ms = sys_mono_ms(&f.s.sys);
    CHECK_INT(pthread_create(&first, NULL, get_header, &good[0]), 0);
    while (!is_asked)
        (void)usleep(1000);
    CHECK_INT(gauth_header(f.g, GAUTH_STORAGE, &cancelled, &f.a, &value, NULL), ERR_CANCELLED);
    CHECK_INT(gauth_header(f.g, GAUTH_STORAGE, &late, &f.a, &value, NULL), ERR_DEADLINE);
    CHECK_INT(pthread_create(&second, NULL, get_header, &good[1]), 0);
    may_answer = true;
    CHECK(pthread_join(first, NULL) == 0 && pthread_join(second, NULL) == 0);
    CHECK(good[0] && good[1]);
    stop();
}

/* The claims of the token that is signed with a key. */
static const char *signed_claims(bool uses_pubsub, bool pubsub_emulator)
{
    static char claims[2000];
    const char *value, *from;
    size_t n = 0;

    prepare();
    f.o.firebase_credentials = account();
    f.o.allow_loopback_token_uri = true;
    f.o.uses_pubsub = uses_pubsub;
    f.o.emulator[GAUTH_PUBSUB] = pubsub_emulator;
    start();
    CHECK_INT(header(&value), ERR_OK);
    from = strchr(value, '.') + 1;
    CHECK(!base64_decode((struct span){ from, strcspn(from, ".") }, BASE64_URL | BASE64_NO_PADDING, claims, sizeof claims - 1, &n,
                         NULL));
    claims[n] = 0;
    stop();
    return claims;
}

TEST(gauth__asks_for_the_scope_of_pubsub_only_where_pubsub_is_used)
{
    CHECK(strstr(signed_claims(false, false), "auth/datastore https://www.googleapis.com/auth/devstorage.read_write\""));
    CHECK(strstr(signed_claims(true, true), "auth/devstorage.read_write\""));
    CHECK(strstr(signed_claims(true, false), "auth/devstorage.read_write https://www.googleapis.com/auth/pubsub\""));
}

TEST(gauth__sends_no_token_to_the_emulator_of_pubsub_and_reads_a_key_where_it_has_none)
{
    const char *value = "untouched";

    prepare();
    f.o = (struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys, .project = "demo", .uses_pubsub = true,
                                  .emulator = { true, true, true } };
    start();
    CHECK_STR(gauth_source(f.g), "emulator");
    CHECK(!gauth_header(f.g, GAUTH_PUBSUB, &f.s.budget, &f.a, &value, NULL));
    CHECK(!value);
    stop();
    prepare();
    f.o = (struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys, .project = "demo", .uses_pubsub = true,
                                  .emulator = { true, true, false }, .allow_loopback_token_uri = true };
    f.o.firebase_credentials = account();
    start();
    CHECK_STR(gauth_source(f.g), "FIREBASE_CREDENTIALS");
    CHECK(!gauth_header(f.g, GAUTH_PUBSUB, &f.s.budget, &f.a, &value, NULL));
    CHECK(value && strncmp(value, "Bearer eyJ", 10) == 0);
    stop();
}
