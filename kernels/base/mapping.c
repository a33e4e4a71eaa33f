#include "kernels/base/mapping.h"

#include <stdint.h>
#include <sys/mman.h>

enum {
    PAGE = 4096,
    REQUEST_BYTES = 128 << 10, /* the smallest usual read-ahead window */
    CHUNK_BYTES = 1 << 20,
    AHEAD_BYTES = 64 << 20
};

static void announce(uintptr_t from, uintptr_t end)
{
    for (; from < end; from += REQUEST_BYTES)
        (void)madvise((void *)from, end - from < REQUEST_BYTES ? end - from : REQUEST_BYTES, MADV_WILLNEED);
}

void mapping_announce(const void *p, size_t bytes)
{
    announce((uintptr_t)p & ~(uintptr_t)(PAGE - 1), (uintptr_t)p + bytes);
}

/* Reads the pages in; before Linux 5.14, by touching each. */
static void populate(uintptr_t from, uintptr_t end)
{
#ifdef MADV_POPULATE_READ
    if (madvise((void *)from, end - from, MADV_POPULATE_READ) == 0)
        return;
#endif
    for (; from < end; from += PAGE)
        (void)*(const volatile char *)from;
}

void mapping_read(const void *p, size_t bytes, const void *end)
{
    uintptr_t at = (uintptr_t)p & ~(uintptr_t)(PAGE - 1), stop = (uintptr_t)p + bytes, announced = at;

    while (at < stop) {
        uintptr_t next = stop - at < CHUNK_BYTES ? stop : at + CHUNK_BYTES;
        uintptr_t ahead = (uintptr_t)end - at < AHEAD_BYTES ? (uintptr_t)end : at + AHEAD_BYTES;

        if (ahead > announced) {
            announce(announced, ahead);
            announced += (ahead - announced + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
        }
        populate(at, next);
        at = next;
    }
}

void mapping_release(const void *p, size_t bytes)
{
    uintptr_t from = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1),
              end = ((uintptr_t)p + bytes) & ~(uintptr_t)(PAGE - 1);

    if (from < end)
        (void)madvise((void *)from, end - from, MADV_DONTNEED);
}
