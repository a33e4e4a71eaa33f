#include "worker/base/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static int64_t real_wall_us(void *ctx)
{
    struct timespec t;

    (void)ctx;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t real_mono_ms(void *ctx)
{
    struct timespec t;

    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void real_sleep_ms(void *ctx, int64_t ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    (void)ctx;
    if (ms <= 0)
        return;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
        ;
}

/* Lease ids are made of these bytes: weak ones would let two workers claim one job, so there is no fallback. */
static void real_random_bytes(void *ctx, void *buf, size_t n)
{
    char *p = buf;

    (void)ctx;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        assert(got > 0); /* with a valid buffer and no flags, getrandom fails only before Linux 3.17 */
        p += got;
        n -= (size_t)got;
    }
}

const struct sys sys_real = {
    .wall_us = real_wall_us,
    .mono_ms = real_mono_ms,
    .sleep_ms = real_sleep_ms,
    .random_bytes = real_random_bytes,
};

uint64_t sys_random_below(const struct sys *s, uint64_t n)
{
    uint64_t limit = -n % n, x; /* 2^64 mod n: with x below that, small results would be more likely */

    do
        sys_random(s, &x, sizeof x);
    while (x < limit);
    return x % n;
}

void sys_uuid(const struct sys *s, char ret[37])
{
    unsigned char b[16];
    char *p = ret;

    sys_random(s, b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0F) | 0x40); /* RFC 9562 5.4: version 4 */
    b[8] = (unsigned char)((b[8] & 0x3F) | 0x80); /* 4.1: variant 10 */
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        p += snprintf(p, 3, "%02x", b[i]);
    }
}
