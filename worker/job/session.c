#include "worker/job/session.h"

#include <stdio.h>
#include <string.h>

#include "worker/base/wait.h"

enum {
    SESSION_ARENA_BYTES = 24 << 20, /* address space; a document answer takes up to 4 MiB, and its tree more */
    CLAIM_ROUNDS = 5,
    END_ROUNDS = 5,
    JITTER_MIN_MS = 50,
    JITTER_SPAN_MS = 450,
    OUTSIDE_WAIT_MS = 500,
    LOOK_MS = 3000 /* for seeing whose a session is after a progress write that told nothing */
};

/* ---- the table ---- */

enum session_decision session_decide(enum session_state state, bool same_message)
{
    static const enum session_decision table[SESSION_S_COUNT][2] = {
        /*                       another message          the same message */
        [SESSION_S_ABSENT] = { SESSION_D_MISSING, SESSION_D_MISSING },
        [SESSION_S_ENDED] = { SESSION_D_DUPLICATE, SESSION_D_DUPLICATE },
        [SESSION_S_FAILED] = { SESSION_D_CLAIM_FRESH, SESSION_D_DUPLICATE },
        [SESSION_S_PENDING] = { SESSION_D_CLAIM_FRESH, SESSION_D_CLAIM_AGAIN },
        [SESSION_S_LEASED] = { SESSION_D_SUPERSEDED, SESSION_D_BUSY },
        [SESSION_S_EXPIRED] = { SESSION_D_CLAIM_FRESH, SESSION_D_CLAIM_AGAIN },
        [SESSION_S_UNKNOWN] = { SESSION_D_REFUSE, SESSION_D_REFUSE },
    };

    return table[state][same_message];
}

/* ---- reading ---- */

struct snapshot { /* what a read says; texts live in the session's arena until the next call */
    enum session_state state;
    bool same_message, lease_is_ours;
    int64_t attempts;
    struct firestore_document document;
};

static enum session_state state_of(const struct session *s, const struct firestore_document *d)
{
    static const struct {
        const char *status;
        enum session_state state;
    } known[] = {
        { "pending", SESSION_S_PENDING },
        { "completed", SESSION_S_ENDED },
        { "cancelled", SESSION_S_ENDED },
        { "failed", SESSION_S_FAILED },
    };
    const struct json *field = firestore_field(d, "processingStatus");
    const char *status = firestore_string(field);
    int64_t expires_us;

    if (!field || firestore_is_null(field))
        return SESSION_S_PENDING;
    if (!status)
        return SESSION_S_UNKNOWN;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(status, known[i].status))
            return known[i].state;
    if (strcmp(status, "processing") != 0)
        return SESSION_S_UNKNOWN;
    if (!firestore_timestamp(firestore_field(d, "inpaint.lease.expiresAt"), &expires_us))
        return SESSION_S_EXPIRED;
    return expires_us > sys_wall_us(s->store->sys) ? SESSION_S_LEASED : SESSION_S_EXPIRED;
}

static bool field_is(const struct firestore_document *d, const char *path, const char *text)
{
    const char *value = firestore_string(firestore_field(d, path));

    return value && !strcmp(value, text);
}

/* A document that is not there is a state, not an error. */
static enum err_code look(struct session *s, const struct budget *budget, struct snapshot *ret, struct err *err)
{
    static const char *const mask[] = { "processingStatus", "inpaint.messageId", "inpaint.lease",
                                        "inpaint.attempts", "sceneLabels",       "prompt",
                                        "editedImagePath" };
    struct err absent = { 0 };
    enum err_code rc =
        firestore_get(s->store->fs, s->document, (struct firestore_mask){ mask, sizeof mask / sizeof *mask }, budget,
                      &s->arena, &ret->document, &absent);

    if (rc == ERR_NOT_FOUND) {
        *ret = (struct snapshot){ .state = SESSION_S_ABSENT };
        return ERR_OK;
    }
    if (rc)
        return err_set(err, rc, "%s", absent.msg);
    if (strlen(ret->document.update_time) >= FIRESTORE_TIME_SIZE)
        return err_set(err, ERR_PROTOCOL, "session: updateTime is too long");
    ret->state = state_of(s, &ret->document);
    ret->same_message = field_is(&ret->document, "inpaint.messageId", s->message_id);
    ret->lease_is_ours = s->lease_id[0] && field_is(&ret->document, "inpaint.lease.id", s->lease_id) &&
                         field_is(&ret->document, "processingStatus", "processing");
    if (!firestore_integer(firestore_field(&ret->document, "inpaint.attempts"), &ret->attempts) || ret->attempts < 0)
        ret->attempts = 0;
    return ERR_OK;
}

static void keep_update_time(struct session *s, const struct snapshot *snap)
{
    (void)snprintf(s->update_time, sizeof s->update_time, "%s", snap->document.update_time);
}

static enum err_code add_label(struct session_wishes *w, const struct json *value, struct arena *a, struct err *err)
{
    const char *text = firestore_string(value);
    char *copy;
    enum err_code rc;

    if (!text || !*text || w->n_labels == SESSION_MAX_LABELS)
        return ERR_OK;
    rc = span_dup(a, span_of(text), &copy, err);
    if (!rc)
        w->labels[w->n_labels++] = copy;
    return rc;
}

static enum err_code read_wishes(const struct firestore_document *d, struct arena *a, struct session_wishes *ret,
                                 struct err *err)
{
    const struct json *prompt = firestore_field(d, "prompt"), *labels = firestore_field(d, "sceneLabels");
    const char *text = firestore_string(prompt);
    enum err_code rc = ERR_OK;

    *ret = (struct session_wishes){ .prompt_invalid = prompt && !text && !firestore_is_null(prompt) };
    if (text) {
        char *copy;
        rc = span_dup(a, span_of(text), &copy, err);
        if (!rc)
            ret->prompt = copy;
    }
    for (int i = 0; !rc && i < firestore_array_count(labels); i++)
        rc = add_label(ret, firestore_array_at(labels, i), a, err);
    if (!rc && firestore_is_map(labels))
        rc = add_label(ret, firestore_member(labels, "surface"), a, err);
    return rc;
}

/* ---- claiming ---- */

static enum err_code patch(struct session *s, const struct firestore_field *fields, int n,
                           const struct retry_policy *policy, const struct budget *budget, struct err *err)
{
    const struct firestore_patch change = {
        .document = s->document, .fields = fields, .n_fields = n, .update_time = s->update_time, .policy = policy
    };

    return firestore_patch(s->store->fs, &change, budget, &s->arena, s->update_time, err);
}

static enum err_code write_claim(struct session *s, const struct budget *budget, struct err *err)
{
    int64_t expires_us = sys_wall_us(s->store->sys) + s->store->lease_ms * 1000;
    const struct firestore_field lease[] = {
        { "id", firestore_v_string(s->lease_id) },
        { "messageId", firestore_v_string(s->message_id) },
        { "expiresAt", firestore_v_timestamp(expires_us) },
    };
    const struct firestore_field fields[] = {
        { "processingStatus", firestore_v_string("processing") },
        { "inpaint.messageId", firestore_v_string(s->message_id) },
        { "inpaint.attempts", firestore_v_integer(s->attempts) },
        { "inpaint.lease", firestore_v_map(lease, 3) },
        { "inpaint.stage", firestore_v_string("download") },
        { "inpaint.progress", firestore_v_integer(0) },
        { "inpaint.etaSeconds", firestore_v_delete() },
    };

    return patch(s, fields, sizeof fields / sizeof *fields, &firestore_claim_policy, budget, err);
}

static enum err_code write_exhausted(struct session *s, const struct budget *budget, struct err *err)
{
    const struct job_error_info *info = job_error_info(JOB_ATTEMPTS_EXHAUSTED);
    const struct firestore_field fields[] = {
        { "processingStatus", firestore_v_string("failed") },
        { "errorMessage", firestore_v_string(info->sentence) },
        { "cost", firestore_v_double(0) },
        { "inpaint.lease", firestore_v_delete() },
        { "inpaint.errorCode", firestore_v_string(info->code) },
        { "inpaint.retryable", firestore_v_bool(info->retryable) },
    };

    return patch(s, fields, sizeof fields / sizeof *fields, &firestore_result_policy, budget, err);
}

/* One round: look, decide, write. ERR_CONFLICT and ERR_UNKNOWN_OUTCOME ask for another one. */
static enum err_code claim_round(struct session *s, const struct budget *budget, struct arena *a,
                                 enum session_verdict *ret, struct session_wishes *wishes, struct err *err)
{
    static const enum session_verdict verdicts[] = {
        [SESSION_D_MISSING] = SESSION_MISSING,     [SESSION_D_DUPLICATE] = SESSION_DUPLICATE,
        [SESSION_D_CLAIM_AGAIN] = SESSION_CLAIMED, [SESSION_D_CLAIM_FRESH] = SESSION_CLAIMED,
        [SESSION_D_BUSY] = SESSION_BUSY,           [SESSION_D_SUPERSEDED] = SESSION_SUPERSEDED,
        [SESSION_D_REFUSE] = SESSION_REFUSED,
    };
    struct snapshot snap = { 0 };
    enum session_decision decision;
    enum err_code rc = look(s, budget, &snap, err);

    if (rc)
        return rc;
    decision = session_decide(snap.state, snap.same_message);
    *ret = verdicts[decision];
    if (!snap.lease_is_ours && *ret != SESSION_CLAIMED)
        return ERR_OK;
    keep_update_time(s, &snap);
    if (snap.lease_is_ours) { /* an earlier round of ours landed without an answer */
        *ret = SESSION_CLAIMED;
        return read_wishes(&snap.document, a, wishes, err);
    }
    s->attempts = decision == SESSION_D_CLAIM_AGAIN ? snap.attempts + 1 : 1;
    if (s->attempts > s->store->max_attempts) {
        *ret = SESSION_EXHAUSTED;
        return write_exhausted(s, budget, err);
    }
    rc = read_wishes(&snap.document, a, wishes, err);
    if (rc)
        return rc;
    s->claim_sent = true;
    return write_claim(s, budget, err);
}

enum err_code session_claim(struct session *s, const struct budget *budget, struct arena *a, enum session_verdict *ret,
                            struct session_wishes *ret_wishes, struct err *err)
{
    enum err_code rc = ERR_INTERNAL;

    (void)pthread_mutex_lock(&s->lock);
    sys_uuid(s->store->sys, s->lease_id); /* one for all rounds: a late commit of ours is recognised */
    for (int round = 0; round < CLAIM_ROUNDS; round++) {
        struct err this_round = { 0 };
        struct arena_mark mark = arena_mark(&s->arena);

        rc = claim_round(s, budget, a, ret, ret_wishes, &this_round);
        arena_rewind(&s->arena, mark);
        if (rc != ERR_CONFLICT && rc != ERR_UNKNOWN_OUTCOME) {
            if (rc)
                (void)err_set(err, rc, "%s", this_round.msg);
            goto out;
        }
        sys_sleep_ms(s->store->sys, JITTER_MIN_MS + (int64_t)sys_random_below(s->store->sys, JITTER_SPAN_MS));
    }
    rc = err_set(err, ERR_UNAVAILABLE, "session: the document moved %d times while it was claimed", CLAIM_ROUNDS);
out:
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- later writes ---- */

/* The document moved. ERR_OK: it is still ours, and update_time is the new one. */
static enum err_code still_ours(struct session *s, const struct budget *budget, struct snapshot *snap, struct err *err)
{
    enum err_code rc = look(s, budget, snap, err);

    if (rc)
        return rc;
    if (snap->state == SESSION_S_ABSENT)
        return err_set(err, ERR_NOT_FOUND, "session: the document is gone");
    if (!snap->lease_is_ours)
        return err_set(err, ERR_CONFLICT, "session: the lease is not ours any more");
    keep_update_time(s, snap);
    return ERR_OK;
}

enum err_code session_progress(struct session *s, const char *stage, int percent, double eta_seconds,
                               const struct budget *budget, struct err *err)
{
    const struct firestore_field fields[] = {
        { "inpaint.stage", firestore_v_string(stage) },
        { "inpaint.progress", firestore_v_integer(percent) },
        { "inpaint.etaSeconds", eta_seconds >= 0 ? firestore_v_double(eta_seconds) : firestore_v_delete() },
    };
    struct snapshot snap = { 0 };
    struct err ignored = { 0 };
    struct arena_mark mark;
    enum err_code rc;

    (void)pthread_mutex_lock(&s->lock);
    mark = arena_mark(&s->arena);
    rc = patch(s, fields, sizeof fields / sizeof *fields, &firestore_progress_policy, budget, &ignored);
    if (rc == ERR_CONFLICT || rc == ERR_NOT_FOUND || rc == ERR_UNKNOWN_OUTCOME) {
        struct err why = { 0 };
        struct budget brief = *budget;

        if (budget_left_ms(budget) > LOOK_MS)
            brief.deadline_mono_ms = sys_mono_ms(s->store->sys) + LOOK_MS;
        rc = still_ours(s, &brief, &snap, &why);
        if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
            (void)err_set(err, rc, "%s", why.msg);
    }
    arena_rewind(&s->arena, mark);
    (void)pthread_mutex_unlock(&s->lock);
    return rc == ERR_NOT_FOUND || rc == ERR_CONFLICT ? rc : ERR_OK;
}

/* The last write; with the lock held. After an answer that tells nothing, a document that reads as we wanted it is
 * ours, written. */
static enum err_code end_locked(struct session *s, const struct firestore_field *fields, int n, const char *status,
                                const struct budget *budget, struct err *err)
{
    enum err_code rc = ERR_INTERNAL;

    for (int round = 0; round < END_ROUNDS; round++) {
        struct arena_mark mark = arena_mark(&s->arena);
        struct snapshot snap = { 0 };
        struct err this_round = { 0 }, why = { 0 };

        rc = patch(s, fields, n, &firestore_result_policy, budget, &this_round);
        if (rc == ERR_CONFLICT || rc == ERR_NOT_FOUND || rc == ERR_UNKNOWN_OUTCOME) {
            bool asked = rc == ERR_UNKNOWN_OUTCOME || round > 0;
            rc = still_ours(s, budget, &snap, &why);
            if (rc == ERR_CONFLICT && asked && snap.same_message &&
                field_is(&snap.document, "processingStatus", status) &&
                !firestore_field(&snap.document, "inpaint.lease"))
                rc = ERR_OK; /* an earlier round landed */
            else if (!rc)
                rc = ERR_UNKNOWN_OUTCOME; /* ours still: once more */
            this_round = why;
        }
        arena_rewind(&s->arena, mark);
        if (rc != ERR_UNKNOWN_OUTCOME)
            return rc ? err_set(err, rc, "%s", this_round.msg) : ERR_OK;
    }
    return err_set(err, ERR_UNAVAILABLE, "session: the document moved %d times while the result was written",
                   END_ROUNDS);
}

static enum err_code end(struct session *s, const struct firestore_field *fields, int n, const char *status,
                         const struct budget *budget, struct err *err)
{
    enum err_code rc;

    (void)pthread_mutex_lock(&s->lock);
    rc = end_locked(s, fields, n, status, budget, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

struct report_values { /* what the maps of a report point to */
    struct firestore_field recipe[10], crop[4], size[2], timings[SESSION_MAX_TIMINGS];
    struct firestore_value warnings[SESSION_MAX_WARNINGS];
};

/* Appends what success and failure have in common; returns the number of fields. */
static int report_fields(const struct session_report *r, struct report_values *v, struct firestore_field *f, int n)
{
    const struct session_recipe *c = r->recipe;

    f[n++] = (struct firestore_field){ "cost", firestore_v_double(r->cost_usd) };
    f[n++] = (struct firestore_field){ "inpaint.lease", firestore_v_delete() };
    f[n++] = (struct firestore_field){ "inpaint.etaSeconds", firestore_v_delete() };
    for (int i = 0; i < r->n_timings; i++)
        v->timings[i] = (struct firestore_field){ r->timings[i].stage, firestore_v_integer(r->timings[i].ms) };
    f[n++] = (struct firestore_field){ "inpaint.timings", firestore_v_map(v->timings, r->n_timings) };
    for (int i = 0; i < r->n_warnings; i++)
        v->warnings[i] = firestore_v_string(r->warnings[i]);
    f[n++] = (struct firestore_field){ "inpaint.warnings", r->n_warnings ? firestore_v_array(v->warnings, r->n_warnings)
                                                                         : firestore_v_delete() };
    if (!c)
        return n;
    v->crop[0] = (struct firestore_field){ "x", firestore_v_integer(c->crop_x) };
    v->crop[1] = (struct firestore_field){ "y", firestore_v_integer(c->crop_y) };
    v->crop[2] = (struct firestore_field){ "width", firestore_v_integer(c->crop_width) };
    v->crop[3] = (struct firestore_field){ "height", firestore_v_integer(c->crop_height) };
    v->size[0] = (struct firestore_field){ "width", firestore_v_integer(c->fill_width) };
    v->size[1] = (struct firestore_field){ "height", firestore_v_integer(c->fill_height) };
    v->recipe[0] = (struct firestore_field){ "model", firestore_v_string(c->model_file) };
    v->recipe[1] = (struct firestore_field){ "prompt", firestore_v_string(c->prompt) };
    v->recipe[2] = (struct firestore_field){ "steps", firestore_v_integer(c->steps) };
    v->recipe[3] = (struct firestore_field){ "guidance", firestore_v_double(c->guidance) };
    v->recipe[4] = (struct firestore_field){ "seed", firestore_v_integer(c->seed) };
    v->recipe[5] = (struct firestore_field){ "crop", firestore_v_map(v->crop, 4) };
    v->recipe[6] = (struct firestore_field){ "fillSize", firestore_v_map(v->size, 2) };
    v->recipe[7] = (struct firestore_field){ "precision", firestore_v_string(c->precision) };
    f[n++] = (struct firestore_field){ "inpaint.recipe", firestore_v_map(v->recipe, 8) };
    return n;
}

enum err_code session_complete(struct session *s, const struct session_report *r, const struct budget *budget,
                               struct err *err)
{
    struct report_values values;
    struct firestore_field f[24];
    int n = 0;

    f[n++] = (struct firestore_field){ "processingStatus", firestore_v_string("completed") };
    f[n++] = (struct firestore_field){ "editedImagePath", firestore_v_string(r->edited_path) };
    f[n++] = (struct firestore_field){ "previewImagePath", firestore_v_string(r->preview_path) };
    f[n++] = (struct firestore_field){ "errorMessage", firestore_v_delete() };
    f[n++] = (struct firestore_field){ "inpaint.errorCode", firestore_v_delete() };
    f[n++] = (struct firestore_field){ "inpaint.retryable", firestore_v_delete() };
    f[n++] = (struct firestore_field){ "inpaint.stage", firestore_v_string("upload") };
    f[n++] = (struct firestore_field){ "inpaint.progress", firestore_v_integer(100) };
    n = report_fields(r, &values, f, n);
    return end(s, f, n, "completed", budget, err);
}

enum err_code session_fail(struct session *s, const struct session_report *r, const struct budget *budget,
                           struct err *err)
{
    const struct job_error_info *info = job_error_info(r->error);
    struct report_values values;
    struct firestore_field f[24];
    int n = 0;

    f[n++] = (struct firestore_field){ "processingStatus", firestore_v_string("failed") };
    f[n++] = (struct firestore_field){ "errorMessage", firestore_v_string(info->sentence) };
    f[n++] = (struct firestore_field){ "inpaint.errorCode", firestore_v_string(info->code) };
    f[n++] = (struct firestore_field){ "inpaint.retryable", firestore_v_bool(info->retryable) };
    n = report_fields(r, &values, f, n);
    return end(s, f, n, "failed", budget, err);
}

/* ---- giving back ---- */

static const struct firestore_field released[] = {
    { "processingStatus", { .type = FIRESTORE_STRING, .string = "pending" } },
    { "inpaint.lease", { .type = FIRESTORE_DELETE } },
    { "inpaint.etaSeconds", { .type = FIRESTORE_DELETE } },
};
enum { N_RELEASED = sizeof released / sizeof *released };

enum err_code session_release(struct session *s, const struct budget *budget, struct err *err)
{
    return end(s, released, N_RELEASED, "pending", budget, err);
}

enum err_code session_release_from_outside(struct session *s, const struct budget *budget, struct err *err)
{
    struct timespec until = wait_deadline(OUTSIDE_WAIT_MS);
    enum err_code rc;

    if (pthread_mutex_clocklock(&s->lock, CLOCK_MONOTONIC, &until))
        return err_set(err, ERR_UNAVAILABLE, "session: a write is under way");
    rc = end_locked(s, released, N_RELEASED, "pending", budget, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

enum err_code session_unclaim(struct session *s, const struct budget *budget, struct err *err)
{
    struct snapshot snap = { 0 };
    struct arena_mark mark;
    enum err_code rc;

    if (!s->claim_sent)
        return ERR_OK;
    (void)pthread_mutex_lock(&s->lock);
    mark = arena_mark(&s->arena);
    rc = look(s, budget, &snap, err);
    if (!rc && snap.lease_is_ours) {
        keep_update_time(s, &snap);
        rc = end_locked(s, released, N_RELEASED, "pending", budget, err);
    }
    arena_rewind(&s->arena, mark);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- lifetime ---- */

enum err_code session_init(struct session *s, const struct session_store *store, const char *document,
                           const char *message_id, struct err *err)
{
    enum err_code rc;

    *s = (struct session){ .store = store, .document = document };
    (void)snprintf(s->message_id, sizeof s->message_id, "%s", message_id);
    rc = arena_init(&s->arena, SESSION_ARENA_BYTES, err);
    if (!rc && pthread_mutex_init(&s->lock, NULL))
        rc = err_set(err, ERR_NOMEM, "session: no lock");
    return rc;
}

void session_done(struct session *s)
{
    if (!s->store)
        return;
    arena_done(&s->arena);
    (void)pthread_mutex_destroy(&s->lock);
    s->store = NULL;
}
