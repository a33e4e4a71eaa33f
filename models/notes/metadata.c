#include "models/notes/metadata.h"

#include <assert.h>

enum {
    SHORT = 3,
    ASCII = 2,
    LONG = 4,
    RATIONAL = 5,
    UNDEFINED = 7,
    HEADER_BYTES = 8,
    ENTRY_BYTES = 12,
    ENTRIES_MAX = 16,
    VALUES_BYTES_MAX = EXIF_COPYRIGHT_MAX + 256,
    COLOUR_SRGB = 1,
    COLOUR_UNCALIBRATED = 0xffff
};

struct entry {
    uint32_t tag, type, n; /* n values */
    size_t len;            /* bytes */
    uint8_t value[4];      /* where len is at most 4 */
    size_t at;             /* in ifd.values, where it is more */
};

/* A directory being written: its entries, and the values that do not fit into an entry. */
struct ifd {
    struct entry entries[ENTRIES_MAX];
    uint8_t values[VALUES_BYTES_MAX];
    size_t n_entries, values_len;
};

static void put_u16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    put_u16(p, v >> 16);
    put_u16(p + 2, v & 0xffff);
}

/* `n` values of a type, `len` bytes in all. Entries are put in the order of their tags, as TIFF demands. */
static struct entry *put(struct ifd *d, uint32_t tag, uint32_t type, size_t n, const void *value, size_t len)
{
    struct entry *e = &d->entries[d->n_entries++];

    assert(d->n_entries <= ENTRIES_MAX && d->values_len + len < VALUES_BYTES_MAX);
    *e = (struct entry){ .tag = tag, .type = type, .n = (uint32_t)n, .len = len, .at = d->values_len };
    if (len <= sizeof e->value) {
        memcpy(e->value, value, len);
        return e;
    }
    memcpy(d->values + d->values_len, value, len);
    d->values_len += len + len % 2; /* values begin at even offsets */
    return e;
}

static void put_short(struct ifd *d, uint32_t tag, uint32_t v)
{
    uint8_t bytes[2];

    put_u16(bytes, v);
    (void)put(d, tag, SHORT, 1, bytes, sizeof bytes);
}

static struct entry *put_long(struct ifd *d, uint32_t tag, uint32_t v)
{
    uint8_t bytes[4];

    put_u32(bytes, v);
    return put(d, tag, LONG, 1, bytes, sizeof bytes);
}

static void put_whole(struct ifd *d, uint32_t tag, uint32_t v)
{
    uint8_t bytes[8];

    put_u32(bytes, v);
    put_u32(bytes + 4, 1);
    (void)put(d, tag, RATIONAL, 1, bytes, sizeof bytes);
}

/* With its NUL; an absent text is left out. */
static void put_text(struct ifd *d, uint32_t tag, const char *text, size_t len)
{
    if (len)
        (void)put(d, tag, ASCII, len + 1, text, len + 1);
}

static size_t ifd_bytes(const struct ifd *d)
{
    return 2 + d->n_entries * ENTRY_BYTES + 4 + d->values_len;
}

static void fill_ifd0(struct ifd *d, const struct exif_facts *f)
{
    struct entry *exif_ifd;

    put_short(d, 0x0112, 1);  /* Orientation: as stored */
    put_whole(d, 0x011a, 72); /* XResolution, the standard's word for unknown */
    put_whole(d, 0x011b, 72); /* YResolution */
    put_short(d, 0x0128, 2);  /* ResolutionUnit: inch */
    put_short(d, 0x0213, 1);  /* YCbCrPositioning: centred */
    put_text(d, 0x8298, f->copyright, f->copyright_len);
    exif_ifd = put_long(d, 0x8769, 0);
    put_u32(exif_ifd->value, (uint32_t)(HEADER_BYTES + ifd_bytes(d))); /* the Exif IFD follows this one */
}

static void fill_exif_ifd(struct ifd *d, const struct metadata_exif *m)
{
    const struct exif_facts *f = m->facts;

    (void)put(d, 0x9000, UNDEFINED, 4, "0232", 4); /* ExifVersion */
    put_text(d, 0x9003, f->taken, strlen(f->taken));
    put_text(d, 0x9011, f->utc_offset, strlen(f->utc_offset));
    (void)put(d, 0x9101, UNDEFINED, 4, "\1\2\3\0", 4); /* ComponentsConfiguration: Y, Cb, Cr */
    put_text(d, 0x9291, f->subsec, strlen(f->subsec));
    (void)put(d, 0xa000, UNDEFINED, 4, "0100", 4); /* FlashpixVersion */
    put_short(d, 0xa001, m->has_profile ? COLOUR_UNCALIBRATED : COLOUR_SRGB);
    (void)put_long(d, 0xa002, (uint32_t)m->width);
    (void)put_long(d, 0xa003, (uint32_t)m->height);
}

/* Writes the directory to base + at, and returns what follows it. There is no next directory: its offset stays 0. */
static size_t write_ifd(uint8_t *base, size_t at, const struct ifd *d)
{
    size_t values_at = at + ifd_bytes(d) - d->values_len;

    put_u16(base + at, (uint32_t)d->n_entries);
    for (size_t i = 0; i < d->n_entries; i++) {
        const struct entry *e = &d->entries[i];
        uint8_t *p = base + at + 2 + i * ENTRY_BYTES;

        put_u16(p, e->tag);
        put_u16(p + 2, e->type);
        put_u32(p + 4, e->n);
        if (e->len <= sizeof e->value)
            memcpy(p + 8, e->value, sizeof e->value);
        else
            put_u32(p + 8, (uint32_t)(values_at + e->at));
    }
    memcpy(base + values_at, d->values, d->values_len);
    return values_at + d->values_len;
}

enum err_code metadata_exif(struct arena *a, const struct metadata_exif *m, struct span *ret, struct err *err)
{
    struct ifd ifd0 = { .n_entries = 0 }, exif = { .n_entries = 0 };
    uint8_t *bytes = NULL;
    size_t len;

    fill_ifd0(&ifd0, m->facts);
    fill_exif_ifd(&exif, m);
    TRY(arena_alloc(a, HEADER_BYTES + ifd_bytes(&ifd0) + ifd_bytes(&exif), 1, &bytes, err));
    memcpy(bytes, "MM\0*\0\0\0\x08", HEADER_BYTES);
    len = write_ifd(bytes, HEADER_BYTES, &ifd0);
    len = write_ifd(bytes, len, &exif);
    *ret = (struct span){ (const char *)bytes, len };
    return ERR_OK;
}

struct span metadata_xmp(void)
{
    return SPAN("<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"
                "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n"
                " <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"
                "  <rdf:Description rdf:about=\"\"\n"
                "    xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\">\n"
                "   <Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/"
                "compositeWithTrainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>\n"
                "  </rdf:Description>\n"
                " </rdf:RDF>\n"
                "</x:xmpmeta>\n"
                "<?xpacket end=\"r\"?>");
}
