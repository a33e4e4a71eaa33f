#include "worker/job/edit.h"

#include <math.h>

#include "models/codec/decode.h"
#include "models/codec/png.h"
#include "models/image/orient.h"
#include "models/image/resize.h"

/* Where each phase of the painting begins and ends in the progress of the whole job. Painting takes most of it. */
static const struct {
    enum stage stage;
    int from, to; /* percent */
} phases[] = {
    [FILL_PHASE_ENCODE] = { STAGE_ENCODE, 8, 12 },
    [FILL_PHASE_DENOISE] = { STAGE_DENOISE, 12, 88 },
    [FILL_PHASE_DECODE] = { STAGE_COMPOSE, 88, 92 },
};
enum { PERCENT_DECODE = 5, PERCENT_COMPOSE = 92 };

struct picture_settings edit_picture_settings(const struct config *c)
{
    return (struct picture_settings){
        .max_pixels = c->max_pixels,
        .geometry = (enum picture_geometry_mode)c->geometry,
        .patch_match = c->patch_match,
        .mask_grow_px = c->mask_grow_px,
        .mask_feather_px = c->mask_feather_px,
        .mask_max_share = c->mask_max_share,
        .shadow = c->shadow,
        .output = (enum picture_output)c->output_jpeg,
        .second_pass = (enum picture_second_pass)c->second_pass,
        .decode_jail = c->decode_jail,
        .heic = c->heic,
        .fast_huffman = c->fast_huffman,
    };
}

struct edit { /* one edit_run() */
    struct engine *engine;
    const struct edit_request *request;
    const struct edit_watch *watch;
    const struct sys *sys;
    struct arena *arena;
    struct edit_result *result;
    const char *prompt;
    struct picture_input in;
    struct image stand_in; /* EDIT_PAINT_FILE: its pixels */
    struct colour stand_in_colour;
    int crop, pass; /* the one that is being painted, for the first time (0) or again (1) */
    int percent;    /* the most that was reported */
    int64_t stage_start_ms;
    enum fill_phase phase;
    int64_t denoise_start_ms;
};

static void report(struct edit *e, enum stage stage, int percent, double eta_seconds)
{
    e->percent = percent > e->percent ? percent : e->percent; /* a second pass does not go back */
    if (e->watch->stage)
        e->watch->stage(e->watch->ctx, stage, e->percent, eta_seconds);
}

static bool is_cancelled(void *ctx)
{
    const struct edit *e = ctx;

    return e->watch->cancelled && e->watch->cancelled(e->watch->ctx);
}

/* Ends the running stage under this name. */
static void clock_stage(struct edit *e, enum stage stage)
{
    int64_t now = sys_mono_ms(e->sys), ms = now - e->stage_start_ms;

    stage_times_add(&e->result->times, stage, ms > 0 ? ms : 0);
    e->stage_start_ms = now;
}

static bool model_paints(const struct edit *e)
{
    return e->request->paint.kind == EDIT_PAINT_MODEL;
}

/* ---- decode ---- */

static enum err_code choose_prompt(struct edit *e, struct err *err)
{
    const char *wanted;

    TRY(prompt_build(&e->request->wishes, e->arena, &wanted, err));
    e->prompt = model_paints(e) ? engine_prompt(e->engine, wanted) : wanted;
    if (e->prompt != wanted)
        picture_warn(&e->result->picture, "PROMPT_NOT_IN_PACK");
    return ERR_OK;
}

static void set_recipe(struct edit *e)
{
    const struct fill_request *f = &e->request->fill;
    const struct crop *c = &e->result->picture.plan.crops[0];

    e->result->recipe = (struct document_recipe){
        .model_file = model_paints(e) ? engine_model_name(e->engine) : e->request->paint.name,
        .loras = model_paints(e) ? engine_loras(e->engine) : NULL,
        .prompt = e->prompt,
        .precision = model_paints(e) ? engine_precision(e->engine) : "none",
        .steps = f->steps,
        .guidance = f->guidance,
        .seed = (int64_t)(f->seed & INT64_MAX),
        .crop_x = c->box.left,
        .crop_y = c->box.top,
        .crop_width = box_width(c->box),
        .crop_height = box_height(c->box),
        .fill_width = c->fill_width,
        .fill_height = c->fill_height,
    };
    e->result->has_recipe = true;
}

static enum err_code take_stand_in(struct edit *e, struct err *err)
{
    struct image_notes notes;
    struct image stored, upright;

    TRY(image_decode(e->arena, e->request->paint.file, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &stored,
                     &notes, err));
    TRY(image_orient(e->arena, &stored, notes.orientation, &upright, err));
    if (upright.width != e->in.photo.width || upright.height != e->in.photo.height)
        return err_set(err, ERR_INVALID, "%d x %d pixels, but the photo has %d x %d as it is displayed", upright.width,
                       upright.height, e->in.photo.width, e->in.photo.height);
    e->stand_in_colour = *e->in.colour; /* without a profile of its own it was made of the photo's pixels */
    if (notes.icc.len)
        TRY(colour_open(e->arena, notes.icc, &e->stand_in_colour, err));
    return image_to_rgb(e->arena, &upright, &e->stand_in, err);
}

/* The pixels of EDIT_PAINT_FILE. */
static enum err_code read_stand_in(struct edit *e, struct err *err)
{
    enum err_code rc = take_stand_in(e, err);

    if (rc)
        (void)err_prefix(err, "%s", e->request->paint.name);
    return rc;
}

static enum err_code decode(struct edit *e, struct err *err)
{
    const struct edit_request *r = e->request;
    struct picture_record *record = &e->result->picture;

    report(e, STAGE_DECODE, PERCENT_DECODE, -1);
    TRY(picture_read(e->arena, &(struct picture_source){ r->original, r->mask, r->mask_wishes }, &r->pictures, &e->in,
                     record, err));
    record->seed = r->fill.seed;
    TRY(picture_plan(e->arena, &e->in, &r->pictures, record, err));
    set_recipe(e);
    TRY(r->paint.kind == EDIT_PAINT_FILE ? read_stand_in(e, err) : ERR_OK);
    clock_stage(e, STAGE_DECODE);
    return ERR_OK;
}

/* ---- paint ---- */

/* The phases of each crop take their share of the whole. */
static int percent_of(const struct edit *e, enum fill_phase phase, int done, int total)
{
    const int from = phases[0].from, whole = phases[FILL_PHASE_DECODE].to - from, n = e->result->picture.plan.n;
    int at = phases[phase].from + (total > 0 ? (phases[phase].to - phases[phase].from) * done / total : 0);

    return from + (whole * e->crop + at - from) / n;
}

static void on_progress(void *ctx, enum fill_phase phase, int done, int total)
{
    struct edit *e = ctx;
    double eta_seconds = -1;

    if (phase != e->phase)
        e->denoise_start_ms = sys_mono_ms(e->sys);
    e->phase = phase;
    if (phase == FILL_PHASE_DENOISE && done > 0 && e->crop + 1 == e->result->picture.plan.n)
        eta_seconds = 1e-3 * (double)(sys_mono_ms(e->sys) - e->denoise_start_ms) / done * (total - done);
    report(e, phases[phase].stage, percent_of(e, phase, done, total), eta_seconds);
    if (e->watch->paint)
        e->watch->paint(e->watch->ctx, phase, done, total);
}

/* The phases that have ended, by the device's clock; the rest of the time belongs to the phase that ran last. */
static void clock_phases(struct edit *e, const struct fill_timings *t)
{
    const double phase_ms[] = {
        [FILL_PHASE_ENCODE] = t->text + t->encode,
        [FILL_PHASE_DENOISE] = t->prepare + t->steps,
    };

    for (int i = 0; i < (int)e->phase; i++) {
        int64_t ms = (int64_t)llround(phase_ms[i]);

        stage_times_add(&e->result->times, phases[i].stage, ms);
        e->stage_start_ms += ms;
    }
    clock_stage(e, phases[e->phase].stage);
}

/* Crops have different seeds, so that two of the same shape do not get the same noise, and so have passes. */
static enum err_code paint_by_model(struct edit *e, const struct picture_model_input *model, struct image_f32 *ret,
                                    struct err *err)
{
    struct fill_timings timings = { 0 };
    struct fill_request r = e->request->fill;
    struct image painted;
    enum err_code rc;

    r.picture = &model->picture;
    r.mask = &model->mask;
    r.width = r.picture->width;
    r.height = r.picture->height;
    r.prompt = e->prompt;
    r.seed += (uint64_t)(e->crop + CROP_MAX * e->pass);
    r.progress = on_progress;
    r.cancelled = is_cancelled;
    r.ctx = e;
    r.timings = &timings;
    e->phase = FILL_PHASE_ENCODE;
    rc = engine_paint(e->engine, &r, e->arena, &painted, err);
    e->result->rereads_modulation |= timings.rereads_modulation;
    clock_phases(e, &timings);
    return rc ? rc : image_f32_from(e->arena, &painted, ret, err);
}

static enum err_code paint_solid(struct edit *e, const struct picture_model_input *model, struct image_f32 *ret,
                                 struct err *err)
{
    size_t n = (size_t)model->picture.width * (size_t)model->picture.height;

    TRY(image_f32_new(e->arena, model->picture.width, model->picture.height, ret, err));
    for (size_t i = 0; i < 3 * n; i++)
        ret->pixels[i] = e->request->paint.rgb[i % 3];
    return ERR_OK;
}

static enum err_code paint(struct edit *e, const struct picture_model_input *model, struct image_f32 *ret,
                           struct err *err)
{
    const struct picture_record *record = &e->result->picture;

    switch (e->request->paint.kind) {
    case EDIT_PAINT_MODEL:
        return paint_by_model(e, model, ret, err);
    case EDIT_PAINT_SOLID:
        return paint_solid(e, model, ret, err);
    case EDIT_PAINT_FILE:
        return picture_paint_from(e->arena, &e->stand_in, &e->stand_in_colour, record, e->crop, ret, err);
    default:
        return picture_paint_from(e->arena, &e->in.photo, e->in.colour, record, e->crop, ret, err);
    }
}

/* Paints the crop, pastes it and looks at it. */
static enum err_code try_crop(struct edit *e, const struct picture_model_input *model, struct err *err)
{
    ARENA_SCRATCH(e->arena);
    struct picture_record *record = &e->result->picture;
    struct image_f32 painted;

    TRY(paint(e, model, &painted, err));
    TRY(picture_paste(e->arena, &e->in, model, &painted, &e->request->pictures, record, e->crop, err));
    TRY(picture_score(e->arena, &e->in, model, record, e->crop, err));
    clock_stage(e, STAGE_COMPOSE);
    return ERR_OK;
}

/* ---- the second pass ---- */

/* A second pass takes as long as the first; the crops that are still to come and the end of the job need their time,
 * too. */
#define SECOND_PASS_MARGIN    1.5
#define SECOND_PASS_RESERVE_S 10.0

/* What a second pass and the crops to come have to paint, in pixels of this crop. */
static double work_to_come(const struct edit *e)
{
    const struct crop_plan *plan = &e->result->picture.plan;
    const struct crop *now = &plan->crops[e->crop];
    double pixels = 0;

    for (int i = e->crop; i < plan->n; i++)
        pixels += (double)plan->crops[i].fill_width * plan->crops[i].fill_height;
    return pixels / ((double)now->fill_width * now->fill_height);
}

static bool has_time(const struct edit *e, double first_took_s)
{
    return !e->watch->seconds_left || e->watch->seconds_left(e->watch->ctx) >=
                                          SECOND_PASS_MARGIN * first_took_s * work_to_come(e) + SECOND_PASS_RESERVE_S;
}

static bool wants_second(const struct edit *e, double first_took_s)
{
    const enum picture_second_pass policy = e->request->pictures.second_pass;
    const struct picture_scores *scores = &e->result->picture.scores[e->crop];

    if (!model_paints(e) || policy == PICTURE_SECOND_OFF)
        return false;
    return (policy == PICTURE_SECOND_BOTH || picture_scores_seam_shows(scores)) && has_time(e, first_took_s);
}

/* Whether the first result stands although the second pass failed: it must not cost a job that could end well. Whoever
 * cancelled a job that still has time wants no result. */
static bool first_stands(const struct edit *e, enum err_code rc)
{
    return rc == ERR_NUMERIC ||
           (rc == ERR_CANCELLED && e->watch->seconds_left && !(e->watch->seconds_left(e->watch->ctx) > 0));
}

/* Paints the crop once more, with another seed, and keeps the better result. */
static enum err_code paint_again(struct edit *e, const struct picture_model_input *model, struct err *err)
{
    struct picture_record *record = &e->result->picture;
    const struct picture_scores first_scores = record->scores[e->crop], *scores = &record->scores[e->crop];
    const struct patch_match first_match = record->match[e->crop];
    struct picture_second *second = &record->second[e->crop];
    struct err failed = { 0 };
    struct image first;
    enum err_code rc;

    TRY(image_cut(e->arena, &e->in.photo, model->view, &first, err));
    picture_put(&e->in, model->view, &model->before);
    e->pass = 1;
    rc = try_crop(e, model, &failed);
    e->pass = 0;
    if (rc && !first_stands(e, rc))
        return err_set(err, rc, "%s", failed.msg);
    *second = (struct picture_second){ .ran = !rc, .kept = !rc && picture_scores_better(scores, &first_scores) };
    second->total = second->kept ? scores->total : first_scores.total;
    second->other_total = second->kept ? first_scores.total : scores->total;
    if (second->kept)
        return ERR_OK;
    picture_put(&e->in, model->view, &first);
    record->scores[e->crop] = first_scores;
    record->match[e->crop] = first_match;
    return ERR_OK;
}

static enum err_code paint_crop(struct edit *e, struct err *err)
{
    ARENA_SCRATCH(e->arena);
    struct picture_model_input model;
    int64_t begin_ms;

    TRY(picture_prepare(e->arena, &e->in, &e->result->picture, e->crop, &model, err));
    if (is_cancelled(e))
        return err_set(err, ERR_CANCELLED, "edit: cancelled");
    begin_ms = sys_mono_ms(e->sys);
    TRY(try_crop(e, &model, err));
    return wants_second(e, 1e-3 * (double)(sys_mono_ms(e->sys) - begin_ms)) ? paint_again(e, &model, err) : ERR_OK;
}

/* ---- the files ---- */

static enum err_code encode(struct edit *e, struct err *err)
{
    enum err_code rc;

    report(e, STAGE_COMPOSE, PERCENT_COMPOSE, -1);
    rc = picture_encode(e->arena, &e->in, &e->request->pictures, &e->result->picture, &e->result->files, err);
    clock_stage(e, STAGE_COMPOSE);
    return rc;
}

/* What is only for whoever measures; its time belongs to no stage of a job. */
static enum err_code show_exactly(struct edit *e, struct err *err)
{
    if (e->request->wants_png)
        TRY(png_write_with_profile(e->arena, &e->in.photo, e->in.icc, &e->result->png, err));
    return e->request->counts_changes
               ? picture_count_changes(e->arena, &e->in, e->result->files.edited, &e->result->picture, err)
               : ERR_OK;
}

enum err_code edit_run(struct engine *engine, const struct edit_request *r, const struct edit_watch *watch,
                       const struct sys *sys, struct arena *a, struct edit_result *ret, struct err *err)
{
    struct edit e = { .engine = engine,
                      .request = r,
                      .watch = watch,
                      .sys = sys,
                      .arena = a,
                      .result = ret,
                      .stage_start_ms = sys_mono_ms(sys) };

    *ret = (struct edit_result){ 0 };
    TRY(choose_prompt(&e, err));
    TRY(decode(&e, err));
    for (; e.crop < ret->picture.plan.n; e.crop++)
        TRY(paint_crop(&e, err));
    TRY(encode(&e, err));
    return show_exactly(&e, err);
}
