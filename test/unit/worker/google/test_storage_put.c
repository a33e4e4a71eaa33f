/* U13 to U15 of PROTOCOL.md 9.3: uploads, sessions, what is kept, idempotence: PROTOCOL.md 5.4, 5.5. */
#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"
#include "test/support/fake/storage_scene.h"

/* ---- put ---- */

TEST(storage__uploads_in_one_multipart_request)
{
    const struct script_request *r;
    const char *type, *at;
    char boundary[33], want[2048];

    scene_start();
    scene_will(200, HELLO);
    CHECK_OK(scene_put(), scene.err);
    CHECK_INT(scene.object.generation, 7);
    r = &scene.script.requests[0];
    CHECK_STR(r->method, "POST");
    CHECK(strncmp(r->url,
                  "http://127.0.0.1:9199/upload/storage/v1/b/demo.appspot.com/"
                  "o?uploadType=multipart&ifGenerationMatch=0&fields=",
                  105) == 0);
    type = strstr(r->header_text, "Content-Type: multipart/related; boundary=");
    CHECK(type);
    at = type + strlen("Content-Type: multipart/related; boundary=");
    CHECK_INT(strcspn(at, "\n"), 32);
    (void)snprintf(boundary, sizeof boundary, "%.32s", at);
    (void)snprintf(want, sizeof want,
                   "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
                   "{\"name\":\"" NAME "\",\"contentType\":\"image/jpeg\",\"cacheControl\":\"private, max-age=3600\","
                   "\"crc32c\":\"mnG7TA==\",\"metadata\":{\"jobId\":\"m1\"}}\r\n"
                   "--%s\r\nContent-Type: image/jpeg\r\n\r\nhello\r\n--%s--\r\n",
                   boundary, boundary, boundary);
    CHECK(span_is(r->body, want));
    scene_will(200, HELLO);
    CHECK_OK(scene_put_bytes(SPAN("hello"), 6), scene.err);
    CHECK(strstr(scene.script.requests[1].url, "&ifGenerationMatch=6&"));
    scene_stop();
}

TEST(storage__recognises_its_own_first_try) /* U13 */
{
    const struct script_reply lost[] = {
        { .status = 503 }, { .rc = ERR_UNKNOWN_OUTCOME }, { .status = 429 }, { .rc = ERR_UNAVAILABLE }
    };

    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        scene_start();
        script_will(&scene.script, lost[i]);
        scene_will(412, "{\"error\":{\"code\":412}}");
        scene_will(200, META("5", ",\"crc32c\":\"mnG7TA==\",\"metadata\":{\"jobId\":\"m1\"}"));
        CHECK_OK(scene_put(), scene.err);
        CHECK_INT(scene.object.generation, 7);
        CHECK_STR(scene.object.job_id, "m1");
        CHECK(span_eq(scene.script.requests[0].body, scene.script.requests[1].body));
        scene_stop();
    }
}

TEST(storage__leaves_a_foreign_object_alone) /* U14 */
{
    static const char *const foreign[] = { META("5", ",\"crc32c\":\"AAAAAA==\""), META("6", ",\"crc32c\":\"mnG7TA==\""),
                                           META("5", "") };

    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        scene_start();
        scene_will(412, "");
        scene_will(200, foreign[i]);
        CHECK_INT(scene_put(), ERR_CONFLICT);
        CHECK_INT(scene.script.n_requests, 2);
        scene_stop();
    }
    scene_start();
    scene_will(412, "");
    scene_will(404, "No such object: demo.appspot.com/" NAME);
    CHECK_INT(scene_put_bytes(SPAN("hello"), 5), ERR_CONFLICT);
    scene_stop();
}

TEST(storage__reports_how_an_upload_ended)
{
    scene_start();
    for (int i = 0; i < 6; i++)
        script_will(&scene.script, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_INT(scene_put(), ERR_UNKNOWN_OUTCOME);
    CHECK_INT(scene.script.n_requests, 6);
    scene_stop();
    scene_start();
    scene_will(400, "crc32c mismatch");
    CHECK_INT(scene_put(), ERR_INVALID);
    scene_will(403, "");
    CHECK_INT(scene_put(), ERR_DENIED);
    scene_will(404, ""); /* there is no such bucket: not for the app's user to mend */
    CHECK_INT(scene_put(), ERR_UNAVAILABLE);
    CHECK(strstr(scene.err.msg, "FIREBASE_STORAGE_BUCKET") && strstr(scene.err.msg, "'demo.appspot.com'"));
    scene_will(200, META("5", ",\"crc32c\":\"AAAAAA==\""));
    CHECK_INT(scene_put(), ERR_PROTOCOL);
    scene_will(200, META("4", ""));
    CHECK_INT(scene_put(), ERR_PROTOCOL);
    scene_will(200, META("5", ""));
    CHECK_INT(scene_put(), ERR_OK); /* the server states no checksum */
    scene_stop();
}

/* ---- what an upload keeps ---- */

/* The resource that was sent over an object with these members, between the two lines that end a head. */
static const char *resource(enum download_tokens tokens, const char *old, int want_dropped)
{
    static char text[40000];
    struct storage_put put = { .object = NAME,
                               .content_type = "image/jpeg",
                               .cache_control = "private, max-age=3600",
                               .job_id = "m1",
                               .body = SPAN("hello"),
                               .if_generation = old ? 7 : 0 };
    int dropped = -1;
    const char *at;
    size_t n;

    scene_start();
    scene.storage.tokens = tokens;
    put.ret_dropped = &dropped;
    if (old) {
        char *meta;

        CHECK_OK(arena_printf(&scene.arena, &meta, &scene.err, "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"9\"%s}", old),
                 scene.err);
        scene_will(200, meta);
        CHECK_OK(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, &scene.err), scene.err);
        put.replaces = &scene.object;
    }
    scene_will(200, HELLO);
    CHECK_OK(storage_put(&scene.storage, &put, &scene.script.budget, &scene.arena, NULL, &scene.err), scene.err);
    CHECK_INT(dropped, want_dropped);
    at = strstr(scene.script.requests[scene.script.n_requests - 1].body.ptr, "\r\n\r\n") + 4;
    n = strcspn(at, "\r");
    CHECK(n < sizeof text);
    (void)snprintf(text, sizeof text, "%.*s", (int)n, at);
    scene_stop();
    return text;
}

#define TOKENS          ",\"metadata\":{\"firebaseStorageDownloadTokens\":\"t-1,t-2\",\"owner\":\"u\\u00e9\",\"jobId\":\"old\"}"
#define SENT(more)      "{\"name\":\"" NAME "\",\"contentType\":\"image/jpeg\"," more
#define OURS            "\"cacheControl\":\"private, max-age=3600\",\"crc32c\":\"mnG7TA==\","
#define SENT_OURS(meta) SENT(OURS "\"metadata\":{" meta "}}")

TEST(storage__an_upload_keeps_what_the_app_has_set)
{
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, NULL, 0), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, "", 0), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, TOKENS, 0),
              SENT_OURS("\"jobId\":\"m1\",\"firebaseStorageDownloadTokens\":\"t-1,t-2\",\"owner\":\"u\xc3\xa9\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_NONE, TOKENS, 0), SENT_OURS("\"jobId\":\"m1\",\"owner\":\"u\xc3\xa9\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_CREATE, TOKENS, 0),
              SENT_OURS("\"jobId\":\"m1\",\"firebaseStorageDownloadTokens\":\"t-1,t-2\",\"owner\":\"u\xc3\xa9\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP,
                       ",\"cacheControl\":\"no-store\",\"contentDisposition\":\"inline; filename*=utf-8''edited.jpg\","
                       "\"contentLanguage\":\"de\",\"contentEncoding\":\"gzip\",\"contentType\":\"image/png\"",
                       0),
              SENT("\"cacheControl\":\"no-store\",\"contentDisposition\":\"inline; filename*=utf-8''edited.jpg\","
                   "\"contentLanguage\":\"de\",\"crc32c\":\"mnG7TA==\",\"metadata\":{\"jobId\":\"m1\"}}"));
}

TEST(storage__a_fresh_token_is_a_random_uuid)
{
    static const char before[] = "\"firebaseStorageDownloadTokens\":\"";
    static const char *const old[] = { NULL, "", ",\"metadata\":{\"firebaseStorageDownloadTokens\":\"\"}",
                                       ",\"metadata\":{\"firebaseStorageDownloadTokens\":7}",
                                       ",\"metadata\":{\"firebaseStorageDownloadTokens\":\"a\\u0000b\"}" };

    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        const char *at = strstr(resource(DOWNLOAD_TOKENS_CREATE, old[i], i >= 3), before);

        CHECK(at);
        at += strlen(before);
        CHECK(strcspn(at, "\"") == 36 && at[14] == '4' && strchr("89ab", at[19]) && at[8] == '-' && at[23] == '-');
    }
}

TEST(storage__drops_metadata_that_cannot_be_kept)
{
    static const struct {
        const char *old, *kept;
        int dropped;
    } cases[] = {
        { "\"a\":1,\"b\":null,\"c\":[\"x\"],\"d\":{\"e\":\"f\"},\"g\":true,\"h\":\"i\"", "\"m1\",\"h\":\"i\"", 5 },
        { "\"a\":\"x\\u0000y\",\"b\":\"\\ud800\",\"c\":\"\\udc00\\ud800x\",\"d\":\"e\"", "\"m1\",\"d\":\"e\"", 3 },
        { "\"a\\u0000\":\"x\",\"b\":\"\\ud83d\\ude00 \\\\u0000\"", "\"m1\",\"b\":\"\xf0\x9f\x98\x80 \\\\u0000\"", 1 },
        { "\"\":\"x\",\"JOBID\":\"y\",\"FirebaseStorageDownloadTokens\":\"z\",\"a\":\"two\\nlines\"",
          "\"m1\",\"a\":\"two\\nlines\"", 0 },
    };
    char old[200];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(old, sizeof old, ",\"metadata\":{%s}", cases[i].old);
        CHECK(strstr(resource(DOWNLOAD_TOKENS_KEEP, old, cases[i].dropped), cases[i].kept));
    }
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, ",\"metadata\":[\"x\"]", 1), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, ",\"contentLanguage\":\"d\\u0000e\"", 1), SENT_OURS("\"jobId\":\"m1\""));
    CHECK_STR(resource(DOWNLOAD_TOKENS_KEEP, ",\"metadata\":null", 0), SENT_OURS("\"jobId\":\"m1\""));
}

TEST(storage__kept_metadata_is_as_large_as_the_cloud_takes)
{
    static char old[30000], *at;
    const char *sent;

    at = old + snprintf(old, sizeof old, ",\"cacheControl\":\"%01100d\",\"metadata\":{\"huge\":\"%09000d\"", 0, 0);
    for (int i = 0; i < 9; i++)
        at += snprintf(at, 1200, ",\"k%d\":\"%0998d\"", i, i);
    (void)snprintf(at, 100, ",\"firebaseStorageDownloadTokens\":\"t\"}");
    sent = resource(DOWNLOAD_TOKENS_KEEP, old, 3); /* cacheControl, huge, and the ninth thousand */
    CHECK(strstr(sent, "\"firebaseStorageDownloadTokens\":\"t\"")); /* the last, and the dearest */
    CHECK(strstr(sent, "\"k7\"") && !strstr(sent, "\"k8\"") && !strstr(sent, "huge"));
    CHECK(strstr(sent, "\"cacheControl\":\"private, max-age=3600\""));
}

TEST(storage__keeps_metadata_that_change_while_it_uploads)
{
    static const char old[] = META("9", ",\"metageneration\":\"1\",\"metadata\":{\"a\":\"1\"}");
    static const char changed[] = META("9", ",\"metageneration\":\"2\",\"metadata\":{\"a\":\"2\"}");
    struct storage_object there;
    struct storage_put put = { .object = NAME,
                               .content_type = "image/jpeg",
                               .body = SPAN("hello"),
                               .if_generation = 7,
                               .replaces = &there };

    for (int changes = 1; changes < 4; changes++) {
        scene_start();
        scene_will(200, old);
        CHECK_OK(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &there, &scene.err), scene.err);
        for (int i = 0; i < changes; i++) {
            scene_will(412, "");
            scene_will(200, changed);
        }
        scene_will(200, HELLO);
        CHECK_INT(storage_put(&scene.storage, &put, &scene.script.budget, &scene.arena, NULL, NULL),
                  changes < 3 ? ERR_OK : ERR_CONFLICT);
        CHECK(strstr(scene.script.requests[1].url, "&ifGenerationMatch=7&ifMetagenerationMatch=1&"));
        CHECK(strstr(scene.script.requests[3].url, "&ifGenerationMatch=7&ifMetagenerationMatch=2&"));
        CHECK(strstr(scene.script.requests[3].body.ptr, "\"a\":\"2\""));
        CHECK_INT(scene.script.n_requests, 1 + 2 * changes + (changes < 3));
        scene_stop();
    }
    scene_start(); /* another object: it is left alone at once */
    there = (struct storage_object){ .generation = 7, .metageneration = 1 };
    scene_will(412, "");
    scene_will(200, "{\"name\":\"" NAME "\",\"generation\":\"8\",\"size\":\"9\"}");
    CHECK_INT(storage_put(&scene.storage, &put, &scene.script.budget, &scene.arena, NULL, NULL), ERR_CONFLICT);
    CHECK_INT(scene.script.n_requests, 2);
    scene_stop();
}

/* ---- resumable ---- */

enum { BIG = STORAGE_MULTIPART_MAX + 1000000 };

static char *big(void)
{
    static char *bytes;

    if (!bytes) {
        bytes = malloc(BIG);
        CHECK(bytes);
        memset(bytes, 'x', BIG);
    }
    return bytes;
}

static enum err_code put_big(void)
{
    return scene_put_bytes((struct span){ big(), BIG }, 0);
}

static void will_keep(const char *range)
{
    script_will(&scene.script, (struct script_reply){ .status = 308, .headers = { { range ? "range" : NULL, range } } });
}

static const char *stored(void)
{
    static char text[256];

    (void)snprintf(text, sizeof text, META("%d", ""), BIG);
    return text;
}

TEST(storage__a_body_over_the_maximum_is_not_sent)
{
    scene_start();
    CHECK_INT(scene_put_bytes((struct span){ "", (size_t)STORAGE_PUT_MAX + 1 }, 0), ERR_INVALID);
    CHECK_INT(scene.script.n_requests, 0);
    scene_stop();
}

TEST(storage__a_boundary_is_not_in_the_picture)
{
    char body[33], *boundary;

    for (int i = 0; i < 2; i++) { /* the random numbers are the same both times */
        scene_start();
        scene_will(403, "");
        CHECK_INT(scene_put_bytes(i ? (struct span){ body, 32 } : SPAN("x"), 0), ERR_DENIED);
        boundary = strstr(scene.script.requests[0].header_text, "boundary=");
        CHECK(boundary && (!i || strncmp(boundary + 9, body, 32) != 0));
        (void)snprintf(body, sizeof body, "%s", boundary + 9);
        scene_stop();
    }
}

static const char session_url[] = "http://127.0.0.1:9199/session/1";

TEST(storage__uploads_large_bodies_in_a_session)
{
    char line[64];

    scene_start();
    scene_will_with(200, "", "location", session_url);
    scene_will(200, stored());
    CHECK_OK(put_big(), scene.err);
    CHECK(
        strstr(scene.script.requests[0].url, "/upload/storage/v1/b/demo.appspot.com/o?uploadType=resumable&name=users%2Fu1%2F"));
    CHECK(strstr(scene.script.requests[0].url, "&ifGenerationMatch=0&"));
    CHECK(script_sent_header(&scene.script, 0, "X-Upload-Content-Type: image/jpeg"));
    (void)snprintf(line, sizeof line, "X-Upload-Content-Length: %d", BIG);
    CHECK(script_sent_header(&scene.script, 0, line));
    CHECK(span_starts(scene.script.requests[0].body, "{\"name\":"));
    CHECK_STR(scene.script.requests[1].method, "PUT");
    CHECK_STR(scene.script.requests[1].url, session_url);
    (void)snprintf(line, sizeof line, "Content-Range: bytes 0-%d/%d", BIG - 1, BIG);
    CHECK(script_sent_header(&scene.script, 1, line));
    CHECK_INT(scene.script.requests[1].body.len, BIG);
    CHECK_INT(scene.script.requests[1].low_speed_ms, 15000);
    scene_stop();
}

TEST(storage__resumes_an_upload_where_the_server_says) /* U15 */
{
    char line[80];

    scene_start();
    scene_will(503, "");
    scene_will_with(200, "", "location", session_url);
    will_keep(NULL); /* nothing stored: send from byte 0 */
    will_keep("bytes=0-524287");
    script_will(&scene.script, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    will_keep("bytes=0-1048575"); /* the answer to how much is stored */
    scene_will(200, stored());
    CHECK_OK(put_big(), scene.err);
    CHECK_INT(scene.script.n_requests, 7);
    CHECK_INT(scene.script.requests[3].body.len, BIG);
    (void)snprintf(line, sizeof line, "Content-Range: bytes 524288-%d/%d", BIG - 1, BIG);
    CHECK(script_sent_header(&scene.script, 4, line));
    (void)snprintf(line, sizeof line, "Content-Range: bytes */%d", BIG);
    CHECK(script_sent_header(&scene.script, 5, line));
    CHECK_INT(scene.script.requests[5].body.len, 0);
    CHECK_INT(scene.script.requests[6].body.len, BIG - 1048576);
    scene_stop();
}

TEST(storage__to_ask_how_much_there_is_costs_no_try)
{
    scene_start();
    scene_will_with(200, "", "location", session_url);
    for (int i = 0; i < 5; i++) {
        script_will(&scene.script, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
        will_keep(NULL);
    }
    scene_will(201, stored());
    CHECK_OK(put_big(), scene.err);
    scene_stop();
}

TEST(storage__opens_a_new_session_when_the_old_one_is_gone) /* U15 */
{
    scene_start();
    scene_will_with(200, "", "location", session_url);
    will_keep("bytes=0-524287");
    scene_will(404, "");
    scene_will_with(200, "", "location", "http://127.0.0.1:9199/session/2");
    scene_will(410, "");
    scene_will_with(200, "", "location", "http://127.0.0.1:9199/session/3");
    scene_will(503, "");
    scene_will(400, ""); /* to the question how much there is */
    scene_will_with(200, "", "location", "http://127.0.0.1:9199/session/4");
    scene_will(200, stored());
    CHECK_OK(put_big(), scene.err);
    CHECK_INT(scene.script.requests[4].body.len, BIG);
    CHECK_STR(scene.script.requests[9].url, "http://127.0.0.1:9199/session/4");
    CHECK_INT(scene.script.requests[9].body.len, BIG);
    scene_stop();
}

/* It says nothing about the bucket, about our key or about the request. */
TEST(storage__a_session_that_always_ends_is_an_outage)
{
    static const int statuses[] = { 404, 410, 401 };

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        scene_start();
        for (int k = 0; k < 6; k++) {
            scene_will_with(200, "", "location", session_url);
            scene_will(statuses[i], "");
        }
        CHECK_INT(put_big(), ERR_UNAVAILABLE);
        CHECK(strstr(scene.err.msg, "session") && !strstr(scene.err.msg, "bucket"));
        CHECK_INT(scene.script.n_requests, 12);
        scene_will(401, "");
        scene_will(401, "");
        CHECK_INT(put_big(), ERR_DENIED);
        scene_will(404, "");
        CHECK_INT(put_big(), ERR_UNAVAILABLE);
        CHECK(strstr(scene.err.msg, "bucket"));
        scene_stop();
    }
}

TEST(storage__does_not_loop_in_a_session)
{
    static char all[32];
    static const char *const ranges[] = {
        "bytes=0-99999999", "bytes=5-9", "bytes=0-", "0-5", "bytes=0-x", "bytes=0--5", "bytes=0-5x", all
    };

    (void)snprintf(all, sizeof all, "bytes=0-%d", BIG - 1); /* then it should have said 200 */

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        scene_start();
        scene_will_with(200, "", "location", session_url);
        will_keep(ranges[i]);
        CHECK_INT(put_big(), ERR_PROTOCOL);
        CHECK_INT(scene.script.n_requests, 2);
        scene_stop();
    }
    scene_start();
    scene_will_with(200, "", "location", session_url);
    for (int i = 0; i < 10; i++)
        will_keep("bytes=0-99");
    CHECK_INT(put_big(), ERR_PROTOCOL);
    CHECK_INT(scene.script.n_requests, 7);
    scene_stop();
    scene_start();
    scene_will(200, "");
    CHECK_INT(put_big(), ERR_PROTOCOL);
    scene_will_with(200, "", "location", "ftp://x/");
    CHECK_INT(put_big(), ERR_PROTOCOL);
    scene_will(412, "");
    scene_will(200, META("5", ",\"crc32c\":\"AAAAAA==\""));
    CHECK_INT(put_big(), ERR_CONFLICT);
    scene_stop();
}

TEST(storage__sends_nothing_to_a_session_on_another_host)
{
    static const char *const foreign[] = {
        "http://127.0.0.1:9198/session/1",
        "http://127.0.0.1/session/1",
        "https://127.0.0.1:9199/session/1",
        "http://localhost:9199/session/1",
        "http://user:secret@127.0.0.1:9199/session/1",
        "http://127.0.0.1:9199@evil.example/session/1",
        "http://127.0.0.1:9199\\@evil.example/session/1",
        "http://127.0.0.1:9199%2f@evil.example/session/1",
        "http://127.0.0.1%2eevil.example:9199/session/1",
        "http://127.0.0.1:9199.evil.example/session/1",
        "http://evil.example/?http://127.0.0.1:9199/session/1",
        "http://127.0.0.1:9199/session/1#here",
        "//evil.example/session/1",
        "//user@127.0.0.1:9199/session/1",
        "http:\\\\127.0.0.1:9199\\session",
        "http://127.0.0.1:9199/session/1\r\nX: y",
        "http://[::1]:9199/session/1",
        "ftp://127.0.0.1:9199/session/1",
        "file:///etc/passwd",
        "http://",
    };

    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        scene_start();
        scene_will_with(200, "", "location", foreign[i]);
        if (put_big() != ERR_PROTOCOL || scene.script.n_requests != 1)
            test_fail(__FILE__, __LINE__, "%s: %d requests, %s", foreign[i], scene.script.n_requests, scene.err.msg);
        CHECK(strstr(scene.err.msg, "http://127.0.0.1:9199") && !strstr(scene.err.msg, "secret") &&
              !strstr(scene.err.msg, "session/1"));
        scene_stop();
    }
}

TEST(storage__takes_every_spelling_of_its_own_host)
{
    static const struct {
        const char *base, *location, *want;
    } cases[] = {
        { NULL, "https://storage.googleapis.com/upload/x?upload_id=A%2fb&k=v",
          "https://storage.googleapis.com/upload/x?upload_id=A%2fb&k=v" },
        { NULL, "HTTPS://Storage.GoogleAPIs.com:443/upload/x", "https://Storage.GoogleAPIs.com:443/upload/x" },
        { NULL, "/upload/x?y=z", "https://storage.googleapis.com/upload/x?y=z" },
        { NULL, "https://www.googleapis.com/upload/x", NULL },
        { NULL, "https://storage.googleapis.com./upload/x", NULL },
        { NULL, "https://storage.googleapis.com.evil.example/upload/x", NULL },
        { NULL, "http://storage.googleapis.com:443/upload/x", NULL },
        { NULL, "https://storage.googleapis.com:8443/upload/x", NULL },
        { "http://gcs:80", "http://gcs/x/../y", "http://gcs/x/../y" },
        { "https://x.example/prefix", "https://x.example/x", "https://x.example/x" },
    };
    char url[4096];

    scene_start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err_code rc;

        CHECK_OK(scene_init("b-1", cases[i].base, NULL, &scene.err), scene.err);
        rc = http_own_url(scene.storage.base, cases[i].location, url, sizeof url, NULL);
        if (rc != (cases[i].want ? ERR_OK : ERR_PROTOCOL) || (!rc && strcmp(url, cases[i].want) != 0))
            test_fail(__FILE__, __LINE__, "%s: %d %s", cases[i].location, (int)rc, rc ? "" : url);
    }
    scene_stop();
}
