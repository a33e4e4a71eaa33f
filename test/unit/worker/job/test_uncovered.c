#include "worker/job/uncovered.h"

#include "test/support/check.h"

TEST(uncovered__each_size_and_number_of_steps_is_new_once)
{
    struct uncovered u = { 0 };

    CHECK(uncovered_is_new(&u, 1024, 768, 50));
    CHECK(uncovered_is_new(&u, 768, 1024, 50));
    CHECK(uncovered_is_new(&u, 1024, 768, 28));
    CHECK(!uncovered_is_new(&u, 1024, 768, 50));
    CHECK(!uncovered_is_new(&u, 768, 1024, 50));
    CHECK(!uncovered_is_new(&u, 1024, 768, 28));
}

TEST(uncovered__senders_of_many_sizes_do_not_flood_the_log)
{
    struct uncovered u = { 0 };
    int n = 0;

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 10 * UNCOVERED_MAX; i++)
            n += uncovered_is_new(&u, 16 * i, 1024, 50);
    CHECK_INT(n, UNCOVERED_MAX);
}
