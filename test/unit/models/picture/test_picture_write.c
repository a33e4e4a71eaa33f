#include "models/picture/picture_write.h"

#include <string.h>

#include "models/notes/metadata.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

/* An original, as jpeg_read() gives it, with one pixel changed. */
struct scene {
    struct arena a;
    struct image photo;
    struct picture_to_write in;
};

static void open_scene(struct scene *s, struct span original)
{
    struct err err = { 0 };
    struct image im;
    struct image_notes notes;

    CHECK_OK(arena_init(&s->a, 64 << 20, &err), err);
    CHECK_OK(jpeg_read(&s->a, original, &im, &notes, &err), err);
    CHECK_OK(image_to_rgb(&s->a, &im, &s->photo, &err), err);
    s->photo.pixels[0] ^= 0x80;
    s->in = (struct picture_to_write){ &s->photo, notes.icc, notes.exif, original };
}

static bool contains(struct span s, const char *text)
{
    return memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}

TEST(picture_write__splices_where_it_can_and_says_why_where_it_cannot)
{
    static const struct { const char *name; const char *why_not; } cases[] = {
        { "decode_420.jpg", NULL }, { "decode_progressive.jpg", NULL }, { "decode_grey.jpg", NULL }, { "oriented_1.jpg", NULL },
        { "oriented_6.jpg", "turned" }, { "oriented_3.jpg", "turned" }, { "decode_cmyk.jpg", "YCbCr" }, { "decode_ycck.jpg", "YCbCr" },
    };
    const struct picture_settings settings = { .output = PICTURE_SPLICE };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena files;
        struct scene s;
        struct err err = { 0 };
        struct image got;
        struct span file;
        struct picture_written w;

        CHECK_OK(arena_init(&files, 4 << 20, &err), err);
        open_scene(&s, file_bytes(&files, golden("pictures/%s", cases[i].name)));
        CHECK_OK(picture_write_edited(&s.a, &s.in, &settings, &file, &w, &err), err);
        CHECK_INT(w.mode, cases[i].why_not ? PICTURE_Q95 : PICTURE_SPLICE);
        CHECK(cases[i].why_not ? strstr(w.why_not, cases[i].why_not) != NULL : !*w.why_not);
        CHECK(cases[i].why_not ? !w.splice.n_blocks : w.splice.n_new > 0 && w.splice.n_new <= 3);
        CHECK_OK(jpeg_read(&s.a, file, &got, NULL, &err), err);
        CHECK_INT(got.width, s.photo.width);
        CHECK(contains(file, "compositeWithTrainedAlgorithmicMedia"));
        arena_done(&s.a);
        arena_done(&files);
    }
}

TEST(picture_write__both_ways_keep_the_four_facts_and_lose_the_rest)
{
    static const struct exif_facts facts = { .taken = "2024:02:29 13:45:59", .utc_offset = "-05:00", .subsec = "42",
                                             .copyright = "\xc2\xa9 me", .copyright_len = 5 };
    struct picture_settings settings = { .output = PICTURE_Q95 };
    struct arena files;
    struct scene s;
    struct err err = { 0 };

    CHECK_OK(arena_init(&files, 4 << 20, &err), err);
    open_scene(&s, file_bytes(&files, golden("pictures/decode_420.jpg")));
    CHECK_OK(metadata_exif(&s.a, &(struct metadata_exif){ &facts, 1, 1, false }, &s.in.exif, &err), err);
    for (int i = 0; i < 4; i++) {
        struct exif_facts got;
        struct image_notes notes;
        struct image im;
        struct picture_written w;
        struct span file;

        settings.output = i & 1 ? PICTURE_SPLICE : PICTURE_Q95;
        settings.fast_huffman = i & 2;
        CHECK_OK(picture_write_edited(&s.a, &s.in, &settings, &file, &w, &err), err);
        CHECK_INT(w.mode, settings.output);
        CHECK_OK(jpeg_read(&s.a, file, &im, &notes, &err), err);
        exif_read_facts(notes.exif, &got);
        CHECK_STR(got.taken, facts.taken);
        CHECK_STR(got.utc_offset, facts.utc_offset);
        CHECK_STR(got.subsec, facts.subsec);
        CHECK_STR(got.copyright, facts.copyright);
        CHECK_INT(notes.orientation, 1);
    }
    arena_done(&s.a);
    arena_done(&files);
}

/* What must not leave the house: the original's Exif data are those of exiftool with an artist, a serial number and a
 * place, an XMP packet, an IPTC block and a comment beside them. */
TEST(picture_write__nothing_else_of_the_originals_metadata_is_in_any_output)
{
    static const char *const secrets[] = { "Secret", "SN12345", "XmpName", "IptcName", "a comment", "Photoshop 3.0" };
    static const struct span head = SPAN(
        "\xff\xd8"
        "\xff\xe1\0\x4e" "Exif\0\0MM\0*\0\0\0\x08" "\0\3" "\1\x3b\0\2\0\0\0\7\0\0\0\x32" "\xa4\x31\0\2\0\0\0\x08\0\0\0\x39"
        "\x82\x98\0\2\0\0\0\4(c)\0" "\0\0\0\0" "Secret\0" "SN12345\0" "\0\0\0\0\0"
        "\xff\xe1\0\x35http://ns.adobe.com/xap/1.0/\0<dc:creator>XmpName</>"
        "\xff\xed\0\x22Photoshop 3.0\0" "8BIM\4\4\0\0\0\0IptcName"
        "\xff\xfe\0\x0b" "a comment");
    struct picture_settings settings = { .output = PICTURE_Q95 };
    struct arena files;
    struct scene s;
    struct err err = { 0 };
    struct span plain, original, file;
    struct picture_written w;
    char *bytes = NULL;

    CHECK_OK(arena_init(&files, 4 << 20, &err), err);
    plain = file_bytes(&files, golden("pictures/decode_420.jpg"));
    CHECK_OK(arena_alloc(&files, head.len + plain.len - 2, 1, &bytes, &err), err);
    memcpy(bytes, head.ptr, head.len);
    memcpy(bytes + head.len, plain.ptr + 2, plain.len - 2);
    original = (struct span){ bytes, head.len + plain.len - 2 };
    open_scene(&s, original);
    for (int i = 0; i < 3; i++) {
        settings.output = i == 1 ? PICTURE_SPLICE : PICTURE_Q95;
        if (i < 2)
            CHECK_OK(picture_write_edited(&s.a, &s.in, &settings, &file, &w, &err), err);
        else
            CHECK_OK(picture_write_preview(&s.a, &s.photo, s.in.icc, &file, &err), err);
        for (size_t k = 0; k < sizeof secrets / sizeof *secrets; k++) {
            CHECK(contains(original, secrets[k]));
            if (contains(file, secrets[k]))
                test_fail(__FILE__, __LINE__, "output %d has \"%s\"", i, secrets[k]);
        }
        CHECK_INT(memmem(file.ptr, file.len, "(c)\0", 4) != NULL, i < 2);
        CHECK_INT(memmem(file.ptr, file.len, "Exif\0\0", 6) != NULL, i < 2);
        CHECK(contains(file, "compositeWithTrainedAlgorithmicMedia"));
    }
    arena_done(&s.a);
    arena_done(&files);
}
