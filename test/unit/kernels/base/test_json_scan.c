#include "kernels/base/json_scan.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"

/* Copies the text to a heap block of exactly its length, so that AddressSanitizer sees a read past the end. */
static enum err_code check_exact(const char *text, size_t len, int max_depth, struct err *err)
{
    char *copy = malloc(len ? len : 1);
    enum err_code rc;

    memcpy(copy, text, len);
    rc = json_check((struct span){ copy, len }, max_depth, err);
    free(copy);
    return rc;
}

#define ACCEPTS(literal) CHECK_INT(check_exact(literal, sizeof(literal) - 1, JSON_MAX_DEPTH, NULL), ERR_OK)
#define REFUSES(literal) CHECK_INT(check_exact(literal, sizeof(literal) - 1, JSON_MAX_DEPTH, NULL), ERR_CORRUPT)

TEST(json_scan__pulls_events_in_order)
{
    static const struct {
        enum json_event event;
        const char *raw;
    } want[] = {
        { JSON_OBJECT, NULL },     { JSON_KEY, "a" },         { JSON_NUMBER, "-1.5e+3" }, { JSON_KEY, "b" },
        { JSON_ARRAY, NULL },      { JSON_STRING, "x\\n" },   { JSON_TRUE, NULL },        { JSON_FALSE, NULL },
        { JSON_NULL, NULL },       { JSON_ARRAY_END, NULL },  { JSON_KEY, "c" },          { JSON_OBJECT, NULL },
        { JSON_OBJECT_END, NULL }, { JSON_OBJECT_END, NULL }, { JSON_END, NULL },         { JSON_END, NULL },
    };
    struct json_scan s;

    json_scan_init(&s, SPAN(" { \"a\" : -1.5e+3 , \"b\":[\"x\\n\",true,false,null],\"c\":{}}\r\n\t "));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        CHECK_INT(json_scan_next(&s), want[i].event);
        if (want[i].raw)
            CHECK(span_is(s.raw, want[i].raw));
        if (want[i].event == JSON_STRING)
            CHECK(s.escaped);
        if (want[i].event == JSON_KEY)
            CHECK(!s.escaped);
    }
}

TEST(json_scan__an_error_persists_and_names_its_position)
{
    struct json_scan s;

    json_scan_init(&s, SPAN("[1,]"));
    CHECK_INT(json_scan_next(&s), JSON_ARRAY);
    CHECK_INT(json_scan_next(&s), JSON_NUMBER);
    CHECK_INT(json_scan_next(&s), JSON_ERROR);
    CHECK_INT(json_scan_next(&s), JSON_ERROR);
    CHECK_STR(s.error, "a value was expected");
    CHECK_INT(s.at, 3);
}

TEST(json_scan__skips_whole_values)
{
    struct json_scan s;

    json_scan_init(&s, SPAN("{\"a\":{\"b\":[1,{\"c\":[]}]},\"d\":7}"));
    CHECK_INT(json_scan_next(&s), JSON_OBJECT);
    CHECK_INT(json_scan_next(&s), JSON_KEY);
    CHECK(json_scan_skip(&s, json_scan_next(&s)));
    CHECK_INT(json_scan_next(&s), JSON_KEY);
    CHECK(span_is(s.raw, "d"));
    CHECK(json_scan_skip(&s, json_scan_next(&s)));
    CHECK_INT(json_scan_next(&s), JSON_OBJECT_END);
    CHECK_INT(json_scan_next(&s), JSON_END);

    json_scan_init(&s, SPAN("[[1,2"));
    CHECK_INT(json_scan_next(&s), JSON_ARRAY);
    CHECK(!json_scan_skip(&s, json_scan_next(&s)));
    CHECK(!json_scan_skip(&s, json_scan_next(&s)));
}

TEST(json_scan__accepts_what_rfc_8259_allows)
{
    ACCEPTS("0");
    ACCEPTS("-0");
    ACCEPTS("-0.0e-0");
    ACCEPTS("1E400"); /* grammar only: json_double refuses it */
    ACCEPTS("\"\"");
    ACCEPTS("[]");
    ACCEPTS(" \t\r\n{}\n");
    ACCEPTS("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\uD83D\\ude00\"");
    ACCEPTS("\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
    ACCEPTS("{\"\":{\"\":{\"\":0}},\"a\":[{\"a\":1},{\"a\":1}]}");
}

/* Texts that cJSON 1.7.15 accepts, and texts about which JSON parsers disagree. */
TEST(json_scan__refuses_the_traps_of_lenient_parsers)
{
    REFUSES("");
    REFUSES(" ");
    REFUSES("{\"a\":1} x");
    REFUSES("{\"a\":1}{\"b\":2}");
    REFUSES("{\"a\":1}\0");
    REFUSES("\0{\"a\":1}");
    REFUSES("\"x\\u0000y\"");
    REFUSES("\"x\0y\"");
    REFUSES("{\"\\u0000\":1}");
    REFUSES("01");
    REFUSES("-01");
    REFUSES("00");
    REFUSES("1.");
    REFUSES(".5");
    REFUSES("-");
    REFUSES("+1");
    REFUSES("1e");
    REFUSES("1e+");
    REFUSES("0x10");
    REFUSES("NaN");
    REFUSES("-Infinity");
    REFUSES("\"a\tb\"");
    REFUSES("\"a\nb\"");
    REFUSES("\"\x1f\"");
    REFUSES("\xef\xbb\xbf{}");
    REFUSES("[1,]");
    REFUSES("[,1]");
    REFUSES("[1 2]");
    REFUSES("{\"a\":1,}");
    REFUSES("{,}");
    REFUSES("{\"a\"}");
    REFUSES("{\"a\" 1}");
    REFUSES("{\"a\"::1}");
    REFUSES("{a:1}");
    REFUSES("{'a':1}");
    REFUSES("{1:1}");
    REFUSES("[}");
    REFUSES("{]");
    REFUSES("]");
    REFUSES("[1]]");
    REFUSES("// c\n1");
    REFUSES("/* c */1");
    REFUSES("tru");
    REFUSES("truee");
    REFUSES("True");
    REFUSES("nul");
    REFUSES("\"\\x41\"");
    REFUSES("\"\\u12g4\"");
    REFUSES("\"\\u123\"");
    REFUSES("\"\\\"");
    REFUSES("\"\\");
    REFUSES("\"\\u");
    REFUSES("\"\\\0\"");
    REFUSES("\v1");
    REFUSES("\xa0"
            "1");
}

TEST(json_scan__refuses_broken_utf8_and_lone_surrogates)
{
    REFUSES("\"\x80\"");
    REFUSES("\"\xc0\x80\"");
    REFUSES("\"\xc1\xbf\"");
    REFUSES("\"\xe0\x9f\xbf\"");
    REFUSES("\"\xed\xa0\x80\"");
    REFUSES("\"\xf0\x8f\xbf\xbf\"");
    REFUSES("\"\xf4\x90\x80\x80\"");
    REFUSES("\"\xf5\x80\x80\x80\"");
    REFUSES("\"\xff\"");
    REFUSES("\"\xe2\x82\"");
    REFUSES("\"\xe2\x82");
    REFUSES("\"\xc3");
    REFUSES("\"\\uD800\"");
    REFUSES("\"\\uDC00\"");
    REFUSES("\"\\uD800x\"");
    REFUSES("\"\\uD800\\n\"");
    REFUSES("\"\\uD800\\uD800\"");
    REFUSES("\"\\uD800\\u0041\"");
    REFUSES("\"\\uDC00\\uD800\"");
    REFUSES("\"\\uD83D\\ude0\"");
}

TEST(json_scan__refuses_duplicate_keys_however_they_are_spelt)
{
    struct err err = { 0 };

    REFUSES("{\"a\":1,\"a\":2}");
    REFUSES("{\"a\":1,\"\\u0061\":2}");
    REFUSES("{\"\xf0\x9f\x98\x80\":1,\"b\":2,\"\\uD83D\\uDE00\":3}");
    REFUSES("[{\"x\":{\"k\":1,\"l\":2,\"k\":3}}]");
    REFUSES("{\"\":1,\"\":2}");
    REFUSES("{\"a\":{\"a\":1},\"b\":{\"a\":1},\"a\":0}");
    ACCEPTS("{\"a\":1,\"A\":2,\"aa\":3,\"b\":{\"a\":1},\"c\":{\"a\":1}}");
    CHECK_INT(check_exact("{\"aud\":1,\"aud\":2}", 17, 4, &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "'aud'"));
}

TEST(json_scan__limits_the_depth)
{
    char text[2 * JSON_MAX_DEPTH + 2];

    memset(text, '[', JSON_MAX_DEPTH + 1);
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    CHECK_INT(check_exact(text, sizeof text, JSON_MAX_DEPTH, NULL), ERR_CORRUPT);
    CHECK_INT(check_exact(text, sizeof text, 1000000, NULL), ERR_CORRUPT);
    CHECK_INT(check_exact(text + 1, sizeof text - 2, JSON_MAX_DEPTH, NULL), ERR_OK);
    CHECK_INT(check_exact("[[1]]", 5, 2, NULL), ERR_OK);
    CHECK_INT(check_exact("[[1]]", 5, 1, NULL), ERR_CORRUPT);
    CHECK_INT(check_exact("1", 1, 0, NULL), ERR_OK);
    CHECK_INT(check_exact("[]", 2, 0, NULL), ERR_CORRUPT);
}

TEST(json_scan__refuses_every_truncation)
{
    static const char text[] =
        "{\"k\\u00e9y\":[true,false,null,{\"x\":\"\xf0\x9f\x98\x80\\uD83D\\uDE00\"},-1.25e-7],\"z\":\"\"}";

    CHECK_INT(check_exact(text, sizeof text - 1, 8, NULL), ERR_OK);
    for (size_t n = 0; n + 1 < sizeof text; n++)
        CHECK_INT(check_exact(text, n, 8, NULL), ERR_CORRUPT);
}

TEST(json_scan__unescapes_into_a_buffer_that_is_large_enough)
{
    const struct span raw = SPAN("a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\uD83D\\uDE00z");
    static const char want[] = "a\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    char buf[sizeof want];
    size_t len = 99;

    CHECK(json_unescape(raw, buf, sizeof buf, &len));
    CHECK_INT(len, sizeof want - 1);
    CHECK_STR(buf, want);
    for (size_t size = 0; size < sizeof want; size++)
        CHECK(!json_unescape(raw, buf, size, &len));
    CHECK(json_unescape(SPAN(""), buf, 1, &len) && len == 0 && buf[0] == 0);
    CHECK(!json_unescape(SPAN(""), buf, 0, &len));
    CHECK(!json_unescape(SPAN("\\"), buf, sizeof buf, &len));
    CHECK(!json_unescape(SPAN("\\u12"), buf, sizeof buf, &len));
    CHECK(!json_unescape(SPAN("\\uD800\\uD8"), buf, sizeof buf, &len));
}

TEST(json_scan__reads_exact_integers_only)
{
    int64_t v = 0;

    CHECK(json_int64(SPAN("9223372036854775807"), &v) && v == INT64_MAX);
    CHECK(json_int64(SPAN("-9223372036854775808"), &v) && v == INT64_MIN);
    CHECK(json_int64(SPAN("9007199254740993"), &v) && v == 9007199254740993);
    CHECK(json_int64(SPAN("-0"), &v) && v == 0);
    CHECK(!json_int64(SPAN("9223372036854775808"), &v));
    CHECK(!json_int64(SPAN("-9223372036854775809"), &v));
    CHECK(!json_int64(SPAN("99999999999999999999"), &v));
    CHECK(!json_int64(SPAN("1.0"), &v));
    CHECK(!json_int64(SPAN("1e2"), &v));
    CHECK(!json_int64(SPAN(""), &v));
    CHECK(!json_int64(SPAN("-"), &v));
}

TEST(json_scan__reads_finite_doubles_only)
{
    char digits[500];
    double v = 0;

    CHECK(json_double(SPAN("-1.5e+3"), &v) && v == -1500);
    CHECK(json_double(SPAN("1.7976931348623157e308"), &v) && v == DBL_MAX);
    CHECK(json_double(SPAN("1e-999"), &v) && v == 0);
    CHECK(!json_double(SPAN("1e999"), &v));
    CHECK(!json_double(SPAN("-1e999"), &v));
    CHECK(!json_double(SPAN("nan"), &v));
    CHECK(!json_double(SPAN("0x1p3"), &v));
    CHECK(!json_double(SPAN(""), &v));
    CHECK(!json_double(SPAN("1e"), &v));
    memset(digits, '9', sizeof digits);
    CHECK(!json_double((struct span){ digits, sizeof digits }, &v));
}

/* ---- what a database may hold ---- */

static enum err_code check_any(const char *text, size_t len, int max_depth)
{
    char *copy = malloc(len ? len : 1); /* exactly as long, so that a read beyond it is found */
    enum err_code rc;

    CHECK(copy);
    memcpy(copy, text, len);
    rc = json_check_any((struct span){ copy, len }, max_depth, NULL);
    free(copy);
    return rc;
}

#define ANY(literal) check_any(literal, sizeof(literal) - 1, JSON_DEPTH_LIMIT)

TEST(json_scan__takes_any_text_in_strings_where_it_is_asked_to)
{
    CHECK_INT(ANY("\"a\\u0000b\""), ERR_OK);
    CHECK_INT(ANY("{\"\\u0000\":1,\"\\u0000\":2}"), ERR_OK);
    CHECK_INT(ANY("[\"\\ud800\",\"\\udfff\",\"\\ud800\\ud800\",\"\\ud800x\",\"\\ud800\\n\"]"), ERR_OK);
    CHECK_INT(ANY("\"\xED\xA0\x80\xFF\""), ERR_OK);
    CHECK_INT(ANY("\"\\ud83d\\ude00\""), ERR_OK);
    /* The rest of the grammar holds. */
    CHECK_INT(ANY("\"\\u00\""), ERR_CORRUPT);
    CHECK_INT(ANY("\"\\ud800"), ERR_CORRUPT);
    CHECK_INT(ANY("\"a\nb\""), ERR_CORRUPT);
    CHECK_INT(ANY("\"\\x\""), ERR_CORRUPT);
    CHECK_INT(ANY("{\"a\":1}x"), ERR_CORRUPT);
    CHECK_INT(ANY("[1,]"), ERR_CORRUPT);
    CHECK_INT(ANY(""), ERR_CORRUPT);
    /* And the strict check is as strict as ever. */
    REFUSES("\"a\\u0000b\"");
    REFUSES("\"\\ud800\"");
    REFUSES("{\"a\":1,\"a\":2}");
}

TEST(json_scan__takes_as_many_levels_as_it_is_asked_to)
{
    char text[2 * JSON_DEPTH_LIMIT + 2];

    memset(text, '[', JSON_DEPTH_LIMIT + 1);
    memset(text + JSON_DEPTH_LIMIT + 1, ']', JSON_DEPTH_LIMIT + 1);
    CHECK_INT(check_any(text, sizeof text, 1000), ERR_CORRUPT);
    CHECK_INT(check_any(text + 1, sizeof text - 2, 1000), ERR_OK);
    CHECK_INT(check_any(text + 1, sizeof text - 2, 100), ERR_CORRUPT);
}

TEST(json_scan__unescapes_half_a_pair_to_bytes_that_are_no_utf8)
{
    char buf[40];
    size_t n;

    CHECK(json_unescape_any(SPAN("a\\u0000b\\ud800c\\udc00"), buf, sizeof buf, &n));
    CHECK_INT(n, 10);
    CHECK(!memcmp(buf, "a\0b\xED\xA0\x80" "c\xED\xB0\x80", 11));
    CHECK(json_unescape_any(SPAN("\\ud83d\\ude00"), buf, sizeof buf, &n) && n == 4);
    CHECK(json_unescape_any(SPAN("\\ud83d\\ud83d\\ude00"), buf, sizeof buf, &n) && n == 7);
    CHECK(!json_unescape(SPAN("\\ud800"), buf, sizeof buf, &n));
}

TEST(json_scan__measures_a_value_by_its_brackets)
{
    static const char *const values[] = { "1", "-1.5e3", "true", "null", "\"\"", "\"a\\\"]}\"", "\"\\\\\"", "[]", "{}",
                                          "[[\"]\"],{\"}\":\"{\"}]", "{\"a\":{\"b\":[1,2,{}]}}" };
    static const char *const behind[] = { "", ",1", "}", "]", " ]", "\n," };
    char text[80];

    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (size_t k = 0; k < sizeof behind / sizeof *behind; k++) {
            (void)snprintf(text, sizeof text, "%s%s", values[i], behind[k]);
            CHECK_INT(json_value_length(span_of(text)), strlen(values[i]));
        }
    CHECK_INT(json_value_length(SPAN("")), 0);
    CHECK_INT(json_value_length(SPAN("\"a")), 2);
    CHECK_INT(json_value_length(SPAN("\"a\\")), 3);
}
