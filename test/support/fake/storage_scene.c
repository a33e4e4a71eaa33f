#include "test/support/fake/storage_scene.h"

#include "test/support/check.h"

struct storage_scene scene;

enum err_code scene_init(const char *bucket, const char *host, const char *firebase_host, struct err *err)
{
    const struct storage_options o = { .http = &scene.script.http,
                                       .gauth = scene.gauth,
                                       .sys = &scene.script.sys,
                                       .bucket = bucket,
                                       .emulator_host = host,
                                       .firebase_emulator_host = firebase_host };

    return storage_init(&scene.storage, &o, &scene.arena, err);
}

void scene_start(void)
{
    struct gauth_options o;

    memset(&scene, 0, sizeof scene);
    script_init(&scene.script);
    CHECK_OK(arena_init(&scene.arena, 256 << 20, &scene.err), scene.err);
    o = (struct gauth_options){
        .http = &scene.script.http, .sys = &scene.script.sys, .project = "demo", .emulator = { true, true }
    };
    CHECK_OK(gauth_open(&o, &scene.gauth, &scene.err), scene.err);
    CHECK_OK(scene_init("demo.appspot.com", NULL, "127.0.0.1:9199", &scene.err), scene.err);
}

void scene_stop(void)
{
    gauth_close(scene.gauth);
    arena_done(&scene.arena);
    script_done(&scene.script);
}

void scene_will(int status, const char *body)
{
    script_will(&scene.script, (struct script_reply){ .status = status, .body = span_of(body) });
}

void scene_will_with(int status, const char *body, const char *name, const char *value)
{
    script_will(&scene.script,
                (struct script_reply){ .status = status, .body = span_of(body), .headers = { { name, value } } });
}

enum err_code scene_get(size_t max)
{
    scene.err = (struct err){ 0 };
    return storage_get(&scene.storage, NAME, max, &scene.script.budget, &scene.arena, &scene.got, &scene.err);
}

enum err_code scene_put_bytes(struct span bytes, int64_t if_generation)
{
    struct storage_put put = { .object = NAME,
                               .content_type = "image/jpeg",
                               .cache_control = "private, max-age=3600",
                               .job_id = "m1",
                               .body = bytes,
                               .if_generation = if_generation };

    scene.err = (struct err){ 0 };
    return storage_put(&scene.storage, &put, &scene.script.budget, &scene.arena, &scene.object, &scene.err);
}

enum err_code scene_put(void)
{
    return scene_put_bytes(SPAN("hello"), 0);
}
