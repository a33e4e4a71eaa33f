/*
 * host_memory - how much memory this process can still get from the machine, or from its container if that is less.
 * File pages that the system would give up count as free, such as those of a mapped model.
 */
#ifndef KERNELS_BASE_HOST_MEMORY_H
#define KERNELS_BASE_HOST_MEMORY_H

#include <stdint.h>

/* Bytes, from /proc/meminfo and the control group (version 2, or 1); -1: unknown. */
int64_t host_memory_available(void);

/* The same, read from files below another root, for tests. */
int64_t host_memory_available_in(const char *root);

#endif
