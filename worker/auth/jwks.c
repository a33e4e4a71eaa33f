#include "worker/auth/jwks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "worker/base/crypto.h"
#include "worker/base/members.h"
#include "worker/base/names.h"
#include "worker/base/wait.h"

enum {
    LIFETIME_MIN_MS = 5 * 60 * 1000,
    LIFETIME_MAX_MS = 24 * 3600 * 1000,
    STALE_MS = 24 * 3600 * 1000, /* how long past its lifetime a set still serves while no new one can be fetched */
    KID_REFRESH_MS = 60 * 1000,  /* unknown kids start at most one fetch in this time: a sender can make them up */
    RETRY_STALE_MS = 60 * 1000,  /* pause after a fetch that failed while there is an old set to serve */
    RETRY_EMPTY_MS = 1000,       /* the same pause while there is no set */
    WAIT_FOR_FETCH_MS = 5000
};

static const struct retry_policy policy = { .base_ms = 500, .cap_ms = 4000, .tries = 3, .call_timeout_ms = 5000 };

struct jwk {
    char kid[JWKS_KID_MAX + 1];
    struct libjwt_key *key;
    bool doubtful; /* another key has the same kid, or this key failed its check */
};

struct key_set {
    struct jwk keys[JWKS_KEYS_MAX];
    int n;
};

struct jwks {
    struct http *http;
    const struct sys *sys;
    const char *url;

    pthread_mutex_t lock;
    pthread_cond_t fetch_ended; /* successfully or not */
    struct key_set set;
    int64_t fresh_until_ms, stale_until_ms; /* monotonic; 0 before the first set */
    int64_t no_fetch_before_ms;             /* after a failure */
    int64_t no_kid_fetch_before_ms;
    bool fetching;
};

/* ---- the answer ---- */

static void set_done(struct key_set *set)
{
    for (int i = 0; i < set->n; i++)
        libjwt_key_free(set->keys[i].key);
    set->n = 0;
}

bool jwks_is_kid(const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if (!base64_is_url(text[i]))
            return false;
    return n >= 1 && n <= JWKS_KID_MAX;
}

static bool text_is(const struct member *m, const char *want)
{
    char text[16];

    return member_text(m, text, sizeof text) && strcmp(text, want) == 0;
}

/* Decodes a base64url number of a JWK; an empty span if the member is not such a number. */
static struct span number_of(const struct member *m, char *buf, size_t size)
{
    char text[CRYPTO_RSA_MAX_BITS / 6 + 16];
    size_t n;

    if (!member_text(m, text, sizeof text) ||
        base64_decode(span_of(text), BASE64_URL | BASE64_NO_PADDING, buf, size, &n, NULL))
        return (struct span){ buf, 0 };
    return (struct span){ buf, n };
}

static enum err_code add_key(struct key_set *set, struct span object, struct err *err)
{
    enum { KTY, USE, ALG, KID, N_, E_, COUNT };
    struct member m[COUNT] = { { .name = "kty" }, { .name = "use" }, { .name = "alg" },
                               { .name = "kid" }, { .name = "n" },   { .name = "e" } };
    char n[CRYPTO_RSA_MAX_BITS / 8 + 8], e[16];
    struct jwk jwk = { .key = NULL };

    if (members_read(object, m, COUNT, NULL) || !text_is(&m[KTY], "RSA") || (m[USE].type && !text_is(&m[USE], "sig")) ||
        (m[ALG].type && !text_is(&m[ALG], "RS256")) || !member_text(&m[KID], jwk.kid, sizeof jwk.kid) ||
        !jwks_is_kid(jwk.kid))
        return ERR_OK; /* a valid key of a kind that signs no push tokens */
    if (set->n == JWKS_KEYS_MAX)
        return err_set(err, ERR_PROTOCOL, "jwks: more than %d keys", JWKS_KEYS_MAX);
    jwk.doubtful = libjwt_key_public(number_of(&m[N_], n, sizeof n), number_of(&m[E_], e, sizeof e), &jwk.key, NULL);
    for (int i = 0; i < set->n; i++)
        if (strcmp(set->keys[i].kid, jwk.kid) == 0)
            set->keys[i].doubtful = jwk.doubtful = true;
    set->keys[set->n++] = jwk;
    return ERR_OK;
}

static void drop_doubtful(struct key_set *set)
{
    int kept = 0;

    for (int i = 0; i < set->n; i++) {
        if (set->keys[i].doubtful)
            libjwt_key_free(set->keys[i].key);
        else
            set->keys[kept++] = set->keys[i];
    }
    set->n = kept;
}

static enum err_code add_keys(struct span body, struct key_set *set, struct err *err)
{
    struct member keys = { .name = "keys" };
    enum json_event type;
    struct span element;
    size_t at = 0;

    TRY(members_parse(body, JWKS_DEPTH_MAX, "jwks", &keys, 1, err));
    while (members_next(keys.raw, &at, &type, &element))
        if (type == JSON_OBJECT)
            TRY(add_key(set, element, err));
    drop_doubtful(set);
    if (set->n == 0)
        return err_set(err, ERR_PROTOCOL, "jwks: no usable key in the answer");
    return ERR_OK;
}

/* `set` is empty on entry, and empty again on failure. */
static enum err_code read_set(struct span body, struct key_set *set, struct err *err)
{
    enum err_code rc = add_keys(body, set, err);

    if (rc)
        set_done(set);
    return rc;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Decimal seconds at the start of a text, about 10^7 at most, far beyond LIFETIME_MAX_MS; -1: no digit. */
static int64_t seconds_of(const char *text)
{
    int64_t s = 0;

    if (!text || !is_digit(*text))
        return -1;
    for (; is_digit(*text); text++)
        s = s < 1000000 ? s * 10 + (*text - '0') : s;
    return s;
}

/* The seconds of the directive max-age (not s-maxage) in a Cache-Control header; -1: absent. */
static int64_t max_age(const char *cache_control)
{
    for (const char *p = cache_control; p && *p; p += strcspn(p, ","), p += *p == ',') {
        p += strspn(p, " \t");
        if (strncasecmp(p, "max-age=", 8) == 0)
            return seconds_of(p + 8 + (p[8] == '"'));
    }
    return -1;
}

static int64_t lifetime_ms(const struct http_reply *reply)
{
    int64_t age = seconds_of(http_reply_header(reply, "age"));
    int64_t ms = (max_age(http_reply_header(reply, "cache-control")) - (age > 0 ? age : 0)) * 1000;

    return ms < LIFETIME_MIN_MS ? LIFETIME_MIN_MS : ms > LIFETIME_MAX_MS ? LIFETIME_MAX_MS : ms;
}

/* ---- fetching ---- */

/* The result of one try, or what the next try has to know. */
struct answer {
    struct key_set set;
    int64_t lifetime_ms;
    bool may_pass; /* the failure is transient: another try may succeed */
    int64_t retry_after_ms;
};

static enum err_code get_once(const struct jwks *j, const struct budget *b, struct arena *a, struct answer *answer,
                              struct err *err)
{
    struct http_request req = { .method = "GET",
                                .url = j->url,
                                .timeout_ms = policy.call_timeout_ms,
                                .max_reply_bytes = JWKS_BODY_MAX,
                                .allow_plain = is_loopback_url(j->url),
                                .budget = b };
    struct http_reply reply = { 0 };
    enum err_code rc = http_send(j->http, &req, a, &reply, err);

    *answer = (struct answer){ .may_pass = rc == ERR_UNAVAILABLE || rc == ERR_UNKNOWN_OUTCOME };
    if (rc)
        return rc;
    if (reply.status != 200) {
        answer->may_pass = http_status_is_transient(reply.status);
        answer->retry_after_ms = http_retry_after_ms(&reply, j->sys);
        return err_set(err, ERR_UNAVAILABLE, "jwks: HTTP %d instead of the issuer's keys", reply.status);
    }
    answer->lifetime_ms = lifetime_ms(&reply);
    return read_set(reply.body, &answer->set, err);
}

static enum err_code fetch(const struct jwks *j, const struct budget *b, struct answer *ret, struct err *err)
{
    struct arena a = { 0 };
    struct err why = { 0 };
    enum err_code rc = arena_init(&a, 4 * JWKS_BODY_MAX, err);

    if (rc)
        return rc;
    for (int n = 0; n < policy.tries; n++) {
        ARENA_SCRATCH(&a);

        if (n && retry_wait(b, &policy, n, ret->retry_after_ms, NULL))
            break; /* no time for more: the last failure is the result */
        why = (struct err){ 0 };
        rc = get_once(j, b, &a, ret, &why);
        if (!rc || !ret->may_pass)
            break;
    }
    arena_done(&a);
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

/* The lock is held on entry and on return, and released while the request is on its way. */
static enum err_code refresh(struct jwks *j, const struct budget *b, struct err *err)
{
    struct answer answer = { .may_pass = false };
    enum err_code rc;
    int64_t now;

    j->fetching = true;
    (void)pthread_mutex_unlock(&j->lock);
    rc = fetch(j, b, &answer, err);
    (void)pthread_mutex_lock(&j->lock);
    now = sys_mono_ms(j->sys);
    if (rc) {
        j->no_fetch_before_ms = now + (j->set.n && now < j->stale_until_ms ? RETRY_STALE_MS : RETRY_EMPTY_MS);
    } else {
        set_done(&j->set);
        j->set = answer.set;
        j->fresh_until_ms = now + answer.lifetime_ms;
        j->stale_until_ms = j->fresh_until_ms + STALE_MS;
    }
    j->fetching = false;
    (void)pthread_cond_broadcast(&j->fetch_ended);
    return rc;
}

/* Waits, for WAIT_FOR_FETCH_MS at most, until the fetch of another thread has ended. */
static void wait_for_fetch(struct jwks *j)
{
    struct timespec until = wait_deadline(WAIT_FOR_FETCH_MS);

    while (j->fetching && wait_until(&j->fetch_ended, &j->lock, &until))
        ;
}

/* ---- looking up ---- */

static bool is_usable(const struct jwks *j)
{
    return j->set.n && sys_mono_ms(j->sys) < j->stale_until_ms;
}

static struct libjwt_key *lookup(const struct jwks *j, const char *kid)
{
    if (is_usable(j))
        for (int i = 0; i < j->set.n; i++)
            if (strcmp(j->set.keys[i].kid, kid) == 0)
                return j->set.keys[i].key;
    return NULL;
}

/* Renews a set that is past its lifetime. true: the set is new, or another thread has just tried to renew it. */
static bool renew_if_due(struct jwks *j, const struct budget *b)
{
    int64_t now = sys_mono_ms(j->sys);

    if (j->set.n && now < j->fresh_until_ms)
        return false;
    if (!j->fetching)
        return now >= j->no_fetch_before_ms && !refresh(j, b, NULL);
    if (is_usable(j))
        return false; /* the old set serves until the other thread has fetched */
    wait_for_fetch(j);
    return true;
}

/* The kid is not in the set: the issuer may have rotated its keys. */
static void renew_for_kid(struct jwks *j, const struct budget *b)
{
    int64_t now = sys_mono_ms(j->sys);

    if (j->fetching) {
        wait_for_fetch(j);
    } else if (now >= j->no_kid_fetch_before_ms) {
        j->no_kid_fetch_before_ms = now + KID_REFRESH_MS;
        (void)!refresh(j, b, NULL);
    }
}

enum err_code jwks_find(struct jwks *j, const char *kid, const struct budget *budget, struct libjwt_key **ret_key,
                        struct err *err)
{
    struct libjwt_key *key;
    enum err_code rc = ERR_OK;
    bool is_new;

    (void)pthread_mutex_lock(&j->lock);
    is_new = renew_if_due(j, budget);
    key = lookup(j, kid);
    if (!key && !is_new && is_usable(j)) {
        renew_for_kid(j, budget);
        key = lookup(j, kid);
    }
    if (key)
        *ret_key = libjwt_key_ref(key);
    else if (is_usable(j))
        rc = err_set(err, ERR_NOT_FOUND, "jwks: no key with this kid");
    else
        rc = err_set(err, ERR_UNAVAILABLE, "jwks: the issuer's keys could not be fetched yet");
    (void)pthread_mutex_unlock(&j->lock);
    return rc;
}

/* ---- opening, prefetching, counting ---- */

enum err_code jwks_open(struct http *http, const struct sys *sys, const char *url, struct jwks **ret, struct err *err)
{
    struct jwks *j = calloc(1, sizeof *j);

    if (!j)
        return err_set(err, ERR_NOMEM, "jwks: no memory");
    j->http = http;
    j->sys = sys;
    j->url = url;
    j->no_fetch_before_ms = j->no_kid_fetch_before_ms = INT64_MIN;
    (void)pthread_mutex_init(&j->lock, NULL); /* on Linux neither this nor wait_cond_init can fail */
    (void)wait_cond_init(&j->fetch_ended);
    *ret = j;
    return ERR_OK;
}

void jwks_close(struct jwks *j)
{
    if (!j)
        return;
    set_done(&j->set);
    (void)pthread_cond_destroy(&j->fetch_ended);
    (void)pthread_mutex_destroy(&j->lock);
    free(j);
}

enum err_code jwks_prefetch(struct jwks *j, const struct budget *budget, struct err *err)
{
    enum err_code rc = ERR_OK;

    (void)pthread_mutex_lock(&j->lock);
    if (!j->fetching)
        rc = refresh(j, budget, err);
    (void)pthread_mutex_unlock(&j->lock);
    return rc;
}

int jwks_count(struct jwks *j, int64_t *ret_fresh_ms)
{
    int64_t left;
    int n;

    (void)pthread_mutex_lock(&j->lock);
    n = is_usable(j) ? j->set.n : 0;
    left = j->fresh_until_ms - sys_mono_ms(j->sys);
    (void)pthread_mutex_unlock(&j->lock);
    *ret_fresh_ms = n && left > 0 ? left : 0;
    return n;
}
