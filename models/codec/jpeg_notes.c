#include "models/codec/jpeg_notes.h"

#include "models/notes/exif.h"
#include "models/notes/icc.h"

enum { EOI = 0xd9, SOS = 0xda, APP1 = 0xe1, APP2 = 0xe2 };

static const struct span exif_tag = { "Exif\0", 6 }; /* ends in two NULs; the second is the literal's own */
static const struct span icc_tag = { "ICC_PROFILE", 12 };
static const struct span xmp_tag = { "http://ns.adobe.com/xap/1.0/", 29 };
static const struct span mpf_tag = { "MPF", 4 };
static const struct span iso_gain_map_tag = { "urn:iso:std:iso:ts:21496:-1", 28 };

struct icc_parts {
    struct span part[256]; /* by number, from 1 */
    unsigned total;        /* number of parts, as each of them states it */
    bool damaged;
};

static bool tagged(struct span payload, struct span tag)
{
    return payload.len >= tag.len && memcmp(payload.ptr, tag.ptr, tag.len) == 0;
}

static struct span behind(struct span s, size_t n)
{
    return (struct span){ s.ptr + n, s.len - n };
}

static void collect(struct icc_parts *parts, struct span payload)
{
    unsigned number, total;

    if (payload.len < 2) {
        parts->damaged = true;
        return;
    }
    number = (unsigned char)payload.ptr[0];
    total = (unsigned char)payload.ptr[1];
    parts->damaged |=
        number < 1 || number > total || (parts->total && parts->total != total) || parts->part[number].ptr != NULL;
    parts->total = total;
    parts->part[number] = behind(payload, 2);
}

/* Takes one segment off the front of *rest. false: there is none before the pixels, or it is damaged. */
static bool next_segment(struct span *rest, unsigned *ret_marker, struct span *ret_payload)
{
    const unsigned char *p = (const unsigned char *)rest->ptr;
    size_t at = 0, length;

    while (at < rest->len && p[at] != 0xff)
        at++; /* stray bytes, which the decoder skips, too */
    while (at < rest->len && p[at] == 0xff)
        at++;
    if (rest->len - at < 3)
        return false;
    *ret_marker = p[at];
    length = (size_t)p[at + 1] << 8 | p[at + 2];
    if (*ret_marker == SOS || *ret_marker == EOI || length < 2 || length > rest->len - at - 1)
        return false;
    *ret_payload = (struct span){ rest->ptr + at + 3, length - 2 };
    *rest = behind(*rest, at + 1 + length);
    return true;
}

static enum err_code join(struct arena *a, const struct icc_parts *parts, struct span *ret, struct err *err)
{
    size_t len = 0, at = 0;
    char *bytes = NULL;

    for (unsigned i = 1; i <= parts->total; i++) {
        if (!parts->part[i].ptr)
            return ERR_OK;
        len += parts->part[i].len;
    }
    if (parts->damaged || len == 0 || len > ICC_MAX_BYTES)
        return ERR_OK;
    TRY(arena_alloc(a, len, 1, &bytes, err));
    for (unsigned i = 1; i <= parts->total; i++) {
        memcpy(bytes + at, parts->part[i].ptr, parts->part[i].len);
        at += parts->part[i].len;
    }
    *ret = (struct span){ bytes, len };
    return ERR_OK;
}

static bool contains(struct span s, const char *text)
{
    return memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}

/* What the segments of the first picture say about a second one. */
struct gain_map_signs {
    bool named;    /* there is said to be a gain map */
    bool possible; /* there is said to be another picture, of whatever kind */
};

static void look_for_gain_map(struct gain_map_signs *signs, unsigned marker, struct span payload)
{
    if (marker == APP1 && tagged(payload, xmp_tag))
        signs->named |= contains(payload, "http://ns.adobe.com/hdr-gain-map/1.0/") || contains(payload, "GainMap");
    else if (marker == APP2)
        signs->possible |= tagged(payload, mpf_tag) || tagged(payload, iso_gain_map_tag);
}

/* `rest` begins with the first picture's pixels, in which FF D8 cannot occur. */
static bool has_gain_map(const struct gain_map_signs *signs, struct span rest)
{
    static const char *const of_gain_maps[] = { "http://ns.adobe.com/hdr-gain-map/1.0/", "urn:iso:std:iso:ts:21496:-1",
                                                "http://ns.apple.com/HDRGainMap/1.0/", "aux:hdrgainmap" };
    const char *second = signs->named || signs->possible ? memmem(rest.ptr, rest.len, "\xff\xd8\xff", 3) : NULL;

    if (!second || signs->named)
        return second != NULL;
    rest = behind(rest, (size_t)(second - rest.ptr));
    for (size_t i = 0; i < sizeof of_gain_maps / sizeof *of_gain_maps; i++)
        if (contains(rest, of_gain_maps[i]))
            return true;
    return false;
}

static enum err_code take_exif(struct arena *a, struct span tiff, struct image_notes *notes, struct err *err)
{
    notes->orientation = exif_orientation(tiff);
    return exif_copy(a, tiff, &notes->exif, err);
}

enum err_code jpeg_notes(struct arena *a, struct span file, struct image_notes *ret, struct err *err)
{
    struct image_notes notes = { .orientation = 1 };
    struct icc_parts parts = { .total = 0 };
    struct gain_map_signs signs = { .named = false };
    struct span rest = file, payload;
    bool exif_seen = false;
    unsigned marker;

    if (rest.len > 2)
        rest = behind(rest, 2);
    while (next_segment(&rest, &marker, &payload)) {
        if (marker == APP1 && tagged(payload, exif_tag) && !exif_seen) {
            TRY(take_exif(a, behind(payload, exif_tag.len), &notes, err));
            exif_seen = true;
        } else if (marker == APP2 && tagged(payload, icc_tag)) {
            collect(&parts, behind(payload, icc_tag.len));
        }
        look_for_gain_map(&signs, marker, payload);
    }
    notes.has_gain_map = has_gain_map(&signs, rest);
    TRY(join(a, &parts, &notes.icc, err));
    *ret = notes;
    return ERR_OK;
}
