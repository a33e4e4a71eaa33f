#include "models/codec/exif.h"

#include <stdint.h>

enum {
    TIFF_HEADER_BYTES = 8,
    TIFF_ENTRY_BYTES = 12,
    TIFF_BYTE = 1,
    TIFF_SHORT = 3,
    TIFF_LONG = 4,
    EXIF_TAG_ORIENTATION = 0x0112
};

struct tiff {
    struct span bytes;
    bool big_endian;
};

/* false: the data end before the value ends. */
static bool u16_at(const struct tiff *t, uint64_t at, uint32_t *ret)
{
    const unsigned char *p = (const unsigned char *)t->bytes.ptr + at;

    if (t->bytes.len < 2 || at > t->bytes.len - 2)
        return false;
    *ret = t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
    return true;
}

static bool u32_at(const struct tiff *t, uint64_t at, uint32_t *ret)
{
    uint32_t first, second;

    if (!u16_at(t, at, &first) || !u16_at(t, at + 2, &second))
        return false;
    *ret = t->big_endian ? first << 16 | second : second << 16 | first;
    return true;
}

static bool open_tiff(struct span bytes, struct tiff *t, uint32_t *ret_ifd)
{
    uint32_t magic;

    *t = (struct tiff){ .bytes = bytes, .big_endian = span_starts(bytes, "MM") };
    if (!t->big_endian && !span_starts(bytes, "II"))
        return false;
    return u16_at(t, 2, &magic) && magic == 42 && u32_at(t, 4, ret_ifd) && *ret_ifd >= TIFF_HEADER_BYTES;
}

/* The value of the entry at `at`; 0 when it is not a single BYTE, SHORT or LONG, or when the data end before it does.
 */
static uint32_t single_integer(const struct tiff *t, uint64_t at)
{
    uint32_t type, count, value;

    if (!u16_at(t, at + 2, &type) || !u32_at(t, at + 4, &count) || count != 1)
        return 0;
    if (type == TIFF_LONG)
        return u32_at(t, at + 8, &value) ? value : 0;
    if (!u16_at(t, at + 8, &value))
        return 0;
    if (type == TIFF_BYTE)
        return t->big_endian ? value >> 8 : value & 0xff;
    return type == TIFF_SHORT ? value : 0;
}

int exif_orientation(struct span tiff)
{
    uint32_t ifd, n_entries, tag, value;
    struct tiff t;

    if (!open_tiff(tiff, &t, &ifd) || !u16_at(&t, ifd, &n_entries))
        return 1;
    for (uint64_t i = 0; i < n_entries; i++) {
        uint64_t at = ifd + 2 + i * TIFF_ENTRY_BYTES;

        if (!u16_at(&t, at, &tag))
            return 1;
        if (tag != EXIF_TAG_ORIENTATION)
            continue;
        value = single_integer(&t, at);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
