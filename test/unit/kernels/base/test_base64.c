#include "kernels/base/base64.h"
#include "test/support/check.h"

enum { STD = BASE64_STANDARD, URL = BASE64_URL | BASE64_NO_PADDING,
       LAX = BASE64_STANDARD | BASE64_URL | BASE64_MAY_PAD | BASE64_WHITE_SPACE };

/* RFC 4648 section 10, and one text that differs between the alphabets. */
static const struct {
    const char *bytes, *standard, *url;
} vectors[] = {
    { "", "", "" },
    { "f", "Zg==", "Zg" },
    { "fo", "Zm8=", "Zm8" },
    { "foo", "Zm9v", "Zm9v" },
    { "foob", "Zm9vYg==", "Zm9vYg" },
    { "fooba", "Zm9vYmE=", "Zm9vYmE" },
    { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
    { "\xfb\xff\xbf", "+/+/", "-_-_" },
};

static bool decodes(const char *text, unsigned flags, const char *want)
{
    char buf[64];
    size_t n = 99;

    if (base64_decode(span_of(text), flags, buf, sizeof buf, &n, NULL))
        return n == 99 && !want; /* refused, and the length left alone */
    return want && span_eq((struct span){ buf, n }, span_of(want));
}

TEST(base64__encodes_and_decodes_the_vectors_of_rfc_4648)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        char buf[16];
        size_t n = 0;
        struct err err = { 0 };

        CHECK_OK(base64_encode(span_of(vectors[i].bytes), STD, buf, sizeof buf, &n, &err), err);
        CHECK_STR(buf, vectors[i].standard);
        CHECK_INT(n, strlen(buf));
        CHECK_OK(base64_encode(span_of(vectors[i].bytes), URL, buf, sizeof buf, NULL, &err), err);
        CHECK_STR(buf, vectors[i].url);
        CHECK(decodes(vectors[i].standard, STD, vectors[i].bytes));
        CHECK(decodes(vectors[i].url, URL, vectors[i].bytes));
        CHECK(decodes(vectors[i].standard, LAX, vectors[i].bytes));
        CHECK(decodes(vectors[i].url, LAX, vectors[i].bytes));
    }
}

TEST(base64__refuses_what_no_encoder_writes)
{
    static const char *const always[] = {
        "A", "AAAAA", "=", "====", "A===", "Zg=", "Zm8==", "Zm9v=", "Zm9v====", "Zg==Zg==", "Z=g=", "=Zg=", "Zh==",
        "Zm9=", "Zm9vYh==", "Zm!v", "Zm9\x80", "Zm9.", "Zm9v,", "Zg==A",
    };

    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        CHECK(decodes(always[i], STD, NULL));
        CHECK(decodes(always[i], URL, NULL));
        CHECK(decodes(always[i], LAX, NULL));
    }
    CHECK(decodes("Zh", URL, NULL));
    CHECK(decodes("Zm9", URL, NULL));
}

TEST(base64__holds_to_the_flags)
{
    CHECK(decodes("Zg", STD, NULL));
    CHECK(decodes("Zg==", URL, NULL));
    CHECK(decodes("-_-_", STD, NULL));
    CHECK(decodes("+/+/", URL, NULL));
    CHECK(decodes("Zm9v\n", STD, NULL));
    CHECK(decodes("+_-/", LAX, "\xfb\xff\xbf"));
    CHECK(decodes(" Zm\r\n9v\tYg =\n=\n", LAX, "foob"));
    CHECK(decodes("Zm9v\v", LAX, NULL));
}

TEST(base64__never_writes_past_the_buffer)
{
    char buf[8] = "......!";
    size_t n = 99;

    CHECK_INT(base64_decode(SPAN("Zm9vYmFy"), STD, buf, 5, &n, NULL), ERR_TOO_LARGE);
    CHECK_INT(n, 99);
    CHECK(buf[5] == '.');
    CHECK_INT(base64_decode(SPAN("Zm9vYmFy"), STD, buf, 6, &n, NULL), ERR_OK);
    CHECK_INT(n, 6);
    CHECK_INT(base64_encode(SPAN("foo"), STD, buf, 4, &n, NULL), ERR_TOO_LARGE);
    CHECK(buf[6] == '!');
    CHECK_INT(base64_encode(SPAN("foo"), STD, buf, 5, &n, NULL), ERR_OK);
    CHECK_STR(buf, "Zm9v");
    CHECK_INT(base64_encode(SPAN(""), STD, buf, 1, &n, NULL), ERR_OK);
    CHECK_INT(BASE64_DECODED_MAX(8), 6);
    CHECK_INT(BASE64_ENCODED_SIZE(4), 9);
}

TEST(base64__round_trips_every_byte_at_every_length)
{
    unsigned char in[97], out[97];
    char text[BASE64_ENCODED_SIZE(sizeof in)];
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 167 + 13);
    for (size_t len = 0; len <= sizeof in; len++) {
        size_t n = 0, back = 0;

        CHECK_OK(base64_encode((struct span){ (char *)in, len }, STD, text, BASE64_ENCODED_SIZE(len), &n, &err), err);
        CHECK_OK(base64_decode((struct span){ text, n }, STD, out, len, &back, &err), err);
        CHECK(back == len && memcmp(in, out, len) == 0);
    }
}

TEST(base64__knows_the_characters_of_base64url)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (int c = 0; c < 256; c++)
        CHECK_INT(base64_is_url((char)c), memchr(alphabet, c, sizeof alphabet - 1) != NULL);
}
