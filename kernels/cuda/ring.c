#include "kernels/cuda/ring.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES_MAX = 32, QUEUE_MAX = 64, PLACE_ALIGN = 256 };

enum place_state {
    PLACE_FREE,
    PLACE_EXPANDED, /* `ready` is recorded; no product has used it yet */
    PLACE_IN_USE,   /* products that are queued now read it */
    PLACE_RELEASED  /* `done` is recorded; valid until its bytes are taken */
};

struct place {
    enum place_state state;
    const struct stored_matrix *matrix;
    size_t at, bytes;
    uint64_t number; /* counts up in the order of expansion */
    cudaEvent_t ready, done;
};

struct ring {
    struct cuda *cuda;
    char *bytes, *spot; /* the ring; the buffer for matrices that were not announced */
    const struct stored_matrix *in_spot;
    size_t size, head;
    uint64_t n_expanded;
    int n_queued;
    const struct stored_matrix *queue[QUEUE_MAX];
    struct place places[PLACES_MAX];
};

static size_t expanded_bytes(const struct stored_matrix *m)
{
    return ((size_t)(m->rows * m->cols) * 2 + PLACE_ALIGN - 1) & ~(size_t)(PLACE_ALIGN - 1);
}

bool ring_takes(size_t matrix_bytes, int64_t rows, int64_t cols)
{
    return rows <= (int64_t)(matrix_bytes / 2) / cols;
}

static enum err_code open_events(struct ring *r, struct err *err)
{
    cudaError_t status = cudaSuccess;

    for (int i = 0; i < PLACES_MAX && !status; i++) {
        status = cudaEventCreateWithFlags(&r->places[i].ready, cudaEventDisableTiming);
        if (!status)
            status = cudaEventCreateWithFlags(&r->places[i].done, cudaEventDisableTiming);
    }
    return cuda_status(status, "events", err);
}

static enum err_code open_parts(struct ring *r, size_t matrix_bytes, struct err *err)
{
    struct cuda *cuda = r->cuda;
    void *bytes = NULL, *spot = NULL;

    TRY(cuda_mem_alloc(&cuda->base, r->size, &bytes, err));
    r->bytes = bytes;
    TRY(cuda_mem_alloc(&cuda->base, matrix_bytes, &spot, err));
    r->spot = spot;
    TRY(open_events(r, err));
    return cuda_order(cuda, cuda->stream, cuda->expand, err); /* the memory is being zeroed */
}

enum err_code ring_open(struct cuda *cuda, size_t matrix_bytes, struct ring **ret, struct err *err)
{
    struct ring *r = calloc(1, sizeof *r);
    enum err_code rc;

    if (!r)
        return err_set(err, ERR_NOMEM, "cuda: no memory for the ring's record");
    r->cuda = cuda;
    r->size = RING_MATRICES * matrix_bytes;
    rc = open_parts(r, matrix_bytes, err);
    if (rc)
        ring_close(r);
    else
        *ret = r;
    return rc;
}

void ring_close(struct ring *r)
{
    if (!r)
        return;
    for (int i = 0; i < PLACES_MAX; i++) {
        if (r->places[i].ready)
            (void)cudaEventDestroy(r->places[i].ready);
        if (r->places[i].done)
            (void)cudaEventDestroy(r->places[i].done);
    }
    (void)cudaFree(r->spot);
    (void)cudaFree(r->bytes);
    free(r);
}

static bool overlaps(const struct place *p, size_t at, size_t bytes)
{
    return p->state != PLACE_FREE && p->at < at + bytes && at < p->at + p->bytes;
}

/* Whether the bytes overlap only places that are free or released. */
static bool is_room(const struct ring *r, size_t at, size_t bytes)
{
    for (int i = 0; i < PLACES_MAX; i++)
        if (overlaps(&r->places[i], at, bytes) && r->places[i].state != PLACE_RELEASED)
            return false;
    return true;
}

/* A free place, or the oldest released one; NULL: none. The second stream waits for the readers of a released place, so
 * that whatever overwrites its bytes later comes after them. */
static struct place *take_place(struct ring *r, cudaError_t *status)
{
    struct place *oldest = NULL;

    for (int i = 0; i < PLACES_MAX; i++) {
        struct place *p = &r->places[i];

        if (p->state == PLACE_FREE)
            return p;
        if (p->state == PLACE_RELEASED && (!oldest || p->number < oldest->number))
            oldest = p;
    }
    if (oldest) {
        *status = cudaStreamWaitEvent(r->cuda->expand, oldest->done, 0);
        oldest->state = PLACE_FREE;
    }
    return oldest;
}

/* Takes the bytes from the places that have them; the second stream waits for the readers of those places. */
static cudaError_t evict(struct ring *r, size_t at, size_t bytes)
{
    cudaError_t status = cudaSuccess;

    for (int i = 0; i < PLACES_MAX && !status; i++)
        if (overlaps(&r->places[i], at, bytes)) {
            status = cudaStreamWaitEvent(r->cuda->expand, r->places[i].done, 0);
            r->places[i].state = PLACE_FREE;
        }
    return status;
}

/* The offset of the next matrix: after the last one, or 0 where there is no room before the end. */
static size_t next_at(const struct ring *r, size_t bytes)
{
    return bytes <= r->size - r->head ? r->head : 0;
}

static cudaError_t expand(struct ring *r, const struct stored_matrix *m, size_t at, struct place *p)
{
    cudaError_t status =
        cuda_dequantise_bf16(m->dtype, m->data, m->scale, r->bytes + at, m->rows * m->cols, r->cuda->expand);

    if (!status)
        status = cudaEventRecord(p->ready, r->cuda->expand);
    if (status)
        return status;
    p->state = PLACE_EXPANDED;
    p->matrix = m;
    p->at = at;
    p->bytes = expanded_bytes(m);
    p->number = ++r->n_expanded;
    r->head = at + p->bytes;
    return cudaSuccess;
}

static void drop_queued(struct ring *r, int n)
{
    r->n_queued -= n;
    memmove(r->queue, r->queue + n, (size_t)r->n_queued * sizeof *r->queue);
}

/* Expands queued matrices as long as there is room. A failure may be dropped: the next CUDA call reports it again. */
static cudaError_t pump(struct ring *r)
{
    cudaError_t status = cudaSuccess;

    while (r->n_queued && !status) {
        const struct stored_matrix *m = r->queue[0];
        size_t bytes = expanded_bytes(m), at = next_at(r, bytes);
        struct place *p;

        if (!is_room(r, at, bytes))
            break;
        status = evict(r, at, bytes);
        p = status ? NULL : take_place(r, &status);
        if (!p)
            break;
        if (!status)
            status = expand(r, m, at, p);
        drop_queued(r, 1);
    }
    return status;
}

static bool is_coming(const struct ring *r, const struct stored_matrix *m)
{
    for (int i = 0; i < r->n_queued; i++)
        if (r->queue[i] == m)
            return true;
    for (int i = 0; i < PLACES_MAX; i++)
        if (r->places[i].state == PLACE_EXPANDED && r->places[i].matrix == m)
            return true;
    return false;
}

void ring_announce(struct ring *r, const struct stored_matrix *m)
{
    if (r->n_queued == QUEUE_MAX || is_coming(r, m))
        return;
    r->queue[r->n_queued++] = m;
    (void)pump(r);
}

static struct place *newest_of(struct ring *r, const struct stored_matrix *m)
{
    struct place *found = NULL;

    for (int i = 0; i < PLACES_MAX; i++) {
        struct place *p = &r->places[i];

        if (p->state != PLACE_FREE && p->matrix == m && (!found || p->number > found->number))
            found = p;
    }
    return found;
}

/* Releases the places that were in use before `now`, and those that were expanded before it but skipped. NULL: releases
 * only the places in use. */
static cudaError_t release_before(struct ring *r, const struct place *now)
{
    cudaError_t status = cudaSuccess;

    for (int i = 0; i < PLACES_MAX && !status; i++) {
        struct place *p = &r->places[i];
        bool skipped = p->state == PLACE_EXPANDED && now && p->number < now->number;

        if (p == now || (p->state != PLACE_IN_USE && !skipped))
            continue;
        status = cudaEventRecord(p->done, r->cuda->stream);
        p->state = PLACE_RELEASED;
    }
    return status;
}

/* Drops the matrices that were announced before the one that is used now: their use was skipped. */
static void drop_skipped(struct ring *r, const struct stored_matrix *now)
{
    for (int i = 0; i < r->n_queued; i++)
        if (r->queue[i] == now) {
            drop_queued(r, i + 1);
            return;
        }
}

void ring_forget(struct ring *r, const struct stored_matrix *m)
{
    if (r->in_spot == m)
        r->in_spot = NULL;
    for (int i = 0; i < PLACES_MAX; i++)
        if (r->places[i].state != PLACE_FREE && r->places[i].matrix == m)
            r->places[i].matrix = NULL;
}

static cudaError_t expand_on_the_spot(struct ring *r, const struct stored_matrix *m)
{
    cudaError_t status = release_before(r, NULL);

    if (status || r->in_spot == m)
        return status;
    r->in_spot = m;
    return cuda_dequantise_bf16(m->dtype, m->data, m->scale, r->spot, m->rows * m->cols, r->cuda->stream);
}

enum err_code ring_use(struct ring *r, const struct stored_matrix *m, const void **ret, struct err *err)
{
    struct place *p = newest_of(r, m);
    cudaError_t status;

    if (!p || p->state == PLACE_RELEASED)
        drop_skipped(r, m);
    if (p) {
        status = release_before(r, p);
        if (!status)
            status = cudaStreamWaitEvent(r->cuda->stream, p->ready, 0);
        p->state = PLACE_IN_USE;
        *ret = r->bytes + p->at;
    } else {
        status = expand_on_the_spot(r, m);
        *ret = r->spot;
    }
    if (!status)
        status = pump(r);
    return cuda_status(status, "expansion of a weight", err);
}
