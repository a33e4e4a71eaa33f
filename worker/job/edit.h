/*
 * edit - from the bytes of a photo and a mask to the bytes of the two results, without the cloud: what `edit` and
 * `serve` have in common.
 *
 *   decode and orient -> mask -> geometry -> paint (engine) -> blend -> encode
 */
#ifndef WORKER_JOB_EDIT_H
#define WORKER_JOB_EDIT_H

#include "models/picture/picture.h"
#include "worker/base/sys.h"
#include "worker/job/engine.h"
#include "worker/job/prompt.h"
#include "worker/job/session_document.h"

#define EDIT_ARENA_BYTES (PICTURE_ARENA_BYTES + ((size_t)512 << 20)) /* address space */

struct edit_request {
    struct span original, mask; /* files */
    struct prompt_wishes wishes;
    struct mask_wishes mask_wishes;
    /* The caller sets steps, guidance and seed; edit_run() the prompt, the pictures and the callbacks. */
    struct fill_request fill;
};

struct edit_watch { /* all optional */
    void *ctx;
    /* percent of the whole job; eta < 0: unknown */
    void (*stage)(void *ctx, enum stage stage, int percent, double eta_seconds);
    /* the painting in its own units: fill_request.progress */
    void (*paint)(void *ctx, enum fill_phase phase, int done, int total);
    bool (*cancelled)(void *ctx); /* asked before the painting and before each of its steps */
};

struct edit_result {
    struct picture_files files;
    struct document_recipe recipe; /* filled in as far as the job got */
    bool has_recipe;
    struct stage_times times; /* of the stages that ran, also when the edit failed */
    const char *warning;      /* a stable code for inpaint.warnings, or NULL */
    bool rereads_modulation;  /* as in struct fill_timings */
};

/* Everything in ret lives in the arena. Errors of picture.h, engine.h and prompt.h; ERR_CANCELLED when `cancelled` said
 * so. */
MUST_CHECK enum err_code edit_run(struct engine *e, const struct edit_request *r, const struct edit_watch *watch,
                                  const struct sys *sys, struct arena *a, struct edit_result *ret, struct err *err);

#endif
