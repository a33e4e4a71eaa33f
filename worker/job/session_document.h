/*
 * session_document - the fields of a session document, each named once (PROTOCOL.md 11): what a job reads from it, and
 * what it writes, as a list of paths and values.
 *
 * The document has two forms, Firestore's, whose values have types, and the plain JSON of session.json. session.c turns
 * the list into the first, cmd_edit.c into the second.
 */
#ifndef WORKER_JOB_SESSION_DOCUMENT_H
#define WORKER_JOB_SESSION_DOCUMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "models/mask/mask_kind.h"
#include "models/picture/picture.h"
#include "worker/base/json.h"
#include "worker/job/job_error.h"
#include "worker/job/prompt.h"
#include "worker/job/stage.h"

#define DOCUMENT_STATUS        "processingStatus"
#define DOCUMENT_EDITED        "editedImagePath"
#define DOCUMENT_PREVIEW       "previewImagePath"
#define DOCUMENT_COST          "cost"
#define DOCUMENT_ERROR_MESSAGE "errorMessage"
#define DOCUMENT_PROMPT        "prompt"
#define DOCUMENT_LABELS        "sceneLabels"
#define DOCUMENT_MASK_KIND     "maskKind"
#define DOCUMENT_MASK_TURN     "maskOrientation"
#define DOCUMENT_OURS          "inpaint" /* the map that belongs to the worker alone */
#define DOCUMENT_MESSAGE_ID    DOCUMENT_OURS ".messageId"
#define DOCUMENT_ATTEMPTS      DOCUMENT_OURS ".attempts"
#define DOCUMENT_LEASE         DOCUMENT_OURS ".lease"
#define DOCUMENT_LEASE_ID      DOCUMENT_LEASE ".id"
#define DOCUMENT_LEASE_EXPIRES DOCUMENT_LEASE ".expiresAt"
#define DOCUMENT_ERROR_CODE    DOCUMENT_OURS ".errorCode"

/* ---- reading ---- */

/* Of the plain form: `prompt` and `labels` are the values of DOCUMENT_PROMPT and DOCUMENT_LABELS; NULL: absent. */
MUST_CHECK enum err_code document_read_wishes(const struct json *prompt, const struct json *labels, struct arena *a,
                                              struct prompt_wishes *ret, struct err *err);

/*
 * Of the plain form: the values of DOCUMENT_MASK_KIND and DOCUMENT_MASK_TURN. Absent, null and empty values say
 * nothing. Any other that is no word of the list becomes UNKNOWN, which refuses the mask: the app wanted to say
 * something about it, and a guess could be the opposite of that.
 */
struct mask_wishes document_read_mask_wishes(const struct json *kind, const struct json *orientation);

/* ---- writing ---- */

enum document_kind {
    DOCUMENT_K_DELETE, /* the field goes away */
    DOCUMENT_K_TEXT,
    DOCUMENT_K_INTEGER,
    DOCUMENT_K_DOUBLE,
    DOCUMENT_K_BOOL,
    DOCUMENT_K_TIMESTAMP, /* integer: microseconds since 1970 */
    DOCUMENT_K_TEXTS,
    DOCUMENT_K_MAP, /* replaced as a whole; its members, if any, come next in the list */
    DOCUMENT_K_LIST /* of values, which come next in the list as its members "0", "1" and so on */
};

struct document_field {
    const char *path; /* goes down through maps: "inpaint.recipe.crop.x" */
    enum document_kind kind;
    int64_t integer; /* BOOL: 0 or 1 */
    double number;
    const char *text;
    const char *const *texts; /* n_texts of them */
    int n_texts;
};

enum { DOCUMENT_MAX_FIELDS = 128, DOCUMENT_MAX_WARNINGS = 8 };

struct document_fields {
    struct document_field list[DOCUMENT_MAX_FIELDS];
    int n;
};

const char *document_status(const struct document_fields *f); /* the status that the list writes; NULL: none */
/* Whether the path leads into the map. */
bool document_path_is_in(const char *path, const char *map);
/* The index after field i and, where it is a map, after its members. */
int document_next(const struct document_fields *f, int i);
/* Whether a field of this name, at the top of the document, is the worker's to write. */
bool document_is_ours(const char *name);

struct document_recipe {
    const char *model_file, *prompt;
    const char *loras;     /* what was merged into the model, with digests; NULL: nothing */
    const char *precision; /* "f32" or "bf16": what computed, not what was asked for */
    int steps;
    double guidance;
    int64_t seed;
    int crop_x, crop_y, crop_width, crop_height; /* pixels of the upright photo */
    int fill_width, fill_height;
};

/* What is written about a job that has ended. */
struct document_report {
    const char *edited_path, *preview_path; /* on success */
    enum job_error error;                   /* on failure */
    const char *detail; /* on failure: the text for people, by job_error_detail(); NULL: the error's */
    enum stage stage;   /* on failure: where, if has_stage */
    bool has_stage;
    double cost_usd;
    const struct document_recipe *recipe; /* NULL: the job ended before it was decided */
    const struct picture_record *picture; /* NULL: likewise */
    struct stage_times times;
    const char *warnings[DOCUMENT_MAX_WARNINGS]; /* stable codes */
    int n_warnings;
};

struct document_lease {
    const char *id, *message_id;
    int64_t expires_us; /* since 1970 */
};

/* Each function appends to the list. The texts of its arguments are borrowed. */
void document_add_claim(struct document_fields *f, const struct document_lease *lease, int64_t attempts);
/* eta_seconds < 0: unknown */
void document_add_progress(struct document_fields *f, enum stage stage, int percent, double eta_seconds);
void document_add_completed(struct document_fields *f, const struct document_report *r);
void document_add_failed(struct document_fields *f, const struct document_report *r);
/* The end of a session that was not claimed. */
void document_add_unclaimed(struct document_fields *f, enum job_error error, const char *message_id, int64_t attempts);
/* The same in as few bytes as can be, for a document that has no room for more. */
void document_add_only_failed(struct document_fields *f);
void document_add_pending(struct document_fields *f);
void document_add_no_lease(struct document_fields *f);
void document_add_no_eta(struct document_fields *f);

#endif
