#include "worker/http/connections.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "worker/base/log.h"
#include "worker/base/wait.h"

enum { TICK_MAX_MS = 250, TICK_MIN_MS = 10, TICK_CROWDED_MS = 20, REPORT_EVERY_MS = 60000 };

static bool is_here(const struct connection *who)
{
    return who->fd >= 0 && !who->is_shut;
}

/* The owner of the socket, who polls it, sees its end, and cannot close it meanwhile: connections_leave takes the lock.
 */
static void shut(struct connection *who)
{
    who->is_shut = true;
    (void)shutdown(who->fd, SHUT_RDWR);
}

/* ---- room for newcomers ---- */

/* Clients of a lower rank are shut first. */
enum rank { KEEPS_WAITING, BETWEEN_REQUESTS, QUICK, UNTOUCHABLE };

static enum rank rank_of(const struct connection *who, int64_t now)
{
    switch (who->stage) {
    case CONNECTION_NEW:
        return KEEPS_WAITING;
    case CONNECTION_IDLE:
        return BETWEEN_REQUESTS;
    case CONNECTION_BODY:
    case CONNECTION_ANSWER:
        return now - who->since_ms > CONNECTIONS_SLOW_MS ? KEEPS_WAITING : QUICK;
    case CONNECTION_WORK:
    case CONNECTION_STAGES:
        break;
    }
    return UNTOUCHABLE;
}

/* How many are here; of one address, if one is given. */
static int count(const struct connections *c, const uint32_t *address)
{
    int n = 0;

    for (int i = 0; i < c->limits.places; i++)
        n += is_here(&c->places[i]) && (!address || c->places[i].address == *address);
    return n;
}

/* A newcomer has sent something that has not been read yet: it waits for the server. */
static bool is_unread(const struct connection *who)
{
    char byte;

    return who->stage == CONNECTION_NEW && recv(who->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Who asks again and again is always between two requests for a short time alone: that is no reason to be spared. */
static int64_t grace_from_ms(const struct connection *who)
{
    return who->stage == CONNECTION_IDLE ? who->came_ms : who->since_ms;
}

/* The one to be shut first; of one address, if one is given. NULL: there is none that may be shut now. */
static struct connection *slowest(const struct connections *c, int64_t now, const uint32_t *address)
{
    struct connection *worst = NULL;
    enum rank lowest = UNTOUCHABLE;

    for (int i = 0; i < c->limits.places; i++) {
        struct connection *who = &c->places[i];
        enum rank rank = rank_of(who, now);

        if (!is_here(who) || now - grace_from_ms(who) < CONNECTIONS_GRACE_MS || who->spared_ms == now ||
            (address && who->address != *address))
            continue;
        if (rank < lowest || (rank == lowest && worst && who->since_ms < worst->since_ms)) {
            worst = who;
            lowest = rank;
        }
    }
    return worst;
}

/* Shuts one to make room; of one address, if one is given. false: there is none that may be shut now. */
static bool make_room(struct connections *c, int64_t now, const uint32_t *address)
{
    struct connection *worst = slowest(c, now, address);

    while (worst && is_unread(worst)) {
        worst->spared_ms = now;
        worst = slowest(c, now, address);
    }
    if (!worst)
        return false;
    shut(worst);
    c->for_room++;
    return true;
}

/* Make room until there are not too many, of one address or in all. false: the rest must wait. */
static bool address_fits(struct connections *c, int64_t now, uint32_t address)
{
    while (count(c, &address) > c->limits.most_of_one)
        if (!make_room(c, now, &address))
            return false;
    return true;
}

static bool sum_fits(struct connections *c, int64_t now)
{
    while (count(c, NULL) > c->limits.most)
        if (!make_room(c, now, NULL))
            return false;
    return true;
}

/* As long as one address has too many, no other has to make room for it. */
static bool all_fit(struct connections *c, int64_t now)
{
    bool fit = true;

    for (int i = 0; i < c->limits.places; i++)
        if (is_here(&c->places[i]))
            fit = address_fits(c, now, c->places[i].address) && fit;
    return fit && sum_fits(c, now);
}

static struct connection *free_place(struct connections *c)
{
    for (int i = 0; i < c->limits.places; i++)
        if (c->places[i].fd < 0)
            return &c->places[i];
    return NULL;
}

struct connection *connections_enter(struct connections *c, int fd, uint32_t address)
{
    struct connection *who;

    (void)pthread_mutex_lock(&c->lock);
    who = free_place(c);
    if (who) {
        int64_t now = sys_mono_ms(c->sys);

        *who = (struct connection){ .fd = fd, .address = address, .came_ms = now, .since_ms = now };
        if (!c->is_crowded && !(address_fits(c, now, address) && sum_fits(c, now))) {
            c->is_crowded = true;
            (void)pthread_cond_signal(&c->changed);
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
    return who;
}

void connections_set_stage(struct connections *c, struct connection *who, enum connection_stage stage)
{
    (void)pthread_mutex_lock(&c->lock);
    who->stage = stage;
    who->is_at_end = false;
    who->since_ms = sys_mono_ms(c->sys);
    (void)pthread_mutex_unlock(&c->lock);
}

void connections_leave(struct connections *c, struct connection *who)
{
    if (!who)
        return;
    (void)pthread_mutex_lock(&c->lock);
    who->fd = -1;
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- total times ---- */

/* Whether nothing will come any more of what is awaited: the end was there at the last look, too, so what came before
 * it has been read and understood. */
static bool is_gone(struct connection *who)
{
    bool was_at_end = who->is_at_end;
    char byte;

    if (who->stage == CONNECTION_WORK || who->stage == CONNECTION_ANSWER)
        return false;
    who->is_at_end = recv(who->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    return was_at_end && who->is_at_end;
}

static void shut_slow(struct connections *c, int64_t now)
{
    for (int i = 0; i < c->limits.places; i++) {
        struct connection *who = &c->places[i];
        int64_t most = c->limits.ms[who->stage];

        if (!is_here(who))
            continue;
        if (most > 0 && now - who->since_ms > most) {
            shut(who);
            c->too_slow++;
        } else if (is_gone(who)) {
            shut(who);
        }
    }
}

static void report(struct connections *c, int64_t now)
{
    if (c->too_slow + c->for_room == 0 || now - c->reported_ms < REPORT_EVERY_MS)
        return;
    log_event(c->for_room ? LOG_WARNING : LOG_INFO, NULL, "slow connections were closed",
              log_int("tooSlow", c->too_slow), log_int("toMakeRoom", c->for_room), log_int("open", count(c, NULL)),
              log_end());
    c->too_slow = c->for_room = 0;
    c->reported_ms = now;
}

/* A quarter of the shortest total time. */
static int64_t tick_ms(const struct connections_limits *limits)
{
    int64_t tick = TICK_MAX_MS;

    for (int i = 0; i < CONNECTION_STAGES; i++)
        if (limits->ms[i] > 0 && limits->ms[i] / 4 < tick)
            tick = limits->ms[i] / 4;
    return tick < TICK_MIN_MS ? TICK_MIN_MS : tick;
}

static void *watch(void *arg)
{
    struct connections *c = arg;
    int64_t tick = tick_ms(&c->limits);

    (void)pthread_mutex_lock(&c->lock);
    while (!c->is_stopping) {
        struct timespec next = wait_deadline(c->is_crowded ? TICK_CROWDED_MS : tick);
        int64_t now;

        (void)wait_until(&c->changed, &c->lock, &next);
        now = sys_mono_ms(c->sys);
        shut_slow(c, now);
        if (c->is_crowded)
            c->is_crowded = !all_fit(c, now);
        report(c, now);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

enum err_code connections_start(struct connections *c, const struct connections_limits *limits, const struct sys *sys,
                                struct err *err)
{
    *c = (struct connections){ .limits = *limits, .sys = sys };
    c->reported_ms = sys_mono_ms(sys) - REPORT_EVERY_MS;
    c->places = calloc((size_t)c->limits.places, sizeof *c->places);
    if (!c->places)
        return err_set(err, ERR_NOMEM, "http server: no memory for %d connections", c->limits.places);
    for (int i = 0; i < c->limits.places; i++)
        c->places[i].fd = -1;
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)wait_cond_init(&c->changed);
    if (pthread_create(&c->watch, NULL, watch, c) == 0)
        return ERR_OK;
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
    free(c->places);
    return err_set(err, ERR_NOMEM, "http server: the thread that watches slow connections cannot be started");
}

void connections_stop(struct connections *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->is_stopping = true;
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_join(c->watch, NULL);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
    free(c->places);
}
