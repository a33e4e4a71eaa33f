#include "worker/base/json.h"

#include <math.h>
#include <string.h>

#include "test/support/check.h"

static struct arena arena;
static struct err err;

static void fresh(void)
{
    arena_done(&arena);
    err = (struct err){ 0 };
    CHECK_OK(arena_init(&arena, 8 << 20, &err), err);
}

static const struct json *parsed(const char *text)
{
    const struct json *v = NULL;

    fresh();
    CHECK_OK(json_parse(&arena, span_of(text), 8, &v, &err), err);
    return v;
}

TEST(json__reads_every_type_and_keeps_case)
{
    const struct json *v = parsed("{\"s\":\"x\\/y\",\"n\":1.5,\"t\":true,\"z\":null,\"a\":[1,2],\"o\":{\"k\":false}}");
    char *text = NULL;
    double d;
    bool b;

    CHECK_INT(json_count(v), 6);
    CHECK_STR(json_string(json_get(v, "s")), "x/y");
    CHECK(json_number(json_get(v, "n"), &d) && d == 1.5);
    CHECK_INT(json_type(json_get(v, "t")), JSON_T_BOOL);
    CHECK_INT(json_type(json_get(json_get(v, "o"), "k")), JSON_T_BOOL);
    CHECK(json_bool(json_get(v, "t"), &b) && b && json_bool(json_get(json_get(v, "o"), "k"), &b) && !b);
    CHECK(!json_bool(json_get(v, "s"), &b) && !json_bool(json_get(v, "n"), &b) && !json_bool(NULL, &b));
    CHECK_OK(json_print(&arena, v, &text, &err), err);
    CHECK(strstr(text, "\"t\":true") && strstr(text, "{\"k\":false}"));
    CHECK_INT(json_type(json_get(v, "z")), JSON_T_NULL);
    CHECK_INT(json_type(json_get(v, "S")), JSON_T_ABSENT); /* cJSON's plain getter would find "s" */
    CHECK_INT(json_type(json_at(json_get(v, "a"), 1)), JSON_T_NUMBER);
    CHECK(json_at(json_get(v, "a"), 2) == NULL && json_at(json_get(v, "a"), -1) == NULL);
    CHECK_STR(json_key(json_first(v)), "s");
    CHECK_STR(json_key(json_next(json_first(v))), "n");
    arena_done(&arena);
}

TEST(json__takes_absent_and_wrong_types_everywhere)
{
    const struct json *v = parsed("[1,\"x\"]"), *missing = json_get(v, "k");
    int64_t i;
    double d;

    CHECK(missing == NULL && json_get(missing, "k") == NULL);
    CHECK(json_first(missing) == NULL && json_next(missing) == NULL && json_key(missing) == NULL);
    CHECK_INT(json_count(missing), 0);
    CHECK_INT(json_count(json_at(v, 0)), 0);
    CHECK(json_string(json_at(v, 0)) == NULL);
    CHECK(!json_number(json_at(v, 1), &d) && !json_integer(json_at(v, 1), &i));
    arena_done(&arena);
}

TEST(json__integers_are_exact_or_refused)
{
    static const struct {
        const char *text;
        bool good;
        int64_t want;
    } cases[] = {
        { "0", true, 0 },
        { "-7", true, -7 },
        { "1e3", true, 1000 },
        { "5.0", true, 5 },
        { "9007199254740991", true, 9007199254740991 },
        { "-9007199254740991", true, -9007199254740991 },
        { "9007199254740992", false, 0 }, /* 2^53 may be a rounded 2^53 + 1 */
        { "9007199254740993", false, 0 },
        { "0.5", false, 0 },
        { "1e99", false, 0 },
        { "1e999", false, 0 },
    };

    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int64_t got = 0;

        CHECK_INT(json_integer(parsed(cases[k].text), &got), cases[k].good);
        CHECK_INT(got, cases[k].want);
    }
    arena_done(&arena);
}

/* Texts that cJSON alone would accept (PROTOCOL.md 2.6). */
TEST(json__refuses_what_the_library_would_take)
{
    static const struct span bad[] = {
        SPAN(""),
        SPAN(" "),
        SPAN("{\"a\":1} x"),
        SPAN("{\"a\":1}{\"b\":2}"),
        SPAN("{}\0"),
        SPAN("\"x\\u0000y\""),
        SPAN("\"x\0y\""),
        SPAN("{\"a\":1,\"a\":2}"),
        SPAN("{\"a\":1,\"\\u0061\":2}"),
        SPAN("01"),
        SPAN("1."),
        SPAN("\"\n\""),
        SPAN("\xEF\xBB\xBF{}"),
        SPAN("\"\xC3\""),
        SPAN("[[[[[[[[[1]]]]]]]]]"),
        SPAN("+1"),
        SPAN("NaN"),
        SPAN("[1,]"),
        SPAN("{\"a\":1,"),
    };

    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        const struct json *v = NULL;

        fresh();
        CHECK_INT(json_parse(&arena, bad[k], 8, &v, &err), ERR_CORRUPT);
        CHECK(v == NULL);
    }
    arena_done(&arena);
}

TEST(json__a_long_number_is_never_another_number)
{
    const struct json *v = NULL;
    char text[100];
    double d = 0;

    fresh();
    memset(text, '1', sizeof text);
    if (json_parse(&arena, (struct span){ text, sizeof text }, 8, &v, &err) == ERR_OK) /* older versions of cJSON refuse it */
        CHECK(json_number(v, &d) && fabs(d / 1e99 - 10.0 / 9) < 1e-12);
    arena_done(&arena);
}

TEST(json__text_need_not_be_terminated)
{
    const struct json *v = NULL;

    fresh();
    CHECK_OK(json_parse(&arena, (struct span){ "[12]345", 4 }, 8, &v, &err), err);
    CHECK_INT(json_count(v), 1);
    arena_done(&arena);
}

TEST(json__writes_exact_integers_and_escapes)
{
    struct json *root, *list;
    char *text = NULL;

    fresh();
    root = json_new_object(&arena);
    json_add_int(root, "big", INT64_MAX);
    json_add_int(root, "small", INT64_MIN);
    json_add_number(root, "cost", 0.00039);
    json_add_string(root, "s", "a\"b\\\n\xC3\xA9");
    list = json_add_array(root, "list");
    json_add_bool(list, NULL, true);
    json_add_int(list, NULL, 7);
    json_add_bool(json_add_object(list, NULL), "k", false);
    json_add_copy(list, NULL, list);
    CHECK_OK(json_print(&arena, root, &text, &err), err);
    CHECK_STR(text, "{\"big\":9223372036854775807,\"small\":-9223372036854775808,\"cost\":0.00039,"
                    "\"s\":\"a\\\"b\\\\\\n\xC3\xA9\",\"list\":[true,7,{\"k\":false},[true,7,{\"k\":false}]]}");
    arena_done(&arena);
}

TEST(json__numbers_come_back_as_they_were)
{
    static const double numbers[] = { 0.1 + 0.2, 0.5, -0.0, 1.0 / 3, 1e300, 5e-324, 0x1.fffffffffffffp1023, 30, 123456789.123456789 };
    const struct json *v = NULL;
    struct json *root, *list;
    char *text = NULL;

    fresh();
    root = json_new_object(&arena);
    list = json_add_array(root, "n");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_add_number(list, NULL, numbers[i]);
    CHECK_OK(json_print(&arena, root, &text, &err), err);
    CHECK(strstr(text, "[0.30000000000000004,0.5,") && strstr(text, ",30,"));
    CHECK_OK(json_parse(&arena, span_of(text), 8, &v, &err), err);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double d;

        CHECK(json_number(json_at(json_get(v, "n"), (int)i), &d) && memcmp(&d, &numbers[i], sizeof d) == 0);
    }
    arena_done(&arena);
}

TEST(json__a_document_that_lost_something_is_not_written)
{
    struct json *root;
    char *text = NULL;

    fresh();
    root = json_new_object(&arena);
    json_add_number(json_add_object(root, "o"), "x", NAN);
    CHECK_INT(json_print(&arena, root, &text, &err), ERR_NUMERIC);
    err = (struct err){ 0 };
    CHECK_INT(json_print(&arena, NULL, &text, &err), ERR_NOMEM);
    json_add_int(json_add_object(NULL, "o"), "x", 1); /* a NULL parent: there was no memory for it */
    CHECK(text == NULL);
    arena_done(&arena);
}

TEST(json__a_root_without_room_in_the_arena_is_freed_and_reported)
{
    struct arena small = { 0 };
    char *text = NULL, *all;

    err = (struct err){ 0 };
    CHECK_OK(arena_init(&small, 4096, &err), err);
    CHECK_OK(arena_alloc(&small, 4096, 1, &all, &err), err);
    CHECK(json_new_object(&small) == NULL);
    CHECK_INT(json_print(&small, json_new_object(&small), &text, &err), ERR_NOMEM);
    arena_done(&small);
}
