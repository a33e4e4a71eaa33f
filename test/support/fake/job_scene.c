#include "test/support/fake/job_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/fake_device.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

static struct engine *load_engine(void)
{
    const char *path = golden("small/models/ae.safetensors");
    char dir[512];
    struct engine *e = NULL;
    struct err err = { 0 };

    (void)snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    fake_device(0);
    CHECK_OK(engine_new(&(struct engine_options){ .model_dir = dir,
                                                  .transformer = "flux1-fill-Q8_0.gguf",
                                                  .backend = BACKEND_CUDA,
                                                  .max_steps = JOB_SCENE_STEPS },
                        &e, &err),
             err);
    CHECK_OK(engine_load(e, &err), err);
    return e;
}

static void open_cloud(struct job_scene *s)
{
    struct fake_cloud *c = &s->cloud;
    struct err err = { 0 };

    fake_cloud_init(c, JOB_SCENE_NOW_S);
    c->ctx = s;
    fake_cloud_put(c, JOB_SCENE_FOLDER "original.jpg", file_bytes(&s->arena, golden("small/cases/fill_0.image.png")));
    fake_cloud_put(c, JOB_SCENE_FOLDER "mask_auto.png", file_bytes(&s->arena, golden("small/cases/fill_0.mask.png")));
    CHECK_OK(
        gauth_open(
            &(struct gauth_options){ .http = &c->http, .sys = &c->sys, .emulator = { true, true }, .project = "demo" },
            &s->gauth, &err),
        err);
    CHECK_OK(
        firestore_init(&s->firestore,
                       &(struct firestore_options){
                           .http = &c->http, .gauth = s->gauth, .project = "demo", .emulator_host = "127.0.0.1:1" },
                       &s->arena, &err),
        err);
    CHECK_OK(storage_init(&s->storage,
                          &(struct storage_options){ .http = &c->http,
                                                     .gauth = s->gauth,
                                                     .sys = &c->sys,
                                                     .bucket = "bucket",
                                                     .emulator_host = "127.0.0.1:2" },
                          &s->arena, &err),
             err);
}

static void open_worker(struct job_scene *s)
{
    const struct pipeline_settings settings = {
        .steps = JOB_SCENE_STEPS, .guidance = 30, .job_deadline_ms = JOB_SCENE_DEADLINE_MS, .cost_per_second = 0.5
    };
    const struct sys *sys = &s->cloud.sys;
    struct err err = { 0 };

    s->engine = load_engine();
    s->sessions = (struct session_store){ &s->firestore, sys, 360000, JOB_SCENE_MAX_ATTEMPTS, false };
    s->oidc = (struct oidc){ .mode = PUSH_AUTH_NONE, .sys = sys };
    s->handler = (struct handler){ .oidc = &s->oidc,
                                   .engine = s->engine,
                                   .queue = &s->queue,
                                   .pipeline = &s->pipeline,
                                   .metrics = &s->metrics,
                                   .sys = sys,
                                   .job_deadline_ms = JOB_SCENE_DEADLINE_MS };
    CHECK_OK(job_queue_init(&s->queue, 1, &err), err);
    CHECK_OK(pipeline_init(&s->pipeline, s->engine, &s->sessions, &s->storage, sys, &settings, &err), err);
    job_queue_open(&s->queue);
}

void job_scene_open(struct job_scene *s)
{
    struct err err = { 0 };

    memset(s, 0, sizeof *s);
    CHECK_OK(arena_init(&s->arena, 64 << 20, &err), err);
    open_cloud(s);
    open_worker(s);
    s->log = memfd_create("log", 0);
    (void)fflush(stderr);
    s->stderr_of_before = dup(STDERR_FILENO);
    if (s->log < 0 || s->stderr_of_before < 0 || dup2(s->log, STDERR_FILENO) < 0)
        abort();
    log_init(LOG_DEBUG, NULL);
}

/* A test that fails does not get here, so its stderr stays redirected; the test program reports on stdout. */
void job_scene_close(struct job_scene *s)
{
    log_init(LOG_CRITICAL + 1, NULL);
    (void)log_flush(5000);
    (void)dup2(s->stderr_of_before, STDERR_FILENO);
    (void)close(s->stderr_of_before);
    (void)close(s->log);
    pipeline_done(&s->pipeline);
    job_queue_done(&s->queue);
    engine_free(s->engine);
    gauth_close(s->gauth);
    fake_cloud_done(&s->cloud);
    arena_done(&s->arena);
    fake_device(-1);
}

struct span job_scene_envelope(struct job_scene *s, const char *message_id)
{
    char *text = NULL;
    struct err err = { 0 };

    /* data: {"userId":"u","sessionId":"s"} */
    CHECK_OK(
        arena_printf(&s->arena, &text, &err,
                     "{\"message\":{\"data\":\"eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoicyJ9\",\"messageId\":\"%s\","
                     "\"publishTime\":\"2023-11-14T22:13:20Z\"},\"subscription\":\"projects/demo/subscriptions/x\"}",
                     message_id),
        err);
    return span_of(text);
}

struct http_server_reply job_scene_request(struct job_scene *s, struct http_server_request req)
{
    struct http_server_route routes[HANDLER_ROUTES];
    struct http_server_reply reply = { .status = 500 };

    handler_routes(&s->handler, routes);
    req.arena = &s->arena;
    if (!req.arrived_mono_ms)
        req.arrived_mono_ms = sys_mono_ms(&s->cloud.sys);
    for (int i = 0; i < HANDLER_ROUTES; i++)
        if (!strcmp(routes[i].path, req.path) && !strcmp(routes[i].method, req.method) &&
            (!routes[i].on_headers || routes[i].on_headers(routes[i].ctx, &req, &reply)))
            routes[i].on_request(routes[i].ctx, &req, &reply);
    return reply;
}

int job_scene_push(struct job_scene *s, const char *message_id)
{
    return job_scene_request(
               s,
               (struct http_server_request){ .method = "POST", .path = "/", .body = job_scene_envelope(s, message_id) })
        .status;
}

const char *job_scene_counts(struct job_scene *s)
{
    static const char prefix[] = "inpaint_";
    struct span page = { 0 };
    size_t at = 0;

    CHECK(!metrics_print(&s->metrics, &s->arena, &page, NULL));
    s->counts_text[0] = 0;
    for (const char *line = page.ptr; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        int n = (int)strcspn(line, "\n");
        const char *value = memrchr(line, ' ', (size_t)n);
        const char *name_end = line + strcspn(line, "{ ");

        if (strncmp(line, prefix, sizeof prefix - 1) != 0 || atof(value) == 0 ||
            strncmp(line, "inpaint_claim_wait", 18) == 0 || strncmp(line, "inpaint_message_age", 19) == 0 ||
            (strncmp(name_end - 6, "_total", 6) != 0 && strncmp(name_end - 6, "_count", 6) != 0))
            continue;
        line += sizeof prefix - 1;
        n -= (int)sizeof prefix - 1;
        at += (size_t)snprintf(s->counts_text + at, sizeof s->counts_text - at, "%.*s\n", n, line);
    }
    return s->counts_text;
}

const char *job_scene_log(struct job_scene *s)
{
    ssize_t n;

    (void)log_flush(5000);
    n = pread(s->log, s->log_text, sizeof s->log_text - 1, 0);

    s->log_text[n > 0 ? n : 0] = 0;
    return s->log_text;
}

void job_scene_check_severity(struct job_scene *s, const char *severity, const char *text)
{
    const char *at = strstr(job_scene_log(s), text), *line = at;
    char head[40];

    CHECK(at);
    while (line > s->log_text && line[-1] != '\n')
        line--;
    (void)snprintf(head, sizeof head, "{\"severity\":\"%s\",", severity);
    CHECK(!strncmp(line, head, strlen(head)));
}

bool job_scene_is_commit_of(const struct http_request *req, const char *text)
{
    return strstr(req->url, ":commit") && memmem(req->body.ptr, req->body.len, text, strlen(text));
}

bool job_scene_is_download(const struct http_request *req)
{
    return strstr(req->url, "original.jpg") && strstr(req->url, "alt=media");
}

bool job_scene_is_upload(const struct http_request *req)
{
    return strstr(req->url, "/upload/") && memmem(req->body.ptr, req->body.len, "edited.jpg", 10);
}

bool job_scene_first_step_is_done(struct job_scene *s)
{
    if (s->done || s->pipeline.eta_ms < 0 || !s->pipeline.stuck_at_ms)
        return false;
    s->done = true;
    return true;
}
