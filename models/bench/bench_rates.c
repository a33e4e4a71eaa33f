#include "models/bench/bench_rates.h"

#include <string.h>

#include "models/bench/bench_sustain.h"

static enum err_code run(void *ctx, struct err *err)
{
    return bench_rate_queue(ctx, err);
}

static enum err_code time_rate(const struct bench_options *o, enum rate_kind kind, int64_t side, struct bench_figure *f,
                               struct err *err)
{
    struct bench_rate *r = NULL;
    enum err_code rc;

    TRY(bench_rate_open(o->be, kind, side, &r, err));
    f->flop = bench_rate_work(r);
    rc = bench_sustain(o, f, run, r, err);
    bench_rate_close(r);
    return rc;
}

/* Leaves the figure of a rate that cannot be measured empty, and notes why. */
static enum err_code measure(const struct bench_options *o, enum rate_kind kind, int64_t side, struct bench_rates *b,
                             struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = time_rate(o, kind, side, &b->kinds[kind], &why);

    if (rc == ERR_OK)
        return ERR_OK;
    b->kinds[kind] = (struct bench_figure){ 0 };
    memcpy(b->missing[kind], why.msg, sizeof why.msg);
    return rc == ERR_UNSUPPORTED ? ERR_OK : err_set(err, rc, "%s", why.msg);
}

enum err_code bench_rates(const struct bench_options *o, int64_t side, struct bench_rates *ret, struct err *err)
{
    enum err_code first = ERR_OK;

    *ret = (struct bench_rates){ 0 };
    for (int kind = 0; kind < RATE_KINDS; kind++) {
        enum err_code rc = measure(o, (enum rate_kind)kind, side, ret, err);

        first = first ? first : rc;
    }
    return first;
}
