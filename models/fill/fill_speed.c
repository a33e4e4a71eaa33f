#include "models/fill/fill_speed.h"

#include <math.h>
#include <string.h>

#include "models/fill/fill_model.h"
#include "models/flux/flux_flop.h"

enum {
    SIDE = 256, /* pixels */
    RUNS = 3,
    HOPELESS = 4 /* an estimate that is this many times the limit is not one of a busy machine: it is not repeated */
};
static const size_t arena_bytes = (size_t)256 << 20; /* address space */

static double tokens(int width, int height)
{
    return (double)(width / TOKEN_SIDE) * (height / TOKEN_SIDE);
}

/* The text tokens of the request that is painted here, which was made with t5_len: prompts of a pack have their own
 * lengths. */
static int64_t text_tokens(const struct fill_model *m, int t5_len)
{
    return m->has_encoders ? t5_len : prompt_pack_find(&m->pack, fill_model_prompt(m, "grass"))->t5_len;
}

static int64_t most_text_tokens(const struct fill_model *m)
{
    return m->has_encoders ? m->limits.max_t5_len : m->longest_prompt->t5_len;
}

struct fill_speed fill_speed_from(const struct fill_model *m, const struct fill_timed *t)
{
    const struct fill_options *max = &m->limits;
    const struct flux_config *c = &m->flux.config;
    struct fill_speed s = { .width = max->max_width,
                            .height = max->max_height,
                            .steps = max->max_steps,
                            .measured_width = t->width,
                            .measured_height = t->height,
                            .n_measured = 1 };
    double pixels = tokens(s.width, s.height) / tokens(t->width, t->height);
    double flop = flux_step_flop(c, (double)most_text_tokens(m), tokens(s.width, s.height)) /
                  flux_step_flop(c, (double)text_tokens(m, t->t5_len), tokens(t->width, t->height));
    double step_ms = t->took.steps / t->took.n_steps * flop;
    double ms = t->took.text * max->max_t5_len / t->t5_len + (t->took.encode + t->took.decode) * pixels +
                t->took.prepare + step_ms * s.steps;

    s.seconds = 1e-3 * ms;
    s.step_seconds = 1e-3 * step_ms;
    return s;
}

static enum err_code paint(struct fill_model *m, const struct fill_timed *size, struct arena *a,
                           struct fill_timings *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct image picture, mask, painted;
    struct fill_request r = { FILL_REQUEST_DEFAULTS, .picture = &picture, .mask = &mask, .timings = ret };

    r.width = size->width;
    r.height = size->height;
    r.t5_len = size->t5_len;
    r.steps = 1;
    r.prompt = fill_model_prompt(m, "grass");
    TRY(image_new(a, r.width, r.height, 3, &picture, err));
    TRY(image_new(a, r.width, r.height, 1, &mask, err));
    memset(picture.pixels, 127, image_bytes(&picture));
    memset(mask.pixels, 255, image_bytes(&mask));
    return fill_run(m, &r, a, &painted, err);
}

/* The shortest time of each part. */
static void keep_least(struct fill_timings *best, const struct fill_timings *t)
{
    if (!best->n_steps) {
        *best = *t;
        return;
    }
    best->text = fmin(best->text, t->text);
    best->encode = fmin(best->encode, t->encode);
    best->prepare = fmin(best->prepare, t->prepare);
    best->steps = fmin(best->steps, t->steps);
    best->decode = fmin(best->decode, t->decode);
}

static int side(int max)
{
    return (max < SIDE ? max : SIDE) / TOKEN_SIDE * TOKEN_SIDE;
}

static enum err_code measure(struct fill_model *m, double limit_s, struct arena *a, struct fill_speed *ret,
                             struct err *err)
{
    struct fill_timed t = { .width = side(m->limits.max_width),
                            .height = side(m->limits.max_height),
                            .t5_len = m->limits.max_t5_len };

    for (int i = 0; i < RUNS && (i == 0 || (ret->seconds > limit_s && ret->seconds < HOPELESS * limit_s)); i++) {
        struct fill_timings took = { 0 };

        TRY(paint(m, &t, a, &took, err));
        keep_least(&t.took, &took);
        *ret = fill_speed_from(m, &t);
        ret->n_measured = i + 1;
    }
    return ERR_OK;
}

enum err_code fill_speed_measure(struct fill_model *m, const struct fill_timed *known, double limit_s,
                                 struct fill_speed *ret, struct err *err)
{
    struct arena a = { 0 };
    enum err_code rc;

    *ret = (struct fill_speed){ .seconds = INFINITY };
    if (known->took.n_steps)
        *ret = fill_speed_from(m, known);
    if (ret->seconds <= limit_s)
        return ERR_OK;
    TRY(arena_init(&a, arena_bytes, err));
    rc = measure(m, limit_s, &a, ret, err);
    arena_done(&a);
    return rc;
}
