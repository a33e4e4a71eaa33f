#include "worker/job/session_document.h"

#include <assert.h>
#include <string.h>

/* ---- reading ---- */

static bool json_is_null(const struct json *v)
{
    return json_type(v) == JSON_T_NULL;
}

static const struct json *first_of_array(const struct json *v)
{
    return json_type(v) == JSON_T_ARRAY ? json_first(v) : NULL;
}

const struct document_form document_form_json = { json_string, json_is_null, json_get, first_of_array };

static enum err_code copy_text(const char *text, struct arena *a, const char **ret, struct err *err)
{
    char *copy;

    TRY(span_dup(a, span_of(text), &copy, err));
    *ret = copy;
    return ERR_OK;
}

/* Labels that the prompt cannot use do not count towards the limit. */
static enum err_code add_label(struct prompt_wishes *w, const char *text, struct arena *a, struct err *err)
{
    if (!text || w->n_labels == PROMPT_MAX_LABELS || !prompt_label_is_usable(text))
        return ERR_OK;
    TRY(copy_text(text, a, &w->labels[w->n_labels], err));
    w->n_labels++;
    return ERR_OK;
}

enum err_code document_read_wishes(const struct document_form *form, const struct json *prompt,
                                   const struct json *labels, struct arena *a, struct prompt_wishes *ret,
                                   struct err *err)
{
    struct prompt_wishes w = { 0 };

    if (form->string(prompt))
        TRY(copy_text(form->string(prompt), a, &w.prompt, err));
    w.prompt_invalid = prompt && !w.prompt && !form->is_null(prompt);
    for (const struct json *v = form->first(labels); v; v = json_next(v))
        TRY(add_label(&w, form->string(v), a, err));
    TRY(add_label(&w, form->string(form->member(labels, "surface")), a, err));
    *ret = w;
    return ERR_OK;
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

    while (field->kind == DOCUMENT_K_MAP && i < f->n && document_path_is_in(f->list[i].path, field->path))
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

#define ERROR_CODE  DOCUMENT_OURS ".errorCode"
#define RETRYABLE   DOCUMENT_OURS ".retryable"
#define WARNINGS    DOCUMENT_OURS ".warnings"
#define TIMINGS     DOCUMENT_OURS ".timings"
#define RECIPE      DOCUMENT_OURS ".recipe"
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
    add_text(f, DOCUMENT_OURS ".stage", stage_name(stage));
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

static void add_error(struct document_fields *f, enum job_error error)
{
    const struct job_error_info *info = job_error_info(error);

    add_text(f, DOCUMENT_STATUS, "failed");
    add_text(f, DOCUMENT_ERROR_MESSAGE, info->sentence);
    add_text(f, ERROR_CODE, info->code);
    add_bool(f, RETRYABLE, info->retryable);
}

void document_add_exhausted(struct document_fields *f)
{
    add_error(f, JOB_ATTEMPTS_EXHAUSTED);
    add_double(f, DOCUMENT_COST, 0);
    document_add_no_lease(f);
}

static void add_recipe(struct document_fields *f, const struct document_recipe *r)
{
    add_map(f, RECIPE);
    add_text(f, RECIPE ".model", r->model_file);
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
    if (r->recipe)
        add_recipe(f, r->recipe);
}

void document_add_completed(struct document_fields *f, const struct document_report *r)
{
    add_text(f, DOCUMENT_STATUS, "completed");
    add_text(f, DOCUMENT_EDITED, r->edited_path);
    add_text(f, DOCUMENT_PREVIEW, r->preview_path);
    add_deletion(f, DOCUMENT_ERROR_MESSAGE);
    add_deletion(f, ERROR_CODE);
    add_deletion(f, RETRYABLE);
    add_report(f, r);
}

void document_add_failed(struct document_fields *f, const struct document_report *r)
{
    add_error(f, r->error);
    add_report(f, r);
}
