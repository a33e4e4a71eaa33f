#include "models/codec/exif.h"

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
