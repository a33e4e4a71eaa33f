#include "models/codec/jpeg_notes.h"

#include <stdlib.h>
#include <string.h>

#include "models/codec/decode.h"
#include "models/codec/jpeg.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

static void put_segment(struct bytes *b, uint8_t marker, struct span payload)
{
    bytes_u8(b, 0xff);
    bytes_u8(b, marker);
    bytes_u8(b, (uint8_t)((payload.len + 2) >> 8));
    bytes_u8(b, (uint8_t)(payload.len + 2));
    bytes_put(b, payload.ptr, payload.len);
}

/* The file with one more segment right behind SOI; none where the payload is empty. */
static void put_with_segment(struct bytes *b, struct span file, uint8_t marker, struct span payload)
{
    bytes_put(b, file.ptr, 2);
    if (payload.len)
        put_segment(b, marker, payload);
    bytes_put(b, file.ptr + 2, file.len - 2);
}

#define XMP "http://ns.adobe.com/xap/1.0/\0"
#define ULTRA_HDR XMP "<rdf:Description xmlns:hdrgm=\"http://ns.adobe.com/hdr-gain-map/1.0/\" hdrgm:Version=\"1.0\"/>"
#define CONTAINER XMP "<Container:Item Item:Semantic=\"GainMap\" Item:Mime=\"image/jpeg\"/>"
#define APPLE XMP "<rdf:Description xmlns:HDRGainMap=\"http://ns.apple.com/HDRGainMap/1.0/\"/>"
#define MPF "MPF\0MM\0*"
#define ISO "urn:iso:std:iso:ts:21496:-1\0"

/* The first picture is what is decoded, whatever stands behind it. */
TEST(jpeg_notes__finds_a_gain_map_and_no_other_second_picture)
{
    static const struct { uint8_t marker; struct span first; uint8_t second_marker; struct span second; bool want; } cases[] = {
        { 0xe1, SPAN(ULTRA_HDR), 0xe1, SPAN(ULTRA_HDR), true },
        { 0xe1, SPAN(ULTRA_HDR), 0xe1, SPAN(""), true },
        { 0xe1, SPAN(CONTAINER), 0xe1, SPAN(ULTRA_HDR), true },
        { 0xe2, SPAN(ISO), 0xe2, SPAN(ISO), true },
        { 0xe2, SPAN(MPF), 0xe1, SPAN(APPLE), true },
        { 0xe2, SPAN(MPF), 0xe1, SPAN(ULTRA_HDR), true },
        { 0xe2, SPAN(MPF), 0xe2, SPAN(ISO), true },
        { 0xe2, SPAN(MPF), 0xe1, SPAN(""), false },          /* a preview */
        { 0xe1, SPAN(""), 0xe1, SPAN(""), false },
        { 0xe1, SPAN(XMP "<x/>"), 0xe1, SPAN(ULTRA_HDR), false }, /* nothing points at the second file */
    };
    struct arena a;
    struct err err = { 0 };
    struct image im, other, got;
    struct image_notes notes;
    struct span file, second;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    picture_of_noise(&a, 40, 30, 3, 1, &im);
    picture_of_noise(&a, 10, 8, 1, 2, &other);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 90 }, &file, &err), err);
    CHECK_OK(jpeg_write(&a, &other, &(struct jpeg_options){ .quality = 90 }, &second, &err), err);
    CHECK_OK(jpeg_read(&a, file, &im, NULL, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };

        put_with_segment(&b, file, cases[i].marker, cases[i].first);
        CHECK_OK(jpeg_notes(&a, (struct span){ b.ptr, b.len }, &notes, &err), err);
        CHECK(!notes.has_gain_map); /* the second picture was cut off */
        put_with_segment(&b, second, cases[i].second_marker, cases[i].second);
        CHECK_OK(image_decode(&a, (struct span){ b.ptr, b.len }, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &got, &notes, &err), err);
        CHECK_SAME_PICTURE(&got, &im);
        if (notes.has_gain_map != cases[i].want)
            test_fail(__FILE__, __LINE__, "case %zu: has_gain_map is %d", i, notes.has_gain_map);
        bytes_done(&b);
    }
    arena_done(&a);
}

/* The second of two Exif segments does not count; what is copied is what stands behind the tag. */
TEST(jpeg_notes__copies_the_exif_data)
{
    static const struct span first = SPAN("Exif\0\0II*\0\x08\0\0\0\0\0"), second = SPAN("Exif\0\0MM");
    struct arena a;
    struct err err = { 0 };
    struct image_notes notes;
    struct bytes b = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    bytes_put(&b, "\xff\xd8", 2);
    put_segment(&b, 0xe1, first);
    put_segment(&b, 0xe1, second);
    bytes_put(&b, "\xff\xda", 2);
    CHECK_OK(jpeg_notes(&a, (struct span){ b.ptr, b.len }, &notes, &err), err);
    CHECK(span_eq(notes.exif, (struct span){ first.ptr + 6, first.len - 6 }));
    CHECK(notes.exif.ptr < b.ptr || notes.exif.ptr >= b.ptr + b.len);
    bytes_done(&b);
    arena_done(&a);
}
