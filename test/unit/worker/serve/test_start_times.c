#include "worker/serve/start_times.h"

#include <string.h>

#include "test/support/check.h"

/* A line as proc(5) describes it: field 22 is 123456 ticks after the start of the machine. */
#define STAT(name, starttime) \
    "17 (" name ") S 1 17 17 0 -1 4194560 1509 0 0 0 2 1 0 0 20 0 3 0 " starttime " 234881024 1800 18446744073709551615 1 1 0\n"

TEST(start_times__the_age_of_a_process_is_what_lies_between_its_start_and_now)
{
    CHECK_INT(start_age_ms(STAT("inpaint-worker", "123456"), 1234560 + 75, 100), 75);
    CHECK_INT(start_age_ms(STAT("inpaint-worker", "123456"), 123456 + 75, 1000), 75);
    CHECK_INT(start_age_ms(STAT("inpaint-worker", "0"), 12, 100), 12);
}

TEST(start_times__a_name_with_blanks_and_brackets_moves_no_field)
{
    CHECK_INT(start_age_ms(STAT("a) R 1 (b c", "123456"), 1234560 + 5, 100), 5);
}

TEST(start_times__an_age_that_cannot_be_read_is_unknown)
{
    CHECK_INT(start_age_ms("", 5000, 100), -1);
    CHECK_INT(start_age_ms("17 (x) S 1 17 17", 5000, 100), -1);
    CHECK_INT(start_age_ms(STAT("x", "later"), 5000, 100), -1);
    CHECK_INT(start_age_ms(STAT("x", "99999999999999999999999"), 5000, 100), -1);
    CHECK_INT(start_age_ms(STAT("x", "123456"), 1234559, 100), -1); /* born after now: another clock */
    CHECK_INT(start_age_ms(STAT("x", "123456"), 1234560, 0), -1);
}

TEST(start_times__this_process_has_an_age)
{
    CHECK(start_own_age_ms() >= 0);
    CHECK(start_own_age_ms() < 60 * 60 * 1000);
}

static int64_t sum_of_phases(const struct start_times *t)
{
    int64_t sum = 0;

    for (int p = 0; p < START_PHASES; p++)
        sum += start_phase_ms(t, (enum start_phase)p);
    return sum;
}

TEST(start_times__the_phases_add_up_to_the_total)
{
    struct start_times t = { 0 };

    start_main(&t, 150, 10000);
    start_enter_stage(&t, "backend", 10040);
    start_enter_stage(&t, "weights", 11040);
    start_enter_stage(&t, "self-check", 21040);
    start_enter_stage(&t, "files", 21540);
    start_enter_stage(&t, "speed", 21541);
    start_enter(&t, START_CLOUD, 22000);
    start_ready(&t, 22007);
    CHECK_INT(start_phase_ms(&t, START_PROCESS), 150);
    CHECK_INT(start_phase_ms(&t, START_SETTINGS), 40);
    CHECK_INT(start_phase_ms(&t, START_CONTEXT), 1000);
    CHECK_INT(start_phase_ms(&t, START_DOWNLOAD), 0);
    CHECK_INT(start_phase_ms(&t, START_WEIGHTS), 10000);
    CHECK_INT(start_phase_ms(&t, START_SELF_CHECK), 500);
    CHECK_INT(start_phase_ms(&t, START_FILES), 1);
    CHECK_INT(start_phase_ms(&t, START_SPEED), 459);
    CHECK_INT(start_phase_ms(&t, START_CLOUD), 7);
    CHECK_INT(start_total_ms(&t), 12157);
    CHECK_INT(sum_of_phases(&t), 12157);
}

TEST(start_times__without_an_age_the_total_begins_with_main)
{
    struct start_times t = { 0 };

    start_main(&t, -1, 10000);
    start_enter_stage(&t, "backend", 10040);
    start_ready(&t, 10100);
    CHECK(!t.is_entered[START_PROCESS]);
    CHECK_INT(start_total_ms(&t), 100);
    CHECK_INT(sum_of_phases(&t), 100);
}

TEST(start_times__a_stage_without_a_row_counts_to_the_phase_before_it)
{
    struct start_times t = { 0 };

    start_main(&t, 0, 1000);
    start_enter_stage(&t, "weights", 1100);
    start_enter_stage(&t, "something else", 1200);
    start_enter_stage(&t, "", 1250); /* phases that no stage begins have no text */
    start_ready(&t, 1300);
    CHECK_INT(start_phase_ms(&t, START_WEIGHTS), 200);
    CHECK_INT(sum_of_phases(&t), 300);
}
