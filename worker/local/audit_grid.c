#include "worker/local/audit_grid.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "kernels/base/span.h"
#include "models/fill/fill.h"

/* One list: how a value is read and compared. */
struct axis {
    const char *option, *allowed;
    bool (*read)(const char *text, struct audit_grid *g, int i); /* false: it is none */
    bool (*same)(const struct audit_grid *g, int i, int k);
};

static bool begins_with_digit(const char *text)
{
    return *text >= '0' && *text <= '9' && !strpbrk(text, "xX");
}

static bool read_transformer(const char *text, struct audit_grid *g, int i)
{
    g->transformers[i] = text;
    return *text;
}

static bool same_transformer(const struct audit_grid *g, int i, int k)
{
    return strcmp(g->transformers[i], g->transformers[k]) == 0;
}

static bool read_guidance(const char *text, struct audit_grid *g, int i)
{
    char *end;

    g->guidance[i] = strtod(text, &end);
    return begins_with_digit(text) && !*end && g->guidance[i] >= 0 && g->guidance[i] <= FILL_MAX_GUIDANCE;
}

static bool same_guidance(const struct audit_grid *g, int i, int k)
{
    /* Names of cells have ten digits. */
    return fabs(g->guidance[i] - g->guidance[k]) <= 1e-9 * fmax(g->guidance[i], g->guidance[k]);
}

static bool read_steps(const char *text, struct audit_grid *g, int i)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    g->steps[i] = (int)v;
    return begins_with_digit(text) && !*end && !errno && v >= 1 && v <= FILL_MAX_STEPS;
}

static bool same_steps(const struct audit_grid *g, int i, int k)
{
    return g->steps[i] == g->steps[k];
}

static bool read_seed(const char *text, struct audit_grid *g, int i)
{
    char *end;

    errno = 0;
    g->seeds[i] = strtoull(text, &end, 10);
    return begins_with_digit(text) && !*end && !errno;
}

static bool same_seed(const struct audit_grid *g, int i, int k)
{
    return g->seeds[i] == g->seeds[k];
}

/* Cuts the list up in a copy of its own. */
static enum err_code parse_list(const struct axis *x, const char *list, struct arena *a, struct audit_grid *g, int *n,
                                struct err *err)
{
    char *text = NULL, *next;

    TRY(span_dup(a, span_of(list), &text, err));
    for (; text; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = '\0';
        if (*n == AUDIT_MAX_VALUES)
            return err_set(err, ERR_TOO_LARGE, "%s: more than %d values", x->option, AUDIT_MAX_VALUES);
        if (!x->read(text, g, *n))
            return err_set(err, ERR_INVALID, "%s: '%.60s' is not %s; values are separated by commas", x->option, text,
                           x->allowed);
        for (int i = 0; i < *n; i++)
            if (x->same(g, i, *n))
                return err_set(err, ERR_INVALID, "%s: '%.60s' stands there twice", x->option, text);
        ++*n;
    }
    return ERR_OK;
}

enum err_code audit_grid_parse(const struct audit_lists *lists, struct arena *a, struct audit_grid *ret,
                               struct err *err)
{
    static const struct axis transformers = { "--transformers", "a file name", read_transformer, same_transformer };
    static const struct axis guidance = { "--guidance", "a number from 0 to 1000", read_guidance, same_guidance };
    static const struct axis steps = { "--steps", "a whole number from 1 to 1000", read_steps, same_steps };
    static const struct axis seeds = { "--seeds", "a whole number from 0 to 2^64 - 1", read_seed, same_seed };
    struct audit_grid g = { 0 };

    _Static_assert(FILL_MAX_GUIDANCE == 1000 && FILL_MAX_STEPS == 1000, "the limits that the messages name");
    if (lists->transformers)
        TRY(parse_list(&transformers, lists->transformers, a, &g, &g.n_transformers, err));
    else
        g.n_transformers = 1;
    TRY(parse_list(&guidance, lists->guidance, a, &g, &g.n_guidance, err));
    TRY(parse_list(&steps, lists->steps, a, &g, &g.n_steps, err));
    TRY(parse_list(&seeds, lists->seeds, a, &g, &g.n_seeds, err));
    for (int i = 0; i < g.n_steps; i++)
        g.most_steps = g.steps[i] > g.most_steps ? g.steps[i] : g.most_steps;
    if (audit_grid_count(&g) > AUDIT_MAX_CELLS)
        return err_set(err, ERR_TOO_LARGE,
                       "%d transformers x %d values of guidance x %d numbers of steps x %d seeds are %d cells, at most "
                       "%d are allowed: run them as several audits",
                       g.n_transformers, g.n_guidance, g.n_steps, g.n_seeds, audit_grid_count(&g), AUDIT_MAX_CELLS);
    *ret = g;
    return ERR_OK;
}

int audit_grid_count(const struct audit_grid *g)
{
    return g->n_transformers * g->n_guidance * g->n_steps * g->n_seeds;
}

struct audit_cell audit_grid_cell(const struct audit_grid *g, int i)
{
    struct audit_cell c = { .seed = g->seeds[i % g->n_seeds] };

    i /= g->n_seeds;
    c.steps = g->steps[i % g->n_steps];
    i /= g->n_steps;
    c.guidance = g->guidance[i % g->n_guidance];
    c.transformer = g->transformers[i / g->n_guidance];
    return c;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
}

void audit_cell_name(const struct audit_cell *c, const char *transformer, char ret[AUDIT_NAME_SIZE])
{
    char model[61] = "";
    size_t n = 0;
    bool changed = *transformer == '.';

    for (; transformer[n] && n < sizeof model - 1; n++) {
        model[n] = is_plain(transformer[n]) && (n || transformer[n] != '.') ? transformer[n] : '_';
        changed |= model[n] != transformer[n];
    }
    if (changed || transformer[n]) /* two names may have become one */
        (void)snprintf(ret, AUDIT_NAME_SIZE, "%.50s-%08x-g%.10g-s%d-n%llu", model,
                       (unsigned)crc32c(0, transformer, strlen(transformer)), c->guidance, c->steps,
                       (unsigned long long)c->seed);
    else
        (void)snprintf(ret, AUDIT_NAME_SIZE, "%s-g%.10g-s%d-n%llu", model, c->guidance, c->steps,
                       (unsigned long long)c->seed);
}
