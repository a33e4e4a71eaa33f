#include "models/codec/jpeg_scan.h"

enum { SOF0 = 0xc0, SOF1 = 0xc1, DHT = 0xc4, SOS = 0xda, DQT = 0xdb, DRI = 0xdd, MAX_COMPONENTS = 4, MAX_DC_BITS = 11 };

/* Canonical: the codes of a length are consecutive numbers. */
struct table {
    unsigned count[17]; /* of codes, by length in bits */
    unsigned char symbol[256];
};

struct component {
    unsigned char id;
    int across, down; /* blocks of an MCU */
    const struct table *dc, *ac;
    int quantizer; /* which */
    int level;     /* of the last block, in steps of its quantizer */
};

struct scan {
    struct table tables[2][4]; /* DC, AC */
    int steps[4];              /* the quantizers of DC; 0: unknown */
    struct component components[MAX_COMPONENTS];
    int n, width, height;
    bool restarts;
    const unsigned char *p, *end;
    unsigned bits; /* of the last byte, the ones still to come are the lowest */
    int n_bits;
    bool ended;
};

static unsigned next_bit(struct scan *s)
{
    if (s->n_bits == 0) {
        bool is_stuffed = s->end - s->p >= 2 && s->p[0] == 0xff && s->p[1] == 0;

        if (s->p == s->end || (s->p[0] == 0xff && !is_stuffed)) {
            s->ended = true;
            return 0;
        }
        s->bits = s->p[0];
        s->n_bits = 8;
        s->p += is_stuffed ? 2 : 1;
    }
    return s->bits >> --s->n_bits & 1;
}

static void skip_bits(struct scan *s, int n)
{
    while (n-- > 0)
        (void)next_bit(s);
}

/* -1: no such code. */
static int next_symbol(struct scan *s, const struct table *t)
{
    unsigned code = 0, first = 0, at = 0;

    for (int len = 1; len <= 16; len++) {
        code = code << 1 | next_bit(s);
        first <<= 1;
        if (code - first < t->count[len])
            return t->symbol[at + code - first];
        first += t->count[len];
        at += t->count[len];
    }
    return -1;
}

/* The difference of two levels: numbers of n bits, the lower half of which are the negative ones. */
static int next_difference(struct scan *s, int n)
{
    int x = 0;

    for (int i = 0; i < n; i++)
        x = x << 1 | (int)next_bit(s);
    return n && x < 1 << (n - 1) ? x - (1 << n) + 1 : x;
}

/* A level of 1024 is a block of white, of -1024 one of black, and rounding adds half a step. Where blocks are lost or
 * changed, all levels after them are shifted. */
static bool is_level(const struct scan *s, const struct component *c)
{
    int step = s->steps[c->quantizer], level = c->level < 0 ? -c->level : c->level;

    return (int64_t)level * step <= 1024 + step;
}

static bool walk_block(struct scan *s, struct component *c)
{
    int bits = next_symbol(s, c->dc), last = 0;

    if (bits < 0 || bits > MAX_DC_BITS)
        return false;
    c->level += next_difference(s, bits);
    if (!is_level(s, c))
        return false;
    while (last < 63) {
        int symbol = next_symbol(s, c->ac);

        if (symbol < 0)
            return false;
        if (symbol == 0xf0) { /* 16 zeros; some encoders write them up to the end */
            last += 16;
            continue;
        }
        if ((symbol & 15) == 0)
            break;
        last += (symbol >> 4) + 1;
        if (last > 63)
            return false;
        skip_bits(s, symbol & 15);
    }
    return !s->ended;
}

static bool walk_mcu(struct scan *s)
{
    for (int c = 0; c < s->n; c++)
        for (int b = 0; b < s->components[c].across * s->components[c].down; b++)
            if (!walk_block(s, &s->components[c]))
                return false;
    return true;
}

static int64_t walk(struct scan *s)
{
    int across = 1, down = 1, columns;

    if (s->n == 1) /* then the factors do not matter */
        s->components[0].across = s->components[0].down = 1;
    for (int c = 0; c < s->n; c++) {
        across = s->components[c].across > across ? s->components[c].across : across;
        down = s->components[c].down > down ? s->components[c].down : down;
    }
    columns = (s->width + 8 * across - 1) / (8 * across);
    for (int y = 0; y < s->height; y += 8 * down)
        for (int x = 0; x < columns; x++)
            if (!walk_mcu(s))
                return y;
    return INT64_MAX;
}

static bool take_tables(struct scan *s, const unsigned char *p, size_t len)
{
    while (len >= 17) {
        struct table *t = &s->tables[p[0] >> 4 & 1][p[0] & 3];
        size_t n = 0;

        for (int i = 1; i <= 16; i++)
            n += t->count[i] = p[i];
        if (n > sizeof t->symbol || n > len - 17)
            return false;
        memcpy(t->symbol, p + 17, n);
        p += 17 + n;
        len -= 17 + n;
    }
    return true;
}

static bool take_quantizers(struct scan *s, const unsigned char *p, size_t len)
{
    while (len > 0) {
        bool is_wide = p[0] >> 4;
        size_t n = is_wide ? 129 : 65;

        if (len < n)
            return false;
        s->steps[p[0] & 3] = is_wide ? p[1] << 8 | p[2] : p[1];
        p += n;
        len -= n;
    }
    return true;
}

static bool take_frame(struct scan *s, const unsigned char *p, size_t len)
{
    if (len < 6 || p[5] < 1 || p[5] > MAX_COMPONENTS || len < 6 + 3 * (size_t)p[5])
        return false;
    s->height = p[1] << 8 | p[2];
    s->width = p[3] << 8 | p[4];
    s->n = p[5];
    for (int i = 0; i < s->n; i++) {
        const unsigned char *c = p + 6 + 3 * i;

        s->components[i] =
            (struct component){ .id = c[0], .across = c[1] >> 4, .down = c[1] & 15, .quantizer = c[2] & 3 };
        if (s->components[i].across < 1 || s->components[i].across > 4 || s->components[i].down < 1 ||
            s->components[i].down > 4)
            return false;
    }
    return true;
}

/* The scan must have every component of the frame, in its order. */
static bool take_scan(struct scan *s, const unsigned char *p, size_t len)
{
    if (len < 1 || p[0] != s->n || len < 1 + 2 * (size_t)s->n)
        return false;
    for (int i = 0; i < s->n; i++) {
        if (p[1 + 2 * i] != s->components[i].id)
            return false;
        s->components[i].dc = &s->tables[0][p[2 + 2 * i] >> 4 & 3];
        s->components[i].ac = &s->tables[1][p[2 + 2 * i] & 3];
    }
    return s->n > 0 && !s->restarts;
}

/* Reads the segments up to the scan, and goes to its data. false: it is not of a kind that can be walked. */
static bool find_scan(struct scan *s)
{
    while (s->end - s->p >= 4) {
        unsigned marker = s->p[1];
        size_t len = (size_t)s->p[2] << 8 | s->p[3];
        const unsigned char *payload = s->p + 4;
        bool is_good = true;

        if (s->p[0] != 0xff || marker == 0xff || marker == 0) { /* a stray byte, or one that fills */
            s->p++;
            continue;
        }
        if (len < 2 || len > (size_t)(s->end - s->p) - 2)
            return false;
        s->p += 2 + len;
        if (marker == DHT)
            is_good = take_tables(s, payload, len - 2);
        else if (marker == DQT)
            is_good = take_quantizers(s, payload, len - 2);
        else if (marker == SOF0 || marker == SOF1)
            is_good = take_frame(s, payload, len - 2);
        else if (marker == DRI)
            s->restarts = len >= 4 && (payload[0] || payload[1]);
        else if (marker == SOS)
            return take_scan(s, payload, len - 2);
        if (!is_good)
            return false;
    }
    return false;
}

int64_t jpeg_scan_unsound_row(struct span file)
{
    struct scan s = { .n = 0 };

    if (file.len < 4)
        return INT64_MAX;
    s.p = (const unsigned char *)file.ptr + 2;
    s.end = (const unsigned char *)file.ptr + file.len;
    return find_scan(&s) ? walk(&s) : INT64_MAX;
}
