#include "worker/base/sys.h"

#include <string.h>

#include "test/support/check.h"

TEST(sys__real_clocks_move_and_agree_with_sleep)
{
    int64_t wall = sys_wall_us(&sys_real), mono = sys_mono_ms(&sys_real), slept;

    sys_sleep_ms(&sys_real, 12);
    sys_sleep_ms(&sys_real, 0);
    sys_sleep_ms(&sys_real, -5);
    slept = sys_mono_ms(&sys_real) - mono;
    CHECK(slept >= 11); /* both readings are rounded down */
    CHECK(slept < 5000);
    CHECK(wall > 1700000000000000); /* later than November 2023 */
}

/* A source of "random" words that the test chooses. */
struct script {
    uint64_t words[4];
    int at;
};

static void scripted(void *ctx, void *buf, size_t n)
{
    struct script *s = ctx;

    memcpy(buf, &s->words[s->at++], n < 8 ? n : 8);
}

TEST(sys__random_below_refuses_words_that_would_favour_small_results)
{
    /* 2^64 mod 3 = 1, so exactly one word, 0, must be refused */
    struct script words = { { 0, 0, 1, UINT64_MAX }, 0 };
    struct sys s = { .ctx = &words, .random_bytes = scripted };

    CHECK_INT(sys_random_below(&s, 3), 1);
    CHECK_INT(words.at, 3);
    CHECK_INT(sys_random_below(&s, 3), 0); /* 2^64 - 1 is divisible by 3 */
}

TEST(sys__random_below_reaches_every_value)
{
    int seen[5] = { 0 };

    for (int i = 0; i < 1000; i++) {
        uint64_t x = sys_random_below(&sys_real, 5);

        CHECK(x < 5);
        seen[x]++;
    }
    for (int i = 0; i < 5; i++)
        CHECK(seen[i] > 0); /* missed with probability 0.8^1000 */
    CHECK_INT(sys_random_below(&sys_real, 1), 0);
}

TEST(sys__uuid_is_version_4_and_fresh)
{
    char a[37], b[37];

    sys_uuid(&sys_real, a);
    sys_uuid(&sys_real, b);
    CHECK_INT(strlen(a), 36);
    CHECK(strspn(a, "0123456789abcdef-") == 36);
    CHECK(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
    CHECK(a[14] == '4');
    CHECK(strchr("89ab", a[19]));
    CHECK(strcmp(a, b) != 0);
}
