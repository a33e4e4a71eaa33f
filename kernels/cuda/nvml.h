/*
 * nvml - clock, power and names from NVIDIA's management library, which comes with the driver. It is loaded at the
 * first query, because a container may lack it: then everything is unknown and nothing fails. The program nvidia-smi
 * would not help, since it uses the same library.
 *
 * Source: NVML API reference; the few functions used here have kept their ABI since driver 410.
 */
#ifndef KERNELS_CUDA_NVML_H
#define KERNELS_CUDA_NVML_H

#include "kernels/backend.h"

struct nvml;

/* The device with this PCI address ("0000:3b:00.0"); NULL where the library or the device is missing. */
struct nvml *nvml_open(const char *pci_bus_id);
void nvml_close(struct nvml *n); /* takes NULL */

/* Writes the members that the driver reports and leaves the others: name, driver, power, clock, temperature, energy. */
void nvml_read(const struct nvml *n, struct backend_card *ret);

#endif
