#include "worker/http/connections.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/support/check.h"

enum { MOST = 20, MOST_OF_ONE = 12, ADDRESSES = 3, GUESTS = MOST + 64, ROUNDS = 4000, WORKERS = 8 };

static _Atomic int64_t clock_ms = 1000000;

static int64_t mono_ms(void *ctx)
{
    (void)ctx;
    return clock_ms;
}

static const struct sys stopped_clock = { .mono_ms = mono_ms };
static struct connections c;

static void start(int64_t new_ms)
{
    const struct connections_limits limits = { MOST, MOST_OF_ONE, { [CONNECTION_NEW] = new_ms }, GUESTS };
    struct err err = { 0 };

    CHECK_OK(connections_start(&c, &limits, &stopped_clock, &err), err);
}

/* Waits until nobody must leave. */
static void settle(void)
{
    bool is_crowded = true;

    for (int i = 0; i < 2000 && is_crowded; i++) {
        (void)pthread_mutex_lock(&c.lock);
        is_crowded = c.is_crowded;
        (void)pthread_mutex_unlock(&c.lock);
        if (is_crowded)
            sys_sleep_ms(&sys_real, 1);
    }
    CHECK(!is_crowded);
}

static bool was_shut(const struct connection *who)
{
    bool is_shut;

    (void)pthread_mutex_lock(&c.lock);
    is_shut = who->is_shut;
    (void)pthread_mutex_unlock(&c.lock);
    return is_shut;
}

/* n guests, each from an address of its own. */
static void enter_all(struct connection *who[], int n)
{
    int null = open("/dev/null", O_RDONLY);

    for (int i = 0; i < n; i++)
        who[i] = connections_enter(&c, null, (uint32_t)i);
}

static int count_here(struct connection *const who[], int n)
{
    int here = 0;

    for (int i = 0; i < n; i++)
        here += !was_shut(who[i]);
    return here;
}

static void leave_all(void)
{
    for (int i = 0; i < c.limits.places; i++)
        connections_leave(&c, &c.places[i]);
    connections_stop(&c);
}

TEST(connections__the_slowest_leaves_first_and_a_worker_never)
{
    /* who leaves first: the older of those who keep the server waiting, then the longest idle, then young bodies */
    static const struct {
        enum connection_stage stage;
        int64_t age_ms;
    } in_order[] = {
        { CONNECTION_BODY, 9000 },   { CONNECTION_NEW, 8000 },   { CONNECTION_ANSWER, 7000 }, { CONNECTION_NEW, 300 },
        { CONNECTION_IDLE, 9500 },   { CONNECTION_IDLE, 200 },   { CONNECTION_BODY, 1900 },   { CONNECTION_ANSWER, 1800 },
        { CONNECTION_BODY, 150 },
    };
    enum { N = sizeof in_order / sizeof *in_order };
    struct connection *who[MOST];
    int null = open("/dev/null", O_RDONLY);

    start(0);
    for (int i = 0; i < MOST; i++) {
        who[i] = connections_enter(&c, null, (uint32_t)i);
        connections_set_stage(&c, who[i], i < N ? in_order[i].stage : CONNECTION_WORK);
        (void)pthread_mutex_lock(&c.lock);
        who[i]->since_ms -= i < N ? in_order[i].age_ms : 100000;
        (void)pthread_mutex_unlock(&c.lock);
    }
    clock_ms += CONNECTIONS_GRACE_MS;
    for (int i = 0; i < N; i++) {
        CHECK(!was_shut(who[i]));
        CHECK(connections_enter(&c, null, 1000 + (uint32_t)i)); /* younger than the grace */
        settle();
        CHECK(was_shut(who[i]));
    }
    for (int i = N; i < MOST; i++)
        CHECK(!was_shut(who[i]));
    leave_all();
}

TEST(connections__a_burst_waits_until_the_grace_is_over)
{
    struct connection *who[GUESTS];
    int null = open("/dev/null", O_RDONLY);

    start(0);
    enter_all(who, GUESTS);
    CHECK(!connections_enter(&c, null, 0));
    sys_sleep_ms(&sys_real, 60);
    CHECK_INT(count_here(who, GUESTS), GUESTS);
    clock_ms += CONNECTIONS_GRACE_MS;
    settle();
    CHECK_INT(count_here(who, GUESTS), MOST);
    leave_all();
}

TEST(connections__who_asks_again_and_again_makes_room_too)
{
    struct connection *who[MOST];
    int null = open("/dev/null", O_RDONLY);

    start(0);
    enter_all(who, MOST);
    clock_ms += CONNECTIONS_GRACE_MS;
    for (int i = 0; i < MOST; i++)
        connections_set_stage(&c, who[i], CONNECTION_IDLE);
    CHECK(connections_enter(&c, null, MOST));
    settle();
    CHECK_INT(count_here(who, MOST), MOST - 1);
    leave_all();
}

TEST(connections__a_newcomer_whose_bytes_are_unread_does_not_wait_in_vain)
{
    int null = open("/dev/null", O_RDONLY), pair[2];
    struct connection *unread, *silent;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "G", 1) == 1);
    start(0);
    unread = connections_enter(&c, pair[1], 0);
    silent = connections_enter(&c, null, 1);
    clock_ms += CONNECTIONS_GRACE_MS;
    for (int i = 2; i <= MOST; i++)
        CHECK(connections_enter(&c, null, (uint32_t)i));
    settle();
    CHECK(was_shut(silent) && !was_shut(unread));
    leave_all();
}

TEST(connections__who_is_just_being_answered_does_not_make_room)
{
    struct connection *who[MOST];
    int null = open("/dev/null", O_RDONLY);

    start(0);
    enter_all(who, MOST);
    clock_ms += CONNECTIONS_GRACE_MS;
    for (int i = 0; i < MOST; i++)
        connections_set_stage(&c, who[i], i ? CONNECTION_WORK : CONNECTION_ANSWER);
    CHECK(connections_enter(&c, null, MOST));
    sys_sleep_ms(&sys_real, 60);
    CHECK(!was_shut(who[0]));
    leave_all();
}

TEST(connections__a_total_time_ends_in_the_shutdown_of_the_socket)
{
    struct connection *who[2];
    int ends[2], other[2];
    char byte;

    start(40);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
    who[0] = connections_enter(&c, ends[0], 1);
    who[1] = connections_enter(&c, other[0], 1);
    connections_set_stage(&c, who[1], CONNECTION_WORK);
    clock_ms += 40;
    sys_sleep_ms(&sys_real, 50);
    CHECK(!was_shut(who[0]));
    clock_ms += 1;
    CHECK_INT(recv(ends[1], &byte, 1, 0), 0); /* waits for the end */
    clock_ms += 100000;
    sys_sleep_ms(&sys_real, 50);
    CHECK(!was_shut(who[1]));
    leave_all();
}

TEST(connections__a_client_that_is_gone_is_shut_unless_a_handler_works_for_it)
{
    static const enum connection_stage stages[] = { CONNECTION_NEW, CONNECTION_IDLE, CONNECTION_BODY, CONNECTION_WORK,
                                                    CONNECTION_ANSWER };
    struct connection *who[CONNECTION_STAGES + 1];
    int ends[2];

    start(40);
    for (int i = 0; i <= CONNECTION_STAGES; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        who[i] = connections_enter(&c, ends[0], 1);
        connections_set_stage(&c, who[i], i < CONNECTION_STAGES ? stages[i] : CONNECTION_IDLE);
        if (i == CONNECTION_STAGES)
            CHECK(write(ends[1], "x", 1) == 1); /* not read yet */
        (void)shutdown(ends[1], SHUT_WR);
    }
    sys_sleep_ms(&sys_real, 100);
    for (int i = 0; i <= CONNECTION_STAGES; i++)
        CHECK_INT(was_shut(who[i]), i < CONNECTION_STAGES && stages[i] <= CONNECTION_BODY);
    leave_all();
}

TEST(connections__no_address_makes_room_for_one_that_has_too_many)
{
    enum { OTHERS = MOST - MOST_OF_ONE };
    struct connection *other[OTHERS];
    int null = open("/dev/null", O_RDONLY);

    start(0);
    for (int i = 0; i < OTHERS; i++)
        other[i] = connections_enter(&c, null, 1);
    for (int i = 0; i < MOST_OF_ONE + 30; i++) {
        clock_ms += 10;
        (void)connections_enter(&c, null, 2);
        if (i % 10 == 9)
            sys_sleep_ms(&sys_real, 30);
    }
    clock_ms += CONNECTIONS_GRACE_MS;
    settle();
    for (int i = 0; i < OTHERS; i++)
        CHECK(!was_shut(other[i]));
    leave_all();
}

/* ---- any order of events ---- */

static struct connection *guests[GUESTS]; /* NULL: none */
static bool is_at_work[GUESTS];

static int count_workers(void)
{
    int n = 0;

    for (int i = 0; i < GUESTS; i++)
        n += is_at_work[i];
    return n;
}

static void let_something_happen(int null)
{
    int i = rand() % GUESTS;
    enum connection_stage stage = (enum connection_stage)(rand() % CONNECTION_STAGES);

    clock_ms += rand() % 10 == 0 ? rand() % 200 : 0;
    if (!guests[i]) {
        guests[i] = connections_enter(&c, null, (uint32_t)(rand() % ADDRESSES));
    } else if (was_shut(guests[i]) || rand() % 6 == 0) {
        CHECK(!is_at_work[i] || !was_shut(guests[i]));
        is_at_work[i] = false;
        connections_leave(&c, guests[i]);
        guests[i] = NULL;
    } else if (stage != CONNECTION_WORK || count_workers() < WORKERS) {
        CHECK(!is_at_work[i] || !was_shut(guests[i]));
        connections_set_stage(&c, guests[i], stage);
        is_at_work[i] = stage == CONNECTION_WORK && !was_shut(guests[i]); /* it may have been shut just before */
    }
}

static void check_bounds(void)
{
    int n = 0, of[ADDRESSES] = { 0 };

    for (int i = 0; i < GUESTS; i++)
        if (guests[i] && !was_shut(guests[i])) {
            n++;
            of[guests[i]->address]++;
        }
    CHECK(n <= MOST);
    for (int i = 0; i < ADDRESSES; i++)
        CHECK(of[i] <= MOST_OF_ONE);
}

TEST(connections__bounds_hold_in_any_order_of_events)
{
    int null = open("/dev/null", O_RDONLY);

    srand(11);
    start(0);
    for (int round = 0; round < ROUNDS; round++) {
        let_something_happen(null);
        if (round % 40 == 39) {
            clock_ms += CONNECTIONS_GRACE_MS;
            settle();
            check_bounds();
        }
    }
    leave_all();
}
