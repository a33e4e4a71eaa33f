#include "worker/weights/object_fetch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "worker/google/api.h"

enum { ARENA_BYTES = 64 << 20 /* address space */, ERROR_BODY_MAX = 256 << 10, LOW_SPEED_MS = 15000, WHAT_SIZE = 200 };

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy piece_policy = { 500, 16000, 6, 60000 };

/* ---- pieces ---- */

enum err_code fetched_object_init(struct fetched_object *o, const struct listed_object *listed,
                                  struct memory_file *file, struct arena *a, struct err *err)
{
    const int64_t rest = listed->bytes > FETCH_HEAD_BYTES ? listed->bytes - FETCH_HEAD_BYTES : 0;
    int64_t at = 0;

    *o = (struct fetched_object){ .listed = listed, .file = file };
    if (!listed->bytes)
        return ERR_OK;
    o->n_pieces = (int)(1 + (rest + FETCH_PIECE_BYTES - 1) / FETCH_PIECE_BYTES);
    TRY(arena_alloc(a, (size_t)o->n_pieces, sizeof *o->pieces, &o->pieces, err));
    for (int i = 0; i < o->n_pieces; i++) {
        const int64_t most = i ? FETCH_PIECE_BYTES : FETCH_HEAD_BYTES, left = listed->bytes - at;

        o->pieces[i] = (struct fetch_piece){ .of = o, .from = at, .bytes = left < most ? left : most };
        at += o->pieces[i].bytes;
    }
    return ERR_OK;
}

int64_t fetched_object_start(const struct fetched_object *o)
{
    int64_t bytes = 0;

    for (int i = 0; i < o->n_pieces && o->pieces[i].done; i++)
        bytes += o->pieces[i].bytes;
    return bytes;
}

bool fetched_object_is_whole(const struct fetched_object *o)
{
    return fetched_object_start(o) == o->listed->bytes;
}

static void name_object(const struct fetched_object *o, const struct storage *s, char ret[WHAT_SIZE])
{
    (void)snprintf(ret, WHAT_SIZE, "gs://%.60s/%.120s", s->bucket, o->listed->object);
}

enum err_code fetched_object_check(const struct fetched_object *o, const struct storage *s, struct err *err)
{
    uint32_t crc = 0;
    char what[WHAT_SIZE];

    name_object(o, s, what);
    for (int i = 0; i < o->n_pieces; i++)
        crc = crc32c_joined(crc, o->pieces[i].crc32c, (uint64_t)o->pieces[i].bytes);
    if (!o->listed->has_crc32c && s->emulator)
        return ERR_OK;
    if (!o->listed->has_crc32c)
        return err_set(err, ERR_PROTOCOL, "weights: %s: the bucket does not say its CRC32C", what);
    if (crc != o->listed->crc32c)
        return err_set(err, ERR_CORRUPT,
                       "weights: %s: the bytes that arrived have the CRC32C %08x, and the bucket says %08x: start "
                       "again; if it stays so, upload the object again",
                       what, (unsigned)crc, (unsigned)o->listed->crc32c);
    return ERR_OK;
}

/* ---- one piece ---- */

/* The tries for one piece. What an unfinished try has brought is kept only when its head was right. */
struct tries {
    struct fetch_piece *p;
    int64_t had; /* when the try began, */
    uint32_t had_crc;
    char range[64], content_range[96];
    bool replaced, is_other; /* the object; what is sent */
    struct err failed;       /* to keep bytes in memory */
};

static bool prepare(void *ctx, struct http_request *req)
{
    struct tries *t = ctx;
    const struct fetch_piece *p = t->p;
    const int64_t from = p->from + p->have, to = p->from + p->bytes - 1;

    t->had = p->have;
    t->had_crc = p->crc32c;
    t->is_other = false;
    (void)snprintf(t->range, sizeof t->range, "bytes=%" PRId64 "-%" PRId64, from, to);
    (void)snprintf(t->content_range, sizeof t->content_range, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, from, to,
                   p->of->listed->bytes);
    http_request_header(req, "Range", t->range);
    req->max_reply_bytes = (size_t)(p->bytes - p->have) + ERROR_BODY_MAX;
    return true;
}

/* Bytes of a piece, straight to their place. A server that sends the whole object although a part was asked for is
 * stopped at once, unless the whole is what the piece is. */
static bool take(void *ctx, int status, const char *bytes, size_t n)
{
    struct tries *t = ctx;
    struct fetch_piece *p = t->p;

    if ((status == 200 && (t->had || p->bytes != p->of->listed->bytes)) || (int64_t)n > p->bytes - p->have) {
        t->is_other = true;
        return false;
    }
    if (memory_file_write(p->of->file, p->from + p->have, bytes, n, &t->failed))
        return false;
    p->crc32c = crc32c(p->crc32c, bytes, n);
    p->have += (int64_t)n;
    return true;
}

static bool is_asked_part(const struct tries *t, const struct http_reply *reply)
{
    const char *range = http_reply_header(reply, "content-range");

    if (t->is_other || http_reply_header(reply, "content-encoding"))
        return false;
    return reply->status == 200 || (range && strcmp(range, t->content_range) == 0);
}

static void forget_try(const struct tries *t)
{
    t->p->have = t->had;
    t->p->crc32c = t->had_crc;
}

static enum api_next judge(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    struct tries *t = ctx;
    struct fetch_piece *p = t->p;
    const bool is_part = reply->status == 200 || reply->status == 206;

    if (t->failed.code)
        return API_TAKE;
    if (!is_part) {
        forget_try(t);
        return api_judge(NULL, rc, reply);
    }
    t->replaced = storage_is_another_generation(reply, p->of->listed->generation);
    t->is_other = !is_asked_part(t, reply);
    if (t->replaced)
        return API_TAKE;
    if (t->is_other) {
        forget_try(t);
        return API_RETRY;
    }
    p->done = p->have == p->bytes;
    if (p->done || (rc && !api_may_pass(rc, reply)))
        return API_TAKE;
    return p->have - t->had >= FETCH_GO_ON_BYTES ? API_GO_ON : API_RETRY;
}

/* Why a piece is not there. */
static enum err_code refuse(const struct storage *s, const struct tries *t, enum err_code rc,
                            const struct http_reply *reply, const struct err *why, struct err *err)
{
    char object[WHAT_SIZE], what[WHAT_SIZE + 8];

    name_object(t->p->of, s, object);
    (void)snprintf(what, sizeof what, "get %s", object);
    if (t->failed.code)
        return err_set(err, t->failed.code, "weights: %s", t->failed.msg);
    if (t->replaced || (!rc && (reply->status == 404 || reply->status == 412 || reply->status == 416)))
        return err_set(err, ERR_CONFLICT,
                       "weights: %s was replaced or removed while it was being fetched: start again, and let nobody "
                       "write below WEIGHTS meanwhile",
                       object);
    if (t->is_other)
        return err_set(err, ERR_PROTOCOL, "weights: %s: the server does not send the part that was asked for (%s)",
                       what, t->range);
    if (rc)
        return err_set(err, rc == ERR_UNKNOWN_OUTCOME ? ERR_UNAVAILABLE : rc, "weights: %s: %s", what, why->msg);
    if (reply->status == 200 || reply->status == 206)
        return err_set(err, ERR_UNAVAILABLE, "weights: %s: its bytes %s ended early, in every try", what,
                       t->range + sizeof "bytes=" - 1);
    return object_refusal(what, s, reply, err);
}

static enum err_code get_piece(const struct storage *s, struct fetch_piece *p, const struct budget *budget,
                               struct arena *a, struct err *err)
{
    ARENA_SCRATCH(a);
    struct tries t = { .p = p };
    struct http_request req = {
        .method = "GET", .low_speed_ms = LOW_SPEED_MS, .allow_plain = s->emulator, .take = take, .take_ctx = &t
    };
    const struct api_call call = { s->http, s->gauth, GAUTH_STORAGE, &piece_policy, budget, prepare, judge, &t };
    struct http_reply reply = { 0 };
    struct err why = { 0 };
    char *name = NULL, *url = NULL;
    enum err_code rc;

    TRY(http_encode(a, span_of(p->of->listed->object), &name, err));
    TRY(arena_printf(a, &url, err, "%s/storage/v1/b/%s/o/%s?alt=media&generation=%" PRId64, s->base, s->bucket, name,
                     p->of->listed->generation));
    req.url = url;
    rc = api_send(&call, &req, a, &reply, &why);
    return p->done ? ERR_OK : refuse(s, &t, rc, &reply, &why, err);
}

/* ---- many pieces ---- */

/* What the threads share. */
struct crew {
    struct fetch *f;
    struct fetch_piece *const *pieces;
    int n, next;
    pthread_mutex_t lock;
    struct err err;      /* the first */
    _Atomic bool failed; /* the others stop */
};

static bool must_stop(void *ctx)
{
    const struct crew *c = ctx;

    return c->failed || budget_cancelled(&c->f->budget);
}

/* NULL: there are no more. */
static struct fetch_piece *next_piece(struct crew *c)
{
    struct fetch_piece *p = NULL;

    (void)pthread_mutex_lock(&c->lock);
    while (!p && c->next < c->n && !c->failed) {
        p = c->pieces[c->next++];
        p = p->done ? NULL : p;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return p;
}

static void conclude(struct crew *c, const struct fetch_piece *p, const struct err *err)
{
    (void)pthread_mutex_lock(&c->lock);
    if (err->code && !c->failed) {
        c->err = *err;
        c->failed = true;
    }
    if (!err->code && c->f->arrived)
        c->f->arrived(c->f->ctx, p);
    (void)pthread_mutex_unlock(&c->lock);
}

static void *work(void *arg)
{
    struct crew *c = arg;
    struct budget budget = c->f->budget;
    struct arena a = { 0 };
    struct err err = { 0 };
    int retries = 0;

    budget.cancelled = must_stop;
    budget.cancel_ctx = c;
    budget.retries = &retries;
    if (arena_init(&a, ARENA_BYTES, &err))
        conclude(c, NULL, &err);
    for (struct fetch_piece *p; a.base && (p = next_piece(c));) {
        err = (struct err){ 0 };
        (void)get_piece(c->f->s, p, &budget, &a, &err);
        conclude(c, p, &err);
    }
    arena_done(&a);
    (void)pthread_mutex_lock(&c->lock);
    c->f->retries += retries;
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

enum err_code fetch_pieces(struct fetch *f, struct fetch_piece *const *pieces, int n, struct err *err)
{
    struct crew c = { .f = f, .pieces = pieces, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER };
    pthread_t threads[FETCH_CONNECTIONS];
    int n_threads = 0;

    while (n_threads < FETCH_CONNECTIONS - 1 && n_threads < n - 1 &&
           !pthread_create(&threads[n_threads], NULL, work, &c))
        n_threads++;
    (void)work(&c); /* this thread is one of them, so that there is one in any case */
    for (int i = 0; i < n_threads; i++)
        (void)pthread_join(threads[i], NULL);
    return c.err.code ? err_set(err, c.err.code, "%s", c.err.msg) : ERR_OK;
}
