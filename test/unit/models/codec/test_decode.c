#include "models/codec/decode.h"

#include <string.h>

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

/* The size is in the header, so the files need no pixels. */
TEST(decode__names_the_size_and_the_limit_in_words_for_people)
{
    static const struct { struct span size; int64_t max_pixels; const char *want; } cases[] = {
        { SPAN("\0\0\x2e\xe0\0\0\x2a\xf8"), 120000000,
          "the picture has 12000 x 11000 pixels, 132 megapixels; at most 120 megapixels are accepted (MAX_PIXELS)" },
        { SPAN("\0\0\x2e\xe0\0\0\x27\x11"), 120000000,
          "the picture has 12000 x 10001 pixels, 120.1 megapixels; at most 120 megapixels are accepted (MAX_PIXELS)" },
        { SPAN("\0\0\x1f\xe0\0\0\x18\0"), 50000000,
          "the picture has 8160 x 6144 pixels, 50.2 megapixels; at most 50 megapixels are accepted (MAX_PIXELS)" },
        { SPAN("\0\0\x3e\x80\0\0\x2e\xe0"), 120000000,
          "the picture has 16000 x 12000 pixels, 192 megapixels; at most 120 megapixels are accepted (MAX_PIXELS)" },
        { SPAN("\0\0\x3e\x80\0\0\x36\xb0"), 0,
          "the picture has 16000 x 14000 pixels, 224 megapixels; at most 200 megapixels are accepted" },
        { SPAN("\0\0\x3e\x80\0\0\x36\xb0"), 1000000000,
          "the picture has 16000 x 14000 pixels, 224 megapixels; at most 200 megapixels are accepted" },
        { SPAN("\0\0\x40\x01\0\0\0\x01"), 0, "the picture has 16385 x 1 pixels; at most 16384 a side are accepted" },
    };
    char bytes[33] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    struct arena a;
    struct image got;

    CHECK(!arena_init(&a, 1 << 20, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct decode_options options = { .alpha = IMAGE_ALPHA_DROP, .max_pixels = cases[i].max_pixels };
        struct err err = { 0 };

        memcpy(bytes + 16, cases[i].size.ptr, 8);
        CHECK_INT(image_decode(&a, (struct span){ bytes, sizeof bytes }, &options, &got, NULL, &err), ERR_TOO_LARGE);
        CHECK_STR(err.msg, cases[i].want);
    }
    arena_done(&a);
}

TEST(decode__tells_people_which_kind_of_file_cannot_be_read)
{
    struct err err = { 0 };
    struct arena a;
    struct image got;

    CHECK(!arena_init(&a, 1 << 20, NULL));
    CHECK_INT(image_decode(&a, SPAN("\xff\xd8\xff\xc1\0\x0b\x0c\0\x10\0\x10\1\1\x11\0"), &(struct decode_options){ .max_pixels = 0 },
                           &got, NULL, &err), ERR_UNSUPPORTED);
    CHECK_STR(err.msg, "the picture is a JPEG file of 12 bits a colour, which cannot be edited; please save it as an ordinary "
                       "JPEG and upload it again");
    arena_done(&a);
}
