#include "test/support/check.h"
#include "worker/push/printable.h"

static void check_escape(struct span bytes, const char *want)
{
    struct arena a = { 0 };
    struct span back;
    char *text;

    CHECK_OK(arena_init(&a, 1 << 20, NULL), (struct err){ 0 });
    CHECK(!printable_escape(bytes, &a, &text, NULL));
    CHECK_STR(text, want);
    CHECK(!printable_unescape(span_of(text), &a, &back, NULL));
    CHECK(span_eq(back, bytes));
    arena_done(&a);
}

TEST(printable__shows_what_can_be_read_and_escapes_the_rest)
{
    check_escape(SPAN(""), "");
    check_escape(SPAN("{\"userId\":\"\xc3\xa9\xe4\xb8\xad\"}"), "{\"userId\":\"\xc3\xa9\xe4\xb8\xad\"}");
    check_escape(SPAN("a\nb\0c\x1b[31m\x7f"), "a\\x0ab\\x00c\\x1b[31m\\x7f");
    check_escape(SPAN("C:\\x41"), "C:\\\\x41");
    check_escape(SPAN("\xc2\x85|\xe2\x80\xa8|\xe2\x80\xae|\xef\xbb\xbf"),
                 "\\xc2\\x85|\\xe2\\x80\\xa8|\\xe2\\x80\\xae|\\xef\\xbb\\xbf");
    check_escape(SPAN("\xff\xc3\xed\xa0\x80"), "\\xff\\xc3\\xed\\xa0\\x80");
}

TEST(printable__every_byte_comes_back)
{
    char all[512];

    for (int i = 0; i < 512; i++)
        all[i] = (char)(i * 7);
    for (size_t n = 0; n <= sizeof all; n += 31) {
        struct arena a = { 0 };
        struct span back;
        char *text;

        CHECK_OK(arena_init(&a, 1 << 20, NULL), (struct err){ 0 });
        CHECK(!printable_escape((struct span){ all, n }, &a, &text, NULL));
        CHECK(!printable_unescape(span_of(text), &a, &back, NULL));
        CHECK(span_eq(back, (struct span){ all, n }));
        arena_done(&a);
    }
}

TEST(printable__refuses_escapes_that_it_does_not_write)
{
    static const char *const bad[] = { "\\", "\\x", "\\x1", "\\xZZ", "\\xAB", "\\n", "a\\u0041" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena a = { 0 };
        struct span back;

        CHECK_OK(arena_init(&a, 1 << 20, NULL), (struct err){ 0 });
        CHECK_INT(printable_unescape(span_of(bad[i]), &a, &back, NULL), ERR_INVALID);
        arena_done(&a);
    }
}

TEST(printable__cuts_between_characters)
{
    CHECK_INT(printable_cut(SPAN("abc"), 9), 3);
    CHECK_INT(printable_cut(SPAN("abc"), 2), 2);
    CHECK_INT(printable_cut(SPAN("a\xc3\xa9"), 2), 1);
    CHECK_INT(printable_cut(SPAN("\xf0\x9f\x98\x80"), 3), 0);
    CHECK_INT(printable_cut(SPAN("\xf0\x9f\x98\x80"), 4), 4);
}

TEST(printable__leaves_a_text_for_reading_as_it_is_where_it_can)
{
    struct arena a = { 0 };
    char *text;

    CHECK_OK(arena_init(&a, 1 << 20, NULL), (struct err){ 0 });
    CHECK(!printable_text("C:\\x41 \xc3\xa9", &a, &text, NULL));
    CHECK_STR(text, "C:\\x41 \xc3\xa9");
    CHECK(!printable_text("a\\b\xff", &a, &text, NULL));
    CHECK_STR(text, "a\\\\b\\xff");
    arena_done(&a);
}
