#include "worker/job/session.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "worker/base/wait.h"

enum {
    /* Address space. At most three answers of 4 MiB are held at once, and a copy of the one that is parsed. */
    SESSION_ARENA_BYTES = 24 << 20,
    CLAIM_ROUNDS = 5,
    END_ROUNDS = 5,
    JITTER_MIN_MS = 50,
    JITTER_SPAN_MS = 450,
    OUTSIDE_WAIT_MS = 500,
    LOOK_MS = 3000 /* time to re-read the lease after a progress write with an unclear outcome */
};

/* ---- the table ---- */

/* The rows of the table in session.h. */
enum session_state {
    SESSION_S_ABSENT,
    SESSION_S_ENDED,
    SESSION_S_FAILED,
    SESSION_S_PENDING,
    SESSION_S_LEASED,
    SESSION_S_EXPIRED,
    SESSION_S_UNKNOWN,
    SESSION_S_COUNT
};

/* OUTCOME_OPEN: to be claimed. */
static enum outcome decide(enum session_state state, bool same_message)
{
    static const enum outcome table[SESSION_S_COUNT][2] = {
        /*                       another message          the same message */
        [SESSION_S_ABSENT] = { OUTCOME_MISSING, OUTCOME_MISSING },
        [SESSION_S_ENDED] = { OUTCOME_DUPLICATE, OUTCOME_DUPLICATE },
        [SESSION_S_FAILED] = { OUTCOME_OPEN, OUTCOME_DUPLICATE },
        [SESSION_S_PENDING] = { OUTCOME_OPEN, OUTCOME_OPEN },
        [SESSION_S_LEASED] = { OUTCOME_SUPERSEDED, OUTCOME_BUSY },
        [SESSION_S_EXPIRED] = { OUTCOME_OPEN, OUTCOME_OPEN },
        [SESSION_S_UNKNOWN] = { OUTCOME_REFUSED, OUTCOME_REFUSED },
    };

    return table[state][same_message];
}

/* ---- reading ---- */

struct snapshot { /* a document as it was read; its texts live in the session's arena until the next call */
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
    const struct json *field = firestore_field(d, DOCUMENT_STATUS);
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
    if (!firestore_timestamp(firestore_field(d, DOCUMENT_LEASE_EXPIRES), &expires_us))
        return SESSION_S_EXPIRED;
    return expires_us > sys_wall_us(s->store->sys) ? SESSION_S_LEASED : SESSION_S_EXPIRED;
}

static bool field_is(const struct firestore_document *d, const char *path, const char *text)
{
    const char *value = firestore_string(firestore_field(d, path));

    return value && !strcmp(value, text);
}

/* An absent document is a state, not an error. */
static enum err_code look(struct session *s, const struct budget *budget, struct snapshot *ret, struct err *err)
{
    static const char *const mask[] = { DOCUMENT_STATUS, DOCUMENT_MESSAGE_ID, DOCUMENT_LEASE, DOCUMENT_ATTEMPTS,
                                        DOCUMENT_LABELS, DOCUMENT_PROMPT,     DOCUMENT_EDITED };
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
    ret->same_message = field_is(&ret->document, DOCUMENT_MESSAGE_ID, s->message_id);
    ret->lease_is_ours = s->lease_id[0] && field_is(&ret->document, DOCUMENT_LEASE_ID, s->lease_id) &&
                         field_is(&ret->document, DOCUMENT_STATUS, "processing");
    if (!firestore_integer(firestore_field(&ret->document, DOCUMENT_ATTEMPTS), &ret->attempts) || ret->attempts < 0)
        ret->attempts = 0;
    return ERR_OK;
}

static void keep_update_time(struct session *s, const struct snapshot *snap)
{
    (void)snprintf(s->update_time, sizeof s->update_time, "%s", snap->document.update_time);
}

static const struct json *first_of_array(const struct json *value)
{
    return firestore_array_count(value) > 0 ? firestore_array_at(value, 0) : NULL;
}

static const struct json *member_of_map(const struct json *value, const char *name)
{
    return firestore_is_map(value) ? firestore_member(value, name) : NULL;
}

static enum err_code read_wishes(const struct firestore_document *d, struct arena *a, struct prompt_wishes *ret,
                                 struct err *err)
{
    static const struct document_form typed = { firestore_string, firestore_is_null, member_of_map, first_of_array };

    return document_read_wishes(&typed, firestore_field(d, DOCUMENT_PROMPT), firestore_field(d, DOCUMENT_LABELS), a,
                                ret, err);
}

/* ---- writing ---- */

struct patch { /* the list of a document's fields, as Firestore takes it */
    struct firestore_field fields[DOCUMENT_MAX_FIELDS];
    struct firestore_value texts[DOCUMENT_MAX_WARNINGS];
    int n_fields;
};

static struct firestore_value array_of_texts(struct patch *p, const struct document_field *f)
{
    assert(f->n_texts <= DOCUMENT_MAX_WARNINGS);
    for (int i = 0; i < f->n_texts; i++)
        p->texts[i] = firestore_v_string(f->texts[i]);
    return firestore_v_array(p->texts, f->n_texts);
}

static struct firestore_value typed_value(struct patch *p, const struct document_field *f)
{
    switch (f->kind) {
    case DOCUMENT_K_TEXT:
        return firestore_v_string(f->text);
    case DOCUMENT_K_INTEGER:
        return firestore_v_integer(f->integer);
    case DOCUMENT_K_DOUBLE:
        return firestore_v_double(f->number);
    case DOCUMENT_K_BOOL:
        return firestore_v_bool(f->integer);
    case DOCUMENT_K_TIMESTAMP:
        return firestore_v_timestamp(f->integer);
    case DOCUMENT_K_TEXTS:
        return array_of_texts(p, f);
    default:
        return firestore_v_delete();
    }
}

/* Gives the fields from `from` to before `to` a place next to each other, under their names below `map`. */
static struct firestore_value typed_map(struct patch *p, const struct document_fields *list, int from, int to,
                                        const char *map)
{
    struct firestore_field *into = &p->fields[p->n_fields];
    size_t prefix = map ? strlen(map) + 1 : 0;
    int n = 0, k = 0;

    for (int i = from; i < to; i = document_next(list, i))
        n++;
    p->n_fields += n;
    for (int i = from; i < to; i = document_next(list, i)) {
        const struct document_field *f = &list->list[i];

        into[k++] =
            (struct firestore_field){ f->path + prefix, f->kind == DOCUMENT_K_MAP
                                                            ? typed_map(p, list, i + 1, document_next(list, i), f->path)
                                                            : typed_value(p, f) };
    }
    return firestore_v_map(into, n);
}

static enum err_code patch(struct session *s, const struct document_fields *fields, const struct retry_policy *policy,
                           const struct budget *budget, struct err *err)
{
    struct patch p = { 0 };
    struct firestore_value all = typed_map(&p, fields, 0, fields->n, NULL);
    const struct firestore_patch change = { .document = s->document,
                                            .fields = all.fields,
                                            .n_fields = all.n,
                                            .update_time = s->update_time,
                                            .policy = policy };

    return firestore_patch(s->store->fs, &change, budget, &s->arena, s->update_time, err);
}

/* ---- claiming ---- */

static enum err_code write_claim(struct session *s, const struct budget *budget, struct err *err)
{
    const struct document_lease lease = { s->lease_id, s->message_id,
                                          sys_wall_us(s->store->sys) + s->store->lease_ms * 1000 };
    struct document_fields fields = { .n = 0 };

    document_add_claim(&fields, &lease, s->attempts);
    return patch(s, &fields, &firestore_claim_policy, budget, err);
}

static enum err_code write_exhausted(struct session *s, const struct budget *budget, struct err *err)
{
    struct document_fields fields = { .n = 0 };

    document_add_exhausted(&fields);
    return patch(s, &fields, &firestore_result_policy, budget, err);
}

/* One round: look, decide, write. ERR_CONFLICT and ERR_UNKNOWN_OUTCOME ask for another one. */
static enum err_code claim_round(struct session *s, const struct budget *budget, struct arena *a, enum outcome *ret,
                                 struct prompt_wishes *wishes, struct err *err)
{
    struct snapshot snap = { 0 };

    TRY(look(s, budget, &snap, err));
    *ret = decide(snap.state, snap.same_message);
    if (!snap.lease_is_ours && *ret != OUTCOME_OPEN)
        return ERR_OK;
    keep_update_time(s, &snap);
    if (snap.lease_is_ours) { /* an earlier round landed, but its answer was lost */
        *ret = OUTCOME_OPEN;
        return read_wishes(&snap.document, a, wishes, err);
    }
    if (snap.same_message && snap.attempts >= s->store->max_attempts) {
        *ret = OUTCOME_EXHAUSTED;
        return write_exhausted(s, budget, err);
    }
    s->attempts = snap.same_message ? snap.attempts + 1 : 1;
    TRY(read_wishes(&snap.document, a, wishes, err));
    s->claim_sent = true;
    return write_claim(s, budget, err);
}

static enum err_code claim_locked(struct session *s, const struct budget *budget, struct arena *a, enum outcome *ret,
                                  struct prompt_wishes *ret_wishes, struct err *err)
{
    sys_uuid(s->store->sys, s->lease_id); /* one for all rounds, so that a late commit of ours is recognised */
    for (int round = 0; round < CLAIM_ROUNDS; round++) {
        ARENA_SCRATCH(&s->arena);
        struct err this_round = { 0 };
        enum err_code rc = claim_round(s, budget, a, ret, ret_wishes, &this_round);

        if (rc != ERR_CONFLICT && rc != ERR_UNKNOWN_OUTCOME)
            return rc ? err_set(err, rc, "%s", this_round.msg) : ERR_OK;
        sys_sleep_ms(s->store->sys, JITTER_MIN_MS + (int64_t)sys_random_below(s->store->sys, JITTER_SPAN_MS));
    }
    return err_set(err, ERR_UNAVAILABLE, "session: the document changed %d times while it was being claimed",
                   CLAIM_ROUNDS);
}

enum err_code session_claim(struct session *s, const struct budget *budget, struct arena *a, enum outcome *ret,
                            struct prompt_wishes *ret_wishes, struct err *err)
{
    enum err_code rc;

    (void)pthread_mutex_lock(&s->lock);
    rc = claim_locked(s, budget, a, ret, ret_wishes, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- later writes ---- */

/* Whether a write left the state of the document unknown: it had changed, or the answer was lost. */
static bool must_look(enum err_code rc)
{
    return rc == ERR_CONFLICT || rc == ERR_NOT_FOUND || rc == ERR_UNKNOWN_OUTCOME;
}

/* ERR_OK: the changed document is still ours, and update_time is the new one. */
static enum err_code still_ours(struct session *s, const struct budget *budget, struct snapshot *snap, struct err *err)
{
    TRY(look(s, budget, snap, err));
    if (snap->state == SESSION_S_ABSENT)
        return err_set(err, ERR_NOT_FOUND, "session: the document is gone");
    if (!snap->lease_is_ours)
        return err_set(err, ERR_CONFLICT, "session: the lease is not ours any more");
    keep_update_time(s, snap);
    return ERR_OK;
}

static enum err_code progress_locked(struct session *s, const struct document_fields *fields,
                                     const struct budget *budget, struct err *err)
{
    struct snapshot snap = { 0 };
    struct err ignored = { 0 };
    struct budget brief = *budget;
    enum err_code rc = patch(s, fields, &firestore_progress_policy, budget, &ignored);

    if (!must_look(rc))
        return rc;
    if (budget_left_ms(budget) > LOOK_MS)
        brief.deadline_mono_ms = sys_mono_ms(s->store->sys) + LOOK_MS;
    return still_ours(s, &brief, &snap, err);
}

enum err_code session_progress(struct session *s, enum stage stage, int percent, double eta_seconds,
                               const struct budget *budget, struct err *err)
{
    struct document_fields fields = { .n = 0 };
    struct arena_mark mark;
    struct err why = { 0 };
    enum err_code rc;

    document_add_progress(&fields, stage, percent, eta_seconds);
    (void)pthread_mutex_lock(&s->lock);
    mark = arena_mark(&s->arena);
    rc = progress_locked(s, &fields, budget, &why);
    arena_rewind(&s->arena, mark);
    (void)pthread_mutex_unlock(&s->lock);
    return rc == ERR_NOT_FOUND || rc == ERR_CONFLICT ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

/*
 * One try of the last write. ERR_UNKNOWN_OUTCOME: the document is still ours, so the write has to be repeated. After a
 * write whose answer was lost (now, or in an earlier round) a document that holds what this write sets proves that it
 * landed.
 */
static enum err_code end_round(struct session *s, const struct document_fields *fields, bool is_first,
                               const struct budget *budget, struct err *err)
{
    struct err of_write = { 0 }, of_look = { 0 };
    struct snapshot snap = { 0 };
    enum err_code rc = patch(s, fields, &firestore_result_policy, budget, &of_write);
    bool may_have_landed = rc == ERR_UNKNOWN_OUTCOME || !is_first;

    if (!must_look(rc))
        return rc ? err_set(err, rc, "%s", of_write.msg) : ERR_OK;
    rc = still_ours(s, budget, &snap, &of_look);
    if (rc == ERR_CONFLICT && may_have_landed && snap.same_message &&
        field_is(&snap.document, DOCUMENT_STATUS, document_status(fields)) &&
        !firestore_field(&snap.document, DOCUMENT_LEASE))
        return ERR_OK;
    return rc ? err_set(err, rc, "%s", of_look.msg) : ERR_UNKNOWN_OUTCOME;
}

static enum err_code end_locked(struct session *s, const struct document_fields *fields, const struct budget *budget,
                                struct err *err)
{
    for (int round = 0; round < END_ROUNDS; round++) {
        ARENA_SCRATCH(&s->arena);
        enum err_code rc = end_round(s, fields, round == 0, budget, err);

        if (rc != ERR_UNKNOWN_OUTCOME)
            return rc;
    }
    return err_set(err, ERR_UNAVAILABLE, "session: the document changed %d times while the result was being written",
                   END_ROUNDS);
}

static enum err_code end(struct session *s, const struct document_fields *fields, const struct budget *budget,
                         struct err *err)
{
    enum err_code rc;

    (void)pthread_mutex_lock(&s->lock);
    rc = end_locked(s, fields, budget, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

enum err_code session_complete(struct session *s, const struct document_report *r, const struct budget *budget,
                               struct err *err)
{
    struct document_fields fields = { .n = 0 };

    document_add_completed(&fields, r);
    document_add_progress(&fields, STAGE_UPLOAD, 100, -1);
    document_add_no_lease(&fields);
    return end(s, &fields, budget, err);
}

enum err_code session_fail(struct session *s, const struct document_report *r, const struct budget *budget,
                           struct err *err)
{
    struct document_fields fields = { .n = 0 };

    document_add_failed(&fields, r);
    document_add_no_lease(&fields);
    document_add_no_eta(&fields);
    return end(s, &fields, budget, err);
}

/* ---- giving back ---- */

static struct document_fields released(void)
{
    struct document_fields fields = { .n = 0 };

    document_add_pending(&fields);
    document_add_no_lease(&fields);
    document_add_no_eta(&fields);
    return fields;
}

enum err_code session_release(struct session *s, const struct budget *budget, struct err *err)
{
    const struct document_fields fields = released();

    return end(s, &fields, budget, err);
}

enum err_code session_release_from_outside(struct session *s, const struct budget *budget, struct err *err)
{
    const struct document_fields fields = released();
    struct timespec until = wait_deadline(OUTSIDE_WAIT_MS);
    enum err_code rc;

    if (pthread_mutex_clocklock(&s->lock, CLOCK_MONOTONIC, &until))
        return err_set(err, ERR_UNAVAILABLE, "session: a write is under way");
    rc = end_locked(s, &fields, budget, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum err_code unclaim_locked(struct session *s, const struct budget *budget, struct err *err)
{
    const struct document_fields fields = released();
    struct snapshot snap = { 0 };
    ARENA_SCRATCH(&s->arena);

    TRY(look(s, budget, &snap, err));
    if (!snap.lease_is_ours)
        return ERR_OK;
    keep_update_time(s, &snap);
    return end_locked(s, &fields, budget, err);
}

enum err_code session_unclaim(struct session *s, const struct budget *budget, struct err *err)
{
    enum err_code rc;

    if (!s->claim_sent)
        return ERR_OK;
    (void)pthread_mutex_lock(&s->lock);
    rc = unclaim_locked(s, budget, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- lifetime ---- */

enum err_code session_init(struct session *s, const struct session_store *store, const char *document,
                           const char *message_id, struct err *err)
{
    *s = (struct session){ .store = store, .document = document };
    (void)snprintf(s->message_id, sizeof s->message_id, "%s", message_id);
    TRY(arena_init(&s->arena, SESSION_ARENA_BYTES, err));
    return pthread_mutex_init(&s->lock, NULL) ? err_set(err, ERR_NOMEM, "session: no lock") : ERR_OK;
}

void session_done(struct session *s)
{
    if (!s->store)
        return;
    arena_done(&s->arena);
    (void)pthread_mutex_destroy(&s->lock);
    s->store = NULL;
}
