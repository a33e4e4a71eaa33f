#include "test/support/check.h"
#include "worker/base/members.h"

TEST(members__keep_their_spelling)
{
    static const char text[] =
        " {\"s\":\"a\\u0062\", \"i\":12, \"f\":12.0, \"e\":1e1, \"o\" : {\"x\":[1]} ,\"t\":true,\"\\u0061\":7} ";
    struct member m[] = { { .name = "s" }, { .name = "i" }, { .name = "f" }, { .name = "e" },
                          { .name = "o" }, { .name = "t" }, { .name = "a" }, { .name = "absent" } };
    struct err err = { 0 };
    char buf[8];
    int64_t i;

    CHECK_OK(members_parse(SPAN(text), 8, "test", m, 8, &err), err);
    CHECK(member_text(&m[0], buf, sizeof buf));
    CHECK_STR(buf, "ab");
    CHECK(!member_text(&m[0], buf, 2));
    CHECK(member_integer(&m[1], &i) && i == 12);
    CHECK(!member_integer(&m[2], &i) && !member_integer(&m[3], &i) && !member_integer(&m[0], &i));
    CHECK(span_is(m[4].raw, "{\"x\":[1]}") && m[4].type == JSON_OBJECT);
    CHECK_INT(m[5].type, JSON_TRUE);
    CHECK(member_integer(&m[6], &i) && i == 7);
    CHECK_INT(m[7].type, JSON_END);
}

TEST(members__walk_an_array)
{
    static const char text[] = "[ {\"a\":[1,2]} , 5,\"x\" ]";
    enum json_event type;
    struct span raw;
    size_t at = 0;

    CHECK(members_next(SPAN(text), &at, &type, &raw) && type == JSON_OBJECT && span_is(raw, "{\"a\":[1,2]}"));
    CHECK(members_next(SPAN(text), &at, &type, &raw) && type == JSON_NUMBER && span_is(raw, "5"));
    CHECK(members_next(SPAN(text), &at, &type, &raw) && type == JSON_STRING && span_is(raw, "x"));
    CHECK(!members_next(SPAN(text), &at, &type, &raw));
    at = 0;
    CHECK(!members_next(SPAN("[]"), &at, &type, &raw));
    CHECK(!members_next(SPAN("{}"), &at, &type, &raw));
}

TEST(members__need_an_object_without_duplicates)
{
    static const char *const bad[] = {
        "", "[]", "1", "null", "\"x\"", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{}x", "{} {}"
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct member m = { .name = "a" };

        CHECK_INT(members_parse(span_of(bad[i]), 8, "test", &m, 1, NULL), ERR_INVALID);
    }
}

TEST(members__an_integer_is_its_digits_as_they_are_written)
{
    static const struct {
        const char *text, *want; /* NULL: neither */
    } cases[] = {
        { "{\"a\":\"x\"}", "x" },   { "{\"a\":7}", "7" },       { "{\"a\":0}", "0" },     { "{\"a\":12345678901}", "12345678901" },
        { "{\"a\":\"-1\"}", "-1" }, { "{\"a\":-1}", NULL },     { "{\"a\":1.0}", NULL },  { "{\"a\":1e2}", NULL },
        { "{\"a\":null}", NULL },   { "{\"a\":true}", NULL },   { "{\"b\":1}", NULL },    { "{\"a\":123456789012}", NULL },
        { "{\"a\":[1]}", NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct member m = { .name = "a" };
        char text[12];

        CHECK_INT(members_parse(span_of(cases[i].text), 8, "test", &m, 1, NULL), ERR_OK);
        CHECK_INT(member_text_or_digits(&m, text, sizeof text), cases[i].want != NULL);
        if (cases[i].want)
            CHECK_STR(text, cases[i].want);
    }
}
