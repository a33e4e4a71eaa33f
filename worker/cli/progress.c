#include "worker/cli/progress.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BAR_WIDTH = 40,
    ASK_EVERY_MS = 100,
    REDRAW_EVERY_MS = 1000,
    /* Without a terminal: a line for so much of the stage, but not so often, and one in any case after a while. */
    LINE_EVERY_PERCENT = 10,
    LINE_EVERY_MS = 5000,
    LINE_AFTER_MS = 60000,
};

static int64_t mono_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void progress_init(struct progress *p, FILE *to, bool terminal)
{
    *p = (struct progress){ .to = to, .terminal = terminal, .now_ms = mono_ms, .shown = -1 };
}

void progress_init_stderr(struct progress *p)
{
    progress_init(p, stderr, isatty(STDERR_FILENO) == 1);
}

/* "3.1 s", "48 s" */
static const char *seconds(char buf[24], double ms)
{
    (void)snprintf(buf, 24, ms < 9950 ? "%.1f s" : "%.0f s", 1e-3 * ms);
    return buf;
}

/* "28 steps", "1 step" */
static const char *counted(char buf[48], int64_t n, const char *unit)
{
    (void)snprintf(buf, 48, "%lld %.*s", (long long)n, (int)strlen(unit) - (n == 1), unit);
    return buf;
}

/* "7 of 28 steps, 12 s, 36 s left", "40 %, 12 s, 18 s left"; before the first part there is no time to tell. */
static void describe(const struct progress *p, const char *unit, int64_t done, int64_t total, int percent, char *buf,
                     size_t size)
{
    double ms = (double)(p->said_ms - p->began_ms);
    char count[80], all[48], spent[24], left[24];

    if (unit)
        (void)snprintf(count, sizeof count, "%lld of %s", (long long)done, counted(all, total, unit));
    else
        (void)snprintf(count, sizeof count, "%d %%", percent);
    if (done > 0)
        (void)snprintf(buf, size, "%s, %s, %s left", count, seconds(spent, ms),
                       seconds(left, ms * (double)(total - done) / (double)done));
    else
        (void)snprintf(buf, size, "%s", count);
}

/* "28 steps in 48 s", "done in 3.1 s" */
static void describe_end(const struct progress *p, const char *unit, int64_t total, char *buf, size_t size)
{
    char all[48], spent[24];

    (void)snprintf(buf, size, "%s in %s", unit ? counted(all, total, unit) : "done",
                   seconds(spent, (double)(p->said_ms - p->began_ms)));
}

/* Writes over the line before it, however long that was. */
static void redraw(struct progress *p, const char *text, int percent)
{
    char bar[BAR_WIDTH + 1] = "", line[256];
    int width;

    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)(percent * BAR_WIDTH / 100));
    width = percent == 100 ? snprintf(line, sizeof line, "%-12s %s", p->what, text)
                           : snprintf(line, sizeof line, "%-12s [%s] %s", p->what, bar, text);
    (void)fprintf(p->to, "\r%s%*s%s", line, p->width > width ? p->width - width : 0, "", percent == 100 ? "\n" : "");
    p->width = percent == 100 ? 0 : width;
}

static bool is_due(const struct progress *p, int percent, int64_t now)
{
    int64_t since = now - p->said_ms;

    if (p->shown < 0 || percent == 100)
        return p->shown < 100 && (p->terminal || percent == 100);
    if (p->terminal)
        return percent > p->shown || since >= REDRAW_EVERY_MS;
    return since >= LINE_AFTER_MS || (since >= LINE_EVERY_MS && percent >= p->shown + LINE_EVERY_PERCENT);
}

static void begin_stage(struct progress *p, const char *what, int64_t now)
{
    progress_done(p);
    (void)snprintf(p->what, sizeof p->what, "%s", what);
    p->began_ms = p->said_ms = now;
    p->shown = -1;
    p->width = 0;
}

void progress_show(struct progress *p, const char *what, const char *unit, int64_t done, int64_t total)
{
    int percent = total > 0 && done < total ? (int)(100.0 * (double)done / (double)total) : 100;
    int64_t now = p->now_ms();
    char text[160];

    if (strncmp(p->what, what, sizeof p->what - 1) != 0)
        begin_stage(p, what, now);
    if (!is_due(p, percent, now)) {
        if (p->shown < 0)
            p->shown = percent;
        return;
    }
    p->said_ms = now;
    p->shown = percent;
    if (percent == 100)
        describe_end(p, unit, total, text, sizeof text);
    else
        describe(p, unit, done, total, percent, text, sizeof text);
    if (p->terminal)
        redraw(p, text, percent);
    else
        (void)fprintf(p->to, "%s: %s\n", p->what, text);
    (void)fflush(p->to);
}

void progress_done(struct progress *p)
{
    if (p->terminal && p->shown >= 0 && p->shown < 100)
        (void)fprintf(p->to, "\n");
    p->shown = 100;
}

/* --- work that another thread is asked about --- */

static void *watch(void *arg)
{
    struct progress_watch *w = arg;

    while (!w->stop) {
        int64_t done = 0, total = 0;

        (void)nanosleep(&(struct timespec){ .tv_nsec = ASK_EVERY_MS * 1000000L }, NULL);
        w->ask(w->ctx, &done, &total);
        if (done < total) /* the end is shown by progress_watch_end() */
            progress_show(w->progress, w->what, NULL, done, total);
    }
    return NULL;
}

void progress_watch_begin(struct progress_watch *w)
{
    progress_show(w->progress, w->what, NULL, 0, 1);
    w->started = pthread_create(&w->thread, NULL, watch, w) == 0;
}

void progress_watch_end(struct progress_watch *w, bool finished)
{
    w->stop = true;
    if (w->started)
        (void)pthread_join(w->thread, NULL);
    if (finished)
        progress_show(w->progress, w->what, NULL, 1, 1);
}
