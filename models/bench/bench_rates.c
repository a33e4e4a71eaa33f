#include "models/bench/bench_rates.h"

#include <string.h>

#include "models/bench/bench_sustain.h"

static enum err_code run(void *ctx, struct err *err)
{
    return bench_rate_queue(ctx, err);
}

static enum err_code measure(const struct bench_options *o, enum rate_kind kind, int64_t side, struct bench_rates *b,
                             struct err *err)
{
    struct bench_rate *r = NULL;
    struct err why = { 0 };
    enum err_code rc = bench_rate_open(o->be, kind, side, &r, &why);

    if (!rc) {
        b->kinds[kind].flop = bench_rate_work(r);
        rc = bench_sustain(o, &b->kinds[kind], run, r, &why);
    }
    bench_rate_close(r);
    if (!rc)
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
