#include "test/support/jpeg_build.h"

#include <stdio.h> /* jpeglib.h needs FILE */
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "test/support/check.h"

static void set_kind(struct jpeg_compress_struct *c, const struct jpeg_kind *k)
{
    static const J_COLOR_SPACE spaces[] = { 0, JCS_GRAYSCALE, 0, JCS_RGB, JCS_CMYK };
    int n = k->components ? k->components : 3;

    c->image_width = (JDIMENSION)k->width;
    c->image_height = (JDIMENSION)k->height;
    c->input_components = n;
    c->in_color_space = spaces[n];
    jpeg_set_defaults(c);
    jpeg_set_quality(c, 85, TRUE);
    if (k->ycck)
        jpeg_set_colorspace(c, JCS_YCCK);
    if (k->rgb)
        jpeg_set_colorspace(c, JCS_RGB);
    for (int i = 0; i < n; i++)
        c->comp_info[i].h_samp_factor = c->comp_info[i].v_samp_factor = 1;
    c->comp_info[0].h_samp_factor = k->across ? k->across : 1;
    c->comp_info[0].v_samp_factor = k->down ? k->down : 1;
    c->restart_in_rows = k->restart_rows;
    c->arith_code = k->arithmetic;
    if (k->progressive)
        jpeg_simple_progression(c);
}

static uint8_t sample(const struct jpeg_kind *k, int x, int y, int channel, uint32_t *noise)
{
    *noise = *noise * 1664525u + 1013904223u;
    return (uint8_t)(200 * x / k->width + 8 * y / k->height + 8 * channel + (int)(*noise >> 28));
}

static void write_rows(struct jpeg_compress_struct *c, const struct jpeg_kind *k)
{
    JSAMPLE *row = malloc((size_t)k->width * 4);
    uint32_t noise = 1;

    CHECK(row != NULL);
    for (int y = 0; y < k->height; y++) {
        for (int i = 0; i < k->width * c->input_components; i++)
            row[i] = sample(k, i / c->input_components, y, i % c->input_components, &noise);
        (void)jpeg_write_scanlines(c, &row, 1);
    }
    free(row);
}

struct span jpeg_build(struct arena *a, const struct jpeg_kind *k)
{
    static const jpeg_scan_info scans[] = { { 1, { 0 }, 0, 63, 0, 0 },
                                            { 1, { 1 }, 0, 63, 0, 0 },
                                            { 1, { 2 }, 0, 63, 0, 0 } };
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr e;
    struct err err = { 0 };
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    char *copy = NULL;

    c.err = jpeg_std_error(&e); /* which ends the test */
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &len);
    set_kind(&c, k);
    if (k->scan_a_component) {
        c.scan_info = scans;
        c.num_scans = 3;
    }
    jpeg_start_compress(&c, TRUE);
    write_rows(&c, k);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    CHECK_OK(span_dup(a, (struct span){ (const char *)bytes, len }, &copy, &err), err);
    free(bytes);
    return (struct span){ copy, len };
}

struct span bytes_spliced(struct arena *a, struct span file, size_t at, size_t remove, struct span insert)
{
    struct err err = { 0 };
    size_t len = file.len - remove + insert.len;
    char *bytes = NULL;

    CHECK(at + remove <= file.len);
    CHECK_OK(arena_alloc(a, len + 1, 1, &bytes, &err), err);
    memcpy(bytes, file.ptr, at);
    memcpy(bytes + at, insert.ptr, insert.len);
    memcpy(bytes + at + insert.len, file.ptr + at + remove, file.len - at - remove);
    return (struct span){ bytes, len };
}

size_t bytes_find(struct span file, struct span what, int n)
{
    const char *at = file.ptr;

    for (;;) {
        at = memmem(at, file.len - (size_t)(at - file.ptr), what.ptr, what.len);
        CHECK(at != NULL);
        if (n-- == 0)
            return (size_t)(at - file.ptr);
        at++;
    }
}

struct span exif_of_orientation(struct arena *a, int orientation, int type, bool big_endian)
{
    static const char little[] = "II*\0\x08\0\0\0\1\0\x12\1\0\0\1\0\0\0\0\0\0\0\0\0\0\0";
    static const char big[] = "MM\0*\0\0\0\x08\0\1\1\x12\0\0\0\0\0\1\0\0\0\0\0\0\0\0";
    size_t n = sizeof little - 1, size = type == 4 ? 4 : type == 3 ? 2 : 1;
    struct err err = { 0 };
    char *p = NULL;

    CHECK_OK(span_dup(a, (struct span){ big_endian ? big : little, n }, &p, &err), err);
    p[big_endian ? 13 : 12] = (char)type;
    p[18 + (big_endian ? size - 1 : 0)] = (char)orientation;
    return (struct span){ p, n };
}

struct span jpeg_with_exif(struct arena *a, struct span file, struct span tiff)
{
    char head[10] = "\xff\xe1\0\0Exif\0";
    struct span with_tiff;

    head[3] = (char)(2 + 6 + tiff.len);
    with_tiff = bytes_spliced(a, file, 2, 0, tiff);
    return bytes_spliced(a, with_tiff, 2, 0, (struct span){ head, sizeof head });
}
