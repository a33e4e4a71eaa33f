/*
 * fake_cuda - the part of the CUDA runtime that the backend's host code calls, on a processor: `make gpu-dry` runs the
 * GPU tests on it, with the kernels on the shim. It reveals wrong strides, layouts, sizes and a stream that does not
 * wait for another; it says nothing about speed or about what the real libraries accept.
 *
 * The stream of higher priority is that of the work, which executes at once. The other stream runs as late as possible:
 * its work executes only when something waits for it, so that a missing wait leaves wrong numbers.
 */
#include <assert.h>
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/cuda/gpu/kernels.h"
#include "test/gpu/dry/fake_cuda.h"

enum { PAGE = 4096, HEADER = PAGE };
enum work_kind { WORK_COPY, WORK_FILL, WORK_EXPAND, WORK_EVENT };

struct work {
    enum work_kind kind;
    void *dst;
    const void *src;
    size_t n;
    enum dtype dtype;
    float scale;
    uint64_t mark; /* for WORK_EVENT: the number of the record */
    struct work *next;
};

struct CUstream_st {
    bool late;
    struct work *first, **last;
};

struct CUevent_st {
    cudaStream_t stream; /* stream of the last record; NULL before the first */
    uint64_t mark, done;
    bool timed;
    double ms; /* time of the record, by the host's clock */
};

/* The range of priorities on real cards; only their order matters. */
enum { LEAST_PRIORITY = 0, GREATEST_PRIORITY = -5 };

static int n_alone; /* work streams whose backend has not created the other stream yet */
static uint64_t marks;
static size_t used;
static long n_expansions;
static cudaError_t fault; /* sticky */

/* --- work --- */

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* Clears whole pages by giving them back: most of the device's memory is never touched here. */
static void clear(char *p, size_t n)
{
    size_t before = -(uintptr_t)p % PAGE, pages;

    before = before < n ? before : n;
    pages = (n - before) / PAGE * PAGE;
    memset(p, 0, before);
    if (pages && madvise(p + before, pages, MADV_DONTNEED))
        memset(p + before, 0, pages);
    memset(p + before + pages, 0, n - before - pages);
}

static void run(const struct work *w)
{
    if (w->kind == WORK_COPY)
        memcpy(w->dst, w->src, w->n);
    else if (w->kind == WORK_FILL)
        clear(w->dst, w->n);
    else if (w->kind == WORK_EXPAND)
        assert(k_dequantise(w->dtype, w->src, w->scale, DT_BF16, w->dst, (int64_t)w->n, NULL) == 0);
    else {
        cudaEvent_t e = w->dst;

        e->done = w->mark;
        e->ms = now_ms();
    }
}

static void queue(cudaStream_t s, struct work what)
{
    struct work *w;

    if (!s || !s->late) {
        run(&what);
        return;
    }
    w = malloc(sizeof *w);
    assert(w);
    *w = what;
    w->next = NULL;
    *s->last = w;
    s->last = &w->next;
}

/* Executes queued work until the event's record has happened; NULL: all of it. */
static void catch_up(cudaStream_t s, cudaEvent_t until, uint64_t mark)
{
    while (s->first && !(until && until->done >= mark)) {
        struct work *w = s->first;

        s->first = w->next;
        if (!s->first)
            s->last = &s->first;
        run(w);
        free(w);
    }
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, enum cudaMemcpyKind kind, cudaStream_t s)
{
    if (fault)
        return fault;
    (void)kind;
    queue(s, (struct work){ .kind = WORK_COPY, .dst = dst, .src = src, .n = n });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t s)
{
    if (fault)
        return fault;
    assert(value == 0);
    queue(s, (struct work){ .kind = WORK_FILL, .dst = p, .n = n });
    return cudaSuccess;
}

/* Replaces the function of expand.c, because kernels of the shim would run at once. */
cudaError_t cuda_dequantise_bf16(enum dtype t, const void *src, float scale, void *dst, int64_t n, cudaStream_t s);
cudaError_t cuda_dequantise_bf16(enum dtype t, const void *src, float scale, void *dst, int64_t n, cudaStream_t s)
{
    n_expansions++;
    queue(s, (struct work){ .kind = WORK_EXPAND, .dst = dst, .src = src, .n = (size_t)n, .dtype = t, .scale = scale });
    return cudaSuccess;
}

/* --- streams and events --- */

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = LEAST_PRIORITY;
    *greatest = GREATEST_PRIORITY;
    return cudaSuccess;
}

/* A backend creates one stream of each priority. */
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *ret, unsigned flags, int priority)
{
    cudaStream_t s = calloc(1, sizeof *s);

    assert(s && flags == cudaStreamNonBlocking);
    assert(priority == LEAST_PRIORITY || priority == GREATEST_PRIORITY);
    s->late = priority == LEAST_PRIORITY;
    n_alone += s->late ? -1 : 1;
    assert(n_alone == 0 || n_alone == 1);
    s->last = &s->first;
    *ret = s;
    return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t s, int *ret)
{
    *ret = s->late ? LEAST_PRIORITY : GREATEST_PRIORITY;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    catch_up(s, NULL, 0);
    free(s);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (fault)
        return fault;
    catch_up(s, NULL, 0);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    return fault ? fault : s->first ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret, unsigned flags)
{
    assert(flags == cudaEventDisableTiming || flags == cudaEventBlockingSync);
    *ret = calloc(1, sizeof **ret);
    assert(*ret);
    (*ret)->timed = flags == cudaEventBlockingSync;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    if (e->stream && e->done < e->mark)
        catch_up(e->stream, e, e->mark);
    free(e);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    if (fault)
        return fault;
    e->stream = s;
    e->mark = ++marks;
    queue(s, (struct work){ .kind = WORK_EVENT, .dst = e, .mark = e->mark });
    return cudaSuccess;
}

/* The late stream need not wait: the work of the other one has always executed already. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    if (fault)
        return fault;
    (void)flags;
    if (!s->late && e->stream && e->done < e->mark)
        catch_up(e->stream, e, e->mark);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (fault)
        return fault;
    if (e->stream && e->done < e->mark)
        catch_up(e->stream, e, e->mark);
    return cudaSuccess;
}

/* As documented: both events must record times, be recorded, and be done. */
cudaError_t cudaEventElapsedTime(float *ret, cudaEvent_t from, cudaEvent_t to)
{
    if (fault)
        return fault;
    if (!from->timed || !to->timed || !from->stream || !to->stream)
        return cudaErrorInvalidResourceHandle;
    if (from->done < from->mark || to->done < to->mark)
        return cudaErrorNotReady;
    *ret = (float)(to->ms - from->ms);
    return cudaSuccess;
}

/* --- memory; a block's size is in front of it --- */

static cudaError_t allocate(void **ret, size_t n)
{
    char *p = mmap(NULL, n + HEADER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    *(size_t *)p = n;
    used += n;
    *ret = p + HEADER;
    return cudaSuccess;
}

static cudaError_t release(void *p)
{
    if (p) {
        char *block = (char *)p - HEADER;
        size_t n = *(size_t *)block;

        used -= n;
        (void)munmap(block, n + HEADER);
    }
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **ret, size_t n)
{
    if (fault)
        return fault;
    return allocate(ret, n);
}
cudaError_t cudaMallocHost(void **ret, size_t n)
{
    if (fault)
        return fault;
    return allocate(ret, n);
}
cudaError_t cudaFree(void *p)
{
    return release(p);
}
cudaError_t cudaFreeHost(void *p)
{
    return release(p);
}

cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_total)
{
    if (fault)
        return fault;
    *n_total = (size_t)24 << 30;
    *n_free = *n_total - used;
    return cudaSuccess;
}

/* --- device --- */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 1;
    return cudaSuccess;
}

/* The attributes of an L4, but with a cache so small that convolutions take several tiles. */
cudaError_t cudaDeviceGetAttribute(int *ret, enum cudaDeviceAttr a, int device)
{
    assert(device == 0);
    *ret = a == cudaDevAttrComputeCapabilityMajor   ? 8
           : a == cudaDevAttrComputeCapabilityMinor ? 9
           : a == cudaDevAttrL2CacheSize            ? 1 << 20
                                                    : 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int len, int device)
{
    assert(device == 0);
    (void)snprintf(id, (size_t)len, "0000:3b:00.0");
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    assert(device == 0);
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return fault;
}

void fake_cuda_fault(bool faulty)
{
    fault = faulty ? cudaErrorIllegalAddress : cudaSuccess;
}

long fake_cuda_expansions(void)
{
    return n_expansions;
}

const char *cudaGetErrorName(cudaError_t e)
{
    return e ? "cudaErrorOfAFake" : "cudaSuccess";
}
const char *cudaGetErrorString(cudaError_t e)
{
    return e ? "an error" : "no error";
}
