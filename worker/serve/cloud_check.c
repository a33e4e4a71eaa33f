#include "worker/serve/cloud_check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "worker/base/log.h"
#include "worker/base/wait.h"

enum {
    PART_BUDGET_MS = 20000,
    PACE_REFUSED_MS = 30000,
    PACE_UNSURE_MS = 1000, /* doubled each time */
    PACE_UNSURE_DOUBLINGS = 5,
    PACE_UNSURE_MAX_MS = 30000,
    DOUBT_PAUSE_MS = 2000,
    LOG_AGAIN_MS = 10 * 60 * 1000,
    ARENA_BYTES = 4 << 20
};

static const char *const part_names[CLOUD_PARTS] = { "project", "access token", "database",
                                                     "bucket",  "poison topic", "push keys" };

/* ---- the state ---- */

/* The part that stands in the way most. The lock is held. */
static enum cloud_state state_of(const struct cloud_check *c, int *ret_part)
{
    enum cloud_state state = CLOUD_HOLDS;

    for (int p = 0; p < CLOUD_PARTS; p++) {
        enum cloud_state s = !c->asked[p]                            ? CLOUD_ASKING
                             : c->parts[p].verdict == ACCESS_REFUSED ? CLOUD_REFUSED
                             : c->parts[p].verdict == ACCESS_UNSURE  ? CLOUD_WAITING
                                                                     : CLOUD_HOLDS;

        if (s > state) {
            state = s;
            *ret_part = p;
        }
    }
    return state;
}

enum cloud_state cloud_check_state(struct cloud_check *c, char reason[ACCESS_REASON_SIZE])
{
    enum cloud_state state;
    int part = 0;

    (void)pthread_mutex_lock(&c->lock);
    state = state_of(c, &part);
    (void)snprintf(reason, ACCESS_REASON_SIZE, "%s", state == CLOUD_HOLDS ? "" : c->parts[part].reason);
    (void)pthread_mutex_unlock(&c->lock);
    return state;
}

static bool is_granted(const struct cloud_check *c, enum cloud_part p)
{
    return c->asked[p] && c->parts[p].verdict == ACCESS_GRANTED;
}

bool cloud_check_has_database(struct cloud_check *c)
{
    bool ret;

    (void)pthread_mutex_lock(&c->lock);
    ret = is_granted(c, CLOUD_PROJECT) && is_granted(c, CLOUD_TOKEN) && is_granted(c, CLOUD_DATABASE);
    (void)pthread_mutex_unlock(&c->lock);
    return ret;
}

void cloud_check_doubt(struct cloud_check *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->doubted = true;
    c->o.hold(c->o.ctx, true);
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- the log ---- */

bool cloud_check_tells(struct cloud_told *told, const struct access_answer *trouble, int64_t now_ms)
{
    bool is_refused = trouble->verdict == ACCESS_REFUSED;
    int64_t *at_ms = &told->at_ms[is_refused];

    if (*at_ms && now_ms - *at_ms < LOG_AGAIN_MS && !(is_refused && strcmp(told->remedy, trouble->remedy) != 0))
        return false;
    *at_ms = now_ms ? now_ms : 1;
    if (is_refused)
        memcpy(told->remedy, trouble->remedy, sizeof told->remedy);
    return true;
}

static void log_trouble(struct cloud_check *c, enum cloud_part p)
{
    const struct access_answer *now = &c->parts[p];
    bool is_refused = now->verdict == ACCESS_REFUSED;

    if (!cloud_check_tells(&c->told[p], now, sys_mono_ms(c->o.sys)))
        return;
    log_event(is_refused ? LOG_ERROR : LOG_WARNING, NULL,
              is_refused ? "not ready: the cloud refuses what a job needs" : "not ready: the cloud does not answer yet",
              log_str("part", part_names[p]), log_str("reason", now->reason), log_str("remedy", now->remedy),
              log_end());
}

static void settle(struct cloud_check *c, enum cloud_part p, const struct access_answer *answer)
{
    (void)pthread_mutex_lock(&c->lock);
    c->parts[p] = *answer;
    c->asked[p] = true;
    (void)pthread_mutex_unlock(&c->lock);
    if (c->stop)
        return; /* a call that was cancelled says nothing about the cloud */
    if (answer->verdict != ACCESS_GRANTED) {
        log_trouble(c, p);
    } else if (c->told[p].at_ms[false] || c->told[p].at_ms[true]) {
        c->told[p] = (struct cloud_told){ .at_ms = { 0 } };
        log_event(LOG_NOTICE, NULL, "the cloud is mended", log_str("part", part_names[p]), log_end());
    }
}

/* ---- the parts ---- */

static void check_project(struct cloud_check *c, const struct budget *b, struct access_answer *ret)
{
    struct err err = { 0 };
    const char *project = NULL;
    enum err_code rc = gauth_project(c->o.gauth, b, &project, &err);

    if (!rc)
        rc = c->o.connect(c->o.ctx, project, &err);
    if (rc) {
        access_project(c->o.gauth, rc, err.msg, ret);
        return;
    }
    c->project = project;
    *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
}

static void check_bucket(struct cloud_check *c, const struct access *x, const struct budget *b, struct arena *a,
                         struct access_answer *ret)
{
    if (c->o.storage->bucket) {
        access_bucket(x, ACCESS_ASK, b, a, ret);
        return;
    }
    access_find_bucket(x, b, a, c->bucket, ret);
    if (ret->verdict != ACCESS_GRANTED)
        return;
    c->o.storage->bucket = c->bucket; /* no job runs yet: the queue opens when everything holds */
    log_event(LOG_NOTICE, NULL, "FIREBASE_STORAGE_BUCKET is not set: the bucket of the project is used",
              log_str("bucket", c->bucket), log_end());
}

static void check_topic(const struct cloud_check *c, const struct access *x, const struct budget *b, struct arena *a,
                        struct access_answer *ret)
{
    if (c->o.publisher)
        access_topic(x, c->o.publisher, b, a, ret);
    else
        *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
}

void cloud_check_keys(struct jwks *jwks, const struct budget *b, struct access_answer *ret)
{
    struct err err = { 0 }, why = { 0 };
    enum err_code rc = ERR_OK;

    if (!jwks_count(jwks, &(int64_t){ 0 }))
        rc = jwks_prefetch(jwks, b, &why);
    if (!rc && !jwks_count(jwks, &(int64_t){ 0 })) /* a push fetches them at this very moment */
        rc = err_set(&why, ERR_UNAVAILABLE, "jwks: the issuer's keys are not there yet");
    *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
    if (!rc)
        return;
    access_keys(err_set(&err, rc, "the keys of push tokens (OIDC_CERTS_URL): %s", why.msg), err.msg, ret);
}

static bool is_stopped(void *ctx)
{
    const struct cloud_check *c = ctx;

    return c->stop;
}

static void check_part(struct cloud_check *c, enum cloud_part p, struct arena *a)
{
    const struct budget b = { .sys = c->o.sys,
                              .deadline_mono_ms = sys_mono_ms(c->o.sys) + PART_BUDGET_MS,
                              .cancelled = is_stopped,
                              .cancel_ctx = c };
    const struct access x = { c->o.http, c->o.gauth, c->o.firestore, c->o.storage, c->project, c->o.database };
    struct access_answer answer = { 0 };
    const int64_t since_ms = sys_mono_ms(c->o.sys);
    ARENA_SCRATCH(a);

    switch (p) {
    case CLOUD_PROJECT:
        check_project(c, &b, &answer);
        break;
    case CLOUD_TOKEN:
        access_token(&x, &b, a, &answer);
        break;
    case CLOUD_DATABASE:
        access_database(&x, &b, a, &answer);
        break;
    case CLOUD_BUCKET:
        check_bucket(c, &x, &b, a, &answer);
        break;
    case CLOUD_TOPIC:
        check_topic(c, &x, &b, a, &answer);
        break;
    case CLOUD_KEYS:
    case CLOUD_PARTS:
        if (c->o.jwks)
            cloud_check_keys(c->o.jwks, &b, &answer);
        else
            answer.verdict = ACCESS_GRANTED;
        break;
    }
    c->took_ms[p] += sys_mono_ms(c->o.sys) - since_ms;
    settle(c, p, &answer);
}

/* ---- the thread ---- */

/* Whether a part can be asked for: without a project nothing can but the keys, and without a token no service. */
static bool is_askable(const struct cloud_check *c, enum cloud_part p)
{
    return p == CLOUD_PROJECT || p == CLOUD_KEYS ||
           (is_granted(c, CLOUD_PROJECT) && (p == CLOUD_TOKEN || is_granted(c, CLOUD_TOKEN)));
}

/* Asks for what is not granted, and for what a failed job makes doubtful. */
static void ask_all(struct cloud_check *c, struct arena *a)
{
    bool doubted;

    (void)pthread_mutex_lock(&c->lock);
    doubted = c->doubted;
    c->doubted = false;
    (void)pthread_mutex_unlock(&c->lock);
    for (int p = 0; p < CLOUD_PARTS && !c->stop; p++) {
        bool in_doubt = doubted && (p == CLOUD_TOKEN || p == CLOUD_DATABASE || p == CLOUD_BUCKET);

        if ((in_doubt || !is_granted(c, (enum cloud_part)p)) && is_askable(c, (enum cloud_part)p))
            check_part(c, (enum cloud_part)p, a);
    }
}

/* Tells the owner what holds now; returns how long to wait, 0: until a doubt. A doubt that came while the others were
 * asked for goes on holding. */
static int64_t conclude(struct cloud_check *c)
{
    enum cloud_state state;
    int64_t pace;
    int part = 0;

    (void)pthread_mutex_lock(&c->lock);
    state = state_of(c, &part);
    if (!c->stop)
        c->o.hold(c->o.ctx, state != CLOUD_HOLDS || c->doubted);
    (void)pthread_mutex_unlock(&c->lock);
    if (!c->stop && c->holds != (state == CLOUD_HOLDS)) {
        c->holds = !c->holds;
        c->o.changed(c->o.ctx, c->holds);
    }
    if (state == CLOUD_HOLDS) {
        c->n_rounds = 0;
        return 0;
    }
    if (state == CLOUD_REFUSED)
        return PACE_REFUSED_MS;
    pace = (int64_t)PACE_UNSURE_MS << (c->n_rounds < PACE_UNSURE_DOUBLINGS ? c->n_rounds : PACE_UNSURE_DOUBLINGS);
    c->n_rounds++;
    if (pace > PACE_UNSURE_MAX_MS)
        pace = PACE_UNSURE_MAX_MS;
    return pace / 2 + (int64_t)sys_random_below(c->o.sys, (uint64_t)pace / 2) + 1;
}

/* Until the time is up; 0: until a doubt, and DOUBT_PAUSE_MS at least. */
static void pause_for(struct cloud_check *c, int64_t ms)
{
    struct timespec until = wait_deadline(ms ? ms : DOUBT_PAUSE_MS);
    bool in_time = true;

    (void)pthread_mutex_lock(&c->lock);
    while (!c->stop && (in_time || (!ms && !c->doubted))) {
        if (in_time)
            in_time = wait_until(&c->wake, &c->lock, &until);
        else
            (void)pthread_cond_wait(&c->wake, &c->lock);
    }
    (void)pthread_mutex_unlock(&c->lock);
}

static void *run(void *arg)
{
    struct cloud_check *c = arg;
    struct arena a = { 0 };
    struct err err = { 0 };

    if (arena_init(&a, ARENA_BYTES, &err)) {
        log_event(LOG_CRITICAL, NULL, "the cloud cannot be asked", log_str("error", err.msg), log_end());
        return NULL;
    }
    while (!c->stop) {
        ask_all(c, &a);
        pause_for(c, conclude(c));
    }
    arena_done(&a);
    return NULL;
}

enum err_code cloud_check_init(struct cloud_check *c, const struct cloud_check_options *options, struct err *err)
{
    *c = (struct cloud_check){ .o = *options };
    if (pthread_mutex_init(&c->lock, NULL) || wait_cond_init(&c->wake))
        return err_set(err, ERR_NOMEM, "cloud check: no lock");
    return ERR_OK;
}

enum err_code cloud_check_start(struct cloud_check *c, struct err *err)
{
    if (pthread_create(&c->thread, NULL, run, c))
        return err_set(err, ERR_NOMEM, "the thread that asks the cloud cannot be started");
    c->started = true;
    return ERR_OK;
}

bool cloud_check_stop(struct cloud_check *c, int64_t within_ms)
{
    struct timespec until;

    if (!c->started)
        return true;
    (void)pthread_mutex_lock(&c->lock);
    c->stop = true;
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->lock);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += within_ms / 1000;
    until.tv_nsec += within_ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_timedjoin_np(c->thread, NULL, &until))
        return false;
    c->started = false;
    return true;
}

void cloud_check_done(struct cloud_check *c)
{
    (void)pthread_cond_destroy(&c->wake);
    (void)pthread_mutex_destroy(&c->lock);
}
