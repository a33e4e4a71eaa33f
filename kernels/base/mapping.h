/*
 * mapping - bringing parts of a mapped file into memory at the speed of its disk.
 *
 * When a mapping is touched page by page, the system reads it in small pieces. For one madvise() call Linux reads no
 * more than the device's read-ahead window (mm/readahead.c), however large the range, so many calls for small ranges
 * are made.
 */
#ifndef KERNELS_BASE_MAPPING_H
#define KERNELS_BASE_MAPPING_H

#include <stddef.h>

/* Starts reading and does not wait. Has no effect on memory that is not a mapping. */
void mapping_announce(const void *p, size_t bytes);

/* Returns when all bytes are in memory. `end` is the end of the mapping, which limits the reading ahead. */
void mapping_read(const void *p, size_t bytes, const void *end);

/* Takes the pages that lie wholly in this part of a mapped file out of the process; they come back from the system's
 * cache or the disk when they are touched again. Never for memory that is no mapping of a file: its contents would be
 * lost. */
void mapping_release(const void *p, size_t bytes);

#endif
