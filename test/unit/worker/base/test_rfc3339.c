#include "test/support/check.h"
#include "worker/base/rfc3339.h"

static int64_t us_of(const char *text)
{
    int64_t us = -1;

    if (!rfc3339_parse(span_of(text), &us))
        test_fail(__FILE__, __LINE__, "refused: %s", text);
    return us;
}

TEST(rfc3339__reads_what_the_apis_write) /* expected values from date(1) */
{
    CHECK_INT(us_of("1970-01-01T00:00:00Z"), 0);
    CHECK_INT(us_of("2024-05-06T07:08:09.123456Z"), 1714979289123456);
    CHECK_INT(us_of("2024-05-06T07:08:09.123456789Z"), 1714979289123456);
    CHECK_INT(us_of("2021-02-26T19:13:55.749Z"), 1614366835749000);
    CHECK_INT(us_of("2024-02-29T23:59:59+02:00"), 1709243999000000);
    CHECK_INT(us_of("2024-02-29T23:59:59-00:30"), 1709252999000000);
    CHECK_INT(us_of("2016-12-31T23:59:60Z"), 1483228800000000);
    CHECK_INT(us_of("1969-12-31T23:59:59.5Z"), -500000);
    CHECK_INT(us_of("0001-01-01T00:00:00Z"), -62135596800000000);
    CHECK_INT(us_of("9999-12-31T23:59:59.999999Z"), 253402300799999999);
}

TEST(rfc3339__refuses_the_rest)
{
    static const char *const bad[] = {
        "",
        "2024-05-06",
        "2024-05-06T07:08:09",
        "2024-05-06 07:08:09Z",
        "2024-5-06T07:08:09Z",
        "2024-13-06T07:08:09Z",
        "2023-02-29T07:08:09Z",
        "1900-02-29T07:08:09Z",
        "2024-05-06T24:08:09Z",
        "2024-05-06T07:60:09Z",
        "2024-05-06T07:08:61Z",
        "2024-05-06T07:08:09.Z",
        "2024-05-06T07:08:09.1234567890Z",
        "2024-05-06T07:08:09+0200",
        "2024-05-06T07:08:09+24:00",
        "2024-05-06T07:08:09Z ",
        "0000-05-06T07:08:09Z",
        "+024-05-06T07:08:09Z",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t us = 7;

        if (rfc3339_parse(span_of(bad[i]), &us))
            test_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
        CHECK_INT(us, 7);
    }
}

TEST(rfc3339__writes_what_it_reads)
{
    static const int64_t times[] = { 0, 1, -1, 1714979289123456, -500000, 253402300799999999, -62135596800000000 };
    char text[RFC3339_SIZE];

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        rfc3339_format(times[i], text);
        CHECK_INT(us_of(text), times[i]);
    }
    rfc3339_format(1714979289123456, text);
    CHECK_STR(text, "2024-05-06T07:08:09.123456Z");
    rfc3339_format(INT64_MAX, text);
    CHECK_INT(strlen(text), RFC3339_SIZE - 1);
}
