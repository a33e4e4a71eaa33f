/*
 * nvml - clock, power and names from NVIDIA's management library, which comes with the driver. It is opened by name
 * when somebody first asks, since a container may be without it: then everything is unknown and nothing fails. The
 * program nvidia-smi would be no way out, for it asks the same library.
 *
 * Source: NVML API reference; the few functions used here have kept their ABI since driver 410.
 */
#ifndef KERNELS_CUDA_NVML_H
#define KERNELS_CUDA_NVML_H

#include "kernels/backend.h"

struct nvml;

/* The device with this PCI address ("0000:3b:00.0"); NULL where the library or the device is not to be had. */
struct nvml *nvml_open(const char *pci_bus_id);
void nvml_close(struct nvml *n); /* takes NULL */

/* Writes what is known: name, driver, power, clock, temperature, energy. */
void nvml_read(const struct nvml *n, struct backend_card *ret);

#endif
