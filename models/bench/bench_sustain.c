#include "models/bench/bench_sustain.h"

#include <math.h>

#include "kernels/bench_product.h"

/* Marks are used in a circle: two around the run that is timed, and one more for each run queued ahead. */
enum { AHEAD = 1, AHEAD_OF_SHORT = 4, SLOTS = AHEAD_OF_SHORT + 2 };
/* A run shorter than short_s may be over before the host, which sleeps while it waits, has queued the next run. */
static const double short_s = 0.02, sample_every_s = 0.1;

/* Welford's update of mean and squared deviations. */
void bench_keep(const struct bench_options *o, struct bench_figure *f, double seconds)
{
    double off = seconds - f->mean;

    f->by_mean = o->be->runs_behind;
    f->n_runs++;
    f->mean += off / f->n_runs;
    f->squares += off * (seconds - f->mean);
    f->least = f->n_runs == 1 || seconds < f->least ? seconds : f->least;
    f->most = f->n_runs == 1 || seconds > f->most ? seconds : f->most;
}

void bench_keep_since(const struct bench_options *o, struct bench_figure *f, double start)
{
    bench_keep(o, f, bench_clock() - start);
}

double bench_seconds(const struct bench_figure *f)
{
    return f->by_mean ? f->mean : f->least;
}

double bench_deviation(const struct bench_figure *f)
{
    return f->n_runs > 1 ? sqrt(f->squares / (f->n_runs - 1)) : 0;
}

/* Samples of the card's clock and power while runs are kept. */
struct meter {
    struct backend *be;
    bool counts;
    double begin, begin_j;     /* time and energy at the first sample */
    double last;               /* time of the last sample */
    double clock_mhz, power_w; /* sums over n samples */
    int n;
};

static void sample(struct meter *m)
{
    struct backend_card card;
    double now = bench_clock();

    if (m->counts && now - m->last < sample_every_s)
        return;
    if (!backend_card(m->be, &card))
        return;
    if (!m->counts) {
        m->begin = now;
        m->begin_j = card.energy_j;
    }
    m->counts = true;
    m->last = now;
    m->clock_mhz += card.clock_mhz;
    m->power_w += card.power_w;
    m->n++;
}

/* Power from the card's energy counter where it has one: samples of the power are smoothed by the driver. */
static void read_meter(struct meter *m, struct bench_figure *f)
{
    struct backend_card card;
    double seconds, joules;

    if (!m->counts || !backend_card(m->be, &card))
        return;
    seconds = bench_clock() - m->begin;
    joules = card.energy_j - m->begin_j;
    f->clock_mhz = m->clock_mhz / m->n;
    f->power_w = joules > 0 && seconds > 0 ? joules / seconds : m->power_w / m->n;
}

/* Queues run n and the mark after it. */
static enum err_code queue(const struct bench_options *o, bench_run_fn *run, void *ctx, int n, struct err *err)
{
    if (n == 0)
        TRY(o->be->ops->mark(o->be, 0, err));
    TRY(run(ctx, err));
    return o->be->ops->mark(o->be, (n + 1) % SLOTS, err);
}

/* Waits for the end of a run. */
static enum err_code time_of(const struct bench_options *o, int run, double *ret_s, struct err *err)
{
    double ms = 0;

    TRY(o->be->ops->elapsed(o->be, run % SLOTS, (run + 1) % SLOTS, &ms, err));
    *ret_s = ms * 1e-3;
    return ERR_OK;
}

enum err_code bench_sustain(const struct bench_options *o, struct bench_figure *f, bench_run_fn *run, void *ctx,
                            struct err *err)
{
    struct meter meter = { .be = o->be };
    double begin = bench_clock(), kept_s = 0, seconds;
    int ahead = !o->be->runs_behind ? 0 : o->ahead ? o->ahead : AHEAD, queued = 0, kept = 0;

    for (int i = 0; kept < o->repeats || kept_s < o->measure_s; i++) {
        bool warm = bench_clock() - begin >= o->warm_up_s;

        while (queued <= i + ahead)
            TRY(queue(o, run, ctx, queued++, err));
        if (warm)
            sample(&meter);
        TRY(time_of(o, i, &seconds, err));
        if (ahead && !o->ahead && seconds < short_s)
            ahead = AHEAD_OF_SHORT;
        if (!warm)
            continue;
        bench_keep(o, f, seconds);
        kept++;
        kept_s += seconds;
    }
    read_meter(&meter, f);
    return o->be->ops->sync(o->be, err);
}
