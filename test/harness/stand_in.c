/*
 * Tests that pass, fail, crash, hang, leak and skip: check_harness.py runs them and checks what the harness reports.
 * DEVICE in the environment gives the program a gate, as if its tests needed a device.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/golden.h"

static int n_begun;      /* tests in this process */
static bool device_lost; /* what one test may do to those after it in the same process */

static enum test_go gate(const char **ret_why)
{
    if (!strcmp(getenv("DEVICE"), "none")) {
        *ret_why = "no device";
        return TEST_NONE;
    }
    *ret_why = "the device is lost";
    return device_lost || !strcmp(getenv("DEVICE"), "broken") ? TEST_STOP : TEST_GO;
}

__attribute__((constructor)) static void set_gate(void)
{
    if (getenv("DEVICE"))
        test_gate(gate);
}

TEST(pass__one)
{
    CHECK_INT(++n_begun, 1);
}

TEST(pass__another_that_must_not_see_the_first)
{
    CHECK_INT(++n_begun, 1);
}

TEST(fail__at_a_check)
{
    CHECK_INT(1 + 1, 3);
}

TEST(crash__by_an_address)
{
    volatile int *nowhere = (volatile int *)getenv("NOT_SET_IN_ANY_ENVIRONMENT");

    *nowhere = 1;
}

TEST(crash__by_abort)
{
    abort();
}

TEST(crash__by_exit)
{
    exit(0);
}

TEST(crash__when_it_leaves)
{
    CHECK_INT(atexit(abort), 0);
}

static void wait_forever(void)
{
    for (;;)
        (void)pause();
}

TEST(hang__in_the_test)
{
    wait_forever();
}

TEST(hang__when_it_leaves)
{
    CHECK_INT(atexit(wait_forever), 0);
}

/* The process that it starts keeps everything open that the test had open. */
TEST(stray__process_is_left_behind)
{
    pid_t pid = fork();

    if (pid == 0)
        wait_forever();
    (void)printf("stray %d\n", (int)pid);
}

TEST(stray__process_after_a_crash)
{
    if (fork() == 0)
        wait_forever();
    abort();
}

TEST(leak__is_found_when_it_leaves)
{
    void *volatile p = malloc(100);

    CHECK(p);
    p = NULL;
}

TEST(skip__for_a_reason)
{
    SKIP("the moon is not full");
}

TEST(skip__for_the_same_reason)
{
    SKIP("the moon is not full");
}

TEST(skip__for_another_reason)
{
    SKIP("it rains");
}

TEST(golden__optional_set)
{
    (void)golden("no-such-set/cases/1.json");
}

TEST(golden__set_of_the_repository)
{
    (void)golden("small/no-such-file");
}

TEST(device__is_lost_by_this_test)
{
    device_lost = true;
}

TEST(device__is_used_by_this_test)
{
    CHECK(!device_lost);
}
