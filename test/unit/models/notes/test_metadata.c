#include "models/notes/metadata.h"

#include <string.h>

#include "models/codec/jpeg.h"
#include "models/codec/jpeg_notes.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

/* exiftool 12.57 -validate: OK; it and Pillow read from them what is asked for below, and nothing else. */
TEST(metadata__exif_data_are_those_that_exiftool_has_validated)
{
    static const struct span want = SPAN(
        "MM\0*\0\0\0\x08\0\x07\x01\x12\0\x03\0\0\0\x01\0\x01\0\0\x01\x1a\0\x05\0\0\0\x01\0\0\0b\x01\x1b\0\x05\0\0"
        "\0\x01\0\0\0j\x01(\0\x03\0\0\0\x01\0\x02\0\0\x02\x13\0\x03\0\0\0\x01\0\x01\0\0\x82\x98\0\x02\0\0\0\x0c\0"
        "\0\0r\x87i\0\x04\0\0\0\x01\0\0\0~\0\0\0\0\0\0\0H\0\0\0\x01\0\0\0H\0\0\0\x01(c) 2024 Me\0\0\x09\x90\0\0"
        "\x07\0\0\0\x04\x30\x32\x33\x32\x90\x03\0\x02\0\0\0\x14\0\0\0\xf0\x90\x11\0\x02\0\0\0\x07\0\0\x01\x04\x91"
        "\x01\0\x07\0\0\0\x04\x01\x02\x03\0\x92\x91\0\x02\0\0\0\x04\x31\x32\x33\0\xa0\0\0\x07\0\0\0\x04\x30\x31"
        "\x30\x30\xa0\x01\0\x03\0\0\0\x01\0\x01\0\0\xa0\x02\0\x04\0\0\0\x01\0\0\x02\x80\xa0\x03\0\x04\0\0\0\x01\0"
        "\0\x01\xe0\0\0\0\x00\x32\x30\x32\x34:02:29 13:45:59\0+02:00\0\0");
    static const struct exif_facts facts = { .taken = "2024:02:29 13:45:59", .utc_offset = "+02:00", .subsec = "123",
                                             .copyright = "(c) 2024 Me", .copyright_len = 11 };
    struct arena a;
    struct err err = { 0 };
    struct span got;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(metadata_exif(&a, &(struct metadata_exif){ .facts = &facts, .width = 640, .height = 480 }, &got, &err), err);
    CHECK(span_eq(got, want));
    arena_done(&a);
}

static void check_same_facts(const struct exif_facts *got, const struct exif_facts *want)
{
    CHECK_STR(got->taken, want->taken);
    CHECK_STR(got->utc_offset, want->utc_offset);
    CHECK_STR(got->subsec, want->subsec);
    CHECK_INT(got->copyright_len, want->copyright_len);
    CHECK(memcmp(got->copyright, want->copyright, want->copyright_len) == 0);
}

/* Each fact alone, none, all; short texts lie inside their entries, long ones behind the directory. */
TEST(metadata__what_is_written_is_read_again)
{
    static struct exif_facts cases[] = {
        { .copyright_len = 0 },
        { .taken = "2001:01:02 03:04:05" },
        { .utc_offset = "-03:30" },
        { .subsec = "5" },
        { .subsec = "987654321" },
        { .copyright = "me", .copyright_len = 2 },
        { .copyright = "you", .copyright_len = 3 },
        { .copyright = "them", .copyright_len = 4 },
        { .copyright = "Ann\0Bob", .copyright_len = 7 },
        { .taken = "2024:02:29 13:45:59", .utc_offset = "+02:00", .subsec = "123", .copyright_len = EXIF_COPYRIGHT_MAX },
    };
    struct arena a;
    struct err err = { 0 };
    struct exif_facts got;
    struct span tiff;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    memset(cases[sizeof cases / sizeof *cases - 1].copyright, 'c', EXIF_COPYRIGHT_MAX);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(metadata_exif(&a, &(struct metadata_exif){ &cases[i], 10, 20, true }, &tiff, &err), err);
        exif_read_facts(tiff, &got);
        check_same_facts(&got, &cases[i]);
        CHECK_INT(exif_orientation(tiff), 1);
    }
    arena_done(&a);
}

/* Names of the segments before the pixels, one letter each: J(FIF), E(xif), X(MP), C (profile), ? any other APP or COM. */
static void list_segments(struct span file, char *ret)
{
    const unsigned char *p = (const unsigned char *)file.ptr + 2;

    for (; p[1] != 0xda; p += 2 + (p[2] << 8 | p[3])) {
        const char *name = (const char *)p + 4;

        if ((p[1] & 0xf0) == 0xe0 || p[1] == 0xfe)
            *ret++ = !memcmp(name, "JFIF", 5) ? 'J' : !memcmp(name, "Exif\0", 6) ? 'E' :
                     !memcmp(name, "http://ns.adobe.com/xap/1.0/", 29) ? 'X' : !memcmp(name, "ICC_PROFILE", 12) ? 'C' : '?';
    }
    *ret = 0;
}

TEST(metadata__segments_are_written_in_the_order_that_readers_expect)
{
    static const struct span digital_source_type =
        SPAN("<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/"
             "compositeWithTrainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>");
    static const struct exif_facts facts = { .taken = "2024:02:29 13:45:59" };
    struct jpeg_options o = { .quality = 90, .xmp = metadata_xmp() };
    struct arena a;
    struct err err = { 0 };
    struct image im;
    struct span file;
    char names[32];

    CHECK_OK(arena_init(&a, 4 << 20, &err), err);
    picture_of_noise(&a, 20, 10, 3, 1, &im);
    CHECK_OK(jpeg_write(&a, &im, &o, &file, &err), err);
    list_segments(file, names);
    CHECK_STR(names, "JX");
    CHECK_OK(metadata_exif(&a, &(struct metadata_exif){ &facts, 20, 10, false }, &o.exif, &err), err);
    o.icc = SPAN("a profile");
    CHECK_OK(jpeg_write(&a, &im, &o, &file, &err), err);
    list_segments(file, names);
    CHECK_STR(names, "JEXC");
    CHECK(memmem(file.ptr, file.len, digital_source_type.ptr, digital_source_type.len) != NULL);
    arena_done(&a);
}

TEST(metadata__what_does_not_fit_into_a_segment_is_refused)
{
    static const char bytes[70000];
    struct arena a;
    struct err err = { 0 };
    struct image im;
    struct span file;

    CHECK_OK(arena_init(&a, 4 << 20, &err), err);
    picture_of_noise(&a, 8, 8, 1, 1, &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 90, .exif = { bytes, 65527 } }, &file, &err), err);
    CHECK_INT(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 90, .exif = { bytes, 65528 } }, &file, NULL), ERR_TOO_LARGE);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 90, .xmp = { bytes, 65504 } }, &file, &err), err);
    CHECK_INT(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 90, .xmp = { bytes, 65505 } }, &file, NULL), ERR_TOO_LARGE);
    arena_done(&a);
}
