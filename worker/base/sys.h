/*
 * sys - clocks, sleep and random numbers behind one interface. Retries, deadlines, leases and tokens use a `struct
 * sys`, so that tests can run them on a simulated clock.
 */
#ifndef WORKER_BASE_SYS_H
#define WORKER_BASE_SYS_H

#include <stddef.h>
#include <stdint.h>

struct sys {
    void *ctx;
    int64_t (*wall_us)(void *ctx); /* microseconds since 1970 UTC: token and lease times */
    int64_t (*mono_ms)(void *ctx); /* monotonic milliseconds: timeouts, caches */
    void (*sleep_ms)(void *ctx, int64_t ms);
    void (*random_bytes)(void *ctx, void *buf, size_t n); /* cryptographic */
};

extern const struct sys sys_real;

static inline int64_t sys_wall_us(const struct sys *s)
{
    return s->wall_us(s->ctx);
}
static inline int64_t sys_mono_ms(const struct sys *s)
{
    return s->mono_ms(s->ctx);
}
static inline void sys_sleep_ms(const struct sys *s, int64_t ms)
{
    s->sleep_ms(s->ctx, ms);
}
static inline void sys_random(const struct sys *s, void *buf, size_t n)
{
    s->random_bytes(s->ctx, buf, n);
}
uint64_t sys_random_below(const struct sys *s, uint64_t n); /* uniform in [0, n), n > 0 */
void sys_uuid(const struct sys *s, char ret[37]);           /* version 4, lower case */

#endif
