/*
 * weight.c - weights on the device.
 *
 * A matrix is kept as bf16; where memory is short and its storage type is smaller, it is kept in that type, and ring.c
 * expands it whenever it is used. Products read the same bytes in both cases, so results do not depend on the mode.
 *
 * Uploads go through four pinned buffers: the host copies from the file's mapping into one (which reads the disk) while
 * the device takes and expands those before it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mapping.h"
#include "kernels/cuda/ring.h"
#include "kernels/devarena.h"
#include "kernels/quant.h"

enum {
    N_BUFFERS = 4,
    BUFFER_BYTES = 16 << 20, /* on the host, and again in the workspace; cuda_weights_open checks its size */
    CHUNK_STEP = 2048,       /* values: a multiple of every block, and of what the kernel expands at a time */
    SLAB_BYTES = 32 << 20,   /* small matrices share one; cudaMalloc rounds up to 2 MiB */
    SMALL_BYTES = 2 << 20
};

/* Memory that AUTO leaves free for requests when it decides whether all weights fit as bf16: a picture of 1024 x 1024
 * takes about 4 GiB. */
static const size_t request_bytes = (size_t)6 << 30;

struct loaded {
    struct stored_matrix m;
    bool expanded; /* m.data holds bf16, multiplied with the scale */
    bool own;      /* m.data is an allocation of its own, not part of a slab */
    size_t bytes;
    struct loaded *next;
};

struct cuda_weights {
    enum weight_mode mode; /* WEIGHTS_DEQUANT or WEIGHTS_STREAM; cuda_weights_expect resolves AUTO */
    struct loaded *all;
    struct loaded *spares; /* unloaded; a later weight of the same size reuses the memory, so usage does not grow */
    struct devarena slabs;
    struct ring *ring;
    char *buffers[N_BUFFERS]; /* pinned; NULL before the first upload */
    cudaEvent_t sent[N_BUFFERS];
    int next_buffer;
};

enum err_code cuda_weights_open(struct cuda *cuda, struct err *err)
{
    struct cuda_weights *ws = calloc(1, sizeof *ws);

    assert(cuda->workspace_bytes >= (size_t)N_BUFFERS * BUFFER_BYTES);
    if (!ws)
        return err_set(err, ERR_NOMEM, "cuda: no memory for the list of weights");
    cuda->weights = ws;
    ws->mode = WEIGHTS_DEQUANT;
    return devarena_init(&ws->slabs, &cuda->base, 0, SLAB_BYTES, err);
}

static void free_list(struct loaded *l)
{
    while (l) {
        struct loaded *next = l->next;

        if (l->own)
            (void)cudaFree(l->m.data);
        free(l);
        l = next;
    }
}

void cuda_weights_close(struct cuda *cuda)
{
    struct cuda_weights *ws = cuda->weights;

    if (!ws)
        return;
    if (cuda->expand)
        (void)cudaStreamSynchronize(cuda->expand);
    ring_close(ws->ring);
    for (int i = 0; i < N_BUFFERS; i++) {
        (void)cudaFreeHost(ws->buffers[i]);
        if (ws->sent[i])
            (void)cudaEventDestroy(ws->sent[i]);
    }
    free_list(ws->all);
    free_list(ws->spares);
    devarena_done(&ws->slabs);
    free(ws);
    cuda->weights = NULL;
}

void cuda_weights_expect(struct backend *be, enum weight_mode mode, size_t expanded_bytes)
{
    size_t n_free = 0, n_total = 0;
    bool known = !cudaMemGetInfo(&n_free, &n_total);
    bool fits = known && n_free > request_bytes && expanded_bytes < n_free - request_bytes;

    if (!known)
        (void)cudaGetLastError(); /* otherwise the next launch of a kernel would report it */
    cuda_of(be)->weights->mode = mode != WEIGHTS_AUTO ? mode : fits ? WEIGHTS_DEQUANT : WEIGHTS_STREAM;
}

/* --- memory --- */

static struct loaded *take_out(struct loaded **at)
{
    struct loaded *l = *at;

    *at = l->next;
    return l;
}

/* Takes a spare of this size out of the list; NULL: there is none. */
static struct loaded *find_spare(struct cuda_weights *ws, size_t bytes)
{
    for (struct loaded **at = &ws->spares; *at; at = &(*at)->next)
        if ((*at)->bytes == bytes)
            return take_out(at);
    return NULL;
}

static void put_in(struct cuda_weights *ws, struct loaded *l, const struct loaded *what)
{
    void *data = l->m.data;

    l->m = what->m;
    l->m.data = data;
    l->expanded = what->expanded;
    l->next = ws->all;
    ws->all = l;
}

static enum err_code add(struct cuda *cuda, const struct loaded *what, size_t bytes, struct loaded **ret,
                         struct err *err)
{
    struct cuda_weights *ws = cuda->weights;
    struct loaded *l = find_spare(ws, bytes);
    enum err_code rc;

    if (l) {
        put_in(ws, l, what);
        *ret = l;
        return ERR_OK;
    }
    l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_NOMEM, "cuda: no memory for a weight's record");
    l->bytes = bytes;
    l->own = bytes >= SMALL_BYTES;
    rc = l->own ? cuda_mem_alloc(&cuda->base, bytes, &l->m.data, err)
                : devarena_alloc(&ws->slabs, bytes, &l->m.data, err);
    if (rc) {
        free(l);
        return rc;
    }
    put_in(ws, l, what);
    *ret = l;
    return ERR_OK;
}

/* --- uploads --- */

static enum err_code open_buffers(struct cuda_weights *ws, struct err *err)
{
    cudaError_t status = cudaSuccess;

    for (int i = 0; i < N_BUFFERS && !status; i++) {
        if (!ws->buffers[i])
            status = cudaMallocHost((void **)&ws->buffers[i], BUFFER_BYTES);
        if (!status && !ws->sent[i])
            status = cudaEventCreateWithFlags(&ws->sent[i], cudaEventDisableTiming);
    }
    return cuda_status(status, "pinned memory", err);
}

/* A buffer that the device has copied completely. *ret is its number, and that of its part of the workspace. */
static cudaError_t next_buffer(struct cuda_weights *ws, int *ret)
{
    *ret = ws->next_buffer;
    ws->next_buffer = (ws->next_buffer + 1) % N_BUFFERS;
    return cudaEventSynchronize(ws->sent[*ret]);
}

/* Sends n values of a matrix, at most a buffer full, from src to dst on the second stream; `expanded`: they become
 * bf16. */
static cudaError_t send_chunk(struct cuda *cuda, const struct weight *host, const char *src, char *dst, int64_t n,
                              bool expanded)
{
    struct cuda_weights *ws = cuda->weights;
    size_t bytes = dtype_row_bytes(host->dtype, n);
    bool as_is = !expanded || (host->dtype == DT_BF16 && host->scale == 0);
    int i;
    cudaError_t status = next_buffer(ws, &i);
    char *landing = (char *)cuda->workspace + (size_t)i * BUFFER_BYTES;

    if (status)
        return status;
    memcpy(ws->buffers[i], src, bytes);
    status = cudaMemcpyAsync(as_is ? dst : landing, ws->buffers[i], bytes, cudaMemcpyHostToDevice, cuda->expand);
    if (!status && !as_is)
        status = cuda_dequantise_bf16(host->dtype, landing, host->scale, dst, n, cuda->expand);
    return status ? status : cudaEventRecord(ws->sent[i], cuda->expand);
}

static enum err_code send(struct cuda *cuda, const struct weight *host, const struct loaded *l, struct err *err)
{
    const struct dtype_info *stored = dtype_info(host->dtype), *kept = dtype_info(l->m.dtype);
    int64_t n = host->rows * host->cols, chunk = BUFFER_BYTES / stored->block_bytes * stored->block_elems;
    cudaError_t status = cudaSuccess;

    chunk -= chunk % CHUNK_STEP;
    TRY(open_buffers(cuda->weights, err));
    /* the workspace may be in use, and the memory is being zeroed */
    TRY(cuda_order(cuda, cuda->stream, cuda->expand, err));
    mapping_announce(host->data, (size_t)(n / stored->block_elems) * (size_t)stored->block_bytes);
    for (int64_t at = 0; at < n && !status; at += chunk) {
        const char *src = (const char *)host->data + (size_t)(at / stored->block_elems) * (size_t)stored->block_bytes;
        char *dst = (char *)l->m.data + (size_t)(at / kept->block_elems) * (size_t)kept->block_bytes;

        status = send_chunk(cuda, host, src, dst, n - at < chunk ? n - at : chunk, l->expanded);
    }
    TRY(cuda_status(status, "upload of a weight", err));
    return cuda_order(cuda, cuda->expand, cuda->stream, err);
}

/* --- matrices --- */

/* Whether a matrix stays in its storage type, which it does where its blocks take less than two bytes a value. */
static bool keeps_stored(const struct cuda_weights *ws, const struct weight *host)
{
    const struct dtype_info *info = dtype_info(host->dtype);

    return ws->mode == WEIGHTS_STREAM && info->block_bytes < 2 * info->block_elems &&
           ring_takes(RING_MATRIX_BYTES, host->rows, host->cols);
}

enum err_code cuda_weight_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    bool stored = keeps_stored(cuda->weights, host);
    enum dtype t = stored ? host->dtype : DT_BF16;
    float scale = stored ? host->scale : 0;
    struct loaded what = { .m = { .dtype = t, .rows = host->rows, .cols = host->cols, .scale = scale },
                           .expanded = !stored },
                  *l;
    size_t row_bytes = dtype_row_bytes(t, host->cols);

    if (!dtype_row_bytes(host->dtype, host->cols) || !row_bytes || host->rows < 1)
        return err_set(err, ERR_INVALID, "cuda: a weight of %lld by %lld values cannot be loaded",
                       (long long)host->rows, (long long)host->cols);
    if (stored && !cuda->weights->ring)
        TRY(ring_open(cuda, RING_MATRIX_BYTES, &cuda->weights->ring, err));
    TRY(add(cuda, &what, row_bytes * (size_t)host->rows, &l, err));
    TRY(send(cuda, host, l, err));
    *ret = (struct weight){
        .dtype = t, .rows = host->rows, .cols = host->cols, .data = l->m.data, .scale = scale, .handle = l
    };
    return ERR_OK;
}

/* Does not wait: an upload that reuses this memory comes after the products that are queued now. */
void cuda_weight_unload(struct backend *be, struct weight *w)
{
    struct cuda_weights *ws = cuda_of(be)->weights;
    struct loaded **at = &ws->all, *l;

    while (*at && *at != w->handle)
        at = &(*at)->next;
    if (!*at)
        return;
    l = take_out(at);
    if (ws->ring)
        ring_forget(ws->ring, &l->m);
    l->next = ws->spares;
    ws->spares = l;
    *w = (struct weight){ 0 };
}

void cuda_weight_prefetch(struct backend *be, const struct weight *const *w, int n)
{
    struct ring *ring = cuda_of(be)->weights->ring;

    for (int i = 0; i < n && ring; i++) {
        const struct loaded *l = w[i]->handle;

        if (l && !l->expanded) /* a weight that was left in its file has no record */
            ring_announce(ring, &l->m);
    }
}

enum err_code cuda_weight_bf16(struct backend *be, const struct weight *w, const void **ret, struct err *err)
{
    const struct loaded *l = w->handle;
    const void *whole = NULL;

    if (l->expanded) {
        *ret = w->data;
        return ERR_OK;
    }
    TRY(ring_use(cuda_of(be)->weights->ring, &l->m, &whole, err));
    *ret = (const char *)whole + (size_t)w->row0 * (size_t)w->cols * 2;
    return ERR_OK;
}

/* --- convolutions --- */

/* [c_out, c_in, kh, kw] -> [c_out, kh, kw, c_in], each row padded with zeros. */
static void arrange(const struct conv_weight *cw, const float *oihw, uint16_t *dst)
{
    int64_t taps = (int64_t)cw->kh * cw->kw, row = cuda_conv_row(cw);

    for (int64_t o = 0; o < cw->c_out; o++)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t i = 0; i < cw->c_in; i++)
                dst[o * row + tap * cw->c_in + i] = f32_to_bf16(oihw[(o * cw->c_in + i) * taps + tap]);
}

enum err_code cuda_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err)
{
    struct cuda *cuda = cuda_of(be);
    struct loaded what = { .m = { .dtype = DT_BF16, .rows = cw->c_out, .cols = cuda_conv_row(cw) }, .expanded = true },
                  *l;
    size_t n = (size_t)(what.m.rows * what.m.cols);
    uint16_t *values = calloc(n, sizeof *values);
    enum err_code rc;

    if (!values)
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu weights of a convolution", n);
    arrange(cw, oihw, values);
    rc = add(cuda, &what, n * sizeof *values, &l, err);
    if (!rc)
        rc = cuda_upload(be, l->m.data, values, n * sizeof *values, err);
    free(values);
    if (rc)
        return rc;
    cw->data = l->m.data;
    cw->handle = l;
    return ERR_OK;
}
