/*
 * card.c - names, versions and readings of the card and its libraries, for measurements.
 */
#include <stdio.h>

#include "kernels/cuda/attention_library.h"
#include "kernels/cuda/nvml.h"
#include "kernels/cuda/product.h"

enum { PCI_ID_BYTES = 32 };

/* The management library is opened at the first query; the service makes none. */
static const struct nvml *management(struct cuda *cuda)
{
    char id[PCI_ID_BYTES];

    if (cuda->nvml_asked)
        return cuda->nvml;
    cuda->nvml_asked = true;
    if (cudaDeviceGetPCIBusId(id, sizeof id, cuda->device) == cudaSuccess)
        cuda->nvml = nvml_open(id);
    else
        (void)cudaGetLastError();
    return cuda->nvml;
}

static void describe_libraries(struct cuda *cuda, char *text, size_t size)
{
    size_t lt = cuda_products_version(cuda), cudnn = cuda_attention_library_version(cuda);
    int n = snprintf(text, size, "CUDA %d.%d, cuBLASLt %zu.%zu.%zu", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                     lt / 10000, lt / 100 % 100, lt % 100);

    if (cudnn)
        (void)snprintf(text + n, size - (size_t)n, ", cuDNN %zu.%zu.%zu", cudnn / 10000, cudnn / 100 % 100,
                       cudnn % 100);
}

void cuda_card(struct backend *be, struct backend_card *ret)
{
    struct cuda *cuda = cuda_of(be);
    const struct nvml *nvml = management(cuda);

    if (nvml)
        nvml_read(nvml, ret);
    if (!ret->name[0])
        (void)snprintf(ret->name, sizeof ret->name, "a card of compute capability %d.%d", cuda->sm / 10, cuda->sm % 10);
    describe_libraries(cuda, ret->libraries, sizeof ret->libraries);
}
