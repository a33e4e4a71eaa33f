/*
 * engine - one model on one device, one picture at a time: load it, check it, paint with it.
 *
 * engine_load() runs in a thread of its own while the server already answers; its state is read by the probes. A model
 * is ready once it has painted a small picture with finite values, as stored or twice the same
 * (models/fill/self_check.h). A device fault is sticky, and so is the loss of a model file (models/file/file_map.h):
 * the engine stays broken and the process has to be replaced.
 */
#ifndef WORKER_JOB_ENGINE_H
#define WORKER_JOB_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "models/fill/fill.h"
#include "worker/verify/verify.h"
#include "worker/weights/weights.h"

/* TOO_SLOW: the model is loaded and computes right, but a job would not end by its deadline. */
enum engine_state { ENGINE_LOADING, ENGINE_TOO_SLOW, ENGINE_READY, ENGINE_FAILED, ENGINE_BROKEN };

/* The worker is too slow where the estimate for the largest picture (models/fill/fill_speed.h) is this many times the
 * deadline. The estimate is a little long, jobs with smaller pictures take less, and a neighbour on the machine may
 * have had the processor: none of this may keep a worker away that can do its work. A CPU in the place of the GPU that
 * was meant is over the deadline by eight times and more. */
#define ENGINE_SLOW_FACTOR 2.0

struct engine_options {
    const char *model_dir;
    struct weights *weights;        /* from which model_dir is fetched first, the caller's; NULL: it is on a disk */
    const char *transformer;        /* file name in the folder; NULL: the largest that fits into memory */
    const struct fill_loras *loras; /* NULL: none */
    enum verify_mode verify;        /* whether its files are the published ones */
    enum backend_kind backend;
    enum precision precision;
    int max_steps;                  /* the most that a request may ask for */
    int deadline_s;                 /* in which a job must be done; 0: any time */
    void (*warn)(const char *line); /* struct backend's; NULL: warnings are dropped */
    /* engine_load() begins a stage of struct engine_status; NULL: nobody asks */
    void (*entered)(void *ctx, const char *stage);
    void *entered_ctx;
};

struct engine;

/* Loads nothing yet. The texts of `options` are borrowed. */
MUST_CHECK enum err_code engine_new(const struct engine_options *options, struct engine **ret, struct err *err);
void engine_free(struct engine *e); /* takes NULL; no call may be running */

/* Opens the backend, fetches the model where it is elsewhere, loads it, runs the self-check, estimates the time of a
 * job. Once. ERR_DEADLINE, with the figures and the state ENGINE_TOO_SLOW, where that is too long. */
MUST_CHECK enum err_code engine_load(struct engine *e, struct err *err);

/* Where it was too slow: measures again, because other work may have had the machine. The result is engine_load()'s. */
MUST_CHECK enum err_code engine_measure_again(struct engine *e, struct err *err);

struct engine_status {
    enum engine_state state;
    const char *stage; /* "backend", "download" where the model is fetched, "weights", "self-check", "files", "speed",
                          "ready" */
    int percent;       /* how much of the model is loaded; in the stage "download", fetched */
    const char *why;   /* the newest figures where it is too slow; else "" */
};
struct engine_status engine_status(struct engine *e); /* from any thread */

int64_t engine_weight_bytes(const struct engine *e);     /* read from files while it was loaded */
const char *engine_backend_name(const struct engine *e); /* once loaded: "cpu", "cuda" */
/* "f32" or "bf16": what computes, also where the options left the choice to the backend. */
const char *engine_precision(const struct engine *e);
const char *engine_kernels(const struct engine *e); /* backend_describe(): which library computes what, and why */
/* Why the backend that "auto" chose is not CUDA; "" when it is CUDA, or when "auto" was not asked for. */
const char *engine_without_cuda(const struct engine *e);
const char *engine_model_name(const struct engine *e); /* file name of the transformer */
const char *engine_loras(const struct engine *e);      /* what is merged into it, with digests; NULL: nothing */
const char *engine_lora_list(const struct engine *e);  /* the same as fill_loras_add() reads it */
void engine_model_digests(const struct engine *e, char ret[FILL_DIGESTS_SIZE]); /* of all its files: fill.h */
const char *engine_self_check(const struct engine *e);                          /* "as stored", "twice the same" */
/* What an operator should hear about the choices of loading: one sentence for each i from 0 on; NULL: no more. */
const char *engine_note(const struct engine *e, int i);
/* What an operator should hear about the model's files, in the same way. */
const char *engine_file_note(const struct engine *e, int i);
/* Seconds that a job with the largest picture takes by the estimate; 0: there was no deadline to compare it with. */
double engine_job_seconds(const struct engine *e);

/* The prompt that engine_paint() takes: `wanted`, or the first of the prompt pack where the pack lacks `wanted`. */
const char *engine_prompt(const struct engine *e, const char *wanted);

/* The painted picture, from the arena: fill_run(), whose errors it returns. ERR_UNAVAILABLE until the model is loaded;
 * ERR_GPU, also for a model file that was lost, breaks the engine, and is what it returns from then on. */
MUST_CHECK enum err_code engine_paint(struct engine *e, const struct fill_request *r, struct arena *a,
                                      struct image *ret, struct err *err);

#endif
