/* nvml - the functions of the driver's management library that kernels/cuda/nvml.c uses, for one card at 0000:3b:00.0
 * that runs at 1500 MHz and 72 W. Its energy counter grows by 36 J with each call, so that tests can recognise it. */
#include <string.h>

static int a_card;
static unsigned long long energy_mj = 1000000;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlSystemGetDriverVersion(char *version, unsigned length);
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **ret_device);
int nvmlDeviceGetName(void *device, char *name, unsigned length);
int nvmlDeviceGetClockInfo(void *device, int which, unsigned *ret_mhz);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *ret_c);
int nvmlDeviceGetPowerUsage(void *device, unsigned *ret_mw);
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *ret_mw);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *ret_mj);

enum { NOT_FOUND = 6, NOT_SUPPORTED = 3 };

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlShutdown(void)
{
    return 0;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    strncpy(version, "535.999.01", length);
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **ret_device)
{
    *ret_device = &a_card;
    return strcmp(id, "0000:3b:00.0") ? NOT_FOUND : 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    strncpy(name, "Stand-in L4", length);
    return device != &a_card;
}

int nvmlDeviceGetClockInfo(void *device, int which, unsigned *ret_mhz)
{
    *ret_mhz = 1500;
    return device != &a_card || which != 1;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *ret_c)
{
    (void)device, (void)sensor, (void)ret_c;
    return NOT_SUPPORTED;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *ret_mw)
{
    *ret_mw = 72000;
    return device != &a_card;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *ret_mw)
{
    *ret_mw = 75000;
    return device != &a_card;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *ret_mj)
{
    *ret_mj = energy_mj += 36000;
    return device != &a_card;
}
