#include "worker/weights/object_list.h"

#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"
#include "test/support/fake/storage_scene.h"

#define LIST "http://127.0.0.1:9199/storage/v1/b/demo.appspot.com/o?prefix="

static struct object_list list;

static enum err_code get(const char *prefix)
{
    scene.err = (struct err){ 0 };
    return object_list_get(&scene.storage, prefix, &scene.script.budget, &scene.arena, &list, &scene.err);
}

TEST(object_list__reads_name_generation_size_and_checksum_of_what_is_below_the_prefix)
{
    scene_start();
    scene_will(200, "{\"items\":[{\"name\":\"m/t/\",\"generation\":\"1\",\"size\":\"0\"},"
                    "{\"name\":\"m/t/ae.safetensors\",\"generation\":\"1700000000000001\",\"size\":\"12345678901\","
                    "\"crc32c\":\"mnG7TA==\"},"
                    "{\"name\":\"m/t/sub/a b.json\",\"generation\":\"2\",\"size\":\"0\",\"crc32c\":\"AAAAAA==\","
                    "\"contentEncoding\":\"gzip\"}]}");
    CHECK_OK(get("m/t"), scene.err);
    CHECK_STR(scene.script.requests[0].url,
              LIST "m%2Ft%2F&maxResults=1000&fields=items(name,generation,size,crc32c,contentEncoding),nextPageToken");
    CHECK_INT(list.n, 2); /* without the one that stands for the folder */
    CHECK_STR(list.objects[0].object, "m/t/ae.safetensors");
    CHECK_STR(list.objects[0].name, "ae.safetensors");
    CHECK_INT(list.objects[0].generation, 1700000000000001);
    CHECK_INT(list.objects[0].bytes, 12345678901);
    CHECK(list.objects[0].has_crc32c && list.objects[0].crc32c == 0x9a71bb4c && !list.objects[0].is_packed);
    CHECK_STR(list.objects[1].name, "sub/a b.json");
    CHECK(list.objects[1].is_packed);
    scene_stop();
}

TEST(object_list__goes_on_from_page_to_page)
{
    scene_start();
    scene_will(200, "{\"items\":[{\"name\":\"a\",\"generation\":\"1\",\"size\":\"1\"}],\"nextPageToken\":\"t/1=\"}");
    scene_will(200, "{\"nextPageToken\":\"t2\"}"); /* a page may be empty */
    scene_will(200, "{\"items\":[{\"name\":\"b\",\"generation\":\"1\",\"size\":\"1\"}]}");
    CHECK_OK(get(""), scene.err);
    CHECK_INT(list.n, 2);
    CHECK(span_starts(span_of(scene.script.requests[0].url), LIST "&maxResults=1000&"));
    CHECK(span_ends(span_of(scene.script.requests[1].url), ",nextPageToken&pageToken=t%2F1%3D"));
    CHECK(span_ends(span_of(scene.script.requests[2].url), ",nextPageToken&pageToken=t2"));
    scene_stop();
}

TEST(object_list__says_what_is_missing_or_forbidden_and_which_role_helps)
{
    static const struct {
        int status;
        const char *body;
        enum err_code rc;
        const char *says;
    } cases[] = {
        { 200, "{}", ERR_NOT_FOUND, "there is no object below gs://demo.appspot.com/m/" },
        { 404, "{\"error\":{\"code\":404,\"message\":\"The specified bucket does not exist.\"}}", ERR_NOT_FOUND,
          "there is no bucket 'demo.appspot.com'" },
        { 403, "{\"error\":{\"code\":403,\"message\":\"x does not have storage.objects.list access\"}}", ERR_DENIED,
          "needs roles/storage.objectViewer on the bucket 'demo.appspot.com': x does not have storage.objects.list" },
        { 400, "{\"error\":{\"code\":400,\"message\":\"no\"}}", ERR_INVALID, "HTTP 400: no" },
        { 200, "[", ERR_PROTOCOL, "the list of objects" },
        { 200, "{\"items\":[{\"name\":\"m/a\",\"size\":\"1\"}]}", ERR_PROTOCOL, "lacks name, generation or size" },
        { 200, "{\"items\":[{\"name\":\"m/a\",\"generation\":\"0\",\"size\":\"1\"}]}", ERR_PROTOCOL, "lacks" },
        { 200, "{\"items\":[{\"name\":\"m/a\",\"generation\":\"1\",\"size\":\"-1\"}]}", ERR_PROTOCOL, "lacks" },
        { 200, "{\"items\":[{\"name\":\"m\",\"generation\":\"1\",\"size\":\"1\"}]}", ERR_PROTOCOL, "lacks" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_start();
        scene_will(cases[i].status, cases[i].body);
        CHECK_INT(get("m"), cases[i].rc);
        if (!strstr(scene.err.msg, cases[i].says))
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, scene.err.msg);
        scene_stop();
    }
}

TEST(object_list__tries_again_while_the_bucket_is_busy)
{
    scene_start();
    scene_will(503, "");
    scene_will(429, "");
    scene_will(200, "{\"items\":[{\"name\":\"m/a\",\"generation\":\"1\",\"size\":\"1\"}]}");
    CHECK_OK(get("m"), scene.err);
    CHECK_INT(scene.script.n_requests, 3);
    for (int i = 0; i < 6; i++)
        scene_will(503, "");
    CHECK_INT(get("m"), ERR_UNAVAILABLE);
    scene_stop();
}

/* Ever the same page of 1000, with a token of the next. */
static struct script_reply endless(void *ctx, const struct script_request *req)
{
    (void)req;
    return (struct script_reply){ .status = 200, .body = span_of(ctx) };
}

TEST(object_list__there_is_a_limit_of_objects)
{
    size_t at = 0, size = 200000;
    char *page = malloc(size);

    CHECK(page);
    at += (size_t)snprintf(page, size, "{\"nextPageToken\":\"t\",\"items\":[");
    for (int i = 0; i < 1000; i++)
        at += (size_t)snprintf(page + at, size - at, "%s{\"name\":\"m/%d\",\"generation\":\"1\",\"size\":\"1\"}",
                               i ? "," : "", i);
    (void)snprintf(page + at, size - at, "]}");
    scene_start();
    scene.script.handle = endless;
    scene.script.handle_ctx = page;
    CHECK_INT(get("m"), ERR_TOO_LARGE);
    CHECK(strstr(scene.err.msg, "more than 4096 objects are below gs://demo.appspot.com/m/: put the model below"));
    scene_stop();
    free(page);
}

TEST(object_list__pages_without_objects_end_too)
{
    scene_start();
    scene.script.handle = endless;
    scene.script.handle_ctx = "{\"nextPageToken\":\"t\"}";
    CHECK_INT(get("m"), ERR_TOO_LARGE);
    CHECK(strstr(scene.err.msg, "the list of gs://demo.appspot.com/m/ has more than 50 pages: put the model below"));
    scene_stop();
}

/* 5 TiB is the most that Cloud Storage takes; what is beyond would not be counted right either. */
TEST(object_list__no_object_is_larger_than_cloud_storage_takes)
{
    scene_start();
    scene_will(200, "{\"items\":[{\"name\":\"m/a\",\"generation\":\"1\",\"size\":\"5497558138880\"}]}");
    CHECK_OK(get("m"), scene.err);
    CHECK_INT(list.objects[0].bytes, 5497558138880);
    scene_will(200, "{\"items\":[{\"name\":\"m/a\",\"generation\":\"1\",\"size\":\"9223372036854775807\"}]}");
    CHECK_INT(get("m"), ERR_PROTOCOL);
    CHECK(strstr(scene.err.msg, "or has one that no object has"));
    scene_stop();
}
