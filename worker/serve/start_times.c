#include "worker/serve/start_times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    STAT_BYTES = 1024,    /* /proc/self/stat has some 50 numbers and a name of 15 characters */
    STARTTIME_FIELD = 22, /* proc(5): counted from 1 */
    FIELD_AFTER_NAME = 3  /* the name may hold blanks and brackets, so fields are counted from behind it */
};

static const char *const labels[START_PHASES] = {
#define X(name, label, stage) label,
    START_PHASE_MAP(X)
};

static const char *const stages[START_PHASES] = {
#undef X
#define X(name, label, stage) stage,
    START_PHASE_MAP(X)
#undef X
};

const char *start_phase_label(enum start_phase p)
{
    return labels[p];
}

/* ---- the age of the process ---- */

int64_t start_age_ms(const char *stat, int64_t boot_ms, int64_t ticks_per_second)
{
    const char *at = strrchr(stat, ')');
    unsigned long long ticks;
    int64_t born_ms;
    char *end;

    for (int field = FIELD_AFTER_NAME; at && field <= STARTTIME_FIELD; field++)
        at = strchr(at + 1, ' ');
    if (!at || ticks_per_second <= 0)
        return -1;
    ticks = strtoull(at + 1, &end, 10);
    if (end == at + 1 || *end != ' ' || ticks > INT64_MAX / 1000)
        return -1;
    born_ms = (int64_t)ticks * 1000 / ticks_per_second;
    return born_ms > boot_ms ? -1 : boot_ms - born_ms;
}

int64_t start_own_age_ms(void)
{
    FILE *f = fopen("/proc/self/stat", "re");
    char text[STAT_BYTES];
    struct timespec boot;
    size_t n;

    if (!f)
        return -1;
    n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    if (clock_gettime(CLOCK_BOOTTIME, &boot))
        return -1;
    return start_age_ms(text, (int64_t)boot.tv_sec * 1000 + boot.tv_nsec / 1000000, sysconf(_SC_CLK_TCK));
}

/* ---- the phases ---- */

void start_enter(struct start_times *t, enum start_phase p, int64_t now_ms)
{
    t->began_ms[p] = now_ms;
    t->is_entered[p] = true;
}

void start_main(struct start_times *t, int64_t age_ms, int64_t now_ms)
{
    if (age_ms >= 0)
        start_enter(t, START_PROCESS, now_ms - age_ms);
    start_enter(t, START_SETTINGS, now_ms);
}

void start_enter_stage(struct start_times *t, const char *stage, int64_t now_ms)
{
    for (int p = 0; p < START_PHASES; p++)
        if (*stages[p] && strcmp(stages[p], stage) == 0)
            start_enter(t, (enum start_phase)p, now_ms);
}

void start_ready(struct start_times *t, int64_t now_ms)
{
    t->ready_ms = now_ms;
}

/* When the first phase from this one on began. */
static int64_t next_begin_ms(const struct start_times *t, int from)
{
    while (from < START_PHASES && !t->is_entered[from])
        from++;
    return from < START_PHASES ? t->began_ms[from] : t->ready_ms;
}

int64_t start_phase_ms(const struct start_times *t, enum start_phase p)
{
    return t->is_entered[p] ? next_begin_ms(t, p + 1) - t->began_ms[p] : 0;
}

int64_t start_total_ms(const struct start_times *t)
{
    return t->ready_ms - next_begin_ms(t, 0);
}
