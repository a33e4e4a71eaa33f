#include "models/codec/decode.h"

#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

TEST(decode__judges_files_by_their_content)
{
    static const struct { struct span file; enum err_code want; } cases[] = {
        { SPAN("\0\0\0\x18" "ftypheic\0\0\0\0mif1heic"), ERR_HEIC },
        { SPAN("\0\0\0\x1c" "ftypavif\0\0\0\0avifmif1"), ERR_HEIC },
        { SPAN("\0\0\0\x1c" "ftypXYZ!\0\0\0\0abcdmif1????"), ERR_HEIC },          /* a known brand among unknown ones */
        { SPAN("\0\0\0\x14" "ftypisom\0\0\0\0mp42heic"), ERR_NOT_AN_IMAGE },      /* a known brand after the end of the box */
        { SPAN("\0\0\0\x10" "ftypisomheic"), ERR_NOT_AN_IMAGE },                  /* the version field is not a brand */
        { SPAN("\0\0\xff\xff" "ftypisom\0\0\0\0isom"), ERR_NOT_AN_IMAGE },        /* the box is longer than the file */
        { SPAN("GIF89a\1\0\1\0"), ERR_NOT_AN_IMAGE },
        { SPAN("RIFF\x24\0\0\0WEBPVP8 "), ERR_CORRUPT },
        { SPAN("RIFF\x24\0\0\0WAVEfmt "), ERR_NOT_AN_IMAGE },
        { SPAN("<html>not found</html>"), ERR_NOT_AN_IMAGE },
        { SPAN("\xff\xd8"), ERR_NOT_AN_IMAGE },
        { SPAN(""), ERR_NOT_AN_IMAGE },
        { SPAN("\xff\xd8\xff\xd9"), ERR_CORRUPT },
        { SPAN("\x89PNG\r\n\x1a\n"), ERR_CORRUPT },
        { { "", (size_t)IMAGE_MAX_FILE_BYTES + 1 }, ERR_TOO_LARGE },
    };
    struct arena a;
    struct err err = { 0 };
    struct image got;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err_code rc = image_decode(&a, cases[i].file, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &got, NULL, NULL);

        if (rc != cases[i].want)
            test_fail(__FILE__, __LINE__, "case %zu: %s, want %s", i, err_name(rc), err_name(cases[i].want));
    }
    arena_done(&a);
}
