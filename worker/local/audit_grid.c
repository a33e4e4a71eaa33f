#include "worker/local/audit_grid.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "kernels/base/span.h"
#include "models/fill/lora_set.h"
#include "worker/base/crypto.h"

/* What the lists are read into. */
struct reader {
    struct audit_grid grid;
    struct arena *a;
    struct err why; /* why a value is none, where there is more to say than what is allowed */
};

/* One list: how a value is read and compared. */
struct axis {
    const char *option, *allowed;
    bool (*read)(const char *text, struct reader *r, int i); /* false: it is none */
    bool (*same)(const struct audit_grid *g, int i, int k);
};

static bool begins_with_digit(const char *text)
{
    return *text >= '0' && *text <= '9' && !strpbrk(text, "xX");
}

static bool read_transformer(const char *text, struct reader *r, int i)
{
    r->grid.transformers[i] = text;
    return *text;
}

static bool same_transformer(const struct audit_grid *g, int i, int k)
{
    return strcmp(g->transformers[i], g->transformers[k]) == 0;
}

static bool read_guidance(const char *text, struct reader *r, int i)
{
    char *end;
    const double v = strtod(text, &end);

    r->grid.guidance[i] = v;
    return begins_with_digit(text) && !*end && v >= 0 && v <= FILL_MAX_GUIDANCE;
}

static bool same_guidance(const struct audit_grid *g, int i, int k)
{
    /* Names of cells have ten digits. */
    return fabs(g->guidance[i] - g->guidance[k]) <= 1e-9 * fmax(g->guidance[i], g->guidance[k]);
}

static bool read_steps(const char *text, struct reader *r, int i)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    r->grid.steps[i] = (int)v;
    return begins_with_digit(text) && !*end && !errno && v >= 1 && v <= FILL_MAX_STEPS;
}

static bool same_steps(const struct audit_grid *g, int i, int k)
{
    return g->steps[i] == g->steps[k];
}

static bool read_seed(const char *text, struct reader *r, int i)
{
    char *end;

    errno = 0;
    r->grid.seeds[i] = strtoull(text, &end, 10);
    return begins_with_digit(text) && !*end && !errno;
}

static bool same_seed(const struct audit_grid *g, int i, int k)
{
    return g->seeds[i] == g->seeds[k];
}

/* ---- sets of LoRAs ---- */

/* The text and the tag of a set, by which it is compared and named. */
static enum err_code describe(struct audit_loras *l, struct arena *a, struct err *err)
{
    unsigned char digest[CRYPTO_SHA256_BYTES];
    char scale[LORA_SCALE_TEXT_SIZE], *text = NULL;

    for (int i = 0; i < l->set.n; i++) {
        lora_scale_text(l->set.items[i].scale, scale);
        TRY(arena_printf(a, &text, err, "%s%s%s:%s", text ? text : "", text ? "," : "", l->set.items[i].path, scale));
    }
    l->text = text;
    TRY(crypto_sha256(span_of(text), digest, err));
    for (size_t i = 0; i < sizeof l->tag / 2; i++)
        (void)snprintf(l->tag + 2 * i, 3, "%02x", digest[i]);
    return ERR_OK;
}

/* `text`: with commas, as a setting has it. */
static enum err_code read_set(const char *text, struct arena *a, const struct audit_loras **ret, struct err *err)
{
    struct audit_loras *l = NULL;

    TRY(arena_alloc(a, 1, sizeof *l, &l, err));
    TRY(fill_loras_add(&l->set, text, err));
    TRY(describe(l, a, err));
    *ret = l;
    return ERR_OK;
}

static enum err_code check_none(const struct audit_loras *l, struct err *err)
{
    for (int i = 0; i < l->set.n; i++)
        if (strcmp(l->set.items[i].path, "none") == 0)
            return err_set(err, ERR_INVALID,
                           "'none' means no LoRA, and stands alone; a file of that name is "
                           "'none.safetensors'");
    return ERR_OK;
}

static enum err_code read_joined(const char *text, struct arena *a, const struct audit_loras **ret, struct err *err)
{
    char *commas = NULL;

    *ret = NULL;
    if (strcmp(text, "none") == 0)
        return ERR_OK;
    TRY(span_dup(a, span_of(text), &commas, err));
    for (char *c = commas; *c; c++)
        *c = *c == '+' ? ',' : *c;
    TRY(read_set(commas, a, ret, err));
    return check_none(*ret, err);
}

static bool read_loras(const char *text, struct reader *r, int i)
{
    return *text && !read_joined(text, r->a, &r->grid.loras[i], &r->why);
}

static bool same_loras(const struct audit_grid *g, int i, int k)
{
    const struct audit_loras *x = g->loras[i], *y = g->loras[k];

    return x && y ? strcmp(x->text, y->text) == 0 : x == y;
}

static enum err_code parse_setting(const char *setting, struct reader *r, struct err *err)
{
    r->grid.n_loras = 1;
    if (setting && read_set(setting, r->a, &r->grid.loras[0], err))
        return err_prefix(err, "LORAS");
    return ERR_OK;
}

/* ---- the lists ---- */

static enum err_code refuse(const struct axis *x, const char *text, const struct err *why, struct err *err)
{
    if (why->code)
        return err_set(err, why->code, "%s: '%.60s': %s", x->option, text, why->msg);
    return err_set(err, ERR_INVALID, "%s: '%.60s' is not %s; values are separated by commas", x->option, text,
                   x->allowed);
}

/* Cuts the list up in a copy of its own. */
static enum err_code parse_list(const struct axis *x, const char *list, struct reader *r, int *n, struct err *err)
{
    char *text = NULL, *next;

    TRY(span_dup(r->a, span_of(list), &text, err));
    for (; text; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = '\0';
        if (*n == AUDIT_MAX_VALUES)
            return err_set(err, ERR_TOO_LARGE, "%s: more than %d values", x->option, AUDIT_MAX_VALUES);
        if (!x->read(text, r, *n))
            return refuse(x, text, &r->why, err);
        for (int i = 0; i < *n; i++)
            if (x->same(&r->grid, i, *n))
                return err_set(err, ERR_INVALID, "%s: '%.60s' stands there twice", x->option, text);
        ++*n;
    }
    return ERR_OK;
}

static enum err_code check_count(const struct audit_grid *g, struct err *err)
{
    if (audit_grid_count(g) <= AUDIT_MAX_CELLS)
        return ERR_OK;
    return err_set(err, ERR_TOO_LARGE,
                   "%d transformers x %d sets of LoRAs x %d values of guidance x %d numbers of steps x %d seeds are %d "
                   "cells, at most %d are allowed: run them as several audits",
                   g->n_transformers, g->n_loras, g->n_guidance, g->n_steps, g->n_seeds, audit_grid_count(g),
                   AUDIT_MAX_CELLS);
}

enum err_code audit_grid_parse(const struct audit_lists *lists, struct arena *a, struct audit_grid *ret,
                               struct err *err)
{
    static const struct axis transformers = { "--transformers", "a file name", read_transformer, same_transformer };
    static const struct axis loras = { "--loras", "none, or FILE[:SCALE] with more of them behind a +", read_loras,
                                       same_loras };
    static const struct axis guidance = { "--guidance", "a number from 0 to 1000", read_guidance, same_guidance };
    static const struct axis steps = { "--steps", "a whole number from 1 to 1000", read_steps, same_steps };
    static const struct axis seeds = { "--seeds", "a whole number from 0 to 2^64 - 1", read_seed, same_seed };
    struct reader r = { .a = a };
    struct audit_grid *g = &r.grid;

    _Static_assert(FILL_MAX_GUIDANCE == 1000 && FILL_MAX_STEPS == 1000, "the limits that the messages name");
    if (lists->transformers)
        TRY(parse_list(&transformers, lists->transformers, &r, &g->n_transformers, err));
    else
        g->n_transformers = 1;
    if (lists->loras)
        TRY(parse_list(&loras, lists->loras, &r, &g->n_loras, err));
    else
        TRY(parse_setting(lists->lora_setting, &r, err));
    TRY(parse_list(&guidance, lists->guidance, &r, &g->n_guidance, err));
    TRY(parse_list(&steps, lists->steps, &r, &g->n_steps, err));
    TRY(parse_list(&seeds, lists->seeds, &r, &g->n_seeds, err));
    for (int i = 0; i < g->n_steps; i++)
        g->most_steps = g->steps[i] > g->most_steps ? g->steps[i] : g->most_steps;
    TRY(check_count(g, err));
    *ret = *g;
    return ERR_OK;
}

int audit_grid_count(const struct audit_grid *g)
{
    return g->n_transformers * g->n_loras * g->n_guidance * g->n_steps * g->n_seeds;
}

struct audit_cell audit_grid_cell(const struct audit_grid *g, int i)
{
    struct audit_cell c = { .seed = g->seeds[i % g->n_seeds] };

    i /= g->n_seeds;
    c.steps = g->steps[i % g->n_steps];
    i /= g->n_steps;
    c.guidance = g->guidance[i % g->n_guidance];
    i /= g->n_guidance;
    c.loras = g->loras[i % g->n_loras];
    c.transformer = g->transformers[i / g->n_loras];
    return c;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
}

/* At most 60 characters of the file's name; where that may be what another becomes, fewer and a digest. Files of one
 * name in several folders are told apart by what the grid calls them. */
static void name_transformer(const struct audit_cell *c, const char *transformer, char ret[61])
{
    const char *whole = c->transformer ? c->transformer : transformer;
    bool changed = strcmp(whole, transformer) != 0;
    size_t n = 0;

    for (; transformer[n] && n < 60; n++) {
        ret[n] = transformer[n];
        if (!is_plain(ret[n]) || (n == 0 && ret[n] == '.'))
            ret[n] = '_';
        changed |= ret[n] != transformer[n];
    }
    ret[n] = 0;
    if (changed || transformer[n])
        (void)snprintf(ret + (n < 50 ? n : 50), 10, "-%08x", (unsigned)crc32c(0, whole, strlen(whole)));
}

void audit_cell_name(const struct audit_cell *c, const char *transformer, char ret[AUDIT_NAME_SIZE])
{
    char model[61];

    name_transformer(c, transformer, model);
    (void)snprintf(ret, AUDIT_NAME_SIZE, "%s%s%s-g%.10g-s%d-n%llu", model, c->loras ? "-lora-" : "",
                   c->loras ? c->loras->tag : "", c->guidance, c->steps, (unsigned long long)c->seed);
}
