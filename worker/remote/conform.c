#include "worker/remote/conform.h"

/* Why a check has no sense; NULL: it has. */
static const char *reason_to_skip(const struct conform *c, const struct conform_check *k)
{
    if (c->unreachable)
        return "nothing answers there";
    if (k->need == CONFORM_NOTHING)
        return NULL;
    if (k->need == CONFORM_SESSION && !c->session)
        return "--user and --session name one";
    if (k->need == CONFORM_POISON && !c->poison)
        return "only with --poison: it writes an ERROR into the worker's log";
    if (!c->authorization)
        return "--token-file gives a token";
    if (c->token_refused)
        return "the token is not accepted";
    if (c->misdirected)
        return "pushes are taken for poison: see unknown-young";
    return c->not_ready ? "the worker is not ready" : NULL;
}

static void run_check(struct conform *c, const struct conform_check *k, struct conform_report *report)
{
    ARENA_SCRATCH(c->arena);
    const int64_t began = sys_mono_ms(c->sys);
    const char *why = reason_to_skip(c, k);
    struct conform_result r = { 0 };

    if (why) {
        r.verdict = CONFORM_SKIPPED;
        conform_note(&r, "%s", why);
    } else {
        k->run(c, k, &r);
        if (!r.ms)
            r.ms = sys_mono_ms(c->sys) - began;
    }
    conform_report_add(report, k, &r);
}

void conform_run(struct conform *c, struct conform_report *report)
{
    const struct conform_table *const tables[] = { &conform_probes, &conform_refusals, &conform_pushes,
                                                   &conform_poisons, &conform_sessions };

    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (int i = 0; i < tables[t]->n; i++)
            run_check(c, &tables[t]->checks[i], report);
    conform_report_end(report);
}
