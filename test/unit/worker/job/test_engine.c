#include "worker/job/engine.h"

#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/image/picture.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/fake/fake_device.h"
#include "test/support/golden.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/serve/handler.h"

static char models[512];

static void find_models(void)
{
    const char *path = golden("small/models/ae.safetensors");

    (void)snprintf(models, sizeof models, "%.*s", (int)(strrchr(path, '/') - path), path);
}

static struct engine *open_engine(void)
{
    const struct engine_options options = {
        .model_dir = models, .transformer = "flux1-fill-Q8_0.gguf", .backend = BACKEND_CUDA, .max_steps = 2
    };
    struct engine *e = NULL;
    struct err err = { 0 };

    find_models();
    CHECK_OK(engine_new(&options, &e, &err), err);
    return e;
}

static int status_of(struct handler *h, const char *path)
{
    struct http_server_route routes[HANDLER_ROUTES];
    struct http_server_request req = { .method = "GET", .path = path };
    struct http_server_reply reply = { .status = 500 };

    handler_routes(h, routes);
    for (int i = 0; i < HANDLER_ROUTES; i++)
        if (!strcmp(routes[i].path, path))
            routes[i].on_request(routes[i].ctx, &req, &reply);
    return reply.status;
}

static enum err_code paint(struct engine *e, struct arena *a, struct fill_timings *timings)
{
    struct image picture, mask, painted;
    struct fill_request r = { FILL_REQUEST_DEFAULTS };
    struct arena_mark mark = arena_mark(a);
    struct err err = { 0 };
    enum err_code rc;

    CHECK_OK(image_new(a, 32, 32, 3, &picture, &err), err);
    CHECK_OK(image_new(a, 32, 32, 1, &mask, &err), err);
    memset(picture.pixels, 90, image_bytes(&picture));
    memset(mask.pixels, 255, image_bytes(&mask));
    r.picture = &picture;
    r.mask = &mask;
    r.prompt = "grass";
    r.width = r.height = 32;
    r.steps = 2;
    r.timings = timings;
    rc = engine_paint(e, &r, a, &painted, &err);
    arena_rewind(a, mark);
    return rc;
}

TEST(engine__a_device_fault_is_permanent_and_health_reports_it)
{
    struct fill_timings timings = { 0 };
    struct handler h = { .engine = open_engine() };
    struct arena a;
    struct err err = { 0 };

    fake_device(0);
    CHECK_OK(arena_init(&a, 1 << 30, &err), err);
    CHECK_OK(engine_load(h.engine, &err), err);
    CHECK_STR(engine_backend_name(h.engine), "cuda");
    CHECK_INT(paint(h.engine, &a, &timings), ERR_OK);
    CHECK(timings.text + timings.encode > 0 && timings.prepare + timings.steps > 0 && timings.decode > 0);
    CHECK_INT(status_of(&h, "/health"), 200);
    CHECK_INT(status_of(&h, "/ready"), 200);
    fake_device(30);
    CHECK_INT(paint(h.engine, &a, NULL), ERR_GPU);
    CHECK_INT(engine_status(h.engine).state, ENGINE_BROKEN);
    CHECK_INT(status_of(&h, "/health"), 503);
    CHECK_INT(status_of(&h, "/ready"), 503);
    fake_device(0); /* the device works again, but the engine does not try it */
    CHECK_INT(paint(h.engine, &a, NULL), ERR_GPU);
    CHECK_INT(status_of(&h, "/health"), 503);
    engine_free(h.engine);
    arena_done(&a);
    fake_device(-1);
}

TEST(engine__a_device_that_faults_while_the_model_is_checked_leaves_nothing_to_serve)
{
    struct handler h = { .engine = open_engine() };
    struct err err = { 0 };

    fake_device(30);
    CHECK_INT(engine_load(h.engine, &err), ERR_GPU);
    CHECK_INT(engine_status(h.engine).state, ENGINE_FAILED);
    CHECK_INT(status_of(&h, "/health"), 503);
    CHECK_INT(status_of(&h, "/ready"), 503);
    engine_free(h.engine);
    fake_device(-1);
}

/* --- files of the model --- */

static const char transformer[] = "flux1-fill-Q8_0.gguf";

/* A model folder of the test's own, with embeddings in the place of the encoders, whose files may be harmed. */
static void make_folder(const char *name)
{
    static const char *const files[][2] = { { "small/models/flux1-fill-Q8_0.gguf", transformer },
                                            { "small/models/ae.safetensors", "ae.safetensors" },
                                            { "small/cases/text.safetensors", "prompts.safetensors" } };
    struct err err = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (int i = 0; i < 3; i++) {
        struct span bytes;
        char inside[128];
        const char *path;

        CHECK_OK(file_read(golden("%s", files[i][0]), 32 << 20, &a, &bytes, &err), err);
        (void)snprintf(inside, sizeof inside, "%s/%s", name, files[i][1]);
        path = temp_file(inside, bytes.ptr, bytes.len);
        (void)snprintf(models, sizeof models, "%.*s", (int)(strrchr(path, '/') - path), path);
    }
    arena_done(&a);
}

static const char *in_folder(const char *file)
{
    static char path[600];

    (void)snprintf(path, sizeof path, "%s/%s", models, file);
    return path;
}

static struct engine *new_engine(const char *of)
{
    const struct engine_options options = {
        .model_dir = models, .transformer = of, .backend = BACKEND_CPU, .precision = PRECISION_F32, .max_steps = 2
    };
    struct engine *e = NULL;
    struct err err = { 0 };

    CHECK_OK(engine_new(&options, &e, &err), err);
    return e;
}

struct saboteur {
    const char *file;
    off_t bytes;
    int calls, at; /* `cancelled` is asked before every phase and step */
};

static bool shorten_file(void *ctx)
{
    struct saboteur *s = ctx;

    if (++s->calls == s->at)
        CHECK(truncate(in_folder(s->file), s->bytes) == 0);
    return false;
}

static enum err_code paint_with(struct engine *e, struct saboteur *s, struct err *err)
{
    struct image picture, mask, painted;
    struct fill_request r = { FILL_REQUEST_DEFAULTS };
    struct arena a;
    enum err_code rc;

    CHECK_OK(arena_init(&a, 1 << 30, err), *err);
    CHECK_OK(image_new(&a, 32, 32, 3, &picture, err), *err);
    CHECK_OK(image_new(&a, 32, 32, 1, &mask, err), *err);
    memset(picture.pixels, 90, image_bytes(&picture));
    memset(mask.pixels, 255, image_bytes(&mask));
    r.picture = &picture;
    r.mask = &mask;
    r.prompt = engine_prompt(e, "grass");
    r.width = r.height = 32;
    r.steps = 2;
    r.cancelled = s ? shorten_file : NULL;
    r.ctx = s;
    rc = engine_paint(e, &r, &a, &painted, err);
    arena_done(&a);
    return rc;
}

/* At each moment of a job: what is computed from a file that is gone is never a result. */
TEST(engine__a_model_file_that_is_lost_in_the_middle_of_a_job_breaks_the_engine)
{
    for (int at = 1; at <= 6; at++)
        for (int i = 0; i < 2; i++) {
            struct saboteur s = { .file = i ? "prompts.safetensors" : transformer, .bytes = i ? 1 : 4096, .at = at };
            int status;
            pid_t child = fork(); /* a loss is for good */

            if (child == 0) {
                struct engine *e;
                struct err err = { 0 }, again = { 0 };

                make_folder("lost");
                e = new_engine(transformer);
                CHECK_OK(engine_load(e, &err), err);
                CHECK_OK(paint_with(e, NULL, &err), err);
                CHECK_INT(paint_with(e, &s, &err), ERR_GPU);
                if (err.code != ERR_GPU || !strstr(err.msg, s.file))
                    test_fail(__FILE__, __LINE__, "%d: %s", at, err.msg);
                CHECK_INT(engine_status(e).state, ENGINE_BROKEN);
                CHECK_INT(paint_with(e, NULL, &again), ERR_GPU);
                engine_free(e);
                _exit(0);
            }
            CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        }
}

TEST(engine__a_model_file_that_is_cut_short_is_never_loaded)
{
    static const char *const files[] = { "flux1-fill-Q8_0.gguf", "ae.safetensors", "prompts.safetensors" };

    for (int i = 0; i < 3; i++) {
        struct engine *e;
        struct err err = { 0 };

        make_folder("cut");
        CHECK(truncate(in_folder(files[i]), 2000) == 0);
        e = new_engine(NULL);
        CHECK(engine_load(e, &err) != ERR_OK);
        if (!strstr(err.msg, files[i]))
            test_fail(__FILE__, __LINE__, "%s: %s", files[i], err.msg);
        CHECK_INT(engine_status(e).state, ENGINE_FAILED);
        engine_free(e);
    }
}
