#include "worker/job/session.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "worker/base/log.h"
#include "worker/base/rfc3339.h"
#include "worker/base/wait.h"

enum {
    /* Address space. At most two answers are held at once, and a copy of the longest text of one. */
    SESSION_ARENA_BYTES = 3 * FIRESTORE_REPLY_MAX + (8 << 20),
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
    };

    return table[state][same_message];
}

/* ---- reading ---- */

struct snapshot { /* a document as it was read; its texts live in the session's arena until the next call */
    enum session_state state;
    bool same_message, lease_is_ours, has_lease;
    int64_t attempts;
    const char *update_time;
    struct stored status, prompt, labels, error_code;
};

/* The fields that count, found in one pass over what holds them. */
enum { STATUS, PROMPT, LABELS, OURS, N_TOP };
enum { MESSAGE_ID, ATTEMPTS, ERROR_CODE, LEASE, N_OURS };
enum { LEASE_ID, LEASE_EXPIRES, N_LEASE };

struct found {
    struct stored top[N_TOP], ours[N_OURS], lease[N_LEASE];
};

static struct found find(struct span fields)
{
    static const char *const top[N_TOP] = { DOCUMENT_STATUS, DOCUMENT_PROMPT, DOCUMENT_LABELS, DOCUMENT_OURS };
    static const char *const ours[N_OURS] = { "messageId", "attempts", "errorCode", "lease" };
    static const char *const lease[N_LEASE] = { "id", "expiresAt" };
    struct found f;

    stored_pick(fields, top, f.top, N_TOP);
    stored_pick(stored_members(f.top[OURS]), ours, f.ours, N_OURS);
    stored_pick(stored_members(f.ours[LEASE]), lease, f.lease, N_LEASE);
    return f;
}

int64_t session_now_us(const struct session *s)
{
    const struct sys *sys = s->store->sys;

    return s->server_us ? s->server_us + (sys_mono_ms(sys) - s->server_mono_ms) * 1000 : sys_wall_us(sys);
}

/* For an answer without a Date. A server that does not tell the time in any way is not asked again. */
static int64_t ask_the_time(struct session *s, const struct budget *budget)
{
    struct err why = { 0 };
    enum err_code rc;
    int64_t now;
    ARENA_SCRATCH(&s->arena);

    if (s->store->without_time)
        return sys_wall_us(s->store->sys);
    rc = firestore_read_time(s->store->fs, s->document, budget, &s->arena, &now, &why);
    if (!rc)
        return now;
    if (rc != ERR_UNAVAILABLE && rc != ERR_DEADLINE && rc != ERR_CANCELLED &&
        !atomic_exchange(&s->store->without_time, true))
        log_event(
            LOG_WARNING, NULL,
            "Firestore does not tell the time: leases and the age of messages are judged by this machine's clock, "
            "which must be right",
            log_str("error", why.msg), log_end());
    return sys_wall_us(s->store->sys);
}

/* Sets the clock by an answer. The last change of a document lies in the past, whatever else tells the time. */
static void set_clock(struct session *s, const struct firestore_document *d, int64_t changed_us,
                      const struct budget *budget)
{
    int64_t now = d->server_us ? d->server_us : ask_the_time(s, budget);

    s->server_us = changed_us > now ? changed_us : now;
    s->server_mono_ms = sys_mono_ms(s->store->sys);
}

static enum session_state lease_state(const struct session *s, const struct found *f, int64_t changed_us)
{
    int64_t expires_us, latest_us = changed_us + s->store->lease_ms * 1000;

    if (!stored_timestamp(f->lease[LEASE_EXPIRES], &expires_us))
        return SESSION_S_EXPIRED;
    if (changed_us && latest_us < expires_us)
        expires_us = latest_us;
    return expires_us > s->server_us ? SESSION_S_LEASED : SESSION_S_EXPIRED;
}

static enum session_state state_of(const struct session *s, const struct found *f, int64_t changed_us)
{
    static const struct {
        const char *status;
        enum session_state state;
    } known[] = {
        { "completed", SESSION_S_ENDED }, { "cancelled", SESSION_S_ENDED }, { "canceled", SESSION_S_ENDED },
        { "deleted", SESSION_S_ENDED },   { "failed", SESSION_S_FAILED },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (stored_is_text(f->top[STATUS], known[i].status))
            return known[i].state;
    return stored_is_text(f->top[STATUS], "processing") ? lease_state(s, f, changed_us) : SESSION_S_PENDING;
}

static struct snapshot snapshot_of(const struct session *s, const struct firestore_document *d, int64_t changed_us)
{
    const struct found f = find(d->fields);
    struct snapshot ret = {
        .state = state_of(s, &f, changed_us),
        .same_message = stored_is_text(f.ours[MESSAGE_ID], s->message_id),
        .has_lease = !stored_is_absent(f.ours[LEASE]),
        .update_time = d->update_time,
        .status = f.top[STATUS],
        .prompt = f.top[PROMPT],
        .labels = f.top[LABELS],
        .error_code = f.ours[ERROR_CODE],
    };

    ret.lease_is_ours =
        s->lease_id[0] && stored_is_text(f.lease[LEASE_ID], s->lease_id) && stored_is_text(f.top[STATUS], "processing");
    if (!stored_integer(f.ours[ATTEMPTS], &ret.attempts) || ret.attempts < 0)
        ret.attempts = 0;
    return ret;
}

/* What decides about a session; what else a claim reads. */
#define STATE_FIELDS                                                                                    \
    DOCUMENT_STATUS, DOCUMENT_MESSAGE_ID, DOCUMENT_ATTEMPTS, DOCUMENT_LEASE_ID, DOCUMENT_LEASE_EXPIRES, \
        DOCUMENT_ERROR_CODE
static const char *const state_fields[] = { STATE_FIELDS }, *const claim_fields[] = { STATE_FIELDS, DOCUMENT_LABELS,
                                                                                      DOCUMENT_PROMPT };
static const struct firestore_mask state_mask = { state_fields, sizeof state_fields / sizeof *state_fields };
static const struct firestore_mask claim_mask = { claim_fields, sizeof claim_fields / sizeof *claim_fields };

/* An absent document is a state, not an error. */
static enum err_code look(struct session *s, struct firestore_mask mask, const struct budget *budget,
                          struct snapshot *ret, struct err *err)
{
    struct firestore_document d = { 0 };
    struct err why = { 0 };
    enum err_code rc = firestore_get(s->store->fs, s->document, mask, budget, &s->arena, &d, &why);
    int64_t changed_us = 0;

    if (!rc && !rfc3339_parse(span_of(d.update_time), &changed_us))
        changed_us = 0;
    if (!rc || rc == ERR_NOT_FOUND || d.server_us)
        set_clock(s, &d, changed_us, budget);
    if (rc && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "%s", why.msg);
    *ret = rc ? (struct snapshot){ .state = SESSION_S_ABSENT } : snapshot_of(s, &d, changed_us);
    return ERR_OK;
}

/* What a document is asked for that may hold anything: all that a claim needs, twice; then fewer and fewer fields. */
enum { LOOK_CLAIM, LOOK_CLAIM_AGAIN, LOOK_STATE, LOOK_FEW, LOOK_STATUS, LOOK_NONE, N_LOOKS };

/* Looks from *at on until an answer can be understood; *at: which it was. */
static enum err_code look_for_less(struct session *s, int *at, const struct budget *budget, struct snapshot *snap,
                                   struct err *err)
{
    static const char *const few[] = { DOCUMENT_STATUS, DOCUMENT_LEASE_EXPIRES }, *const none[] = { DOCUMENT_OURS
                                                                                                    ".none" };
    const struct firestore_mask masks[N_LOOKS] = { claim_mask, claim_mask, state_mask,
                                                   { few, 2 }, { few, 1 }, { none, 1 } };
    struct arena_mark mark = arena_mark(&s->arena);
    struct err why = { 0 };
    enum err_code rc;

    for (;; ++*at) {
        arena_rewind(&s->arena, mark);
        *snap = (struct snapshot){ 0 };
        why = (struct err){ 0 };
        rc = look(s, masks[*at], budget, snap, &why);
        if (rc == ERR_PROTOCOL && *at < LOOK_STATE)
            s->unreadable = why;
        if (rc != ERR_PROTOCOL || *at == LOOK_NONE)
            return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
    }
}

/*
 * The same for a document that may hold anything. Further reads tell answers that were garbled on their way, by a proxy
 * for a while, from a document that cannot be understood; to end the session, its name and updateTime are enough.
 * *ret_unreadable: snap lacks what a claim needs.
 */
static enum err_code look_at_anything(struct session *s, bool for_claim, const struct budget *budget,
                                      struct snapshot *snap, bool *ret_unreadable, struct err *err)
{
    const int whole = for_claim ? LOOK_CLAIM_AGAIN : LOOK_STATE;
    const struct arena_mark mark = arena_mark(&s->arena);
    int at = for_claim ? LOOK_CLAIM : LOOK_STATE;

    TRY(look_for_less(s, &at, budget, snap, err));
    if (at > whole) { /* what was garbled until now may be readable after all */
        arena_rewind(&s->arena, mark);
        at = whole;
        TRY(look_for_less(s, &at, budget, snap, err));
    }
    *ret_unreadable = at > whole;
    return ERR_OK;
}

static void keep_update_time(struct session *s, const struct snapshot *snap)
{
    (void)snprintf(s->update_time, sizeof s->update_time, "%s", snap->update_time);
}

static enum err_code read_label(struct session *s, struct stored label, struct arena *a, struct prompt_wishes *w,
                                struct err *err)
{
    struct span text;
    ARENA_SCRATCH(&s->arena);

    TRY(stored_text(label, &s->arena, &text, err));
    return text.ptr ? prompt_wish_label(w, text, a, err) : ERR_OK;
}

static enum err_code read_labels(struct session *s, struct stored labels, struct arena *a, struct prompt_wishes *w,
                                 struct err *err)
{
    struct span rest = stored_list(labels);
    struct stored label;

    while (w->n_labels < PROMPT_MAX_LABELS && !stored_is_absent(label = stored_next(&rest)))
        TRY(read_label(s, label, a, w, err));
    return read_label(s, stored_member(labels, "surface"), a, w, err);
}

static enum err_code read_wishes(struct session *s, const struct snapshot *snap, struct arena *a,
                                 struct prompt_wishes *ret, struct err *err)
{
    struct prompt_wishes w = { 0 };
    struct span text;
    ARENA_SCRATCH(&s->arena);

    TRY(stored_text(snap->prompt, &s->arena, &text, err));
    if (text.ptr)
        TRY(prompt_wish(&w, text, a, err));
    else
        w.prompt_invalid = !stored_is_absent(snap->prompt) && !stored_is_null(snap->prompt);
    TRY(read_labels(s, snap->labels, a, &w, err));
    *ret = w;
    return ERR_OK;
}

/* ---- writing ---- */

struct patch { /* the list of a document's fields, as Firestore takes it */
    struct firestore_field fields[DOCUMENT_MAX_FIELDS];
    struct firestore_value texts[DOCUMENT_MAX_WARNINGS], items[DOCUMENT_MAX_FIELDS];
    int n_fields, n_items;
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

static struct firestore_value typed_field(struct patch *p, const struct document_fields *list, int i);
static struct firestore_value typed_map(struct patch *p, const struct document_fields *list, int from, int to,
                                        const char *map);

/* The members of a list stand in its order. */
static struct firestore_value typed_list(struct patch *p, const struct document_fields *list, int from, int to)
{
    struct firestore_value *into = &p->items[p->n_items];
    int n = 0;

    for (int i = from; i < to; i = document_next(list, i))
        n++;
    p->n_items += n;
    for (int i = from, k = 0; i < to; i = document_next(list, i), k++)
        into[k] = typed_field(p, list, i);
    return firestore_v_array(into, n);
}

static struct firestore_value typed_field(struct patch *p, const struct document_fields *list, int i)
{
    const struct document_field *f = &list->list[i];

    switch (f->kind) {
    case DOCUMENT_K_MAP:
        return typed_map(p, list, i + 1, document_next(list, i), f->path);
    case DOCUMENT_K_LIST:
        return typed_list(p, list, i + 1, document_next(list, i));
    default:
        return typed_value(p, f);
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
    for (int i = from; i < to; i = document_next(list, i))
        into[k++] = (struct firestore_field){ list->list[i].path + prefix, typed_field(p, list, i) };
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
    const struct document_lease lease = { s->lease_id, s->message_id, session_now_us(s) + s->store->lease_ms * 1000 };
    struct document_fields fields = { .n = 0 };

    document_add_claim(&fields, &lease, s->attempts);
    s->claim_sent = true;
    return patch(s, &fields, &firestore_claim_policy, budget, err);
}

/* Why a session ends that is not claimed. */
static enum job_error error_of(enum outcome end)
{
    return end == OUTCOME_UNREADABLE ? JOB_SESSION_UNREADABLE : JOB_ATTEMPTS_EXHAUSTED;
}

/* Ends a session that is not claimed. A document that Firestore finds too large with these fields gets the status
 * alone. */
static enum err_code write_end(struct session *s, enum outcome outcome, int64_t attempts, const struct budget *budget,
                               struct err *err)
{
    struct document_fields all = { .n = 0 }, least = { .n = 0 };
    struct err why = { 0 };
    enum err_code rc;

    document_add_unclaimed(&all, error_of(outcome), s->message_id, attempts);
    document_add_only_failed(&least);
    s->ended = outcome;
    rc = patch(s, &all, &firestore_result_policy, budget, &why);
    if (rc == ERR_INVALID)
        return patch(s, &least, &firestore_result_policy, budget, err);
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

/* Whether the document is as an earlier round has written it, whose answer was lost. */
static bool was_ended(const struct session *s, const struct snapshot *snap)
{
    return s->ended != OUTCOME_OPEN && snap->state == SESSION_S_FAILED && snap->same_message &&
           stored_is_text(snap->error_code, job_error_info(error_of(s->ended))->code);
}

static bool is_exhausted(const struct session *s, const struct snapshot *snap)
{
    return snap->same_message && snap->attempts >= s->store->max_attempts;
}

/* With this one. */
static int64_t attempts_of(const struct snapshot *snap)
{
    return !snap->same_message ? 1 : snap->attempts < INT64_MAX ? snap->attempts + 1 : INT64_MAX;
}

/* What a look decides without a claim. OUTCOME_OPEN: nothing; keeps the time of the document for the next write. */
static enum outcome decide_by(struct session *s, const struct snapshot *snap)
{
    enum outcome outcome = decide(snap->state, snap->same_message);

    if (was_ended(s, snap))
        return s->ended;
    if (outcome != OUTCOME_OPEN && !snap->lease_is_ours)
        return outcome;
    keep_update_time(s, snap);
    return OUTCOME_OPEN;
}

/* What a round of a claim and its rounds share. */
struct claiming {
    const struct budget *budget;
    struct arena *arena;
    enum outcome *outcome;
    struct prompt_wishes *wishes;
};

static enum err_code end_here(struct session *s, const struct claiming *c, enum outcome outcome, int64_t attempts,
                              struct err *err)
{
    *c->outcome = outcome;
    return write_end(s, outcome, attempts, c->budget, err);
}

/* One round: look, decide, write. ERR_CONFLICT and ERR_UNKNOWN_OUTCOME ask for another one. */
static enum err_code claim_round(struct session *s, const struct claiming *c, struct err *err)
{
    struct snapshot snap = { 0 };
    struct err why = { 0 };
    bool unreadable;
    enum err_code rc;

    TRY(look_at_anything(s, true, c->budget, &snap, &unreadable, err));
    *c->outcome = decide_by(s, &snap);
    if (*c->outcome != OUTCOME_OPEN)
        return ERR_OK;
    if (unreadable)
        return end_here(s, c, OUTCOME_UNREADABLE, attempts_of(&snap), err);
    if (snap.lease_is_ours) /* an earlier round landed, but its answer was lost */
        return read_wishes(s, &snap, c->arena, c->wishes, err);
    if (is_exhausted(s, &snap))
        return end_here(s, c, OUTCOME_EXHAUSTED, snap.attempts, err);
    s->attempts = attempts_of(&snap);
    TRY(read_wishes(s, &snap, c->arena, c->wishes, err));
    rc = write_claim(s, c->budget, &why);
    s->unreadable = why;
    if (rc == ERR_INVALID) /* with our fields it is larger than Firestore allows, for example */
        return end_here(s, c, OUTCOME_UNREADABLE, s->attempts, err);
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

static enum err_code screen_round(struct session *s, const struct claiming *c, struct err *err)
{
    struct snapshot snap = { 0 };

    TRY(look(s, state_mask, c->budget, &snap, err));
    *c->outcome = decide_by(s, &snap);
    return *c->outcome == OUTCOME_OPEN && is_exhausted(s, &snap) ? end_here(s, c, OUTCOME_EXHAUSTED, snap.attempts, err)
                                                                 : ERR_OK;
}

static enum err_code give_up_round(struct session *s, const struct claiming *c, struct err *err)
{
    struct snapshot snap = { 0 };
    bool unreadable;

    TRY(look_at_anything(s, false, c->budget, &snap, &unreadable, err));
    *c->outcome = decide_by(s, &snap);
    if (*c->outcome == OUTCOME_OPEN && snap.state == SESSION_S_FAILED) /* by another message, which may be newer */
        *c->outcome = OUTCOME_DUPLICATE;
    return *c->outcome == OUTCOME_OPEN ? end_here(s, c, OUTCOME_EXHAUSTED, snap.same_message ? snap.attempts : 0, err)
                                       : ERR_OK;
}

typedef enum err_code round_fn(struct session *s, const struct claiming *c, struct err *err);

static enum err_code rounds_locked(struct session *s, round_fn *round, const struct claiming *c, struct err *err)
{
    for (int i = 0; i < CLAIM_ROUNDS; i++) {
        ARENA_SCRATCH(&s->arena);
        struct err this_round = { 0 };
        enum err_code rc = round(s, c, &this_round);

        if (rc != ERR_CONFLICT && rc != ERR_UNKNOWN_OUTCOME)
            return rc ? err_set(err, rc, "%s", this_round.msg) : ERR_OK;
        sys_sleep_ms(s->store->sys, JITTER_MIN_MS + (int64_t)sys_random_below(s->store->sys, JITTER_SPAN_MS));
    }
    return err_set(err, ERR_UNAVAILABLE, "session: the document changed %d times while it was being claimed",
                   CLAIM_ROUNDS);
}

static enum err_code run_rounds(struct session *s, round_fn *round, const struct claiming *c, struct err *err)
{
    enum err_code rc;

    (void)pthread_mutex_lock(&s->lock);
    rc = rounds_locked(s, round, c, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

enum err_code session_claim(struct session *s, const struct budget *budget, struct arena *a, enum outcome *ret,
                            struct prompt_wishes *ret_wishes, struct err *err)
{
    const struct claiming c = { budget, a, ret, ret_wishes };

    sys_uuid(s->store->sys, s->lease_id); /* one for all rounds, so that a late commit of ours is recognised */
    return run_rounds(s, claim_round, &c, err);
}

enum err_code session_give_up(struct session *s, const struct budget *budget, enum outcome *ret, struct err *err)
{
    return run_rounds(s, give_up_round, &(struct claiming){ .budget = budget, .outcome = ret }, err);
}

enum err_code session_screen(struct session *s, const struct budget *budget, enum outcome *ret, struct err *err)
{
    return run_rounds(s, screen_round, &(struct claiming){ .budget = budget, .outcome = ret }, err);
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
    TRY(look(s, state_mask, budget, snap, err));
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
    if (rc == ERR_CONFLICT && may_have_landed && snap.same_message && !snap.has_lease &&
        stored_is_text(snap.status, document_status(fields)))
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

    TRY(look(s, state_mask, budget, &snap, err));
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

enum err_code session_init(struct session *s, struct session_store *store, const char *document, const char *message_id,
                           struct err *err)
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
