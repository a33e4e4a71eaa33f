/*
 * memory.c - memory of the device, and copies to it and from it.
 */
#include "kernels/cuda/cuda.h"

/*
 * Memory reserved for what the backend allocates later. 512 MiB are for the ring and its spot; 526 MiB for rounding
 * every matrix up to 2 MiB (counted for FLUX.1-Fill and T5-XXL as Q8_0); the rest is for spares and for kernels, ours
 * and the libraries', which the runtime loads at their first launch, some during the first request.
 */
static const size_t own_bytes = (size_t)1280 << 20;

enum err_code cuda_mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    size_t n_free = 0, n_total = 0;
    void *p = NULL;
    cudaError_t status = cudaMalloc(&p, bytes ? bytes : 1);

    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&n_free, &n_total);
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu MiB: %zu of %zu MiB are free", bytes >> 20,
                       n_free >> 20, n_total >> 20);
    }
    if (!status)
        status = cudaMemsetAsync(p, 0, bytes, cuda_of(be)->stream);
    if (status) {
        (void)cudaFree(p);
        return cuda_status(status, "memory", err);
    }
    *ret = p;
    return ERR_OK;
}

/* cudaFree waits for the work that still uses the memory. */
void cuda_mem_free(struct backend *be, void *p)
{
    (void)be;
    (void)cudaFree(p);
}

struct backend_memory cuda_memory(struct backend *be)
{
    size_t n_free = 0, n_total = 0;

    (void)be;
    if (cudaMemGetInfo(&n_free, &n_total)) {
        (void)cudaGetLastError();
        return (struct backend_memory){ .available = -1 };
    }
    return (struct backend_memory){ .available = n_free > own_bytes ? (int64_t)(n_free - own_bytes) : 0,
                                    .used = (int64_t)(n_total - n_free) };
}

/* Waits, so that the caller may reuse the host's memory. */
enum err_code cuda_upload(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    enum err_code rc =
        cuda_status(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, cuda_of(be)->stream), "upload", err);

    return rc ? rc : cuda_sync(be, err);
}

enum err_code cuda_download(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    enum err_code rc =
        cuda_status(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, cuda_of(be)->stream), "download", err);

    return rc ? rc : cuda_sync(be, err);
}
