/*
 * engine - one model on one device, one picture at a time: load it, prove it, paint with it.
 *
 * engine_load() runs in a thread of its own while the server already answers; its state is read by the probes. A model
 * is ready once it has painted a small picture with finite values, as stored or twice the same
 * (models/fill/self_check.h). A device fault is sticky: the engine stays broken and the process has to be replaced.
 */
#ifndef WORKER_JOB_ENGINE_H
#define WORKER_JOB_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "models/image/image.h"

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED, ENGINE_BROKEN };

struct engine_options {
    const char *model_dir;
    const char *transformer; /* file name in the folder; NULL: the one that is there */
    enum backend_kind backend;
    enum precision precision;
    int max_steps;                  /* the largest number of steps that will be asked for */
    void (*warn)(const char *line); /* struct backend's; NULL: nobody wants to know */
};

struct engine;

/* Takes no time: memory for the struct alone. The texts of `options` are borrowed. */
MUST_CHECK enum err_code engine_new(const struct engine_options *options, struct engine **ret, struct err *err);
void engine_free(struct engine *e); /* takes NULL; no call may be running */

/* Opens the backend, loads the model, runs the self-check. Once. */
MUST_CHECK enum err_code engine_load(struct engine *e, struct err *err);

struct engine_status {
    enum engine_state state;
    const char *stage; /* "backend", "weights", "self-check", "ready" */
    int percent;       /* of loading */
};
struct engine_status engine_status(struct engine *e); /* from any thread */

const char *engine_backend_name(const struct engine *e); /* once loaded: "cpu", "cuda" */
const char *engine_precision(const struct engine *e); /* "f32" or "bf16": what was chosen, where that was left to it */
const char *engine_kernels(const struct engine *e);   /* backend_describe(): who computes what, and why */
/* Why the backend chosen by "auto" is not CUDA; "" where it is. */
const char *engine_without_cuda(const struct engine *e);
const char *engine_model_name(const struct engine *e); /* file name of the transformer */
const char *engine_self_check(const struct engine *e); /* "as stored", "twice the same" */

/* The prompt that engine_paint() will take for this one: itself, or the prompt pack's first where the pack lacks it. */
const char *engine_prompt(const struct engine *e, const char *wanted);

enum engine_phase { ENGINE_PHASE_ENCODE, ENGINE_PHASE_DENOISE, ENGINE_PHASE_DECODE, ENGINE_PHASES };

struct engine_paint {
    const struct image *picture, *mask; /* same size, multiples of 16; mask 255 repaint */
    const char *prompt;
    int steps;
    double guidance;
    uint64_t seed;
    /* Called in the painting thread; done of total within a phase. Returns false to stop: ERR_CANCELLED. */
    bool (*progress)(void *ctx, enum engine_phase phase, int done, int total);
    void *ctx;
    double *phase_ms; /* NULL, or [ENGINE_PHASES]: how long those that came to their end took, by the device's clock */
    bool *rereads_modulation; /* NULL, or set: struct fill_timings' */
};

/* The painted picture, from the arena. ERR_CANCELLED, ERR_NUMERIC, ERR_GPU (and the engine is broken), ERR_NOMEM,
 * ERR_PROMPT. */
MUST_CHECK enum err_code engine_paint(struct engine *e, const struct engine_paint *p, struct arena *a,
                                      struct image *ret, struct err *err);

#endif
