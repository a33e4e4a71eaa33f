#include "worker/job/engine.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "models/image/picture.h"
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

TEST(engine__a_fault_of_the_device_is_for_good_and_health_tells_it)
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
