/*
 * edit - from the bytes of a photo and a mask to the bytes of the two results, without the cloud: what `edit` and
 * `serve` have in common.
 *
 *   decode and orient -> mask -> crops -> for each: paint (engine), blend -> encode
 *
 * Other pixels can stand in for what the model paints (struct edit_paint): they go through the same crop, resampling
 * and blending, which shows what these do to a picture, and needs no model.
 */
#ifndef WORKER_JOB_EDIT_H
#define WORKER_JOB_EDIT_H

#include "models/picture/picture.h"
#include "worker/base/config.h"
#include "worker/base/sys.h"
#include "worker/job/engine.h"
#include "worker/job/prompt.h"
#include "worker/job/session_document.h"

#define EDIT_ARENA_BYTES (PICTURE_ARENA_BYTES + ((size_t)512 << 20)) /* address space */

enum edit_paint_kind {
    EDIT_PAINT_MODEL,
    EDIT_PAINT_IDENTITY, /* the photo itself */
    EDIT_PAINT_SOLID,    /* one colour */
    EDIT_PAINT_FILE      /* a picture of the photo's size, as displayed; in its colours unless it has a profile */
};

struct edit_paint {
    enum edit_paint_kind kind;
    const char *name; /* for the record: "identity", "solid:RRGGBB", the name of the file */
    uint8_t rgb[3];   /* SOLID, sRGB */
    struct span file; /* FILE */
};

struct edit_request {
    struct span original, mask; /* files */
    struct picture_settings pictures;
    struct edit_paint paint;
    bool wants_png;      /* also the result before it is encoded as JPEG */
    bool counts_changes; /* also how the JPEG differs from the photo where nothing was painted */
    struct prompt_wishes wishes;
    struct mask_wishes mask_wishes;
    /* The caller sets steps, guidance and seed; edit_run() the prompt, the pictures and the callbacks. */
    struct fill_request fill;
};

/* What the settings of the process say about pictures. */
struct picture_settings edit_picture_settings(const struct config *c);

struct edit_watch { /* all optional */
    void *ctx;
    /* percent of the whole job; eta < 0: unknown */
    void (*stage)(void *ctx, enum stage stage, int percent, double eta_seconds);
    /* the painting in its own units: fill_request.progress */
    void (*paint)(void *ctx, enum fill_phase phase, int done, int total);
    bool (*cancelled)(void *ctx);      /* asked before the painting and before each of its steps */
    double (*seconds_left)(void *ctx); /* for the job; NULL: any number. A second pass needs some */
};

struct edit_result {
    struct picture_files files;
    struct span png;               /* empty unless it was asked for */
    struct picture_record picture; /* what was decided, as far as the job got */
    struct document_recipe recipe; /* filled in as far as the job got */
    bool has_recipe;
    struct stage_times times; /* of the stages that ran, also when the edit failed */
    bool rereads_modulation;  /* as in struct fill_timings */
};

/* `e` may be NULL unless the model paints. Everything in ret lives in the arena. Errors of picture.h, engine.h and
 * prompt.h; ERR_CANCELLED when `cancelled` said so. */
MUST_CHECK enum err_code edit_run(struct engine *e, const struct edit_request *r, const struct edit_watch *watch,
                                  const struct sys *sys, struct arena *a, struct edit_result *ret, struct err *err);

#endif
