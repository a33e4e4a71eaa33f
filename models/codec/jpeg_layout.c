#include "models/codec/jpeg_layout.h"

enum {
    SOF0 = 0xc0,
    DHT = 0xc4,
    JPG = 0xc8,
    DAC = 0xcc,
    RST0 = 0xd0,
    RST7 = 0xd7,
    SOI = 0xd8,
    EOI = 0xd9,
    SOS = 0xda,
    DHP = 0xde,
    TEM = 0x01,
    SOF55 = 0xf7, /* JPEG-LS */
    MAX_COMPONENTS = 4
};

/* A place in the file, and the identifiers of the frame's components that no scan has had yet. */
struct walk {
    const unsigned char *bytes;
    size_t len, at;
    unsigned char missing[MAX_COMPONENTS];
    int n_missing;
};

/* Goes behind the next marker. false: there is none. */
static bool next_marker(struct walk *w, size_t *ret_at, unsigned *ret_marker)
{
    while (w->at < w->len) {
        const unsigned char *ff = memchr(w->bytes + w->at, 0xff, w->len - w->at);

        if (!ff)
            break;
        *ret_at = w->at = (size_t)(ff - w->bytes);
        while (w->at < w->len && w->bytes[w->at] == 0xff)
            w->at++;
        if (w->at == w->len)
            break;
        *ret_marker = w->bytes[w->at++];
        if (*ret_marker != 0)
            return true;
    }
    w->at = w->len;
    return false;
}

static bool is_frame(unsigned marker)
{
    return (marker >= SOF0 && marker <= 0xcf && marker != DHT && marker != JPG && marker != DAC) || marker == SOF55;
}

static bool is_alone(unsigned marker) /* without a length and a payload */
{
    return marker == TEM || (marker >= RST0 && marker <= RST7);
}

static bool ends_the_picture(const struct jpeg_layout *l, unsigned marker)
{
    return l->n_scans > 0 && (marker == SOI || (marker > TEM && marker < SOF0) || is_frame(marker));
}

/* 1. u8 bits    2. u16 height    3. u16 width    4. u8 components, each of 3 bytes, the first its identifier */
static void take_frame(struct jpeg_layout *l, struct walk *w, unsigned marker, struct span payload)
{
    const unsigned char *p = (const unsigned char *)payload.ptr;

    l->frame = l->frame == DHP ? DHP : marker;
    if (payload.len < 6)
        return;
    l->bits = p[0];
    l->height = p[1] << 8 | p[2];
    l->width = p[3] << 8 | p[4];
    l->n_components = p[5];
    w->n_missing = 0;
    for (size_t i = 0; i < MAX_COMPONENTS && i < p[5] && 6 + 3 * i < payload.len; i++)
        w->missing[w->n_missing++] = p[6 + 3 * i];
}

/* 1. u8 components, each of 2 bytes, the first its identifier    2. three parameters */
static void take_scan(struct jpeg_layout *l, struct walk *w, struct span payload)
{
    const unsigned char *p = (const unsigned char *)payload.ptr;

    l->n_scans++;
    for (size_t i = 0; payload.len > 0 && i < p[0] && 1 + 2 * i < payload.len; i++)
        for (int m = 0; m < w->n_missing; m++)
            if (w->missing[m] == p[1 + 2 * i]) {
                w->missing[m] = w->missing[--w->n_missing];
                break;
            }
}

/* Over the entropy-coded data, to the first marker that is not within them. */
static void skip_data(struct walk *w)
{
    size_t at;
    unsigned marker;

    while (next_marker(w, &at, &marker))
        if (marker < RST0 || marker > RST7) {
            w->at = at;
            return;
        }
}

/* The payload of the segment that begins at the walk's place, which goes behind it. false: it is longer than the file.
 */
static bool take_segment(struct walk *w, struct span *ret)
{
    size_t left = w->len - w->at, length;

    if (left < 2)
        return false;
    length = (size_t)w->bytes[w->at] << 8 | w->bytes[w->at + 1];
    if (length < 2 || length > left)
        return false;
    *ret = (struct span){ (const char *)w->bytes + w->at + 2, length - 2 };
    w->at += length;
    return true;
}

/* Reads one marker and what belongs to it. false: the picture has ended. */
static bool take_marker(struct jpeg_layout *l, struct walk *w)
{
    struct span payload;
    unsigned marker;
    size_t at;

    if (!next_marker(w, &at, &marker))
        return false;
    if (l->n_scans > 0)
        l->end = at;
    if (marker == EOI) {
        l->has_eoi = true;
        l->end = w->at;
        return false;
    }
    if (ends_the_picture(l, marker))
        return false;
    if (is_alone(marker) || marker == SOI)
        return true;
    if (!take_segment(w, &payload))
        return false;
    if (marker == DHP)
        l->frame = DHP;
    else if (is_frame(marker))
        take_frame(l, w, marker, payload);
    else if (marker == SOS) {
        take_scan(l, w, payload);
        skip_data(w);
        l->end = w->at;
    }
    return true;
}

/* The zeros at the end of a file that was given its size before its content are no data, but they would decode. A few
 * may be the picture's. */
static size_t without_zeros(struct span file, size_t end)
{
    enum { KEPT = 8 };
    size_t n = end;

    while (n > 0 && file.ptr[n - 1] == 0)
        n--;
    return end - n > KEPT ? n + KEPT : end;
}

struct jpeg_layout jpeg_layout(struct span file)
{
    struct walk w = { .bytes = (const unsigned char *)file.ptr, .len = file.len, .at = 2 };
    struct jpeg_layout l = { .frame = 0 };

    if (file.len < 2)
        return l;
    while (take_marker(&l, &w)) {
    }
    if (l.n_scans == 0)
        l.end = file.len;
    if (!l.has_eoi)
        l.end = without_zeros(file, l.end);
    l.has_every_component = w.n_missing == 0;
    return l;
}

bool jpeg_layout_size(struct span file, int64_t *ret_width, int64_t *ret_height)
{
    struct walk w = { .bytes = (const unsigned char *)file.ptr, .len = file.len, .at = 2 };
    struct jpeg_layout l = { .frame = 0 };

    while (file.len >= 2 && l.width == 0 && l.n_scans == 0 && take_marker(&l, &w)) {
    }
    *ret_width = l.width;
    *ret_height = l.height;
    return l.width > 0 && l.height > 0;
}

size_t jpeg_layout_scans_end(struct span file, size_t before)
{
    struct walk w = { .bytes = (const unsigned char *)file.ptr, .len = file.len, .at = 2 };
    struct jpeg_layout l = { .frame = 0 };
    size_t ret = 0;
    int n_scans = 0;

    while (w.at < w.len && take_marker(&l, &w) && w.at <= before)
        if (l.n_scans > n_scans) {
            n_scans = l.n_scans;
            ret = w.at;
        }
    return ret;
}

const char *jpeg_layout_unsupported(const struct jpeg_layout *l)
{
    if (l->frame == DHP || (l->frame >= 0xc5 && l->frame <= 0xc7) || l->frame >= 0xcd)
        return l->frame == SOF55 ? "a JPEG-LS file" : "a hierarchical JPEG file";
    if (l->frame == 0xc3 || l->frame == 0xcb)
        return "a lossless JPEG file";
    if (l->frame && l->bits == 12)
        return "a JPEG file of 12 bits a colour";
    return NULL;
}
