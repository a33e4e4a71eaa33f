/* U10 to U12 of PROTOCOL.md 9.3: checksums, pieces, packed objects; PROTOCOL.md 5.3. */
#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"
#include "test/support/fake/storage_scene.h"

/* ---- get ---- */

TEST(storage__gets_the_generation_that_stat_has_reported)
{
    scene_start();
    scene_will(200, HELLO);
    scene_will_with(200, "hello", "x-goog-hash", "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==");
    CHECK_OK(scene_get(5), scene.err);
    CHECK(!scene.got.replaced);
    CHECK(span_is(scene.got.body, "hello"));
    CHECK_INT(scene.got.object.generation, 7);
    CHECK_STR(scene.script.requests[1].url, PATH "?alt=media&generation=7");
    CHECK(!strstr(scene.script.requests[1].header_text, "Range"));
    CHECK_INT(scene.script.requests[1].timeout_ms, 60000);
    CHECK_INT(scene.script.requests[1].low_speed_ms, 15000);
    scene_stop();
}

TEST(storage__stops_at_the_limit_before_it_downloads)
{
    scene_start();
    scene_will(200, HELLO);
    CHECK_INT(scene_get(4), ERR_TOO_LARGE);
    scene_will(200, META("99999999999", ""));
    CHECK_INT(scene_get((size_t)-1), ERR_TOO_LARGE);
    CHECK_INT(scene.script.n_requests, 2);
    scene_stop();
}

TEST(storage__takes_an_empty_object)
{
    scene_start();
    scene_will(200, META("0", ",\"crc32c\":\"AAAAAA==\""));
    CHECK_OK(scene_get(100), scene.err);
    CHECK_INT(scene.got.body.len, 0);
    CHECK_INT(scene.script.n_requests, 1);
    scene_stop();
}

TEST(storage__downloads_again_what_does_not_match) /* U11 */
{
    static const struct {
        const char *meta, *bytes, *hash;
        bool good;
    } cases[] = {
        { HELLO, "hell", NULL, false },
        { HELLO, "hellooo", NULL, false },
        { HELLO, "", NULL, false },
        { HELLO, "hallo", NULL, false },
        { HELLO, "hello", "crc32c=AAAAAA==", false },
        { HELLO, "hello", "crc32c=mnG7TA==, md5=AAAA", true },
        { HELLO, "hello", "nonsense", true },
        { META("5", ""), "hello", "md5=XUFAKrxLKna5cZ2REBfFkg==", true },
        { META("5", ""), "hallo", "md5=XUFAKrxLKna5cZ2REBfFkg==", false },
        { META("5", ""), "hallo", "md5=XUFAKrxLKna5cZ2REBfFkg==, crc32c=mnG7TA==", false },
        { META("5", ",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\""), "hallo", NULL, false },
        { META("5", ",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\""), "hello", NULL, true },
        { META("5", ""), "anyth", NULL, true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_start();
        scene_will(200, cases[i].meta);
        if (cases[i].hash)
            scene_will_with(200, cases[i].bytes, "x-goog-hash", cases[i].hash);
        else
            scene_will(200, cases[i].bytes);
        scene_will(200, "hello");
        CHECK_OK(scene_get(100), scene.err);
        if (scene.script.n_requests != (cases[i].good ? 2 : 3))
            test_fail(__FILE__, __LINE__, "case %zu: %d requests", i, scene.script.n_requests);
        CHECK_INT(scene.got.body.len, 5);
        scene_stop();
    }
    scene_start();
    scene_will(200, HELLO);
    for (int i = 0; i < 6; i++)
        scene_will(200, "hallo");
    CHECK_INT(scene_get(100), ERR_PROTOCOL);
    CHECK_INT(scene.script.n_requests, 7);
    scene_stop();
}

TEST(storage__goes_on_where_a_download_broke_off)
{
    scene_start();
    scene_will(200, HELLO);
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = SPAN("he"), .rc = ERR_UNKNOWN_OUTCOME });
    script_will(&scene.script, (struct script_reply){ .rc = ERR_UNAVAILABLE });
    script_will(&scene.script, (struct script_reply){ .status = 206,
                                             .body = SPAN("l"),
                                             .rc = ERR_UNKNOWN_OUTCOME,
                                             .headers = { { "content-range", "bytes 2-4/5" } } });
    scene_will_with(206, "lo", "content-range", "bytes 3-4/5");
    CHECK_OK(scene_get(5), scene.err);
    CHECK(span_is(scene.got.body, "hello"));
    CHECK(script_sent_header(&scene.script, 2, "Range: bytes=2-"));
    CHECK(script_sent_header(&scene.script, 3, "Range: bytes=2-"));
    CHECK(script_sent_header(&scene.script, 4, "Range: bytes=3-"));
    CHECK_STR(scene.script.requests[4].url, scene.script.requests[1].url);
    scene_stop();
}

TEST(storage__takes_a_download_that_broke_off_after_its_last_byte)
{
    scene_start();
    scene_will(200, HELLO);
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = SPAN("hello"), .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_OK(scene_get(5), scene.err);
    CHECK_INT(scene.script.n_requests, 2);
    scene_stop();
}

TEST(storage__rejects_a_piece_that_was_not_asked_for) /* U12 */
{
    static const char *const ranges[] = { "bytes 0-4/5", "bytes 2-3/5", "bytes 2-4/6", "bytes 2-4/*", "2-4/5", "",
                                          "bytes 2-4/5 " };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        scene_start();
        scene_will(200, HELLO);
        script_will(&scene.script, (struct script_reply){ .status = 200, .body = SPAN("he"), .rc = ERR_UNKNOWN_OUTCOME });
        scene_will_with(206, "llo", "content-range", ranges[i]);
        scene_will(200, "hello");
        CHECK_OK(scene_get(5), scene.err);
        CHECK_INT(scene.script.n_requests, 4);
        CHECK(!strstr(scene.script.requests[3].header_text, "Range")); /* starts over */
        CHECK(span_is(scene.got.body, "hello"));
        scene_stop();
    }
    scene_start();
    scene_will(200, HELLO);
    scene_will_with(206, "hello", "content-range", "bytes 0-4/5"); /* no range was asked for */
    scene_will(200, "hello");
    CHECK_OK(scene_get(5), scene.err);
    CHECK_INT(scene.script.n_requests, 3);
    scene_stop();
    scene_start();
    scene_will(200, HELLO);
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = SPAN("he"), .rc = ERR_UNKNOWN_OUTCOME });
    scene_will(200, "hello"); /* the server ignored the range and sent the whole object */
    CHECK_OK(scene_get(5), scene.err);
    CHECK(span_is(scene.got.body, "hello"));
    CHECK_INT(scene.script.n_requests, 3);
    scene_stop();
}

TEST(storage__starts_over_when_the_object_is_replaced_meanwhile)
{
    scene_start();
    scene_will(200, HELLO);
    scene_will(404, "No such object");
    scene_will(200, "{\"name\":\"" NAME "\",\"generation\":\"8\",\"size\":\"5\"}");
    scene_will_with(200, "other", "x-goog-generation", "9");
    scene_will(200, "{\"name\":\"" NAME "\",\"generation\":\"9\",\"size\":\"5\"}");
    scene_will_with(200, "other", "x-goog-generation", "9");
    CHECK_OK(scene_get(5), scene.err);
    CHECK_INT(scene.got.object.generation, 9);
    CHECK(scene.got.replaced);
    CHECK(span_is(scene.got.body, "other"));
    CHECK_INT(scene.script.n_requests, 6);
    scene_stop();
    scene_start();
    for (int i = 0; i < 3; i++) {
        scene_will(200, HELLO);
        scene_will(404, "");
    }
    CHECK_INT(scene_get(5), ERR_UNAVAILABLE);
    CHECK_INT(scene.script.n_requests, 6);
    scene_will(404, "");
    CHECK_INT(scene_get(5), ERR_NOT_FOUND);
    scene_stop();
}

/* ---- stored with gzip ---- */

#define PACKED       "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00" /* hello */
#define PACKED_TWICE "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x93\xef\xe6\x60\x00\x01\x26\xe6\xd3\x1e\x67\x4f\x9e\x64\x67\x68\x5b\x26\x60\xc6\x0a\x14\x00\x00\xa7\x6f\xb4\x45\x19\x00\x00\x00"
#define AS(encoding) ",\"contentEncoding\":\"" encoding "\""
#define PACKED_META(encoding) META("25", ",\"crc32c\":\"TQvMrQ==\"" AS(encoding))
#define BOMB "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x31\x01\x00\x00\x00\xc2\xa0\xf5\x4f\x6d\x0a\x3f\xa0\x00\x00\x00\x00\x80\xb7\x01\xa8\x0e\xe5\xd8\x88\x13\x00\x00" /* 5,000 zeros */
static const struct span packed = { PACKED, sizeof PACKED - 1 };

TEST(storage__unpacks_what_is_stored_with_gzip)
{
    static const char *const metas[] = { PACKED_META("gzip"),         PACKED_META("GZIP"),
                                         PACKED_META("x-gzip"),       PACKED_META(" gzip "),
                                         PACKED_META("identity,gzip"), PACKED_META("aws-chunked, gzip"),
                                         PACKED_META("gzip,gzip") };

    for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
        scene_start();
        scene_will(200, metas[i]);
        script_will(&scene.script, (struct script_reply){ .status = 200, .body = packed, .headers = { { "content-encoding", "gzip" } } });
        CHECK_OK(scene_get(100), scene.err);
        CHECK(span_is(scene.got.body, "hello"));
        CHECK(script_sent_header(&scene.script, 1, "Accept-Encoding: gzip"));
        CHECK_INT(scene.got.object.size_bytes, (long long)packed.len);
        scene_stop();
    }
    scene_start();
    scene_will(200, META("42", ",\"crc32c\":\"JNJrSQ==\"" AS("gzip, gzip")));
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = { PACKED_TWICE, sizeof PACKED_TWICE - 1 } });
    CHECK_OK(scene_get(100), scene.err);
    CHECK(span_is(scene.got.body, "hello"));
    scene_stop();
}

TEST(storage__takes_bytes_with_a_wrong_label_as_they_are)
{
    static const char *const labels[] = { AS("gzip"), AS(""), AS("identity"), AS("aws-chunked"), AS(" , ") };
    char meta[300];

    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        scene_start();
        (void)snprintf(meta, sizeof meta, META("5", ",\"crc32c\":\"mnG7TA==\"%s"), labels[i]);
        scene_will(200, meta);
        scene_will(200, "hello");
        CHECK_OK(scene_get(100), scene.err);
        CHECK(span_is(scene.got.body, "hello"));
        CHECK_INT(script_sent_header(&scene.script, 1, "Accept-Encoding: gzip"), i == 0);
        scene_stop();
    }
}

TEST(storage__names_an_encoding_that_it_cannot_undo)
{
    static const char *const bad[] = { "br",  "deflate", "zstd", "compress", "gzip,br", "gzip, gzip, gzip",
                                       "gzi", "gzipx",   "gzip gzip" };
    char meta[300];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scene_start();
        (void)snprintf(meta, sizeof meta, META("5", AS("%s")), bad[i]);
        scene_will(200, meta);
        CHECK_INT(scene_get(100), ERR_UNSUPPORTED);
        CHECK(strstr(scene.err.msg, bad[i]) && strstr(scene.err.msg, "gzip"));
        CHECK_INT(scene.script.n_requests, 1);
        scene_stop();
    }
}

TEST(storage__checks_stored_bytes_before_it_unpacks_them)
{
    scene_start(); /* damaged on its way: again; damaged in the bucket: for good */
    scene_will(200, PACKED_META("gzip"));
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = { PACKED, 12 } });
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = packed });
    CHECK_OK(scene_get(100), scene.err);
    CHECK_INT(scene.script.n_requests, 3);
    scene_will(200, META("12", AS("gzip")));
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = { PACKED, 12 } });
    CHECK_INT(scene_get(100), ERR_CORRUPT);
    CHECK(strstr(scene.err.msg, "gzip") && strstr(scene.err.msg, "cut off"));
    scene_will(200, PACKED_META("gzip"));
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = packed });
    CHECK_OK(scene_get(packed.len), scene.err);
    scene_stop();
    scene_start();
    scene_will(200, META("40", AS("gzip")));
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = { BOMB, sizeof BOMB - 1 } });
    CHECK_INT(scene_get(1000), ERR_TOO_LARGE);
    scene_stop();
}

static void will_unpack(const char *body, struct http_header mark, struct http_header framing)
{
    script_will(&scene.script,
                (struct script_reply){ .status = 200, .body = span_of(body), .headers = { mark, framing } });
}

TEST(storage__takes_what_the_cloud_has_unpacked_on_its_way)
{
    static char large[300001];
    static const struct http_header framings[] = { { "transfer-encoding", "chunked" }, { "content-length", "9" } };
    static const struct http_header marks[] = { { "x-guploader-response-body-transformations", "gunzipped" },
                                                { "warning", "214 UploadServer gunzipped" } };

    for (size_t i = 0; i < 2; i++) {
        scene_start();
        scene_will(200, PACKED_META("gzip"));
        will_unpack("hel", marks[i], (struct http_header){ "connection", "close" }); /* who knows whether that is all? */
        will_unpack("hello", marks[i], framings[i]);
        CHECK_OK(scene_get(100), scene.err);
        CHECK(span_is(scene.got.body, "hello"));
        scene_will(200, PACKED_META("gzip"));
        will_unpack("a longer text than is allowed, and more of it", marks[i], framings[i]);
        CHECK_INT(scene_get(40), ERR_TOO_LARGE);
        scene_stop();
    }
    scene_start(); /* what unpacks to more than the packed object and an error message; what is no packed object */
    memset(large, 'x', sizeof large - 1);
    scene_will(200, PACKED_META("gzip"));
    will_unpack(large, marks[1], framings[0]);
    CHECK_OK(scene_get(sizeof large), scene.err);
    CHECK_INT(scene.got.body.len, sizeof large - 1);
    scene_will(200, HELLO);
    will_unpack("jello", marks[1], framings[0]);
    scene_will(200, "hello");
    CHECK_OK(scene_get(100), scene.err);
    CHECK(span_is(scene.got.body, "hello"));
    scene_stop();
    scene_start(); /* without such a mark it may be anything: not for ever, and not a damaged picture */
    scene_will(200, PACKED_META("gzip"));
    for (int i = 0; i < 6; i++)
        scene_will(200, "hello");
    CHECK_INT(scene_get(100), ERR_PROTOCOL);
    CHECK(strstr(scene.err.msg, "unpacked on their way"));
    CHECK_INT(scene.script.n_requests, 7);
    scene_stop();
}
