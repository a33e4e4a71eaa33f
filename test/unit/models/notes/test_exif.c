#include "models/notes/exif.h"

#include <stdlib.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"

#define II "II*\0\x08\0\0\0"
#define MM "MM\0*\0\0\0\x08"

TEST(exif__finds_the_orientation_and_nothing_in_damaged_data)
{
    static const struct { struct span tiff; int want; } cases[] = {
        { SPAN(II "\1\0" "\x12\1\3\0\1\0\0\0\6\0\0\0"), 6 },
        { SPAN(MM "\0\1" "\1\x12\0\3\0\0\0\1\0\x08\0\0"), 8 },
        { SPAN(II "\2\0" "\x0f\1\2\0\4\0\0\0abc\0" "\x12\1\3\0\1\0\0\0\3\0\0\0"), 3 },
        { SPAN("MM\0*\0\0\0\x0a??\0\1" "\1\x12\0\3\0\0\0\1\0\5\0\0"), 5 },
        { SPAN(II "\1\0" "\x12\1\3\0\1\0\0\0\2\0"), 2 },                 /* the unused half of the value is missing */
        { SPAN(II "\1\0" "\x12\1\3\0\1\0\0\0\0\0\0\0"), 1 },             /* below the range */
        { SPAN(II "\1\0" "\x12\1\3\0\1\0\0\0\x09\0\0\0"), 1 },           /* above it */
        { SPAN(II "\1\0" "\x12\1\3\0\1\0\0\0\6\1\0\0"), 1 },
        { SPAN(II "\1\0" "\x12\1\4\0\1\0\0\0\6\0\0\0"), 6 },             /* LONG */
        { SPAN(MM "\0\1" "\1\x12\0\4\0\0\0\1\0\0\0\x08"), 8 },
        { SPAN(II "\1\0" "\x12\1\4\0\1\0\0\0\6\0\1\0"), 1 },             /* LONG, 65542 */
        { SPAN(MM "\0\1" "\1\x12\0\4\0\0\0\1\0\6\0\0"), 1 },             /* a SHORT that says LONG: 393216 */
        { SPAN(II "\1\0" "\x12\1\4\0\1\0\0\0\6\0"), 1 },                 /* half a LONG */
        { SPAN(II "\1\0" "\x12\1\1\0\1\0\0\0\3\0\0\0"), 3 },             /* BYTE */
        { SPAN(II "\1\0" "\x12\1\1\0\1\0\0\0\3\xff\xff\xff"), 3 },
        { SPAN(MM "\0\1" "\1\x12\0\1\0\0\0\1\5\0\0\0"), 5 },
        { SPAN(MM "\0\1" "\1\x12\0\1\0\0\0\1\0\5\0\0"), 1 },
        { SPAN(II "\1\0" "\x12\1\x08\0\1\0\0\0\6\0\0\0"), 6 },          /* SSHORT */
        { SPAN(MM "\0\1" "\1\x12\0\x09\0\0\0\1\0\0\0\x08"), 8 },       /* SLONG */
        { SPAN(MM "\0\1" "\1\x12\0\x09\0\0\0\1\xff\xff\xff\xfa"), 1 }, /* -6 */
        { SPAN(II "\1\0" "\x12\1\2\0\1\0\0\0\6\0\0\0"), 1 },             /* ASCII */
        { SPAN(II "\1\0" "\x12\1\4\0\0\0\0\0\6\0\0\0"), 1 },             /* no value */
        { SPAN(II "\1\0" "\x12\1\3\0\2\0\0\0\6\0\0\0"), 1 },             /* two values */
        { SPAN(II "\xff\xff" "\x0f\1\2\0\4\0\0\0abc\0"), 1 },            /* 65535 entries announced, one present */
        { SPAN(II "\0\0"), 1 },
        { SPAN(II), 1 },                                                 /* the directory is beyond the end */
        { SPAN("II*\0\xff\xff\xff\xff\1\0"), 1 },                        /* offsets far outside */
        { SPAN("MM\0*\xff\xff\xff\xfe\1\0"), 1 },
        { SPAN("II*\0\0\0\0\0\1\0"), 1 },                                /* an offset into the header */
        { SPAN("II\0*\x08\0\0\0\1\0"), 1 },
        { SPAN("IM*\0\x08\0\0\0\1\0"), 1 },
        { SPAN("II*"), 1 },
        { SPAN("M"), 1 },
        { SPAN(""), 1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (exif_orientation(cases[i].tiff) != cases[i].want)
            test_fail(__FILE__, __LINE__, "case %zu: %d, want %d", i, exif_orientation(cases[i].tiff), cases[i].want);
    CHECK_INT(exif_orientation((struct span){ NULL, 0 }), 1);
}

/* Written by exiftool 12.57 with the five facts, an artist, a serial number and a place. */
static const struct span of_exiftool = SPAN(
    "II*\0\x08\0\0\0\x09\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x1a\x01\x05\0\x01\0\0\0z\0\0\0\x1b\x01\x05\0\x01"
    "\0\0\0\x82\0\0\0(\x01\x03\0\x01\0\0\0\x01\0\0\0;\x01\x02\0\x07\0\0\0\x8a\0\0\0\x13\x02\x03\0\x01\0\0\0"
    "\x01\0\0\0\x98\x82\x02\0\x0b\0\0\0\x92\0\0\0i\x87\x04\0\x01\0\0\0\x9e\0\0\0%\x88\x04\0\x01\0\0\0(\x01\0"
    "\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0Secret\0\0\xc2\xa9 2024 Me\0\0\x08\0\0\x90\x07\0\x04\0"
    "\0\x00\x30\x32\x33\x32\x03\x90\x02\0\x14\0\0\0\x04\x01\0\0\x11\x90\x02\0\x07\0\0\0\x18\x01\0\0\x01\x91"
    "\x07\0\x04\0\0\0\x01\x02\x03\0\x91\x92\x02\0\x04\0\0\x00\x31\x32\x33\0\0\xa0\x07\0\x04\0\0\x00\x30\x31"
    "\x30\x30\x01\xa0\x03\0\x01\0\0\0\xff\xff\0\x00\x31\xa4\x02\0\x08\0\0\0 \x01\0\0\0\0\0\x00\x32\x30\x32"
    "\x34:02:29 13:45:59\0+02:00\0\0SN12345\0\x03\0\0\0\x01\0\x04\0\0\0\x02\x03\0\0\x01\0\x02\0\x02\0\0\0N\0"
    "\0\0\x02\0\x05\0\x03\0\0\0R\x01\0\0\0\0\0\x00\x30\0\0\0\x01\0\0\0\x06\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0");

TEST(exif__reads_the_facts_that_exiftool_wrote)
{
    struct exif_facts f;

    exif_read_facts(of_exiftool, &f);
    CHECK_STR(f.taken, "2024:02:29 13:45:59");
    CHECK_STR(f.utc_offset, "+02:00");
    CHECK_STR(f.subsec, "123");
    CHECK_STR(f.copyright, "\xc2\xa9 2024 Me");
    CHECK_INT(f.copyright_len, 10);
    exif_read_facts((struct span){ NULL, 0 }, &f);
    CHECK_STR(f.taken, "");
    CHECK_INT(f.copyright_len, 0);
}

/* TIFF data of one text, big-endian: in IFD 0 or in the Exif IFD. Returns its length. */
static size_t one_text(char *ret, unsigned tag, unsigned type, struct span text)
{
    static const char to_exif_ifd[] = MM "\0\1" "\x87\x69\0\4\0\0\0\1\0\0\0\x1a" "\0\0\0\0" "\0\1";
    static const char in_ifd0[] = MM "\0\1";
    size_t at = tag == 0x8298 ? sizeof in_ifd0 - 1 : sizeof to_exif_ifd - 1, value = at + 16;
    const unsigned char entry[12] = { tag >> 8, tag & 255, type >> 8, type & 255, 0, 0, text.len >> 8, text.len & 255, 0, 0,
                                      value >> 8, value & 255 };

    memcpy(ret, tag == 0x8298 ? in_ifd0 : to_exif_ifd, at);
    memcpy(ret + at, entry, sizeof entry);
    memset(ret + at + 12, 0, 4);
    if (text.len <= 4)
        memcpy(ret + at + 8, text.ptr, text.len);
    memcpy(ret + value, text.ptr, text.len);
    return value + text.len;
}

#define LATIN1 "\xa9 2019 M\xfcller"
TEST(exif__takes_a_fact_only_in_the_form_of_the_standard)
{
    enum { TAKEN = 0x9003, OFFSET = 0x9011, SUBSEC = 0x9291, COPYRIGHT = 0x8298 };
    static const struct { unsigned tag, type; struct span text; const char *want; } cases[] = {
        { TAKEN, 2, SPAN("2023:12:31 23:59:59\0"), "2023:12:31 23:59:59" },
        { TAKEN, 2, SPAN("2023:12:31 23:59:60"), "2023:12:31 23:59:60" },   /* no NUL; a leap second */
        { TAKEN, 2, SPAN("2023:12:31 23:59:59\0\0  \0"), "2023:12:31 23:59:59" },
        { TAKEN, 2, SPAN("2000:02:29 00:00:00\0"), "2000:02:29 00:00:00" },
        { TAKEN, 2, SPAN("1900:02:29 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("2023:02:29 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("2024:02:29 24:00:00\0"), "" },
        { TAKEN, 2, SPAN("2023:13:01 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("2023:04:31 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("2023:00:01 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("2023:01:00 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("2023:01:01 00:60:00\0"), "" },
        { TAKEN, 2, SPAN("0000:00:00 00:00:00\0"), "" },
        { TAKEN, 2, SPAN("    :  :     :  :  \0"), "" },
        { TAKEN, 2, SPAN("2023-12-31 23:59:59\0"), "" },
        { TAKEN, 2, SPAN("2023:12:31T23:59:59\0"), "" },
        { TAKEN, 2, SPAN("2023:12:31 23:59:59 by Jane Doe"), "" },
        { TAKEN, 2, SPAN("2023:12:31\0"), "" },
        { TAKEN, 4, SPAN("2023:12:31 23:59:59\0"), "" },                    /* LONG */
        { OFFSET, 2, SPAN("-11:30\0"), "-11:30" },
        { OFFSET, 2, SPAN("+14:00"), "+14:00" },
        { OFFSET, 2, SPAN("+15:00\0"), "" },
        { OFFSET, 2, SPAN("+02:60\0"), "" },
        { OFFSET, 2, SPAN("   :  \0"), "" },
        { OFFSET, 2, SPAN("Z\0"), "" },
        { SUBSEC, 2, SPAN("7"), "7" },                                      /* inside the entry */
        { SUBSEC, 2, SPAN("12\0"), "12" },
        { SUBSEC, 2, SPAN("123456789\0"), "123456789" },
        { SUBSEC, 2, SPAN("1234567890\0"), "" },
        { SUBSEC, 2, SPAN("12   \0"), "12" },
        { SUBSEC, 2, SPAN("-1\0"), "" },
        { SUBSEC, 2, SPAN("   \0"), "" },
        { COPYRIGHT, 2, SPAN("(c) me\0"), "(c) me" },
        { COPYRIGHT, 129, SPAN("\xe2\x82\xac\0"), "\xe2\x82\xac" },         /* UTF-8 of Exif 3.0, inside the entry */
        { COPYRIGHT, 2, SPAN(LATIN1), "\xc2\xa9 2019 M\xc3\xbcller" },
        { COPYRIGHT, 2, SPAN("a\r\nb\tc\0"), "a  b c" },
        { COPYRIGHT, 2, SPAN("  \0\0"), "" },
        { COPYRIGHT, 2, SPAN("a\x1b[2Jb"), "" },
        { COPYRIGHT, 2, SPAN("a\x7f" "b"), "" },
        { COPYRIGHT, 2, SPAN("a\xc2\x85" "b\0"), "" },
        { COPYRIGHT, 2, SPAN("M\xfcller\x85\0"), "" },
        { COPYRIGHT, 3, SPAN("(c) me\0"), "" },
    };
    struct exif_facts f;
    char tiff[256];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got;

        exif_read_facts((struct span){ tiff, one_text(tiff, cases[i].tag, cases[i].type, cases[i].text) }, &f);
        got = cases[i].tag == TAKEN ? f.taken : cases[i].tag == OFFSET ? f.utc_offset : cases[i].tag == SUBSEC ? f.subsec : f.copyright;
        if (strcmp(got, cases[i].want))
            test_fail(__FILE__, __LINE__, "case %zu: \"%s\", want \"%s\"", i, got, cases[i].want);
        CHECK_INT(strlen(f.taken) + strlen(f.utc_offset) + strlen(f.subsec) + f.copyright_len, strlen(cases[i].want));
    }
}

/* Exif 4.6.5 D: "photographer NUL editor NUL", and a blank where there is only an editor's. */
TEST(exif__keeps_both_parts_of_a_copyright)
{
    static const struct { struct span text, want; } cases[] = {
        { SPAN("Ann\0Bob\0"), SPAN("Ann\0Bob") },
        { SPAN(" \0Bob\0"), SPAN(" \0Bob") },
        { SPAN("Ann\0Bob\0a third\0"), SPAN("Ann\0Bob") },
        { SPAN("Ann\0 \0"), SPAN("Ann") },
    };
    struct exif_facts f;
    char tiff[128];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        exif_read_facts((struct span){ tiff, one_text(tiff, 0x8298, 2, cases[i].text) }, &f);
        CHECK(span_eq((struct span){ f.copyright, f.copyright_len }, cases[i].want));
    }
}

TEST(exif__takes_a_copyright_up_to_its_limit)
{
    static char tiff[EXIF_COPYRIGHT_MAX + 100], text[EXIF_COPYRIGHT_MAX + 1];
    struct exif_facts f;

    memset(text, 'x', sizeof text);
    exif_read_facts((struct span){ tiff, one_text(tiff, 0x8298, 2, (struct span){ text, sizeof text - 1 }) }, &f);
    CHECK_INT(f.copyright_len, EXIF_COPYRIGHT_MAX);
    CHECK_INT(f.copyright[EXIF_COPYRIGHT_MAX], 0);
    exif_read_facts((struct span){ tiff, one_text(tiff, 0x8298, 2, (struct span){ text, sizeof text }) }, &f);
    CHECK_INT(f.copyright_len, 0);
}

/* Data that end early, and wrong bytes anywhere: each fact is the true one, another one of the right form, or absent. */
TEST(exif__facts_of_damaged_data_are_sound_or_absent)
{
    struct exif_facts f;

    for (size_t i = 0; i < of_exiftool.len; i++) {
        char *cut = exact_copy(of_exiftool.ptr, i), *wrong = exact_copy(of_exiftool.ptr, of_exiftool.len);

        exif_read_facts((struct span){ cut, i }, &f);
        CHECK(!*f.taken || !strcmp(f.taken, "2024:02:29 13:45:59"));
        CHECK(!*f.copyright || !strcmp(f.copyright, "\xc2\xa9 2024 Me"));
        wrong[i] = (char)(wrong[i] ^ 0x81);
        exif_read_facts((struct span){ wrong, of_exiftool.len }, &f);
        CHECK(strlen(f.taken) == 0 || strlen(f.taken) == 19);
        CHECK(strlen(f.utc_offset) == 0 || strlen(f.utc_offset) == 6);
        CHECK(!strstr(f.copyright, "Secret") && !strstr(f.copyright, "SN12345"));
        free(cut);
        free(wrong);
    }
}
