/* The thread that asks the cloud; what it asks is in test_access.c, an outage later in the integration tests. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/script.h"
#include "worker/serve/cloud_check.h"

#define DOCUMENT "projects/demo/databases/(default)/documents/users/inpaint-worker/sessions/probe"
#define GRANTED \
    "{\"permissions\":[\"storage.objects.get\",\"storage.objects.create\",\"storage.objects.delete\"]}"

static struct {
    struct script s;
    struct gauth *g;
    struct firestore fs;
    struct storage st;
    struct arena a;
    struct cloud_check c;
    const char *bucket;
    atomic_int n_connects, n_holds, n_losses, n_storms; /* n_storms: answers that are 503 */
    atomic_int n_questions;
    _Atomic bool refuses, held, slow;
} f;

static enum err_code connect_services(void *ctx, const char *project, struct err *err)
{
    (void)ctx;
    f.n_connects++;
    TRY(firestore_init(&f.fs, &(struct firestore_options){ .http = &f.s.http, .gauth = f.g, .project = project,
                                                           .emulator_host = "127.0.0.1:1" },
                       &f.a, err));
    return storage_init(&f.st, &(struct storage_options){ .http = &f.s.http, .gauth = f.g, .sys = &f.s.sys,
                                                          .bucket = f.bucket, .emulator_host = "127.0.0.1:2" },
                        &f.a, err);
}

static void changed(void *ctx, bool holds)
{
    (void)ctx;
    if (holds)
        f.n_holds++;
    else
        f.n_losses++;
}

static void hold(void *ctx, bool held)
{
    (void)ctx;
    f.held = held;
}

static struct script_reply answer(void *ctx, const struct script_request *req)
{
    (void)ctx;
    f.n_questions++;
    while (f.slow)
        (void)usleep(1000);
    if (f.n_storms > 0) {
        f.n_storms--;
        return (struct script_reply){ .status = 503 };
    }
    if (strstr(req->url, "computeMetadata"))
        return (struct script_reply){ .status = 404 };
    if (strstr(req->url, "testIamPermissions"))
        return strstr(req->url, "firebasestorage") || f.refuses
                   ? (struct script_reply){ .status = 404, .body = SPAN("{\"error\":{\"message\":\"The specified bucket "
                                                                        "does not exist.\"}}") }
                   : (struct script_reply){ .status = 200, .body = SPAN(GRANTED) };
    return (struct script_reply){ .status = 404, .body = SPAN("{\"error\":{\"message\":\"Document " DOCUMENT
                                                              " not found.\"}}") };
}

static void start(const char *project, const char *bucket)
{
    const struct cloud_check_options o = { .http = &f.s.http, .gauth = NULL, .firestore = &f.fs, .storage = &f.st,
                                           .database = "(default)", .sys = &f.s.sys, .connect = connect_services,
                                           .changed = changed, .hold = hold };
    struct err err = { 0 };

    memset(&f.fs, 0, sizeof f.fs);
    memset(&f.st, 0, sizeof f.st);
    f.n_connects = f.n_holds = f.n_losses = f.n_questions = 0;
    f.held = true;
    f.bucket = bucket;
    script_init(&f.s);
    f.s.handle = answer;
    CHECK_OK(arena_init(&f.a, 1 << 20, &err), err);
    CHECK_OK(gauth_open(&(struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys, .project = project,
                                                 .emulator = { true, true } },
                        &f.g, &err), err);
    CHECK_OK(cloud_check_init(&f.c, &o, &err), err);
    f.c.o.gauth = f.g;
    CHECK_INT(cloud_check_state(&f.c, (char[ACCESS_REASON_SIZE]){ 0 }), CLOUD_ASKING);
    CHECK_OK(cloud_check_start(&f.c, &err), err);
}

static void stop(void)
{
    CHECK(cloud_check_stop(&f.c, 5000));
    CHECK_INT(pthread_mutex_trylock(&f.c.lock), 0); /* a job that still runs may have a doubt */
    (void)pthread_mutex_unlock(&f.c.lock);
    cloud_check_done(&f.c);
    f.refuses = false;
    gauth_close(f.g);
    arena_done(&f.a);
    script_done(&f.s);
}

/* The reason, once the state is `wanted`. */
static const char *until(enum cloud_state wanted)
{
    static char reason[ACCESS_REASON_SIZE];

    for (int i = 0; i < 5000 && cloud_check_state(&f.c, reason) != wanted; i++)
        (void)usleep(1000);
    CHECK_INT(cloud_check_state(&f.c, reason), wanted);
    return reason;
}

/* The owner is told after the state has changed, which the tests see first. */
static void until_told(const atomic_int *n, int wanted)
{
    for (int i = 0; i < 5000 && *n != wanted; i++)
        (void)usleep(1000);
    CHECK_INT(*n, wanted);
}

TEST(cloud_check__holds_once_everything_is_granted)
{
    start("demo", "bkt");
    CHECK_STR(until(CLOUD_HOLDS), "");
    CHECK(cloud_check_has_database(&f.c));
    until_told(&f.n_holds, 1);
    stop(); /* the thread waits for a doubt, and ends at once */
    CHECK_INT(f.n_connects, 1);
    CHECK_INT(f.n_holds, 1);
    CHECK_INT(f.n_losses, 0);
}

TEST(cloud_check__finds_the_bucket_of_the_project)
{
    start("demo", NULL);
    (void)until(CLOUD_HOLDS);
    CHECK_STR(f.st.bucket, "demo.appspot.com");
    stop();
}

TEST(cloud_check__a_refusal_is_told_and_waits)
{
    f.refuses = true;
    start("demo", "bkt");
    CHECK(strstr(until(CLOUD_REFUSED), "the bucket bkt does not exist"));
    CHECK(cloud_check_has_database(&f.c));
    stop();
    CHECK_INT(f.n_holds, 0);
}

TEST(cloud_check__what_may_pass_is_asked_again_by_itself)
{
    f.n_storms = 2; /* both tries of the first question */
    start("demo", "bkt");
    CHECK(strstr(until(CLOUD_WAITING), "HTTP 503"));
    (void)until(CLOUD_HOLDS);
    until_told(&f.n_holds, 1);
    stop();
}

TEST(cloud_check__without_a_project_nothing_is_asked)
{
    start(NULL, "bkt");
    CHECK(strstr(until(CLOUD_REFUSED), "metadata server: HTTP 404"));
    CHECK(!cloud_check_has_database(&f.c));
    stop();
    CHECK_INT(f.n_connects, 0);
}

/* A perimeter gives each refusal a name of its own, and what refuses may also be silent between. */
TEST(cloud_check__trouble_that_goes_on_is_told_every_ten_minutes)
{
    static const struct {
        int at_s;
        enum access_verdict verdict;
        const char *remedy;
        bool tells;
    } cases[] = {
        { 0, ACCESS_REFUSED, "grant", true },   { 30, ACCESS_REFUSED, "grant", false },
        { 60, ACCESS_UNSURE, "wait", true },    { 61, ACCESS_UNSURE, "another", false },
        { 90, ACCESS_REFUSED, "grant", false }, { 120, ACCESS_REFUSED, "create", true },
        { 121, ACCESS_UNSURE, "wait", false },  { 661, ACCESS_UNSURE, "wait", true },
        { 662, ACCESS_REFUSED, "create", false }, { 721, ACCESS_REFUSED, "create", true },
    };
    struct cloud_told told = { .at_ms = { 0 } };
    struct access_answer answer = { 0 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer.verdict = cases[i].verdict;
        (void)snprintf(answer.reason, sizeof answer.reason, "refusal %zu", i);
        (void)snprintf(answer.remedy, sizeof answer.remedy, "%s", cases[i].remedy);
        CHECK_INT(cloud_check_tells(&told, &answer, cases[i].at_s * INT64_C(1000)), cases[i].tells);
    }
}

static void until_held_is(bool wanted)
{
    for (int i = 0; i < 5000 && f.held != wanted; i++)
        (void)usleep(1000);
    CHECK(f.held == wanted);
}

/* Else a job that waits would be claimed between the doubt and its answer, and lose an attempt. */
TEST(cloud_check__holds_jobs_back_from_a_doubt_on_until_it_is_answered)
{
    int before;

    start("demo", "bkt");
    (void)until(CLOUD_HOLDS);
    until_held_is(false);
    before = f.n_questions;
    f.slow = true;
    cloud_check_doubt(&f.c);
    CHECK(f.held);
    CHECK_INT(cloud_check_state(&f.c, (char[ACCESS_REASON_SIZE]){ 0 }), CLOUD_HOLDS); /* a doubt is no answer: /ready stays as it is */
    f.slow = false;
    until_held_is(false);
    CHECK(f.n_questions > before);
    f.refuses = true;
    cloud_check_doubt(&f.c);
    (void)until(CLOUD_REFUSED);
    CHECK(f.held);
    until_told(&f.n_losses, 1);
    stop();
}

TEST(cloud_check__stops_before_it_has_begun)
{
    struct err err = { 0 };

    CHECK_OK(cloud_check_init(&f.c, &(struct cloud_check_options){ .sys = &sys_real }, &err), err);
    CHECK(cloud_check_stop(&f.c, 0));
}
