/* Addresses, refusals, what a 404 is about, deletion: PROTOCOL.md 5.1, 5.2. */
#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"
#include "test/support/fake/peer.h"
#include "test/support/fake/storage_scene.h"

/* ---- addresses ---- */

TEST(storage__finds_its_base)
{
    static const struct {
        const char *storage, *firebase, *base;
    } cases[] = {
        { NULL, NULL, "https://storage.googleapis.com" },
        { "", "", "https://storage.googleapis.com" },
        { "http://127.0.0.1:1", NULL, "http://127.0.0.1:1" },
        { "http://127.0.0.1:1/", "127.0.0.1:2", "http://127.0.0.1:1" },
        { "127.0.0.1:1", NULL, "http://127.0.0.1:1" },
        { NULL, "127.0.0.1:2", "http://127.0.0.1:2" },
        { "https://x.example/", NULL, "https://x.example" },
    };
    static const char *const hosts[] = { "ftp://x", "a b", "u@h", "/", "http://x?y" };
    static const char *const buckets[] = { "gs://b", "a/b", "UPPER", "ab", "a b" };

    scene_start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(scene_init("b-1", cases[i].storage, cases[i].firebase, &scene.err), scene.err);
        CHECK_STR(scene.storage.base, cases[i].base);
        CHECK_INT(scene.storage.emulator, i >= 2);
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        CHECK_INT(scene_init("b-1", hosts[i], NULL, NULL), ERR_INVALID);
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
        CHECK_INT(scene_init(buckets[i], NULL, NULL, NULL), ERR_INVALID);
    CHECK_OK(scene_init(NULL, NULL, NULL, &scene.err), scene.err); /* it is found out later */
    CHECK(!scene.storage.bucket);
    CHECK_OK(scene_init("", NULL, NULL, &scene.err), scene.err);
    CHECK(!scene.storage.bucket);
    scene_stop();
}

TEST(storage__refuses_texts_that_are_not_names)
{
    static const char *const bad[] = { "", ".", "..", "a\nb", "a\rb", ".well-known/acme-challenge/x" };
    char longest[STORAGE_NAME_MAX + 2];

    scene_start();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(storage_stat(&scene.storage, bad[i], &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_INVALID);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK_INT(storage_stat(&scene.storage, longest, &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_INVALID);
    CHECK_INT(scene.script.n_requests, 0);
    scene_stop();
}

/* ---- stat ---- */

TEST(storage__stats_an_object)
{
    scene_start();
    scene_will(200,
         META("5", ",\"crc32c\":\"mnG7TA==\",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\",\"contentType\":\"image/png\","
                   "\"metadata\":{\"jobId\":\"j\"},\"metageneration\":\"1\""));
    CHECK_OK(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, &scene.err), scene.err);
    CHECK(strncmp(scene.script.requests[0].url, PATH "?fields=name,", strlen(PATH) + 13) == 0);
    CHECK(!strstr(scene.script.requests[0].header_text, "Authorization"));
    CHECK_INT(scene.object.generation, 7);
    CHECK_INT(scene.object.size_bytes, 5);
    CHECK_STR(scene.object.content_type, "image/png");
    CHECK_STR(scene.object.content_encoding, "");
    CHECK_STR(scene.object.job_id, "j");
    CHECK(scene.object.has_crc32c && scene.object.crc32c == 0x9a71bb4c && scene.object.has_md5 && scene.object.md5[0] == 0x5d);
    /* some emulators use nanoseconds as generations */
    scene_will(200, "{\"name\":\"" NAME "\",\"generation\":\"1795262550778751473\",\"size\":5}");
    CHECK_OK(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, &scene.err), scene.err);
    CHECK_INT(scene.object.generation, 1795262550778751473);
    CHECK(!scene.object.has_crc32c && !scene.object.has_md5);
    scene_stop();
}

TEST(storage__refuses_metadata_that_is_nonsense)
{
    static const char *const bad[] = { "",
                                       "<html>",
                                       "{}",
                                       "[]",
                                       "{\"name\":\"other\",\"generation\":\"7\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"0\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"-7\",\"size\":\"5\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"5x\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"99999999999999999999\"}",
                                       "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":-1}",
                                       "{\"generation\":\"7\",\"size\":\"5\"}" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scene_start();
        scene_will(200, bad[i]);
        CHECK_INT(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_PROTOCOL);
        scene_stop();
    }
}

TEST(storage__tries_and_new_tokens_cost_no_memory)
{
    static const int statuses[] = { 401, 503 };
    static char large[60001];

    memset(large, 'x', sizeof large - 1);
    for (size_t i = 0; i < 2; i++) {
        scene_start();
        for (int k = 0; k < 5; k++)
            scene_will(statuses[i], large);
        CHECK(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL) != ERR_OK);
        CHECK(scene.script.n_requests > 1 && scene.arena.used < 2 * sizeof large);
        CHECK(scene.script.requests[1].has_budget); /* else nothing would end it early */
        scene_stop();
    }
}

TEST(storage__an_answer_that_is_too_large_is_no_input_that_is)
{
    static char large[300001];

    memset(large, ' ', sizeof large - 1);
    scene_start();
    scene_will(200, large);
    CHECK_INT(scene_get(100), ERR_PROTOCOL);
    scene_stop();
}

TEST(storage__judges_refusals)
{
    static const struct {
        int status;
        enum err_code want;
        int requests;
    } cases[] = { { 404, ERR_NOT_FOUND, 1 },   { 403, ERR_DENIED, 1 },   { 401, ERR_DENIED, 2 },
                  { 400, ERR_INVALID, 1 },     { 412, ERR_CONFLICT, 1 }, { 503, ERR_UNAVAILABLE, 5 },
                  { 429, ERR_UNAVAILABLE, 5 }, { 301, ERR_INVALID, 1 },
                  { 304, ERR_CONFLICT, 1 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_start();
        for (int k = 0; k < 6; k++)
            scene_will(cases[i].status, "No such object: b/o");
        CHECK_INT(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL), cases[i].want);
        CHECK_INT(scene.script.n_requests, cases[i].requests);
        scene_stop();
    }
    scene_start();
    for (int k = 0; k < 6; k++)
        script_will(&scene.script, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    CHECK_INT(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_UNAVAILABLE);
    scene_stop();
}

TEST(storage__names_the_role_that_a_refused_account_may_lack)
{
    scene_start();
    scene_will(403, "");
    CHECK_INT(scene_get(5), ERR_DENIED);
    CHECK(strstr(scene.err.msg, "roles/storage.objectUser") && strstr(scene.err.msg, "no such object)"));
    scene_will(403, "{\"error\":{\"message\":\"w@p does not have storage.objects.get access to the object.\"}}");
    CHECK_INT(scene_get(5), ERR_DENIED);
    CHECK(strstr(scene.err.msg, "roles/storage.objectUser"));
    scene_stop();
    scene_start();
    scene_will(403, "{\"error\":{\"code\":403,\"message\":\"Permission denied on Cloud KMS key.\"}}"); /* no role helps */
    CHECK_INT(scene_get(5), ERR_DENIED);
    CHECK(strstr(scene.err.msg, "HTTP 403: Permission denied on Cloud KMS key."));
    scene_stop();
}

TEST(storage__says_in_the_servers_words_why_it_refuses)
{
    static const char *const said[] = { "Object 'o' is subject to the bucket's retention policy",
                                        "Permission denied on Cloud KMS key.",
                                        "w@p does not have serviceusage.services.use access to the project.",
                                        "Bucket is a requester pays bucket but no user project provided." };
    char body[256];

    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        scene_start();
        (void)snprintf(body, sizeof body, "{\"error\":{\"code\":403,\"message\":\"%s\"}}", said[i]);
        scene_will(i < 3 ? 403 : 400, body);
        CHECK_INT(scene_get(5), i < 3 ? ERR_DENIED : ERR_INVALID);
        CHECK(strstr(scene.err.msg, said[i]) && !strstr(scene.err.msg, "objectUser"));
        scene_stop();
    }
}

/* ---- what a 404 is about ---- */

#define SAYS(message) "{\"error\":{\"code\":404,\"message\":\"" message "\",\"errors\":[{\"reason\":\"notFound\"}]}}"

TEST(storage__the_words_of_names_say_nothing)
{
    scene_start();
    scene_will(404, SAYS("object a/bucket was not found"));
    CHECK_INT(storage_stat(&scene.storage, "a/bucket", &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_NOT_FOUND);
    *scene.storage.bucket_seen = false;
    scene_will(404, SAYS("object was not found"));
    CHECK_INT(storage_stat(&scene.storage, "object", &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_NOT_FOUND);
    CHECK_OK(scene_init("my-object", NULL, "127.0.0.1:9199", &scene.err), scene.err);
    scene_will(404, SAYS("bucket my-object was not found"));
    CHECK_INT(storage_stat(&scene.storage, "a", &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_UNAVAILABLE);
    CHECK_INT(scene.script.n_requests, 3); /* nobody has to ask */
    scene_stop();
}

TEST(storage__tells_a_missing_bucket_from_a_missing_object)
{
    static const struct {
        const char *body;
        enum err_code want;
    } cases[] = {
        { SAYS("No such object: demo.appspot.com/" NAME), ERR_NOT_FOUND },
        { SAYS("The specified bucket does not exist."), ERR_UNAVAILABLE },
        { "No such object: demo.appspot.com/" NAME, ERR_NOT_FOUND },
        { "No such object: demo.appspot.com/users/The specified bucket does not exist./x", ERR_NOT_FOUND },
        { "The specified bucket does not exist.", ERR_UNAVAILABLE },
        { SAYS("Bucket demo.appspot.com does not exist."), ERR_UNAVAILABLE },
        { SAYS("Live version of object demo.appspot.com/" NAME " does not exist."), ERR_NOT_FOUND },
        { SAYS("OBJECT NOT FOUND"), ERR_NOT_FOUND },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_start();
        scene_will(404, cases[i].body);
        if (storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, &scene.err) != cases[i].want || scene.script.n_requests != 1)
            test_fail(__FILE__, __LINE__, "case %zu: %d requests, %s", i, scene.script.n_requests, scene.err.msg);
        CHECK(strstr(scene.err.msg, cases[i].want == ERR_UNAVAILABLE ? "FIREBASE_STORAGE_BUCKET"
                                                                     : "in the bucket 'demo.appspot.com'"));
        scene_stop();
    }
}

TEST(storage__asks_for_the_bucket_where_a_404_does_not_say)
{
    static const char *const unclear[] = { "", "Not Found", "{}", SAYS("Not Found"), SAYS("no bucket, no object"),
                                           "[1", "<html>404</html>", "{\"error\":\"x\"}", "\xff\xfe" };
    static const struct {
        int status;
        enum err_code want;
        int requests;
    } answers[] = { { 200, ERR_NOT_FOUND, 2 },   { 403, ERR_NOT_FOUND, 2 },   { 400, ERR_NOT_FOUND, 2 },
                    { 404, ERR_UNAVAILABLE, 2 }, { 503, ERR_UNAVAILABLE, 6 }, { 401, ERR_DENIED, 3 } };

    for (size_t i = 0; i < sizeof unclear / sizeof *unclear; i++)
        for (size_t k = 0; k < sizeof answers / sizeof *answers; k++) {
            scene_start();
            scene_will(404, unclear[i]);
            for (int n = 0; n < 6; n++)
                scene_will(answers[k].status, "{}");
            if (storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, &scene.err) != answers[k].want ||
                scene.script.n_requests != answers[k].requests)
                test_fail(__FILE__, __LINE__, "case %zu, %zu: %d requests, %s", i, k, scene.script.n_requests, scene.err.msg);
            CHECK_STR(scene.script.requests[1].url, "http://127.0.0.1:9199/storage/v1/b/demo.appspot.com?fields=name");
            scene_stop();
        }
}

TEST(storage__does_not_ask_for_a_bucket_that_it_has_seen)
{
    scene_start();
    scene_will(200, HELLO);
    CHECK_OK(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, &scene.err), scene.err);
    scene_will(404, "");
    CHECK_INT(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_NOT_FOUND);
    CHECK_INT(scene.script.n_requests, 2);
    scene_will(404, "The specified bucket does not exist."); /* deleted meanwhile */
    CHECK_INT(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_UNAVAILABLE);
    scene_will(404, "");
    scene_will(404, "");
    CHECK_INT(storage_stat(&scene.storage, NAME, &scene.script.budget, &scene.arena, &scene.object, NULL), ERR_UNAVAILABLE);
    CHECK_INT(scene.script.n_requests, 5);
    scene_stop();
}

TEST(storage__a_delete_in_a_missing_bucket_says_so)
{
    scene_start();
    scene_will(404, SAYS("The specified bucket does not exist."));
    CHECK_INT(storage_delete(&scene.storage, NAME, 7, &scene.script.budget, &scene.arena, NULL), ERR_UNAVAILABLE);
    scene_will(404, SAYS("Not Found"));
    scene_will(200, "{}");
    CHECK_OK(storage_delete(&scene.storage, NAME, 7, &scene.script.budget, &scene.arena, &scene.err), scene.err);
    scene_stop();
}

/* ---- delete ---- */

TEST(storage__deletes_one_generation)
{
    scene_start();
    scene_will(503, "");
    scene_will(204, "");
    CHECK_OK(storage_delete(&scene.storage, NAME, 7, &scene.script.budget, &scene.arena, &scene.err), scene.err);
    CHECK_STR(scene.script.requests[1].method, "DELETE");
    CHECK_STR(scene.script.requests[1].url, PATH "?ifGenerationMatch=7");
    scene_will(404, "{\"error\":{\"code\":404,\"message\":\"No such object: demo.appspot.com/x\"}}");
    CHECK_OK(storage_delete(&scene.storage, NAME, 7, &scene.script.budget, &scene.arena, &scene.err), scene.err);
    scene_will(412, "");
    CHECK_INT(storage_delete(&scene.storage, NAME, 7, &scene.script.budget, &scene.arena, NULL), ERR_CONFLICT);
    scene_will(403, "");
    CHECK_INT(storage_delete(&scene.storage, NAME, 7, &scene.script.budget, &scene.arena, NULL), ERR_DENIED);
    scene_stop();
}

/* ---- through libcurl, over a connection that really breaks ---- */

TEST(storage__survives_a_connection_that_breaks)
{
    static char bytes[200000], meta[256];
    struct peer *p = peer_open();
    struct storage_options o;
    struct storage st;
    struct http *http;

    scene_start();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + i % 23);
    (void)snprintf(meta, sizeof meta, META("%zu", ""), sizeof bytes);
    CHECK_OK(http_client_open(&http, &scene.err), scene.err);
    o = (struct storage_options){
        .http = http, .gauth = scene.gauth, .sys = &scene.script.sys, .bucket = "demo.appspot.com", .emulator_host = peer_url(p)
    };
    CHECK_OK(storage_init(&st, &o, &scene.arena, &scene.err), scene.err);
    peer_will(p, (struct peer_reply){ .status = 200, .body = span_of(meta) });
    peer_will(
        p, (struct peer_reply){ .status = 200, .body = { bytes, sizeof bytes }, .cut_after = 100000, .reset = true });
    peer_will(p, (struct peer_reply){ .status = 200, .body = { bytes, sizeof bytes } });
    CHECK_OK(storage_get(&st, NAME, sizeof bytes, &scene.script.budget, &scene.arena, &scene.got, &scene.err), scene.err);
    CHECK(span_eq(scene.got.body, (struct span){ bytes, sizeof bytes }));
    CHECK_INT(peer_count(p), 3);
    http_client_close(http);
    peer_close(p);
    scene_stop();
}
