/*
 * Tests that pass, fail, crash, hang, leak and skip: check_harness.py runs them and checks what the harness reports.
 * DEVICE in the environment gives the program a gate, as if its tests needed a device.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/golden.h"

static int n_begun;      /* tests begun in this process */
static bool device_lost; /* set by one test for those after it in the same process */

static int n_asked; /* how often the gate was asked in this process */

static enum test_go gate(const char **ret_why)
{
    if (!strcmp(getenv("DEVICE"), "none")) {
        *ret_why = "no device";
        return TEST_NONE;
    }
    if (!strcmp(getenv("DEVICE"), "vanishing") && n_asked++) {
        *ret_why = "no device any more";
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

/* What the forked process returns is not the result of the test. */
TEST(fork__only_the_other_process_passes)
{
    pid_t pid = fork();

    if (pid == 0)
        return;
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    CHECK_INT(1 + 1, 3);
}

static void *abort_soon(void *unused)
{
    (void)usleep(100000);
    abort();
    return unused;
}

/* The harness sleeps until the result and the death of this process are both there. */
TEST(late__crash_after_it_has_passed)
{
    pid_t harness = getppid();
    pthread_t thread;

    if (fork() == 0) {
        (void)setsid(); /* so that it outlives this process's group */
        (void)usleep(400000);
        (void)kill(harness, SIGCONT);
        _exit(0);
    }
    CHECK_INT(kill(harness, SIGSTOP), 0);
    CHECK_INT(pthread_create(&thread, NULL, abort_soon, NULL), 0);
}

TEST(leak__is_found_when_it_leaves)
{
    void *volatile p = malloc(100);

    CHECK(p);
    p = NULL;
}

TEST(skip__for_a_reason)
{
    SKIP("no such device");
}

TEST(skip__for_the_same_reason)
{
    SKIP("no such device");
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
