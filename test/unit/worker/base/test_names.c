#include "worker/base/names.h"

#include "test/support/check.h"

TEST(names__a_bucket_is_3_to_222_characters_of_those_a_bucket_may_have)
{
    static const char *const bad[] = { "", "ab", "UPPER", "gs://b", "a/b", "a b", "b\xc3\xa4r", "abc\n" };
    char longest[BUCKET_NAME_MAX + 2];

    CHECK(bucket_name_is_valid("b-1") && bucket_name_is_valid("demo.appspot.com") && bucket_name_is_valid("a_b"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!bucket_name_is_valid(bad[i]));
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK(!bucket_name_is_valid(longest));
    longest[BUCKET_NAME_MAX] = 0;
    CHECK(bucket_name_is_valid(longest));
}

TEST(names__a_project_has_no_character_that_ends_a_segment_of_a_url)
{
    static const char *const bad[] = { "", "a/b", "a b", "a?b", "a#b", "a%2Fb" };
    char longest[PROJECT_ID_MAX + 2];

    CHECK(project_id_is_valid(SPAN("demo")) && project_id_is_valid(SPAN("example.com:my_project-1")));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!project_id_is_valid(span_of(bad[i])));
    CHECK(!project_id_is_valid(SPAN("a\0b")));
    memset(longest, 'x', sizeof longest);
    CHECK(project_id_is_valid((struct span){ longest, PROJECT_ID_MAX }));
    CHECK(!project_id_is_valid((struct span){ longest, PROJECT_ID_MAX + 1 }));
}

TEST(names__a_host_is_a_name_or_an_address_with_or_without_a_port)
{
    static const char *const good[] = { "x", "x:1", "127.0.0.1:65535", "metadata.google.internal", "[::1]", "[::1]:80" };
    static const char *const bad[] = { "",      ":1",     "x:",      "x:99999", "x:1x",     "http://x",
                                       "x:1/",  "a b",    "u@h",     "[::1",    "[::1]80",  "[x]",
                                       "[::1]:" };
    char longest[HOST_MAX_BYTES + 2];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(host_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!host_is_valid(bad[i]));
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK(!host_is_valid(longest));
    longest[HOST_MAX_BYTES] = 0;
    CHECK(host_is_valid(longest));
}

TEST(names__a_database_is_the_default_one_or_has_a_name_of_its_own)
{
    static const char *const good[] = { "(default)", "pets", "a-1-b", "photos-2026" };
    static const char *const bad[] = { "", "default)", "abc", "Pets", "1pets", "pets-", "pe_ts", "pets/x", "pets?x", "(pets)" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(database_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!database_name_is_valid(bad[i]));
}

TEST(names__a_topic_is_named_in_full)
{
    static const char *const good[] = { "projects/demo/topics/poison", "projects/example.com:demo/topics/a.b_c~d+e%f" };
    static const char *const bad[] = { "", "poison", "projects//topics/poison", "projects/demo/topics/", "projects/demo/topics/ab",
                                       "projects/demo/topics/1ab", "projects/demo/topics/abc/x", "projects/demo/subscriptions/abc" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(topic_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!topic_name_is_valid(bad[i]));
}

TEST(names__a_loopback_url_ends_its_host_where_it_should)
{
    static const char *const good[] = { "http://127.0.0.1", "http://127.0.0.1:9/token", "http://localhost/t",
                                        "http://[::1]:80/t" };
    static const char *const bad[] = { "",
                                       "https://127.0.0.1/",
                                       "http://10.0.0.1/",
                                       "http://localhost.evil.example/",
                                       "http://127.0.0.1.evil.example/",
                                       "http://127.0.0.1:x@evil.example/",
                                       "http://127.0.0.1:8@evil.example/",
                                       "http://127.0.0.1@evil.example/" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(is_loopback_url(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!is_loopback_url(bad[i]));
}

TEST(names__a_key_is_not_taken_for_the_path_of_its_file)
{
    static const char *const good[] = { "/secrets/sa key.json", "key.json", "./key", "../k/sa", "key", "/k", "/k\xc3\xa9y",
                                        "/mnt/secrets/a-long-name-without-any-ending-in-a-folder-with-a-long-name-too/key" };
    static const char *const bad[] = { "", " ", "{", "{\"type\":\"service_account\"}", "a\"b", "a\nb", "a\x7f",
                                       "-----BEGIN PRIVATE KEY-----",
                                       "eyJ0eXBlIjoic2VydmljZV9hY2NvdW50IiwiY2xpZW50X2VtYWlsIjoid29ya2VyQGRlbW8/abcdefg" };
    static char longest[5000];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(path_is_plausible(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!path_is_plausible(bad[i]));
    memset(longest, '/', sizeof longest - 1);
    CHECK(!path_is_plausible(longest));
}

TEST(names__a_gs_url_is_a_bucket_and_a_prefix_whose_parts_a_path_may_have)
{
    static const struct {
        const char *url, *bucket, *prefix; /* NULL: refused */
    } cases[] = {
        { "gs://bucket", "bucket", "" },
        { "gs://bucket/", "bucket", "" },
        { "gs://my.bucket_1/models/fill-dev", "my.bucket_1", "models/fill-dev" },
        { "gs://bucket/models//", "bucket", "models" },
        { "gs://bucket/a b/\xc3\xa9.d", "bucket", "a b/\xc3\xa9.d" },
        { "gs://", NULL, NULL },
        { "gs:///x", NULL, NULL },
        { "gs://ab", NULL, NULL },
        { "gs://Bucket/x", NULL, NULL },
        { "gs://bucket:80/x", NULL, NULL },
        { "gs://bucket//x", NULL, NULL },
        { "gs://bucket/a//b", NULL, NULL },
        { "gs://bucket/../x", NULL, NULL },
        { "gs://bucket/x/.", NULL, NULL },
        { "gs://bucket/x\ny", NULL, NULL },
        { "GS://bucket/x", NULL, NULL },
        { "s3://bucket/x", NULL, NULL },
        { "/models", NULL, NULL },
        { "", NULL, NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct span bucket = { 0 }, prefix = { 0 };
        const bool good = gs_url_split(cases[i].url, &bucket, &prefix);

        if (good != (cases[i].bucket != NULL) ||
            (good && !(span_is(bucket, cases[i].bucket) && span_is(prefix, cases[i].prefix))))
            test_fail(__FILE__, __LINE__, "%s", cases[i].url);
    }
}
