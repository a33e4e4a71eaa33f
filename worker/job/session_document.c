#include "worker/job/session_document.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- reading ---- */

static enum err_code add_label(struct prompt_wishes *w, const struct json *v, struct arena *a, struct err *err)
{
    const char *text = json_string(v);

    return text ? prompt_wish_label(w, span_of(text), a, err) : ERR_OK;
}

enum err_code document_read_wishes(const struct json *prompt, const struct json *labels, struct arena *a,
                                   struct prompt_wishes *ret, struct err *err)
{
    struct prompt_wishes w = { .prompt_invalid = prompt && !json_string(prompt) && json_type(prompt) != JSON_T_NULL };

    if (json_string(prompt))
        TRY(prompt_wish(&w, span_of(json_string(prompt)), a, err));
    if (json_type(labels) == JSON_T_ARRAY)
        for (const struct json *v = json_first(labels); v; v = json_next(v))
            TRY(add_label(&w, v, a, err));
    TRY(add_label(&w, json_get(labels, "surface"), a, err));
    *ret = w;
    return ERR_OK;
}

static bool says_nothing(const struct json *v)
{
    return !v || json_type(v) == JSON_T_NULL || (json_string(v) && !*json_string(v));
}

struct mask_wishes document_read_mask_wishes(const struct json *kind, const struct json *orientation)
{
    struct mask_wishes w = { MASK_KIND_ANY, MASK_ORIENTATION_ANY };

    if (!says_nothing(kind))
        w.kind = json_string(kind) ? mask_kind_of_word(json_string(kind)) : MASK_KIND_UNKNOWN;
    if (!says_nothing(orientation))
        w.orientation =
            json_string(orientation) ? mask_orientation_of_word(json_string(orientation)) : MASK_ORIENTATION_UNKNOWN;
    return w;
}

/* ---- the list ---- */

static void add(struct document_fields *f, const struct document_field field)
{
    assert(f->n < DOCUMENT_MAX_FIELDS);
    f->list[f->n++] = field;
}

static void add_deletion(struct document_fields *f, const char *path)
{
    add(f, (struct document_field){ .path = path, .kind = DOCUMENT_K_DELETE });
}

static void add_text(struct document_fields *f, const char *path, const char *text)
{
    add(f, (struct document_field){ path, DOCUMENT_K_TEXT, .text = text });
}

static void add_integer(struct document_fields *f, const char *path, int64_t integer)
{
    add(f, (struct document_field){ path, DOCUMENT_K_INTEGER, .integer = integer });
}

static void add_double(struct document_fields *f, const char *path, double number)
{
    add(f, (struct document_field){ path, DOCUMENT_K_DOUBLE, .number = number });
}

static void add_bool(struct document_fields *f, const char *path, bool is_true)
{
    add(f, (struct document_field){ path, DOCUMENT_K_BOOL, .integer = is_true });
}

static void add_map(struct document_fields *f, const char *path)
{
    add(f, (struct document_field){ .path = path, .kind = DOCUMENT_K_MAP });
}

const char *document_status(const struct document_fields *f)
{
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->list[i].path, DOCUMENT_STATUS))
            return f->list[i].text;
    return NULL;
}

bool document_path_is_in(const char *path, const char *map)
{
    size_t n = strlen(map);

    return strncmp(path, map, n) == 0 && path[n] == '.';
}

int document_next(const struct document_fields *f, int i)
{
    const struct document_field *field = &f->list[i++];

    while ((field->kind == DOCUMENT_K_MAP || field->kind == DOCUMENT_K_LIST) && i < f->n &&
           document_path_is_in(f->list[i].path, field->path))
        i++;
    return i;
}

bool document_is_ours(const char *name)
{
    static const char *const ours[] = { DOCUMENT_STATUS, DOCUMENT_EDITED,        DOCUMENT_PREVIEW,
                                        DOCUMENT_COST,   DOCUMENT_ERROR_MESSAGE, DOCUMENT_OURS };

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(name, ours[i]))
            return true;
    return false;
}

/* ---- what is written when ---- */

#define STAGE       DOCUMENT_OURS ".stage"
#define RETRYABLE   DOCUMENT_OURS ".retryable"
#define WARNINGS    DOCUMENT_OURS ".warnings"
#define TIMINGS     DOCUMENT_OURS ".timings"
#define RECIPE      DOCUMENT_OURS ".recipe"
#define MASK        DOCUMENT_OURS ".mask"
#define CROPS       DOCUMENT_OURS ".crops"
#define SHADOW      DOCUMENT_OURS ".shadow"
#define MATCH       DOCUMENT_OURS ".match"
#define SCORES      DOCUMENT_OURS ".scores"
#define SECOND      DOCUMENT_OURS ".secondPass"
#define OUTPUT      DOCUMENT_OURS ".output"
#define COLOUR      DOCUMENT_OURS ".colour"
#define ETA_SECONDS DOCUMENT_OURS ".etaSeconds"

void document_add_claim(struct document_fields *f, const struct document_lease *lease, int64_t attempts)
{
    add_text(f, DOCUMENT_STATUS, "processing");
    add_text(f, DOCUMENT_MESSAGE_ID, lease->message_id);
    add_integer(f, DOCUMENT_ATTEMPTS, attempts);
    add_map(f, DOCUMENT_LEASE);
    add_text(f, DOCUMENT_LEASE_ID, lease->id);
    add_text(f, DOCUMENT_LEASE ".messageId", lease->message_id);
    add(f, (struct document_field){ DOCUMENT_LEASE_EXPIRES, DOCUMENT_K_TIMESTAMP, .integer = lease->expires_us });
    document_add_progress(f, STAGE_DOWNLOAD, 0, -1);
}

void document_add_progress(struct document_fields *f, enum stage stage, int percent, double eta_seconds)
{
    add_text(f, STAGE, stage_name(stage));
    add_integer(f, DOCUMENT_OURS ".progress", percent);
    if (eta_seconds >= 0)
        add_double(f, ETA_SECONDS, eta_seconds);
    else
        document_add_no_eta(f);
}

void document_add_pending(struct document_fields *f)
{
    add_text(f, DOCUMENT_STATUS, "pending");
}

void document_add_no_lease(struct document_fields *f)
{
    add_deletion(f, DOCUMENT_LEASE);
}

void document_add_no_eta(struct document_fields *f)
{
    add_deletion(f, ETA_SECONDS);
}

/* detail NULL: the error's own sentence */
static void add_error(struct document_fields *f, enum job_error error, const char *detail)
{
    const struct job_error_info *info = job_error_info(error);

    add_text(f, DOCUMENT_STATUS, "failed");
    add_text(f, DOCUMENT_ERROR_MESSAGE, detail ? detail : info->sentence);
    add_text(f, DOCUMENT_ERROR_CODE, info->code);
    add_bool(f, RETRYABLE, info->retryable);
}

void document_add_unclaimed(struct document_fields *f, enum job_error error, const char *message_id, int64_t attempts)
{
    add_error(f, error, NULL);
    add_text(f, DOCUMENT_MESSAGE_ID, message_id);
    add_integer(f, DOCUMENT_ATTEMPTS, attempts);
    add_double(f, DOCUMENT_COST, 0);
    document_add_no_lease(f);
    document_add_no_eta(f);
}

void document_add_only_failed(struct document_fields *f)
{
    add_text(f, DOCUMENT_STATUS, "failed");
}

static void add_recipe(struct document_fields *f, const struct document_recipe *r)
{
    add_map(f, RECIPE);
    add_text(f, RECIPE ".model", r->model_file);
    if (r->loras)
        add_text(f, RECIPE ".loras", r->loras);
    add_text(f, RECIPE ".prompt", r->prompt);
    add_integer(f, RECIPE ".steps", r->steps);
    add_double(f, RECIPE ".guidance", r->guidance);
    add_integer(f, RECIPE ".seed", r->seed);
    add_map(f, RECIPE ".crop");
    add_integer(f, RECIPE ".crop.x", r->crop_x);
    add_integer(f, RECIPE ".crop.y", r->crop_y);
    add_integer(f, RECIPE ".crop.width", r->crop_width);
    add_integer(f, RECIPE ".crop.height", r->crop_height);
    add_map(f, RECIPE ".fillSize");
    add_integer(f, RECIPE ".fillSize.width", r->fill_width);
    add_integer(f, RECIPE ".fillSize.height", r->fill_height);
    add_text(f, RECIPE ".precision", r->precision);
}

static void add_mask(struct document_fields *f, const struct picture_record *p)
{
    add_map(f, MASK);
    add_text(f, MASK ".kind", mask_kind_word(p->mask.kind));
    add_text(f, MASK ".reason", p->mask.reason);
    add_text(f, MASK ".orientation", mask_orientation_word(p->mask.orientation));
    add_double(f, MASK ".markedShare", p->marked_share);
    add_integer(f, MASK ".specksRemoved", p->cleaning.specks_removed);
    add_integer(f, MASK ".holesFilled", p->cleaning.holes_filled);
    add_integer(f, MASK ".growModel", p->edge.grow);
    add_double(f, MASK ".growPaste", p->edge.paste);
    add_double(f, MASK ".feather", p->edge.feather);
}

struct crop_paths {
    const char *map, *x, *y, *width, *height, *fill_width, *fill_height;
};

static void add_crop(struct document_fields *f, const struct crop *c, const struct crop_paths *path)
{
    add_map(f, path->map);
    add_integer(f, path->x, c->box.left);
    add_integer(f, path->y, c->box.top);
    add_integer(f, path->width, box_width(c->box));
    add_integer(f, path->height, box_height(c->box));
    add_integer(f, path->fill_width, c->fill_width);
    add_integer(f, path->fill_height, c->fill_height);
}

static void add_crops(struct document_fields *f, const struct crop_plan *plan)
{
#define PATHS(i)                                                                                       \
    { CROPS "." i,           CROPS "." i ".x",         CROPS "." i ".y",         CROPS "." i ".width", \
      CROPS "." i ".height", CROPS "." i ".fillWidth", CROPS "." i ".fillHeight" }
    static const struct crop_paths paths[CROP_MAX] = { PATHS("0"), PATHS("1"), PATHS("2") };
#undef PATHS

    add(f, (struct document_field){ .path = CROPS, .kind = DOCUMENT_K_LIST });
    for (int i = 0; i < plan->n; i++)
        add_crop(f, &plan->crops[i], &paths[i]);
}

/* Levels by which a middle grey was moved, summed over the channels, and the grain that was added. */
static double change_of(const struct patch_match *m)
{
    double sum = fabs(m->sigma_after - m->sigma_before);

    for (int c = 0; c < 3; c++)
        sum += fabs((m->tone.gain[c] - 1) * 128 + m->tone.offset[c]);
    return sum;
}

/* Where there are several crops, the one that was changed most: each has its own grain and tint. */
static const struct patch_match *match_of(const struct picture_record *p)
{
    const struct patch_match *most = &p->match[0];

    for (int i = 1; i < p->plan.n; i++)
        if (change_of(&p->match[i]) > change_of(most))
            most = &p->match[i];
    return most;
}

static void add_match(struct document_fields *f, const struct patch_match *m)
{
    add_map(f, MATCH);
    add_text(f, MATCH ".grain", patch_match_word(m->outcome));
    add_double(f, MATCH ".sigmaAround", m->sigma_photo);
    add_double(f, MATCH ".sigmaBefore", m->sigma_before);
    add_double(f, MATCH ".sigmaAfter", m->sigma_after);
    add_double(f, MATCH ".gainRed", m->tone.gain[0]);
    add_double(f, MATCH ".gainGreen", m->tone.gain[1]);
    add_double(f, MATCH ".gainBlue", m->tone.gain[2]);
    add_double(f, MATCH ".offsetRed", m->tone.offset[0]);
    add_double(f, MATCH ".offsetGreen", m->tone.offset[1]);
    add_double(f, MATCH ".offsetBlue", m->tone.offset[2]);
}

static void add_scores(struct document_fields *f, const struct picture_record *p)
{
    const struct picture_scores s = picture_scores_worst(p->scores, p->plan.n);

    add_map(f, SCORES);
    add_double(f, SCORES ".seam", s.seam);
    add_double(f, SCORES ".outline", s.outline);
    add_double(f, SCORES ".colourStep", s.colour_step);
    add_double(f, SCORES ".overlap", s.overlap);
    add_double(f, SCORES ".sharpness", s.sharpness);
    add_double(f, SCORES ".grain", s.grain);
    add_double(f, SCORES ".ghost", s.ghost);
    add_double(f, SCORES ".coherence", s.coherence);
    add_double(f, SCORES ".hallucination", s.hallucination);
    add_double(f, SCORES ".total", s.total);
}

/* The first crop that was painted twice; NULL: there is none. */
static const struct picture_second *second_of(const struct picture_record *p)
{
    for (int i = 0; i < p->plan.n; i++)
        if (p->second[i].ran)
            return &p->second[i];
    return NULL;
}

static void add_second(struct document_fields *f, const struct picture_second *s)
{
    add_map(f, SECOND);
    add_text(f, SECOND ".kept", s->kept ? "second" : "first");
    add_double(f, SECOND ".total", s->total);
    add_double(f, SECOND ".otherTotal", s->other_total);
}

static void add_output(struct document_fields *f, const struct picture_record *p)
{
    static const char *const modes[] = { [PICTURE_Q95] = "q95", [PICTURE_SPLICE] = "splice" };

    add_map(f, OUTPUT);
    add_text(f, OUTPUT ".mode", modes[p->output]);
    if (p->has_changes) {
        add_integer(f, OUTPUT ".changedOutside", p->changed_outside);
        add_integer(f, OUTPUT ".maxOutside", p->max_outside);
    }
}

static void add_shadow(struct document_fields *f, const struct shadow *s)
{
    add_map(f, SHADOW);
    add_text(f, SHADOW ".result", shadow_result_names[s->result]);
    add_integer(f, SHADOW ".added", s->added);
}

/* What this job did not come to is deleted, or an earlier job's word on it would stay. */
static void add_picture(struct document_fields *f, const struct picture_record *p)
{
    const struct picture_second *second = second_of(p);

    p->mask.reason ? add_mask(f, p) : add_deletion(f, MASK);
    p->plan.n ? add_crops(f, &p->plan) : add_deletion(f, CROPS);
    p->shadow.light > 0 ? add_shadow(f, &p->shadow) : add_deletion(f, SHADOW);
    p->has_match ? add_match(f, match_of(p)) : add_deletion(f, MATCH);
    p->has_scores ? add_scores(f, p) : add_deletion(f, SCORES);
    second ? add_second(f, second) : add_deletion(f, SECOND);
    p->has_output ? add_output(f, p) : add_deletion(f, OUTPUT);
    if (!p->colour_space) {
        add_deletion(f, COLOUR);
        return;
    }
    add_map(f, COLOUR);
    add_text(f, COLOUR ".space", p->colour_space);
}

/* What success and failure have in common. */
static void add_report(struct document_fields *f, const struct document_report *r)
{
    static const char *const timings[] = {
#define X(name, text) TIMINGS "." text,
        STAGE_MAP(X)
#undef X
    };

    add_double(f, DOCUMENT_COST, r->cost_usd);
    add_map(f, TIMINGS);
    for (int s = 0; s < STAGES; s++)
        if (r->times.has_run[s])
            add_integer(f, timings[s], r->times.ms[s]);
    if (r->n_warnings)
        add(f, (struct document_field){ WARNINGS, DOCUMENT_K_TEXTS, .texts = r->warnings, .n_texts = r->n_warnings });
    else
        add_deletion(f, WARNINGS);
    r->recipe ? add_recipe(f, r->recipe) : add_deletion(f, RECIPE);
    add_picture(f, r->picture ? r->picture : &(struct picture_record){ 0 });
}

void document_add_completed(struct document_fields *f, const struct document_report *r)
{
    add_text(f, DOCUMENT_STATUS, "completed");
    add_text(f, DOCUMENT_EDITED, r->edited_path);
    add_text(f, DOCUMENT_PREVIEW, r->preview_path);
    add_deletion(f, DOCUMENT_ERROR_MESSAGE);
    add_deletion(f, DOCUMENT_ERROR_CODE);
    add_deletion(f, RETRYABLE);
    add_report(f, r);
}

void document_add_failed(struct document_fields *f, const struct document_report *r)
{
    add_error(f, r->error, r->detail);
    if (r->has_stage)
        add_text(f, STAGE, stage_name(r->stage));
    add_report(f, r);
}
