#include "worker/serve/poison.h"

#include <stdint.h>
#include <string.h>

#include "kernels/base/json_scan.h"
#include "worker/base/json.h"
#include "worker/base/rfc3339.h"
#include "worker/push/printable.h"

/* The mark of what was published here. */
static const char mark_key[] = "poison", mark_value[] = "inpaint-worker";

enum { OWN_ATTRIBUTES = 5, ATTRIBUTES_DEPTH_MAX = 4 };

/* The payload as it was published; the whole body where no payload could be found in it. */
static struct span kept_bytes(const struct poison *p, const struct http_server_request *req)
{
    return p->message->published.len ? p->message->published : req->body;
}

static void format_time(int64_t us, char ret[RFC3339_SIZE])
{
    *ret = 0;
    if (us != PUBSUB_TIME_UNKNOWN)
        rfc3339_format(us, ret);
}

/* ---- the copy in the topic ---- */

struct attributes {
    struct publish_attribute list[PUBLISH_ATTRIBUTES_MAX];
    int n;
};

/* Pub/Sub refuses a message for one attribute that is too long, so a long value is cut. */
static enum err_code add(struct attributes *all, const char *key, const char *value, struct arena *a, struct err *err)
{
    char *text;

    if (all->n == PUBLISH_ATTRIBUTES_MAX)
        return ERR_OK;
    TRY(span_dup(a, (struct span){ value, printable_cut(span_of(value), PUBLISH_VALUE_MAX) }, &text, err));
    all->list[all->n++] = (struct publish_attribute){ key, text };
    return ERR_OK;
}

static bool is_own(const struct attributes *all, const char *key)
{
    for (int i = 0; i < all->n && i < OWN_ATTRIBUTES; i++)
        if (strcmp(all->list[i].key, key) == 0)
            return true;
    return false;
}

/* Those of the message go behind ours, as many as there is room for. Pub/Sub keeps names that begin with goog. */
static enum err_code add_originals(struct attributes *all, const struct json *object, struct arena *a, struct err *err)
{
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        const char *key = json_key(v), *value = json_string(v);

        if (!value || !*key || strlen(key) > PUBLISH_KEY_MAX || strncmp(key, "goog", 4) == 0 || is_own(all, key))
            continue;
        TRY(add(all, key, value, a, err));
    }
    return ERR_OK;
}

static bool is_draining(void *ctx)
{
    const struct poison_rules *rules = ctx;

    return rules->draining && *rules->draining;
}

static enum err_code publish(const struct poison_rules *rules, const struct poison *p, const struct json *originals,
                             const struct http_server_request *req, struct err *err)
{
    const struct push_message *m = p->message;
    const struct budget budget = { .sys = rules->sys,
                                   .deadline_mono_ms = sys_mono_ms(rules->sys) + POISON_PUBLISH_MS,
                                   .cancelled = is_draining,
                                   .cancel_ctx = (void *)(uintptr_t)rules };
    struct attributes all = { .n = 0 };
    char published[RFC3339_SIZE], *why, *subscription;

    format_time(m->publish_time_us, published);
    TRY(printable_text(p->why, req->arena, &why, err));
    TRY(printable_text(m->subscription, req->arena, &subscription, err));
    TRY(add(&all, mark_key, mark_value, req->arena, err));
    TRY(add(&all, "reason", why, req->arena, err));
    TRY(add(&all, "messageId", m->message_id, req->arena, err));
    TRY(add(&all, "subscription", subscription, req->arena, err));
    TRY(add(&all, "publishTime", published, req->arena, err));
    TRY(add_originals(&all, originals, req->arena, err));
    return publisher_send(rules->publisher, &(struct publish_message){ kept_bytes(p, req), all.list, all.n }, &budget,
                          req->arena, NULL, err);
}

/* As publish(), if there is room; where it is the last delivery, in any case. */
static enum err_code publish_in_turn(const struct poison_rules *rules, const struct poison *p, bool last,
                                     const struct json *originals, const struct http_server_request *req,
                                     struct err *err)
{
    bool has_room = atomic_fetch_add(rules->n_publishing, 1) < POISON_AT_ONCE;
    enum err_code rc = has_room || last ? publish(rules, p, originals, req, err)
                                        : err_set(err, ERR_UNAVAILABLE, "%d others are being published at this moment",
                                                  POISON_AT_ONCE);

    (void)atomic_fetch_sub(rules->n_publishing, 1);
    return rc;
}

/* ---- what becomes of it ---- */

static bool came_too_often(const struct poison_rules *rules, const struct push_message *m)
{
    if (rules->max_deliveries > 0 && m->delivery_attempt > rules->max_deliveries)
        return true;
    return rules->max_age_s > 0 && m->publish_time_us != PUBSUB_TIME_UNKNOWN &&
           sys_wall_us(rules->sys) / 1000000 - m->publish_time_us / 1000000 > rules->max_age_s;
}

/* On OUTCOME_POISON_UNPUBLISHED, and where an ack follows all the same, err says why it was not published. */
static enum outcome decide(const struct poison_rules *rules, const struct poison *p,
                           const struct http_server_request *req, struct err *err)
{
    bool last = came_too_often(rules, p->message);
    const struct json *originals = NULL;
    const char *mark;

    if (rules->policy == POISON_NACK && !last)
        return OUTCOME_POISON_REFUSED;
    if (!rules->publisher)
        return p->outcome;
    err_ignore(json_parse(req->arena, p->message->attributes, ATTRIBUTES_DEPTH_MAX, &originals, NULL));
    mark = json_string(json_get(originals, mark_key));
    if (mark && strcmp(mark, mark_value) == 0)
        return p->outcome;
    if (!publish_in_turn(rules, p, last, originals, req, err))
        return OUTCOME_POISON_PUBLISHED;
    return last ? p->outcome : OUTCOME_POISON_UNPUBLISHED;
}

/* ---- the line in the log ---- */

/* The first bytes, escaped; "" where there is no memory for them. */
static const char *first_bytes(struct span bytes, struct arena *a)
{
    char *text;

    bytes.len = bytes.len < POISON_LOGGED_BYTES ? bytes.len : POISON_LOGGED_BYTES;
    return printable_escape(bytes, a, &text, NULL) ? "" : text;
}

static const char *first_attributes(struct span object, struct arena *a)
{
    char *text;

    object.len = printable_cut(object, POISON_LOGGED_ATTRIBUTES);
    return span_dup(a, object, &text, NULL) ? "" : text;
}

/* How long the body is: as announced, where it was not read. -1: nobody knows. */
static int64_t body_bytes(const struct http_server_request *req)
{
    struct span length;
    int64_t n;

    if (!req->body_too_large)
        return (int64_t)req->body.len;
    return http_server_values(req, "content-length", &length, 1) == 1 && json_int64(length, &n) ? n : -1;
}

static void log_it(const struct poison *p, enum outcome end, const char *unpublished,
                   const struct http_server_request *req)
{
    const struct outcome_info *o = outcome_info(end);
    const struct push_message *m = p->message;
    bool has_payload = m->published.len;
    char published[RFC3339_SIZE];

    format_time(m->publish_time_us, published);
    log_event(
        o->level, &req->log, o->message, log_str("error", p->why),
        log_str(has_payload ? "payload" : "body", first_bytes(kept_bytes(p, req), req->arena)),
        log_int(has_payload ? "payloadBytes" : "bodyBytes", has_payload ? (int64_t)m->published.len : body_bytes(req)),
        log_str("attributes", first_attributes(m->attributes, req->arena)), log_str("publishTime", published),
        log_str("subscription", m->subscription), log_int("deliveryAttempt", m->delivery_attempt),
        log_int("status", o->http_status), log_str("remedy", outcome_remedy(end)),
        *unpublished ? log_str("notPublished", unpublished) : log_end(), log_end());
}

enum outcome poison_end(const struct poison_rules *rules, const struct poison *p, const struct http_server_request *req)
{
    struct err err = { 0 };
    enum outcome end = decide(rules, p, req, &err);

    log_it(p, end, err.msg, req);
    return end;
}
