#include "worker/job/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "worker/base/crypto.h"
#include "worker/http/pair.h"
#include "worker/job/reporter.h"

enum {
    UPLOAD_RESERVE_PERCENT = 14, /* of the deadline, kept for the upload: Pub/Sub ignores a late answer */
    RESULT_RESERVE_PERCENT = 5,  /* of the deadline, kept for the last write */
    END_MS = 8000,               /* how long the last write may outlast the deadline; the lease lasts longer still */
    ABANDON_MS = 1500,
    MISSING_GRACE_US = 60 * 1000000,
    SCREEN_MS = 3000,
    GIVE_UP_MS = 30000,
    PERCENT_UPLOAD = 95,
    /* Address space. A download takes twice the file, and twice what it unpacks to, and may have to be repeated; the
     * rest is for answers. */
    BESIDE_ARENA_BYTES = 8 * IMAGE_MAX_FILE_BYTES + (32 << 20)
};

/* One attempt at a job: what its stages share. */
struct attempt {
    struct pipeline *p;
    const struct push_message *msg;
    const struct job *job;
    const struct log_context *log;
    struct session session;
    struct prompt_wishes wishes;
    struct budget work, upload, end; /* in this order: each ends later than the one before */
    struct budget release;           /* ends with `end`, but at shutdown a little later */
    struct budget reports;           /* for the reporter, whose thread must not touch `retries` */
    struct reporter reporter;
    struct document_report report;
    char detail[JOB_DETAIL_SIZE];
    struct edit_result edit;
    int64_t arrived_ms, started_ms, claimed_ms; /* claimed_ms 0: not yet */
    int64_t age_ms;                             /* of the message when it was claimed; -1: unknown */
    int retries;                                /* of calls to Firestore and Storage */
    int64_t original_generation, mask_generation;
    int64_t edited_generation, preview_generation; /* of the uploads of this attempt; 0: not uploaded */
};

/* ---- stop, lost, late ---- */

static bool must_stop(void *ctx)
{
    const struct attempt *t = ctx;
    int64_t stop_at = t->p->stop_at_ms;

    return (stop_at && sys_mono_ms(t->p->sys) >= stop_at) || reporter_lost(&t->reporter) != ERR_OK;
}

static bool must_stop_or_is_late(void *ctx)
{
    const struct attempt *t = ctx;

    return must_stop(ctx) || budget_left_ms(&t->work) == 0;
}

static double work_left_s(void *ctx)
{
    const struct attempt *t = ctx;

    return 1e-3 * (double)budget_left_ms(&t->work);
}

static bool must_leave(void *ctx)
{
    const struct attempt *t = ctx;
    int64_t leave_at = t->p->leave_at_ms;

    return leave_at && sys_mono_ms(t->p->sys) >= leave_at;
}

static bool must_be_gone(void *ctx)
{
    const struct attempt *t = ctx;
    int64_t leave_at = t->p->leave_at_ms;

    return leave_at && sys_mono_ms(t->p->sys) >= leave_at + PIPELINE_RELEASE_MS;
}

/* Why a stage was cancelled: a lost session takes precedence over the deadline, and the deadline over the shutdown. */
static enum err_code reason(const struct attempt *t, enum err_code rc, struct err *err)
{
    enum err_code lost = reporter_lost(&t->reporter);

    if (rc != ERR_CANCELLED)
        return rc;
    *err = (struct err){ 0 };
    if (lost)
        return err_set(err, lost, "the session is not ours any more");
    if (budget_left_ms(&t->work) == 0)
        return err_set(err, ERR_DEADLINE, "the job's time is over");
    return err_set(err, ERR_CANCELLED, "the worker is shutting down");
}

static struct budget budget_until(struct attempt *t, int64_t deadline_mono_ms, bool (*cancelled)(void *ctx))
{
    return (struct budget){ .sys = t->p->sys,
                            .deadline_mono_ms = deadline_mono_ms,
                            .cancelled = cancelled,
                            .cancel_ctx = t,
                            .retries = &t->retries };
}

static void set_budgets(struct attempt *t)
{
    int64_t total = t->p->settings.job_deadline_ms, end = t->arrived_ms + total;

    t->work = budget_until(t, end - total * UPLOAD_RESERVE_PERCENT / 100, must_stop);
    t->upload = budget_until(t, end - total * RESULT_RESERVE_PERCENT / 100, must_stop);
    t->end = budget_until(t, end + END_MS, must_leave);
    t->release = budget_until(t, end + END_MS, must_be_gone);
    t->reports = t->upload;
    t->reports.retries = NULL;
}

/* ---- stages ---- */

static void add_time(struct attempt *t, enum stage stage, int64_t since_ms)
{
    stage_times_add(&t->report.times, stage, sys_mono_ms(t->p->sys) - since_ms);
}

/* Makes both calls at the same time: the first with the request arena, the second with the arena beside it. */
static enum err_code run_both(struct attempt *t, pair_fn *fn, void *first, void *second, const struct budget *budget,
                              struct err *err)
{
    const struct pair_call calls[] = { { fn, first, &t->p->arena }, { fn, second, &t->p->beside } };

    return pair_run(calls, budget, err);
}

struct download {
    const struct storage *storage;
    const char *object;
    struct storage_download got;
};

static enum err_code download_one(void *ctx, const struct budget *budget, struct arena *a, struct err *err)
{
    struct download *d = ctx;

    return storage_get(d->storage, d->object, IMAGE_MAX_FILE_BYTES, budget, a, &d->got, err);
}

static enum err_code download(struct attempt *t, struct edit_request *q, struct err *err)
{
    struct download original = { .storage = t->p->storage, .object = t->job->original };
    struct download mask = { .storage = t->p->storage, .object = t->job->mask_auto };
    int64_t since = sys_mono_ms(t->p->sys);
    enum err_code rc = run_both(t, download_one, &original, &mask, &t->work, err);

    /* The app replaces both inputs together, so read both again for a matching pair. */
    if (!rc && (original.got.replaced || mask.got.replaced))
        rc = run_both(t, download_one, &original, &mask, &t->work, err);
    t->original_generation = original.got.object.generation;
    t->mask_generation = mask.got.object.generation;
    q->original = original.got.body;
    q->mask = mask.got.body;
    add_time(t, STAGE_DOWNLOAD, since);
    return rc;
}

/* The seed is a digest of the session and its inputs, so that a repeated job gives the same bytes. */
static enum err_code derive_seed(const struct attempt *t, uint64_t *ret, struct err *err)
{
    unsigned char digest[CRYPTO_SHA256_BYTES];
    char text[JOB_PATH_SIZE + 64];

    (void)snprintf(text, sizeof text, "%s\n%lld\n%lld", t->job->document, (long long)t->original_generation,
                   (long long)t->mask_generation);
    TRY(crypto_sha256(span_of(text), digest, err));
    /* the noise generator takes 32 bits of a seed */
    *ret = span_be32(digest);
    return ERR_OK;
}

static void edit_stage(void *ctx, enum stage stage, int percent, double eta_seconds)
{
    struct attempt *t = ctx;

    t->report.stage = stage;
    t->p->eta_ms = eta_seconds >= 0 ? (int64_t)(1000 * eta_seconds) : -1;
    reporter_set(&t->reporter, stage, percent, eta_seconds);
}

struct upload {
    const struct storage *storage;
    const char *object, *lease_id;
    struct span body;
    const struct log_context *log;
    int64_t generation; /* of the object that this upload stored; 0: none is known */
};

static enum err_code upload_one(void *ctx, const struct budget *budget, struct arena *a, struct err *err)
{
    struct upload *u = ctx;
    struct storage_put put = { .object = u->object,
                               .content_type = "image/jpeg",
                               .cache_control = "private, max-age=3600",
                               .job_id = u->lease_id,
                               .body = u->body };
    struct storage_object there = { 0 }, now = { 0 };
    struct err absent = { 0 };
    int dropped = 0;
    enum err_code rc = storage_stat(u->storage, u->object, budget, a, &there, &absent);

    if (rc && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "%s", absent.msg);
    put.if_generation = rc ? 0 : there.generation;
    put.replaces = rc ? NULL : &there;
    put.ret_dropped = &dropped;
    rc = storage_put(u->storage, &put, budget, a, &now, err);
    if (dropped)
        log_event(LOG_WARNING, u->log, "metadata of a picture that was replaced could not be kept",
                  log_str("object", u->object), log_int("entries", dropped), log_end());
    if (!rc && !strcmp(now.job_id, u->lease_id))
        u->generation = now.generation;
    return rc;
}

static enum err_code upload(struct attempt *t, struct err *err)
{
    const struct picture_files *files = &t->edit.files;
    struct upload edited = { t->p->storage, t->job->edited, t->session.lease_id, files->edited, t->log, 0 };
    struct upload preview = { t->p->storage, t->job->preview, t->session.lease_id, files->preview, t->log, 0 };
    int64_t since = sys_mono_ms(t->p->sys);
    enum err_code rc;

    if (must_stop(t))
        return err_set(err, ERR_CANCELLED, "cancelled before the upload");
    /* A fence: written here and not by the reporter, so that nothing is uploaded once the session is not ours. */
    rc = session_progress(&t->session, STAGE_UPLOAD, PERCENT_UPLOAD, -1, &t->reports, err);
    if (rc)
        return reporter_lose(&t->reporter, rc);
    rc = run_both(t, upload_one, &edited, &preview, &t->upload, err);
    t->edited_generation = edited.generation;
    t->preview_generation = preview.generation;
    add_time(t, STAGE_UPLOAD, since);
    return rc;
}

/* Such jobs work, but each of them is slower than it could be; the operator can make a pack with a table for them. */
static void warn_if_uncovered(struct attempt *t)
{
    const struct document_recipe *job = &t->edit.recipe;

    if (t->edit.rereads_modulation && uncovered_is_new(&t->p->uncovered, job->fill_width, job->fill_height, job->steps))
        log_event(LOG_WARNING, t->log,
                  "no table of the prompt pack covers such a job, so a quarter of the weights is read again for each",
                  log_int("width", job->fill_width), log_int("height", job->fill_height), log_int("steps", job->steps),
                  log_end());
}

static enum err_code run_stages(struct attempt *t, struct err *err)
{
    const struct edit_watch watch = {
        .ctx = t, .stage = edit_stage, .cancelled = must_stop_or_is_late, .seconds_left = work_left_s
    };
    struct edit_request q = { .wishes = t->wishes,
                              .mask_wishes = t->session.mask_wishes,
                              .fill = { FILL_REQUEST_DEFAULTS } };
    enum err_code rc;

    q.pictures = t->p->settings.pictures;
    q.fill.steps = t->p->settings.steps;
    q.fill.guidance = t->p->settings.guidance;
    TRY(download(t, &q, err));
    TRY(derive_seed(t, &q.fill.seed, err));
    rc = edit_run(t->p->engine, &q, &watch, t->p->sys, &t->p->arena, &t->edit, err);
    stage_times_add_all(&t->report.times, &t->edit.times);
    warn_if_uncovered(t);
    return rc ? rc : upload(t, err);
}

static enum err_code work(struct attempt *t, struct err *err)
{
    enum err_code rc;

    TRY(reporter_start(&t->reporter, &t->session, &t->reports, err));
    rc = reason(t, run_stages(t, err), err);
    reporter_stop(&t->reporter);
    return rc;
}

/* ---- endings ---- */

static struct pipeline_result result(const struct attempt *t, enum outcome outcome)
{
    return (struct pipeline_result){
        .outcome = outcome,
        .retries = t->retries,
        .rereads_modulation = t->edit.rereads_modulation,
        .times = t->report.times,
        .was_claimed = t->claimed_ms != 0,
        .wait_ms = t->claimed_ms - t->arrived_ms,
        .age_ms = t->age_ms,
    };
}

static struct pipeline_result result_error(const struct attempt *t, enum outcome outcome, enum job_error error)
{
    struct pipeline_result ret = result(t, outcome);

    ret.has_error = true;
    ret.error = error;
    return ret;
}

static double cost(const struct attempt *t)
{
    return 1e-3 * (double)(sys_mono_ms(t->p->sys) - t->started_ms) * t->p->settings.cost_per_second;
}

static void remove_uploads(struct attempt *t)
{
    const struct {
        const char *object;
        int64_t generation;
    } ours[] = { { t->job->edited, t->edited_generation }, { t->job->preview, t->preview_generation } };

    for (int i = 0; i < 2; i++) {
        struct err err = { 0 };
        if (ours[i].generation &&
            storage_delete(t->p->storage, ours[i].object, ours[i].generation, &t->end, &t->p->arena, &err))
            log_event(LOG_WARNING, t->log, "an upload of a lost job stays", log_str("object", ours[i].object),
                      log_str("error", err.msg), log_end());
    }
}

/*
 * The document is gone or not ours. The uploads of a deleted session belong to nobody and are removed. Those of a lost
 * lease stay: the worker that took over writes the same names, and its document may already refer to these objects.
 */
static struct pipeline_result end_lost(struct attempt *t, enum err_code rc)
{
    if (rc != ERR_NOT_FOUND)
        return result(t, OUTCOME_LOST);
    remove_uploads(t);
    return result(t, OUTCOME_GONE);
}

static bool is_lost(const struct attempt *t, enum err_code rc)
{
    return (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT) && reporter_lost(&t->reporter) == rc;
}

static struct pipeline_result end_completed(struct attempt *t)
{
    struct err err = { 0 };
    enum err_code rc;

    t->report.edited_path = t->job->edited;
    t->report.preview_path = t->job->preview;
    t->report.cost_usd = cost(t);
    rc = session_complete(&t->session, &t->report, &t->end, &err);
    if (!rc)
        return result(t, OUTCOME_COMPLETED);
    log_event(LOG_ERROR, t->log, "the result could not be written", log_str("error", err.msg), log_end());
    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return end_lost(t, rc);
    err_ignore(session_release(&t->session, &t->release, NULL));
    return result_error(t, OUTCOME_RELEASED, JOB_BACKEND_UNAVAILABLE);
}

static struct pipeline_result end_failed(struct attempt *t, enum job_error error)
{
    struct err err = { 0 };
    enum err_code rc;

    t->report.error = error;
    t->report.has_stage = true;
    t->report.cost_usd = cost(t);
    rc = session_fail(&t->session, &t->report, &t->end, &err);
    if (!rc)
        return result_error(t, OUTCOME_FAILED, error);
    log_event(LOG_ERROR, t->log, "the failure could not be written", log_str("error", err.msg), log_end());
    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return end_lost(t, rc);
    err_ignore(session_release(&t->session, &t->release, NULL));
    return result_error(t, OUTCOME_RELEASED, error);
}

static struct pipeline_result end_released(struct attempt *t, enum outcome outcome)
{
    struct err err = { 0 };
    enum err_code rc = session_release(&t->session, &t->release, &err);

    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return end_lost(t, rc);
    if (rc)
        log_event(LOG_WARNING, t->log, "the claim could not be given back; it ends by itself",
                  log_str("error", err.msg), log_end());
    return result(t, outcome);
}

static struct pipeline_result end_of(struct attempt *t, enum err_code rc, const struct err *err)
{
    enum job_error error = job_error_of(rc);
    const struct job_error_info *info = job_error_info(error);
    bool is_final = info->outcome == OUTCOME_FAILED;
    struct pipeline_result ret;

    if (!rc)
        return end_completed(t);
    if (is_lost(t, rc))
        return end_lost(t, rc);
    log_event(is_final ? LOG_WARNING : LOG_ERROR, t->log, "the job did not work",
              log_str("code", rc == ERR_CANCELLED ? "CANCELLED" : info->code), log_str("error", err->msg), log_end());
    if (rc == ERR_CANCELLED)
        return end_released(t, OUTCOME_RELEASED);
    t->report.detail = job_error_detail(rc, err->msg, t->detail);
    if (is_final || (error == JOB_DEADLINE && t->session.attempts >= t->p->sessions->max_attempts))
        return end_failed(t, error);
    ret = end_released(t, info->outcome);
    ret.has_error = true;
    ret.error = error;
    return ret;
}

/* ---- the claim ---- */

/* By the server's clock. -1: unknown, as it is before the first answer, and as is a time that is still to come; but the
 * clocks of two services may differ a little. */
static int64_t age_us(const struct attempt *t)
{
    int64_t published_us = t->msg->publish_time_us, now_us = session_now_us(&t->session);

    if (!session_has_time(&t->session) || published_us == PUBSUB_TIME_UNKNOWN ||
        published_us > now_us + MISSING_GRACE_US)
        return -1;
    return published_us < now_us ? now_us - published_us : 0;
}

static void note_age(struct attempt *t)
{
    int64_t age = age_us(t);

    t->age_ms = age < 0 ? -1 : age / 1000;
}

/* A publisher may publish before it commits; but a deleted session must not run. */
static bool may_appear_yet(const struct attempt *t)
{
    int64_t age = age_us(t);

    return age >= 0 && age < MISSING_GRACE_US;
}

static struct pipeline_result unreadable(const struct attempt *t)
{
    log_event(
        LOG_WARNING, t->log, "the session can be reached but not understood: it is failed",
        log_str("error", t->session.unreadable.msg),
        log_str("remedy", "the app has to mend or replace the document that the error names, and send a new message"),
        log_end());
    return result_error(t, OUTCOME_UNREADABLE, JOB_SESSION_UNREADABLE);
}

static struct pipeline_result not_claimed(const struct attempt *t, enum outcome outcome)
{
    if (outcome == OUTCOME_MISSING && may_appear_yet(t))
        return result(t, OUTCOME_NOT_YET_THERE);
    if (outcome == OUTCOME_EXHAUSTED)
        return result_error(t, outcome, JOB_ATTEMPTS_EXHAUSTED);
    if (outcome == OUTCOME_UNREADABLE)
        return unreadable(t);
    return result(t, outcome);
}

static struct pipeline_result unclaimed(struct attempt *t, const struct err *err)
{
    log_event(LOG_ERROR, t->log, "the session could not be claimed", log_str("error", err->msg), log_end());
    err_ignore(session_unclaim(&t->session, &t->release, NULL));
    return result_error(t, OUTCOME_UNCLAIMED, JOB_BACKEND_UNAVAILABLE);
}

/* ---- the last delivery ---- */

static bool is_last(const struct attempt *t)
{
    const struct pipeline_settings *p = &t->p->settings;

    return (p->max_deliveries && t->msg->delivery_attempt > p->max_deliveries) ||
           (p->max_message_age_ms && t->age_ms > p->max_message_age_ms);
}

/* Whether the service was reached and will answer the same the next time. */
static bool is_refusal(enum err_code rc)
{
    return rc == ERR_DENIED || rc == ERR_PROTOCOL || rc == ERR_INVALID;
}

/* Whatever has kept the job from its end, this message must not come again. */
static struct pipeline_result give_up(struct attempt *t)
{
    const struct budget budget = budget_until(t, sys_mono_ms(t->p->sys) + GIVE_UP_MS, must_leave);
    enum outcome outcome = OUTCOME_OPEN;
    struct err err = { 0 };
    enum err_code rc = session_give_up(&t->session, &budget, &outcome, &err);

    if (!rc && outcome != OUTCOME_EXHAUSTED)
        return not_claimed(t, outcome);
    log_event(rc ? LOG_ERROR : LOG_WARNING, t->log,
              rc ? "a message has come too often or is too old, and its session could not be failed"
                 : "a message has come too often or is too old: its session is failed",
              log_int("deliveries", t->msg->delivery_attempt), log_int("maxDeliveries", t->p->settings.max_deliveries),
              log_int("ageSeconds", t->age_ms < 0 ? -1 : t->age_ms / 1000),
              log_int("maxAgeSeconds", t->p->settings.max_message_age_ms / 1000), log_str("error", err.msg), log_end());
    if (!rc || is_refusal(rc))
        return result_error(t, rc ? OUTCOME_GIVEN_UP : OUTCOME_EXHAUSTED, JOB_ATTEMPTS_EXHAUSTED);
    return result_error(t, OUTCOME_UNCLAIMED, JOB_BACKEND_UNAVAILABLE);
}

static struct pipeline_result screen(struct attempt *t)
{
    const struct budget budget = budget_until(t, t->started_ms + SCREEN_MS, must_leave);
    enum outcome outcome = OUTCOME_OPEN;
    struct err err = { 0 };

    if (session_init(&t->session, t->p->sessions, t->job->document, t->msg->message_id, &err))
        return result(t, OUTCOME_OPEN);
    if (session_screen(&t->session, &budget, &outcome, &err))
        outcome = OUTCOME_OPEN;
    note_age(t);
    if (outcome == OUTCOME_OPEN && is_last(t))
        return give_up(t);
    return not_claimed(t, outcome);
}

struct pipeline_result pipeline_screen(struct pipeline *p, const struct push_message *msg, const struct job *job,
                                       const struct log_context *log)
{
    struct attempt t = { .p = p, .msg = msg, .job = job, .log = log, .started_ms = sys_mono_ms(p->sys), .age_ms = -1 };
    struct pipeline_result ret = screen(&t);

    session_done(&t.session);
    return ret;
}

static void set_claimed(struct pipeline *p, struct session *s)
{
    (void)pthread_mutex_lock(&p->lock);
    p->claimed = s;
    (void)pthread_mutex_unlock(&p->lock);
}

static void report_picture(struct attempt *t)
{
    const struct picture_record *p = &t->edit.picture;

    t->report.picture = p;
    for (int i = 0; i < p->n_warnings && t->report.n_warnings < DOCUMENT_MAX_WARNINGS; i++)
        t->report.warnings[t->report.n_warnings++] = p->warnings[i];
}

static struct pipeline_result run_claimed(struct attempt *t)
{
    struct pipeline_result ret;
    struct err err = { 0 };
    enum err_code rc;

    t->claimed_ms = sys_mono_ms(t->p->sys);
    note_age(t);
    set_claimed(t->p, &t->session);
    rc = work(t, &err);
    t->report.recipe = t->edit.has_recipe ? &t->edit.recipe : NULL;
    report_picture(t);
    ret = end_of(t, rc, &err);
    set_claimed(t->p, NULL);
    return ret;
}

static struct pipeline_result claim_and_run(struct attempt *t)
{
    enum outcome outcome = OUTCOME_OPEN;
    struct err err = { 0 };

    if (session_init(&t->session, t->p->sessions, t->job->document, t->msg->message_id, &err) ||
        session_claim(&t->session, &t->work, &t->p->arena, &outcome, &t->wishes, &err))
        return unclaimed(t, &err);
    return outcome == OUTCOME_OPEN ? run_claimed(t) : not_claimed(t, outcome);
}

struct pipeline_result pipeline_run(struct pipeline *p, const struct push_message *msg, const struct job *job,
                                    int64_t arrived_ms, const struct log_context *log)
{
    struct attempt t = { .p = p,
                         .msg = msg,
                         .job = job,
                         .log = log,
                         .arrived_ms = arrived_ms,
                         .started_ms = sys_mono_ms(p->sys),
                         .age_ms = -1 };
    const struct arena_mark beside = arena_mark(&p->beside);
    struct pipeline_result ret;
    ARENA_SCRATCH(&p->arena);

    set_budgets(&t);
    p->stuck_at_ms = arrived_ms + 2 * p->settings.job_deadline_ms + END_MS;
    p->eta_ms = -1;
    ret = claim_and_run(&t);
    p->stuck_at_ms = 0;
    session_done(&t.session);
    arena_rewind(&p->beside, beside);
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

    *p = (struct pipeline){
        .engine = engine, .sessions = sessions, .storage = storage, .sys = sys, .settings = *settings
    };
    if (pthread_mutex_init(&p->lock, NULL))
        return err_set(err, ERR_NOMEM, "pipeline: no lock");
    TRY(arena_init(&p->arena, EDIT_ARENA_BYTES, err));
    return arena_init(&p->beside, BESIDE_ARENA_BYTES, err);
}

void pipeline_done(struct pipeline *p)
{
    arena_done(&p->beside);
    arena_done(&p->arena);
    (void)pthread_mutex_destroy(&p->lock);
}
