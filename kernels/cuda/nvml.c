#include "kernels/cuda/nvml.h"

#include <dlfcn.h>
#include <stdlib.h>

static const char library[] = "libnvidia-ml.so.1";

/* Functions of nvml.h with their ABI: a status of 0 is success, a device is a pointer that the library owns. */
#define NVML_FUNCTIONS(X)                                                    \
    X(nvmlInit_v2, (void))                                                   \
    X(nvmlShutdown, (void))                                                  \
    X(nvmlSystemGetDriverVersion, (char *version, unsigned length))          \
    X(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, void **ret_device)) \
    X(nvmlDeviceGetName, (void *device, char *name, unsigned length))        \
    X(nvmlDeviceGetClockInfo, (void *device, int which, unsigned *ret_mhz))  \
    X(nvmlDeviceGetTemperature, (void *device, int sensor, unsigned *ret_c)) \
    X(nvmlDeviceGetPowerUsage, (void *device, unsigned *ret_mw))             \
    X(nvmlDeviceGetEnforcedPowerLimit, (void *device, unsigned *ret_mw))     \
    X(nvmlDeviceGetTotalEnergyConsumption, (void *device, unsigned long long *ret_mj))

enum { CLOCK_SM = 1, TEMPERATURE_GPU = 0 };

struct nvml {
    void *shared_object, *device;
#define X(name, args) int(*name) args;
    NVML_FUNCTIONS(X)
#undef X
};

/* A function that this driver's library lacks stays NULL, and its value stays unknown. */
static void find_functions(struct nvml *n)
{
    const struct {
        const char *name;
        void *at; /* where the function's address goes */
    } functions[] = {
#define X(name, args) { #name, &n->name },
        NVML_FUNCTIONS(X)
#undef X
    };

    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *address = dlsym(n->shared_object, functions[i].name);

        *(void **)functions[i].at = address; /* the conversion that POSIX gives for dlsym */
    }
}

/* Whether the function is there and succeeds. */
#define TELLS(n, name, ...) ((n)->name && !(n)->name(__VA_ARGS__))

struct nvml *nvml_open(const char *pci_bus_id)
{
    struct nvml *n = calloc(1, sizeof *n);

    if (!n)
        return NULL;
    n->shared_object = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (n->shared_object)
        find_functions(n);
    if (!TELLS(n, nvmlInit_v2)) {
        free(n); /* the library stays mapped: the driver's libraries are not made to be unloaded */
        return NULL;
    }
    if (!TELLS(n, nvmlDeviceGetHandleByPciBusId_v2, pci_bus_id, &n->device)) {
        nvml_close(n);
        return NULL;
    }
    return n;
}

void nvml_close(struct nvml *n)
{
    if (n && n->nvmlShutdown)
        (void)n->nvmlShutdown();
    free(n);
}

void nvml_read(const struct nvml *n, struct backend_card *ret)
{
    unsigned long long energy_mj;
    unsigned value;

    if (!TELLS(n, nvmlSystemGetDriverVersion, ret->driver, sizeof ret->driver))
        ret->driver[0] = '\0';
    if (!TELLS(n, nvmlDeviceGetName, n->device, ret->name, sizeof ret->name))
        ret->name[0] = '\0';
    if (TELLS(n, nvmlDeviceGetEnforcedPowerLimit, n->device, &value))
        ret->power_limit_w = 1e-3 * value;
    if (TELLS(n, nvmlDeviceGetPowerUsage, n->device, &value))
        ret->power_w = 1e-3 * value;
    if (TELLS(n, nvmlDeviceGetClockInfo, n->device, CLOCK_SM, &value))
        ret->clock_mhz = value;
    if (TELLS(n, nvmlDeviceGetTemperature, n->device, TEMPERATURE_GPU, &value))
        ret->temperature_c = value;
    if (TELLS(n, nvmlDeviceGetTotalEnergyConsumption, n->device, &energy_mj))
        ret->energy_j = 1e-3 * (double)energy_mj;
}
