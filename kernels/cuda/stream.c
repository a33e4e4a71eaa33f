/*
 * stream.c - the two streams of a backend, their order, and marks in time.
 */
#include "kernels/cuda/cuda.h"

/*
 * Both streams are independent of the default one. The work has the higher priority: where both streams have thread
 * blocks ready, the expansion gets what the work leaves free. Waiting for a mark takes long, so the thread sleeps.
 */
enum err_code cuda_streams_open(struct cuda *cuda, struct err *err)
{
    int least = 0, greatest = 0; /* the lower the number, the higher the priority */
    cudaError_t status = cudaDeviceGetStreamPriorityRange(&least, &greatest);

    if (!status)
        status = cudaStreamCreateWithPriority(&cuda->stream, cudaStreamNonBlocking, greatest);
    if (!status)
        status = cudaStreamCreateWithPriority(&cuda->expand, cudaStreamNonBlocking, least);
    if (!status)
        status = cudaEventCreateWithFlags(&cuda->order, cudaEventDisableTiming);
    for (int i = 0; i < BACKEND_MARKS && !status; i++)
        status = cudaEventCreateWithFlags(&cuda->marks[i], cudaEventBlockingSync);
    return cuda_status(status, "streams", err);
}

void cuda_streams_close(struct cuda *cuda)
{
    if (cuda->order)
        (void)cudaEventDestroy(cuda->order);
    for (int i = 0; i < BACKEND_MARKS; i++)
        if (cuda->marks[i])
            (void)cudaEventDestroy(cuda->marks[i]);
    if (cuda->expand)
        (void)cudaStreamDestroy(cuda->expand);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
}

enum err_code cuda_order(struct cuda *cuda, cudaStream_t first, cudaStream_t later, struct err *err)
{
    cudaError_t status = cudaEventRecord(cuda->order, first);

    if (!status)
        status = cudaStreamWaitEvent(later, cuda->order, 0);
    return cuda_status(status, "order of streams", err);
}

enum err_code cuda_sync(struct backend *be, struct err *err)
{
    return cuda_status(cudaStreamSynchronize(cuda_of(be)->stream), "sync", err);
}

enum err_code cuda_mark(struct backend *be, int slot, struct err *err)
{
    struct cuda *cuda = cuda_of(be);

    return cuda_status(cudaEventRecord(cuda->marks[slot], cuda->stream), "mark", err);
}

enum err_code cuda_elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    const cudaEvent_t *marks = cuda_of(be)->marks;
    float ms = 0;
    cudaError_t status = cudaEventSynchronize(marks[to]);

    if (!status)
        status = cudaEventElapsedTime(&ms, marks[from], marks[to]);
    if (!status)
        *ret_ms = (double)ms;
    return cuda_status(status, "time between marks", err);
}
