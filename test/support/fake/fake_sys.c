#include "test/support/fake/fake_sys.h"

#include <string.h>

static int64_t wall_us(void *ctx)
{
    return ((struct fake_sys *)ctx)->wall_us;
}

static int64_t mono_ms(void *ctx)
{
    return ((struct fake_sys *)ctx)->mono_ms;
}

static void sleep_ms(void *ctx, int64_t ms)
{
    struct fake_sys *f = ctx;

    f->slept_ms += ms;
    f->sleeps++;
    fake_sys_pass(f, ms);
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(struct fake_sys *f)
{
    uint64_t z = f->seed += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void random_bytes(void *ctx, void *buf, size_t n)
{
    char *p = buf;

    while (n > 0) {
        uint64_t word = next_random(ctx);
        size_t piece = n < sizeof word ? n : sizeof word;

        memcpy(p, &word, piece);
        p += piece;
        n -= piece;
    }
}

void fake_sys_init(struct fake_sys *f, int64_t wall_s, uint64_t seed)
{
    *f = (struct fake_sys){
        .sys = { f, wall_us, mono_ms, sleep_ms, random_bytes },
        .wall_us = wall_s * 1000000,
        .mono_ms = 1000000,
        .seed = seed,
    };
}

void fake_sys_pass(struct fake_sys *f, int64_t ms)
{
    f->wall_us += ms * 1000;
    f->mono_ms += ms;
}
