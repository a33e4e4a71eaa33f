/*
 * mapping - bringing parts of a mapped file into memory at the speed of its disk.
 *
 * Touched page by page, a mapping is read in pieces that its pages' neighbours decide. Linux reads ahead no more than
 * the device's window for one request (mm/readahead.c), however much it covers, so many small ones are made.
 */
#ifndef KERNELS_BASE_MAPPING_H
#define KERNELS_BASE_MAPPING_H

#include <stddef.h>

/* Starts reading, and does not wait. Of memory that is no mapping nothing happens. */
void mapping_announce(const void *p, size_t bytes);

/* Returns when all of it is in memory; `end` is that of the mapping, up to which it reads ahead. */
void mapping_read(const void *p, size_t bytes, const void *end);

#endif
