/* Rotation and the attacks on the key set: A24 of PROTOCOL.md 2.8; rules of PROTOCOL.md 2.3. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "test/support/fake/script.h"
#include "worker/auth/jwks.h"

#define HOURS(n) ((int64_t)(n) * 3600 * 1000)

struct fixture {
    struct script s;
    struct jwks *j;
};

static struct fixture f; /* too large for a stack; one test runs at a time */

static void start(void)
{
    struct err err = { 0 };

    script_init(&f.s);
    f.s.budget.deadline_mono_ms = INT64_MAX / 2;
    CHECK_OK(jwks_open(&f.s.http, &f.s.sys, "https://issuer.example/certs", &f.j, &err), err);
}

static void stop(void)
{
    jwks_close(f.j);
    script_done(&f.s);
}

/* A set of one key. The text is valid until the fourth call after this one. */
static struct span set_of(const char *kid, const struct test_key *k)
{
    static char text[4][4096];
    static int next;
    char *p = text[next++ % 4];

    (void)snprintf(
        p, 4096,
        "{\"keys\":[{\"kty\":\"RSA\",\"use\":\"sig\",\"alg\":\"RS256\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"}]}",
        kid, k->n, k->e);
    return span_of(p);
}

static struct script_reply good(const char *kid, const char *cache_control)
{
    struct script_reply r = { .status = 200, .body = set_of(kid, test_key(2048, 65537, 0)) };

    if (cache_control)
        r.headers[0] = (struct http_header){ "cache-control", cache_control };
    return r;
}

static enum err_code find(const char *kid)
{
    struct libjwt_key *key = NULL;
    enum err_code rc = jwks_find(f.j, kid, &f.s.budget, &key, NULL);

    CHECK((rc == ERR_OK) == (key != NULL));
    libjwt_key_free(key);
    return rc;
}

TEST(jwks__fetches_once_and_serves_from_memory)
{
    start();
    script_will(&f.s, good("a", "public, max-age=7200, must-revalidate"));
    CHECK_INT(find("a"), ERR_OK);
    script_pass(&f.s, HOURS(2) - 1);
    CHECK_INT(find("a"), ERR_OK);
    CHECK_INT(f.s.n_requests, 1);
    script_will(&f.s, good("b", NULL));
    script_pass(&f.s, 1);
    CHECK_INT(find("b"), ERR_OK);
    CHECK_INT(f.s.n_requests, 2);
    CHECK_INT(f.s.requests[0].timeout_ms, 5000);
    stop();
}

TEST(jwks__clamps_the_lifetime_and_counts_the_age)
{
    static const struct {
        const char *cache_control, *age;
        int64_t want_s;
    } cases[] = {
        { "public, max-age=7200", NULL, 7200 },
        { "public, max-age=7200", "1200", 6000 },
        { "max-age=10", NULL, 300 },
        { "max-age=999999999999999999999", NULL, 86400 },
        { "no-store", NULL, 300 },
        { NULL, NULL, 300 },
        { "s-maxage=7200", NULL, 300 },
        { "MAX-AGE=\"3600\"", NULL, 3600 },
        { "max-age=7200", "99999999999", 300 },
        { "max-age=x", "-5", 300 },
        { "public,max-age=7200,s-maxage=9", "x", 7200 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script_reply r = good("a", cases[i].cache_control);
        int64_t fresh;

        if (cases[i].age)
            r.headers[cases[i].cache_control ? 1 : 0] = (struct http_header){ "age", cases[i].age };
        start();
        script_will(&f.s, r);
        CHECK_INT(find("a"), ERR_OK);
        CHECK_INT(jwks_count(f.j, &fresh), 1);
        CHECK_INT(fresh, cases[i].want_s * 1000);
        stop();
    }
}

TEST(jwks__lets_unknown_kids_start_one_fetch_a_minute)
{
    struct err err = { 0 };

    start();
    script_will(&f.s, good("a", "max-age=86400"));
    CHECK_OK(jwks_prefetch(f.j, &f.s.budget, &err), err);
    for (int i = 0; i < 4; i++)
        script_will(&f.s, good("a", "max-age=86400"));
    for (int i = 0; i < 100; i++)
        CHECK_INT(find("made-up"), ERR_NOT_FOUND);
    CHECK_INT(f.s.n_requests, 2); /* the fetch at start does not count */
    CHECK_INT(find("a"), ERR_OK);
    script_pass(&f.s, 59999);
    CHECK_INT(find("made-up"), ERR_NOT_FOUND);
    CHECK_INT(f.s.n_requests, 2);
    script_pass(&f.s, 1);
    CHECK_INT(find("made-up"), ERR_NOT_FOUND);
    CHECK_INT(find("another"), ERR_NOT_FOUND);
    CHECK_INT(f.s.n_requests, 3);
    stop();
}

TEST(jwks__follows_a_rotation_at_once)
{
    start();
    script_will(&f.s, good("old", "max-age=86400"));
    CHECK_INT(find("old"), ERR_OK);
    script_will(&f.s, good("new", "max-age=86400"));
    CHECK_INT(find("new"), ERR_OK);
    CHECK_INT(find("old"), ERR_NOT_FOUND);
    CHECK_INT(f.s.n_requests, 2);
    stop();
}

TEST(jwks__serves_the_old_set_for_a_day_more_while_fetching_fails)
{
    start();
    script_will(&f.s, good("a", "max-age=3600"));
    CHECK_INT(find("a"), ERR_OK);
    script_pass(&f.s, HOURS(1));
    CHECK_INT(find("a"), ERR_OK); /* after three tries that failed */
    CHECK_INT(f.s.n_requests, 4);
    CHECK_INT(find("a"), ERR_OK);
    CHECK_INT(f.s.n_requests, 4); /* no fetch right after one that failed */
    script_pass(&f.s, 60000);
    CHECK_INT(find("a"), ERR_OK);
    CHECK_INT(f.s.n_requests, 7);
    script_pass(&f.s, HOURS(24));
    CHECK_INT(find("a"), ERR_UNAVAILABLE);
    script_will(&f.s, good("a", NULL));
    script_pass(&f.s, HOURS(1));
    CHECK_INT(find("a"), ERR_OK);
    stop();
}

TEST(jwks__is_unavailable_without_a_set_and_tries_again_soon)
{
    start();
    CHECK_INT(find("a"), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 3);
    CHECK_INT(find("a"), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 3);
    script_pass(&f.s, 1000);
    script_will(&f.s, good("a", NULL));
    CHECK_INT(find("a"), ERR_OK);
    stop();
}

TEST(jwks__keeps_the_old_set_when_the_answer_is_bad) /* A24 */
{
    static char huge[300 << 10];
    struct span cases[] = {
        SPAN("<html>hello</html>"),
        SPAN(""),
        SPAN("{\"keys\":[]}"),
        SPAN("{\"keys\":{}}"),
        SPAN("{}"),
        SPAN("[]"),
        SPAN("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"b\",\"n\":\"AQ"),
        SPAN("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"b\",\"n\":\"####\",\"e\":\"AQAB\"}]}"),
        SPAN("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"b\",\"n\":5,\"e\":\"AQAB\"}]}"),
        SPAN("{\"keys\":[1,null,\"x\",[]]}"),
        set_of("b", test_key(1024, 65537, 0)),
        { huge, sizeof huge },
    };

    memset(huge, ' ', sizeof huge);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        script_will(&f.s, good("a", "max-age=3600"));
        CHECK_INT(find("a"), ERR_OK);
        script_pass(&f.s, HOURS(1));
        script_will(&f.s, (struct script_reply){ .status = 200, .body = cases[i] });
        CHECK_INT(find("a"), ERR_OK);
        CHECK_INT(f.s.n_requests, 2);
        CHECK_INT(find("b"), ERR_NOT_FOUND);
        stop();
    }
}

TEST(jwks__retries_only_transient_failures)
{
    static const struct {
        struct script_reply reply;
        int requests;
    } cases[] = {
        { { .status = 500 }, 2 },
        { { .status = 429, .headers = { { "retry-after", "2" } } }, 2 },
        { { .status = 200, .body = { "{\"keys\":[", 9 }, .rc = ERR_UNKNOWN_OUTCOME }, 2 },
        { { .rc = ERR_UNAVAILABLE }, 2 },
        { { .rc = ERR_UNKNOWN_OUTCOME, .takes_ms = 5000 }, 2 }, /* as long as a call may take */
        { { .status = 302, .headers = { { "location", "https://evil.example/" } } }, 1 },
        { { .status = 404 }, 1 },
        { { .rc = ERR_TOO_LARGE }, 1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        script_will(&f.s, cases[i].reply);
        script_will(&f.s, good("a", NULL));
        CHECK_INT(find("a"), cases[i].requests == 2 ? ERR_OK : ERR_UNAVAILABLE);
        CHECK_INT(f.s.n_requests, cases[i].requests);
        if (i == 1)
            CHECK(f.s.slept_ms >= 2000);
        stop();
    }
}

TEST(jwks__keeps_only_sound_rsa_signature_keys)
{
    const struct test_key *k = test_key(2048, 65537, 0);
    static char text[32768];

    (void)snprintf(text, sizeof text,
                   "{\"more\":1,\"keys\":["
                   "{\"kty\":\"EC\",\"kid\":\"ec\",\"n\":\"%s\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"use\":\"enc\",\"kid\":\"enc\",\"n\":\"%s\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"alg\":\"RS512\",\"kid\":\"rs512\",\"n\":\"%s\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"kid\":\"e1\",\"n\":\"%s\",\"e\":\"AQ\"},"
                   "{\"kty\":\"RSA\",\"kid\":\"twice\",\"n\":\"%s\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"kid\":7,\"n\":\"%s\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"kid\":\"good\",\"n\":\"%s\",\"e\":\"AQAB\",\"x5c\":[\"?\"]},"
                   "{\"kty\":\"RSA\",\"kid\":\"twice\",\"n\":\"%s\",\"e\":\"AQAB\"}]}",
                   k->n, k->n, k->n, k->n, k->n, k->n, k->n, k->n, k->n);
    start();
    script_will(&f.s, (struct script_reply){ .status = 200, .body = span_of(text) });
    CHECK_INT(find("good"), ERR_OK);
    CHECK_INT(jwks_count(f.j, &(int64_t){ 0 }), 1);
    for (int i = 0; i < 9; i++)
        script_will(&f.s, (struct script_reply){ .status = 200, .body = span_of(text) });
    CHECK_INT(find("ec"), ERR_NOT_FOUND);
    CHECK_INT(find("twice"), ERR_NOT_FOUND);
    CHECK_INT(find("e1"), ERR_NOT_FOUND);
    CHECK_INT(find("enc"), ERR_NOT_FOUND);
    CHECK_INT(find("rs512"), ERR_NOT_FOUND);
    stop();
}

/* ---- many threads ---- */

static int answers_given;

static struct script_reply slow_answer(void *ctx, const struct script_request *req)
{
    (void)ctx, (void)req;
    (void)usleep(50000);
    __atomic_add_fetch(&answers_given, 1, __ATOMIC_RELAXED);
    return good("a", "max-age=3600");
}

static void *find_a(void *arg)
{
    *(enum err_code *)arg = find("a");
    return NULL;
}

TEST(jwks__fetches_once_for_many_threads)
{
    pthread_t threads[8];
    enum err_code rc[8];

    start();
    answers_given = 0;
    f.s.handle = slow_answer;
    (void)test_key(2048, 65537, 0);
    for (int i = 0; i < 8; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, find_a, &rc[i]), 0);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
        CHECK_INT(rc[i], ERR_OK);
    }
    CHECK_INT(answers_given, 1);
    stop();
}
