/*
 * fake_sys - a struct sys whose time stands still until somebody sleeps, and whose randomness is seeded.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_SYS_H
#define TEST_SUPPORT_FAKE_FAKE_SYS_H

#include "worker/base/sys.h"

struct fake_sys {
    struct sys sys;
    int64_t wall_us, mono_ms;
    int64_t slept_ms; /* in all */
    int sleeps;
    uint64_t seed;
};

/* Sets the wall clock to this many seconds since 1970 and the monotonic clock to 1,000,000 ms. Not thread-safe. */
void fake_sys_init(struct fake_sys *f, int64_t wall_s, uint64_t seed);
void fake_sys_pass(struct fake_sys *f, int64_t ms); /* both clocks */

#endif
