#include "worker/cli/progress.h"

#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"

static int64_t now_ms;

static int64_t clock_ms(void)
{
    return now_ms;
}

static char *text;
static size_t size;

static struct progress begin(bool terminal)
{
    struct progress p;

    now_ms = 5000;
    progress_init(&p, open_memstream(&text, &size), terminal);
    p.now_ms = clock_ms;
    return p;
}

static void check_text(struct progress *p, const char *want)
{
    progress_done(p);
    (void)fclose(p->to);
    CHECK_STR(text, want);
    free(text);
}

static void steps(struct progress *p, int total, int64_t each_ms)
{
    for (int i = 0; i <= total; i++) {
        progress_show(p, "denoise", "steps", i, total);
        now_ms += i < total ? each_ms : 0;
    }
}

TEST(progress__says_steps_seconds_and_what_is_left)
{
    struct progress p = begin(false);

    steps(&p, 4, 30000);
    check_text(&p, "denoise: 1 of 4 steps, 30 s, 90 s left\n"
                   "denoise: 2 of 4 steps, 60 s, 60 s left\n"
                   "denoise: 3 of 4 steps, 90 s, 30 s left\n"
                   "denoise: 4 steps in 120 s\n");
}

TEST(progress__writes_one_line_for_a_quick_stage)
{
    struct progress p = begin(false);

    progress_show(&p, "load", NULL, 0, 1);
    for (int i = 1; i <= 100; i++, now_ms += 31)
        progress_show(&p, "load", NULL, i * 1000, 100000);
    steps(&p, 28, 50);
    progress_show(&p, "decode", NULL, 0, 1);
    progress_show(&p, "decode", NULL, 1, 1);
    check_text(&p, "load: done in 3.1 s\ndenoise: 28 steps in 1.4 s\ndecode: done in 0.0 s\n");
}

TEST(progress__writes_a_line_every_ten_per_cent_at_most)
{
    struct progress p = begin(false);

    for (int i = 0; i <= 30; i++, now_ms += 6000)
        progress_show(&p, "load", NULL, i, 100);
    check_text(&p, "load: 10 %, 60 s, 540 s left\nload: 20 %, 120 s, 480 s left\nload: 30 %, 180 s, 420 s left\n");
}

TEST(progress__writes_a_line_after_a_minute_in_any_case)
{
    struct progress p = begin(false);

    for (int i = 0; i <= 12; i++, now_ms += 10000)
        progress_show(&p, "denoise", "steps", i, 1000);
    check_text(&p, "denoise: 6 of 1000 steps, 60 s, 9940 s left\ndenoise: 12 of 1000 steps, 120 s, 9880 s left\n");
}

TEST(progress__writes_over_its_line_on_a_terminal)
{
    struct progress p = begin(true);

    steps(&p, 2, 12000);
    check_text(&p, "\rdenoise      [........................................] 0 of 2 steps"
                   "\rdenoise      [####################....................] 1 of 2 steps, 12 s, 12 s left"
                   "\rdenoise      2 steps in 24 s                                                         \n");
}

TEST(progress__ends_the_line_of_an_unfinished_stage)
{
    struct progress p = begin(true);

    progress_show(&p, "load", NULL, 1, 2);
    progress_done(&p);
    check_text(&p, "\rload         [####################....................] 50 %, 0.0 s, 0.0 s left\n");
}

static void ask(void *ctx, int64_t *done, int64_t *total)
{
    *total = 2;
    *done = *(int64_t *)ctx;
}

TEST(progress__shows_the_end_of_what_another_thread_did)
{
    struct progress p = begin(false);
    int64_t done = 1;
    struct progress_watch finished = { .progress = &p, .what = "load", .ask = ask, .ctx = &done };
    struct progress_watch failed = { .progress = &p, .what = "check", .ask = ask, .ctx = &done };

    progress_watch_begin(&finished);
    progress_watch_end(&finished, true);
    progress_watch_begin(&failed);
    progress_watch_end(&failed, false);
    check_text(&p, "load: done in 0.0 s\n");
}
