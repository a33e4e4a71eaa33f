#include "worker/cli/progress.h"

#include <string.h>
#include <unistd.h>

enum { BAR_WIDTH = 40, LINE_EVERY = 10 /* per cent */ };

void progress_init(struct progress *p, FILE *to, bool bar)
{
    *p = (struct progress){ .to = to, .bar = bar, .shown = -1 };
}

void progress_init_stderr(struct progress *p)
{
    progress_init(p, stderr, isatty(STDERR_FILENO) == 1);
}

static void draw_bar(const struct progress *p, int percent)
{
    char bar[BAR_WIDTH + 1];
    int full = percent * BAR_WIDTH / 100;

    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)full);
    bar[BAR_WIDTH] = 0;
    (void)fprintf(p->to, "\r%-12s [%s] %3d %%%s", p->what, bar, percent, percent == 100 ? "\n" : "");
}

void progress_show(struct progress *p, const char *what, int64_t done, int64_t total)
{
    int percent = total > 0 && done < total ? (int)(100.0 * (double)done / (double)total) : 100;

    if (strncmp(p->what, what, sizeof p->what - 1) != 0) {
        progress_done(p);
        (void)snprintf(p->what, sizeof p->what, "%s", what);
        p->shown = -1;
    }
    if (!p->bar)
        percent -= percent % LINE_EVERY;
    if (percent <= p->shown)
        return;
    p->shown = percent;
    if (p->bar)
        draw_bar(p, percent);
    else
        (void)fprintf(p->to, "%s %d %%\n", p->what, percent);
    (void)fflush(p->to);
}

void progress_done(struct progress *p)
{
    if (p->bar && p->shown >= 0 && p->shown < 100)
        (void)fprintf(p->to, "\n");
    p->shown = 100;
}
