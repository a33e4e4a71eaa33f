#include "worker/job/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "worker/base/crypto.h"
#include "worker/http/pair.h"
#include "worker/job/reporter.h"

enum {
    UPLOAD_RESERVE_PERCENT = 14, /* of the deadline: an upload that starts later would not be told in time */
    RESULT_RESERVE_PERCENT = 5,
    END_MS = 8000, /* the last write may go on after the work's deadline: the lease outlives both */
    ABANDON_MS = 1500,
    MISSING_GRACE_US = 60 * 1000000,
    PERCENT_UPLOAD = 95,
    /* Address space. A download takes twice the file, and may have to be made again; the rest is for answers. */
    BESIDE_ARENA_BYTES = 4 * IMAGE_MAX_FILE_BYTES + (32 << 20)
};

/* One job, and all that its stages share. */
struct run {
    struct pipeline *p;
    const struct push_message *msg;
    const struct job *job;
    const struct log_context *log;
    struct session session;
    struct prompt_wishes wishes;
    struct budget work, upload, end; /* the same clock, later and later ends */
    struct budget release;           /* as `end`; at shutdown it lasts a little longer */
    struct budget telling;           /* of the reporter, which counts no retries: it has a thread of its own */
    struct reporter reporter;
    struct document_report report;
    struct edit_result edit;
    int64_t started_ms;
    int retries; /* of calls to Firestore and Storage */
    int64_t original_generation, mask_generation;
    int64_t edited_generation, preview_generation; /* ours, in the bucket; 0: none */
};

/* ---- stop, lost, late ---- */

static bool must_stop(void *ctx)
{
    const struct run *r = ctx;
    int64_t stop_at = r->p->stop_at_ms;

    return (stop_at && sys_mono_ms(r->p->sys) >= stop_at) || reporter_lost(&r->reporter) != ERR_OK;
}

static bool must_stop_or_is_late(void *ctx)
{
    const struct run *r = ctx;

    return must_stop(ctx) || budget_left_ms(&r->work) == 0;
}

static bool must_leave(void *ctx)
{
    const struct run *r = ctx;
    int64_t leave_at = r->p->leave_at_ms;

    return leave_at && sys_mono_ms(r->p->sys) >= leave_at;
}

static bool must_be_gone(void *ctx)
{
    const struct run *r = ctx;
    int64_t leave_at = r->p->leave_at_ms;

    return leave_at && sys_mono_ms(r->p->sys) >= leave_at + PIPELINE_RELEASE_MS;
}

/* Why a stage was cancelled, in the order of what decides. */
static enum err_code reason(const struct run *r, enum err_code rc, struct err *err)
{
    enum err_code lost = reporter_lost(&r->reporter);

    if (rc != ERR_CANCELLED)
        return rc;
    *err = (struct err){ 0 };
    if (lost)
        return err_set(err, lost, "the session is not ours any more");
    if (budget_left_ms(&r->work) == 0)
        return err_set(err, ERR_DEADLINE, "the job's time is over");
    return err_set(err, ERR_CANCELLED, "the worker is shutting down");
}

static void set_budgets(struct run *r, int64_t arrived_ms)
{
    int64_t total = r->p->settings.job_deadline_ms, end = arrived_ms + total;
    struct budget b = { .sys = r->p->sys, .cancelled = must_stop, .cancel_ctx = r, .retries = &r->retries };

    b.deadline_mono_ms = end - total * UPLOAD_RESERVE_PERCENT / 100;
    r->work = b;
    b.deadline_mono_ms = end - total * RESULT_RESERVE_PERCENT / 100;
    r->upload = b;
    b.deadline_mono_ms = end + END_MS;
    r->telling = r->upload;
    r->telling.retries = NULL;
    b.cancelled = must_leave;
    r->end = b;
    b.cancelled = must_be_gone;
    r->release = b;
}

/* ---- stages ---- */

static void add_time(struct run *r, enum stage stage, int64_t since_ms)
{
    stage_times_add(&r->report.times, stage, sys_mono_ms(r->p->sys) - since_ms);
}

/* Both calls side by side: the first with the request's arena, the second with the one beside it. */
static enum err_code run_both(struct run *r, pair_fn *fn, void *first, void *second, const struct budget *budget,
                              struct err *err)
{
    const struct pair_call calls[] = { { fn, first, &r->p->arena }, { fn, second, &r->p->beside } };

    return pair_run(calls, budget, err);
}

struct download {
    const struct storage *storage;
    const char *object;
    struct span body;
    struct storage_object info;
};

static enum err_code download_one(void *ctx, const struct budget *budget, struct arena *a, struct err *err)
{
    struct download *d = ctx;
    enum err_code rc = storage_get(d->storage, d->object, IMAGE_MAX_FILE_BYTES, budget, a, &d->body, &d->info, err);

    return rc == ERR_CORRUPT ? ERR_UNAVAILABLE : rc; /* of the way, not of the picture: the checksum did not fit */
}

static enum err_code download(struct run *r, struct edit_request *q, struct err *err)
{
    struct download original = { .storage = r->p->storage, .object = r->job->original };
    struct download mask = { .storage = r->p->storage, .object = r->job->mask_auto };
    int64_t since = sys_mono_ms(r->p->sys);
    enum err_code rc = run_both(r, download_one, &original, &mask, &r->work, err);

    if (!rc && (original.info.replaced || mask.info.replaced)) /* who replaces one replaces both: a pair that fits */
        rc = run_both(r, download_one, &original, &mask, &r->work, err);
    r->original_generation = original.info.generation;
    r->mask_generation = mask.info.generation;
    q->original = original.body;
    q->mask = mask.body;
    add_time(r, STAGE_DOWNLOAD, since);
    return rc;
}

/* A repeated job gives the same bytes: the seed is a digest of what it is about. */
static enum err_code derive_seed(const struct run *r, uint64_t *ret, struct err *err)
{
    unsigned char digest[CRYPTO_SHA256_BYTES];
    char text[JOB_PATH_SIZE + 64];
    enum err_code rc;

    (void)snprintf(text, sizeof text, "%s\n%lld\n%lld", r->job->document, (long long)r->original_generation,
                   (long long)r->mask_generation);
    rc = crypto_sha256(span_of(text), digest, err);
    if (!rc) /* 32 bits: what the noise generator takes of a seed */
        *ret = (uint64_t)digest[0] << 24 | (uint64_t)digest[1] << 16 | (uint64_t)digest[2] << 8 | digest[3];
    return rc;
}

static void edit_stage(void *ctx, enum stage stage, int percent, double eta_seconds)
{
    struct run *r = ctx;

    r->p->eta_ms = eta_seconds >= 0 ? (int64_t)(1000 * eta_seconds) : -1;
    reporter_tell(&r->reporter, stage, percent, eta_seconds);
}

struct upload {
    const struct storage *storage;
    const char *object, *lease_id;
    struct span body;
    int64_t generation; /* what we left in the bucket; 0: nothing, as far as is known */
};

static enum err_code upload_one(void *ctx, const struct budget *budget, struct arena *a, struct err *err)
{
    struct upload *u = ctx;
    struct storage_put put = { .object = u->object,
                               .content_type = "image/jpeg",
                               .cache_control = "private, max-age=3600",
                               .job_id = u->lease_id,
                               .body = u->body };
    struct storage_object there = { 0 };
    struct err absent = { 0 };
    enum err_code rc = storage_stat(u->storage, u->object, budget, a, &there, &absent);

    if (rc && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "%s", absent.msg);
    put.if_generation = rc ? 0 : there.generation;
    rc = storage_put(u->storage, &put, budget, a, &there, err);
    if (!rc && !strcmp(there.job_id, u->lease_id))
        u->generation = there.generation;
    return rc;
}

static enum err_code upload(struct run *r, struct err *err)
{
    const struct picture_files *files = &r->edit.files;
    struct upload edited = { r->p->storage, r->job->edited, r->session.lease_id, files->edited, 0 };
    struct upload preview = { r->p->storage, r->job->preview, r->session.lease_id, files->preview, 0 };
    int64_t since = sys_mono_ms(r->p->sys);
    enum err_code rc;

    if (must_stop(r))
        return err_set(err, ERR_CANCELLED, "cancelled before the upload");
    /* told from here, not by the reporter: nothing goes into the bucket for a session that is not ours any more */
    rc = session_progress(&r->session, STAGE_UPLOAD, PERCENT_UPLOAD, -1, &r->telling, err);
    if (rc)
        return reporter_lose(&r->reporter, rc);
    rc = run_both(r, upload_one, &edited, &preview, &r->upload, err);
    r->edited_generation = edited.generation;
    r->preview_generation = preview.generation;
    add_time(r, STAGE_UPLOAD, since);
    return rc;
}

/* It goes on, only slower, and will again for every job of this kind; so an operator has to hear of it. */
static void warn_if_uncovered(struct run *r)
{
    const struct document_recipe *job = &r->edit.recipe;

    if (r->edit.rereads_modulation && uncovered_is_new(&r->p->uncovered, job->fill_width, job->fill_height, job->steps))
        log_event(LOG_WARNING, r->log,
                  "no table of the prompt pack covers such a job, so a quarter of the weights is read again for each",
                  log_int("width", job->fill_width), log_int("height", job->fill_height), log_int("steps", job->steps),
                  log_end());
}

static enum err_code work(struct run *r, struct err *err)
{
    const struct edit_watch watch = { r, edit_stage, must_stop_or_is_late };
    struct edit_request q = {
        .wishes = r->wishes,
        .steps = r->p->settings.steps,
        .guidance = r->p->settings.guidance,
    };
    enum err_code rc = reporter_start(&r->reporter, &r->session, &r->telling, err);

    if (rc)
        return rc;
    rc = download(r, &q, err);
    if (!rc)
        rc = derive_seed(r, &q.seed, err);
    if (!rc)
        rc = edit_run(r->p->engine, &q, &watch, r->p->sys, &r->p->arena, &r->edit, err);
    stage_times_add_all(&r->report.times, &r->edit.times);
    warn_if_uncovered(r);
    if (!rc)
        rc = upload(r, err);
    rc = reason(r, rc, err);
    reporter_stop(&r->reporter);
    return rc;
}

/* ---- endings ---- */

static struct pipeline_result result(const struct run *r, enum outcome outcome)
{
    return (struct pipeline_result){
        .outcome = outcome,
        .retries = r->retries,
        .rereads_modulation = r->edit.rereads_modulation,
        .times = r->report.times,
    };
}

static struct pipeline_result result_error(const struct run *r, enum outcome outcome, enum job_error error)
{
    struct pipeline_result ret = result(r, outcome);

    ret.has_error = true;
    ret.error = error;
    return ret;
}

static double cost(const struct run *r)
{
    return 1e-3 * (double)(sys_mono_ms(r->p->sys) - r->started_ms) * r->p->settings.cost_per_second;
}

static void remove_uploads(struct run *r)
{
    const struct {
        const char *object;
        int64_t generation;
    } ours[] = { { r->job->edited, r->edited_generation }, { r->job->preview, r->preview_generation } };

    for (int i = 0; i < 2; i++) {
        struct err err = { 0 };
        if (ours[i].generation &&
            storage_delete(r->p->storage, ours[i].object, ours[i].generation, &r->end, &r->p->arena, &err))
            log_event(LOG_WARNING, r->log, "an upload of a lost job stays", log_str("object", ours[i].object),
                      log_str("error", err.msg), log_end());
    }
}

/*
 * The document is gone or not ours. Uploads of a session that is gone belong to nobody and are removed. Those of a lost
 * lease stay: the worker that took over writes the same names, and may already refer to these very objects.
 */
static struct pipeline_result end_lost(struct run *r, enum err_code rc)
{
    if (rc != ERR_NOT_FOUND)
        return result(r, OUTCOME_LOST);
    remove_uploads(r);
    return result(r, OUTCOME_GONE);
}

static bool is_lost(const struct run *r, enum err_code rc)
{
    return (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT) && reporter_lost(&r->reporter) == rc;
}

static struct pipeline_result end_completed(struct run *r)
{
    struct err err = { 0 };
    enum err_code rc;

    r->report.edited_path = r->job->edited;
    r->report.preview_path = r->job->preview;
    r->report.cost_usd = cost(r);
    rc = session_complete(&r->session, &r->report, &r->end, &err);
    if (!rc)
        return result(r, OUTCOME_COMPLETED);
    log_event(LOG_ERROR, r->log, "the result could not be written", log_str("error", err.msg), log_end());
    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return end_lost(r, rc);
    err_ignore(session_release(&r->session, &r->release, NULL));
    return result_error(r, OUTCOME_RELEASED, JOB_BACKEND_UNAVAILABLE);
}

static struct pipeline_result end_failed(struct run *r, enum job_error error)
{
    struct err err = { 0 };
    enum err_code rc;

    r->report.error = error;
    r->report.cost_usd = cost(r);
    rc = session_fail(&r->session, &r->report, &r->end, &err);
    if (!rc)
        return result_error(r, OUTCOME_FAILED, error);
    log_event(LOG_ERROR, r->log, "the failure could not be written", log_str("error", err.msg), log_end());
    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return end_lost(r, rc);
    err_ignore(session_release(&r->session, &r->release, NULL));
    return result_error(r, OUTCOME_RELEASED, error);
}

static struct pipeline_result end_released(struct run *r, enum outcome outcome)
{
    struct err err = { 0 };
    enum err_code rc = session_release(&r->session, &r->release, &err);

    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return end_lost(r, rc);
    if (rc)
        log_event(LOG_WARNING, r->log, "the claim could not be given back; it ends by itself",
                  log_str("error", err.msg), log_end());
    return result(r, outcome);
}

static struct pipeline_result end_of(struct run *r, enum err_code rc, const struct err *err)
{
    enum job_error error = job_error_of(rc);
    const struct job_error_info *info = job_error_info(error);
    bool is_final = info->outcome == OUTCOME_FAILED;
    struct pipeline_result ret;

    if (!rc)
        return end_completed(r);
    if (is_lost(r, rc))
        return end_lost(r, rc);
    log_event(is_final ? LOG_WARNING : LOG_ERROR, r->log, "the job did not work",
              log_str("code", rc == ERR_CANCELLED ? "CANCELLED" : info->code), log_str("error", err->msg), log_end());
    if (rc == ERR_CANCELLED)
        return end_released(r, OUTCOME_RELEASED);
    if (is_final || (error == JOB_DEADLINE && r->session.attempts >= r->p->sessions->max_attempts))
        return end_failed(r, error);
    ret = end_released(r, info->outcome);
    ret.has_error = true;
    ret.error = error;
    return ret;
}

/* ---- the claim ---- */

/* A publisher may publish before it commits; but a deleted session must not run. */
static bool may_appear_yet(const struct run *r)
{
    int64_t published_us = r->msg->publish_time_us;

    return published_us != PUBSUB_TIME_UNKNOWN && sys_wall_us(r->p->sys) - published_us < MISSING_GRACE_US;
}

static struct pipeline_result not_claimed(const struct run *r, enum outcome outcome)
{
    if (outcome == OUTCOME_MISSING && may_appear_yet(r))
        return result(r, OUTCOME_NOT_YET_THERE);
    if (outcome == OUTCOME_REFUSED)
        log_event(LOG_ERROR, r->log, "the session's status is not one we know: left alone", log_end());
    if (outcome == OUTCOME_EXHAUSTED)
        return result_error(r, outcome, JOB_ATTEMPTS_EXHAUSTED);
    return result(r, outcome);
}

static void set_claimed(struct pipeline *p, struct session *s)
{
    (void)pthread_mutex_lock(&p->lock);
    p->claimed = s;
    (void)pthread_mutex_unlock(&p->lock);
}

struct pipeline_result pipeline_run(struct pipeline *p, const struct push_message *msg, const struct job *job,
                                    int64_t arrived_ms, const struct log_context *log)
{
    struct run r = { .p = p, .msg = msg, .job = job, .log = log, .started_ms = sys_mono_ms(p->sys) };
    struct arena_mark mark = arena_mark(&p->arena), mark_beside = arena_mark(&p->beside);
    enum outcome outcome = OUTCOME_OPEN;
    struct pipeline_result ret;
    struct err err = { 0 };
    enum err_code rc;

    set_budgets(&r, arrived_ms);
    p->stuck_at_ms = arrived_ms + 2 * p->settings.job_deadline_ms + END_MS;
    p->eta_ms = -1;
    rc = session_init(&r.session, p->sessions, job->document, msg->message_id, &err);
    if (!rc)
        rc = session_claim(&r.session, &r.work, &p->arena, &outcome, &r.wishes, &err);
    if (rc) {
        log_event(LOG_ERROR, log, "the session could not be claimed", log_str("error", err.msg), log_end());
        err_ignore(session_unclaim(&r.session, &r.release, NULL));
        ret = result_error(&r, OUTCOME_UNCLAIMED, JOB_BACKEND_UNAVAILABLE);
        goto out;
    }
    if (outcome != OUTCOME_OPEN) {
        ret = not_claimed(&r, outcome);
        goto out;
    }
    set_claimed(p, &r.session);
    rc = work(&r, &err);
    r.report.recipe = r.edit.has_recipe ? &r.edit.recipe : NULL;
    if (r.edit.warning)
        r.report.warnings[r.report.n_warnings++] = r.edit.warning;
    ret = end_of(&r, rc, &err);
    set_claimed(p, NULL);
out:
    p->stuck_at_ms = 0;
    session_done(&r.session);
    arena_rewind(&p->beside, mark_beside);
    arena_rewind(&p->arena, mark);
    return ret;
}

bool pipeline_is_stuck(const struct pipeline *p)
{
    int64_t stuck_at = p->stuck_at_ms;

    return stuck_at && sys_mono_ms(p->sys) >= stuck_at;
}

/* ---- shutdown ---- */

void pipeline_stop(struct pipeline *p, int64_t grace_ms)
{
    int64_t now = sys_mono_ms(p->sys);

    p->leave_at_ms = now + grace_ms;
    p->stop_at_ms = p->eta_ms > grace_ms ? now : now + grace_ms;
}

void pipeline_abandon(struct pipeline *p)
{
    struct budget b = { .sys = p->sys, .deadline_mono_ms = sys_mono_ms(p->sys) + ABANDON_MS };

    (void)pthread_mutex_lock(&p->lock);
    if (p->claimed)
        err_ignore(session_release_from_outside(p->claimed, &b, NULL));
    (void)pthread_mutex_unlock(&p->lock);
}

/* ---- lifetime ---- */

enum err_code pipeline_init(struct pipeline *p, struct engine *engine, struct session_store *sessions,
                            struct storage *storage, const struct sys *sys, const struct pipeline_settings *settings,
                            struct err *err)
{
    enum err_code rc;

    *p = (struct pipeline){
        .engine = engine, .sessions = sessions, .storage = storage, .sys = sys, .settings = *settings
    };
    if (pthread_mutex_init(&p->lock, NULL))
        return err_set(err, ERR_NOMEM, "pipeline: no lock");
    rc = arena_init(&p->arena, EDIT_ARENA_BYTES, err);
    return rc ? rc : arena_init(&p->beside, BESIDE_ARENA_BYTES, err);
}

void pipeline_done(struct pipeline *p)
{
    arena_done(&p->beside);
    arena_done(&p->arena);
    (void)pthread_mutex_destroy(&p->lock);
}
