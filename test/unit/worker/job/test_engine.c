#include "worker/job/engine.h"

#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/picture/picture.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/fake/fake_device.h"
#include "test/support/golden.h"
#include "test/support/limits.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/serve/handler.h"

static char models[512];

static void find_models(void)
{
    const char *path = golden("small/models/ae.safetensors");

    (void)snprintf(models, sizeof models, "%.*s", (int)(strrchr(path, '/') - path), path);
}

static const char transformer[] = "flux1-fill-Q8_0.gguf";

/* With the models of `models`. */
static struct engine *new_engine(struct engine_options options)
{
    struct engine *e = NULL;
    struct err err = { 0 };

    options.model_dir = models;
    CHECK_OK(engine_new(&options, &e, &err), err);
    return e;
}

static struct engine *open_engine(void)
{
    find_models();
    return new_engine((struct engine_options){ .transformer = transformer, .backend = BACKEND_CUDA, .max_steps = 2 });
}

static struct http_server_reply get(struct handler *h, const char *path, struct arena *a)
{
    struct http_server_route routes[HANDLER_ROUTES];
    struct http_server_request req = { .method = "GET", .path = path, .arena = a };
    struct http_server_reply reply = { .status = 500 };

    handler_routes(h, routes);
    for (int i = 0; i < HANDLER_ROUTES; i++)
        if (!strcmp(routes[i].path, path))
            routes[i].on_request(routes[i].ctx, &req, &reply);
    return reply;
}

static int status_of(struct handler *h, const char *path)
{
    return get(h, path, NULL).status;
}

/* Paints a picture of one colour; the rest is in the request. */
static enum err_code paint_grey(struct engine *e, struct fill_request r, struct arena *a, struct err *err)
{
    struct image picture, mask, painted;
    struct arena_mark mark = arena_mark(a);
    enum err_code rc;

    CHECK_OK(image_new(a, 32, 32, 3, &picture, err), *err);
    CHECK_OK(image_new(a, 32, 32, 1, &mask, err), *err);
    memset(picture.pixels, 90, image_bytes(&picture));
    memset(mask.pixels, 255, image_bytes(&mask));
    r.picture = &picture;
    r.mask = &mask;
    r.width = r.height = 32;
    r.steps = 2;
    rc = engine_paint(e, &r, a, &painted, err);
    arena_rewind(a, mark);
    return rc;
}

static enum err_code paint(struct engine *e, struct arena *a, struct fill_timings *timings)
{
    struct fill_request r = { FILL_REQUEST_DEFAULTS };
    struct err err = { 0 };

    r.prompt = "grass";
    r.timings = timings;
    return paint_grey(e, r, a, &err);
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

/* --- files --- */

/* The model with a prompt pack, and a file with the name and the size of CLIP's merges, full of zeros. */
static const char *folder_with_damage(void)
{
    static const char *const parts[][2] = { { "small/models/flux1-fill-Q8_0.gguf", "verify/flux1-fill-Q8_0.gguf" },
                                            { "small/models/ae.safetensors", "verify/ae.safetensors" },
                                            { "small/cases/text.safetensors", "verify/prompts.safetensors" },
                                            { "small/models/tokenizer/vocab.json", "verify/tokenizer/vocab.json" } };
    static char dir[512];
    char path[600];
    FILE *f;

    temp_folder("verify", dir, sizeof dir);
    temp_folder("verify/tokenizer", path, sizeof path);
    for (int i = 0; i < 4; i++) {
        char *real = realpath(golden("%s", parts[i][0]), NULL);

        (void)snprintf(path, sizeof path, "%s%s", dir, strchr(parts[i][1], '/'));
        CHECK(real && symlink(real, path) == 0);
        free(real);
    }
    (void)snprintf(path, sizeof path, "%s/tokenizer/merges.txt", dir);
    f = fopen(path, "w");
    CHECK(f && fseek(f, 524618, SEEK_SET) == 0 && fputc(0, f) == 0 && fclose(f) == 0);
    return dir;
}

TEST(engine__a_model_with_a_known_file_that_is_damaged_is_not_ready_where_digests_are_verified)
{
    struct handler h = { 0 };
    struct err err = { 0 };

    fake_device(0);
    (void)snprintf(models, sizeof models, "%s", folder_with_damage());
    for (int mode = VERIFY_SIZE; mode <= VERIFY_DIGEST; mode++) {
        h.engine = new_engine((struct engine_options){
            .transformer = transformer, .verify = (enum verify_mode)mode, .backend = BACKEND_CUDA, .max_steps = 2 });
        CHECK_INT(engine_load(h.engine, &err), mode == VERIFY_DIGEST ? ERR_CORRUPT : ERR_OK);
        CHECK_INT(status_of(&h, "/ready"), mode == VERIFY_DIGEST ? 503 : 200);
        CHECK(mode == VERIFY_SIZE ? strstr(engine_file_note(h.engine, 0), "ae.safetensors has ") != NULL
                                  : strstr(err.msg, "merges.txt: it has the name and size of ") != NULL);
        engine_free(h.engine);
    }
    fake_device(-1);
}

/* --- speed --- */

static struct engine *slow_engine(int deadline_s)
{
    find_models();
    return new_engine((struct engine_options){
        .transformer = transformer, .backend = BACKEND_CUDA, .max_steps = 28, .deadline_s = deadline_s });
}

static const char *ready_text(struct handler *h, struct arena *a)
{
    struct http_server_reply reply = get(h, "/ready", a);
    char *text = NULL;

    CHECK(!arena_printf(a, &text, NULL, "%d %.*s", reply.status, SPAN_ARG(reply.body)));
    return text;
}

/* As a CPU in the place of a GPU: right, and far too slow. It is measured again, and may become fast enough. */
TEST(engine__a_worker_whose_jobs_cannot_end_in_time_is_not_ready_and_says_so)
{
    struct handler h = { .engine = slow_engine(280) };
    struct err err = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, 1 << 30, &err), err);
    fake_device(0);
    fake_device_slow(1e6);
    CHECK_INT(engine_load(h.engine, &err), ERR_DEADLINE);
    CHECK(strstr(err.msg, "1024 x 1024 pixels takes about") && strstr(err.msg, "28 steps on cuda in"));
    CHECK(strstr(err.msg, "the deadline is 280 s"));
    CHECK_INT(engine_status(h.engine).state, ENGINE_TOO_SLOW);
    CHECK_INT(status_of(&h, "/health"), 200);
    CHECK(strstr(ready_text(&h, &a), "503 {\"status\":\"too slow\",\"reason\":\"a picture of 1024 x 1024 pixels"));
    CHECK_INT(paint(h.engine, &a, NULL), ERR_UNAVAILABLE);
    err = (struct err){ 0 };
    CHECK_INT(engine_measure_again(h.engine, &err), ERR_DEADLINE);
    fake_device_slow(1e-6);
    CHECK_OK(engine_measure_again(h.engine, &err), err);
    CHECK_STR(ready_text(&h, &a), "200 {\"status\":\"ready\"}");
    CHECK(engine_job_seconds(h.engine) > 0 && engine_job_seconds(h.engine) < 280);
    CHECK_INT(paint(h.engine, &a, NULL), ERR_OK);
    engine_free(h.engine);
    arena_done(&a);
    fake_device_slow(1);
    fake_device(-1);
}

TEST(engine__a_worker_that_is_nearly_too_slow_is_ready_and_says_so)
{
    struct engine *e = slow_engine(0);
    struct err err = { 0 };

    fake_device(0);
    fake_device_slow(1e9); /* nobody asked */
    CHECK_OK(engine_load(e, &err), err);
    CHECK(!engine_note(e, 0) && engine_job_seconds(e) == 0);
    engine_free(e);
    fake_device_slow(1);
    e = slow_engine(1000000);
    CHECK_OK(engine_load(e, &err), err);
    CHECK(!engine_note(e, 0) && engine_job_seconds(e) > 0);
    engine_free(e);
    fake_device(-1);
}

/* --- the choice of the backend --- */

TEST(engine__a_device_that_is_there_and_fails_is_not_replaced_by_the_cpu)
{
    const struct engine_options options = { .transformer = transformer, .backend = BACKEND_AUTO, .max_steps = 2 };
    struct engine *e;
    struct err err = { 0 };

    find_models();
    e = new_engine(options);
    fake_device_fails_to_open(true);
    CHECK_INT(engine_load(e, &err), ERR_GPU);
    CHECK(strstr(err.msg, "illegal memory access"));
    engine_free(e);
    fake_device_fails_to_open(false);
    fake_device(-1); /* there is none */
    err = (struct err){ 0 };
    e = new_engine(options);
    CHECK_OK(engine_load(e, &err), err);
    CHECK(strcmp(engine_backend_name(e), "cuda") != 0 && strstr(engine_without_cuda(e), "no device"));
    engine_free(e);
}

/* --- files of the model --- */

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

static struct engine *cpu_engine(const char *of)
{
    return new_engine((struct engine_options){
        .transformer = of, .backend = BACKEND_CPU, .precision = PRECISION_F32, .max_steps = 2 });
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
    struct fill_request r = { FILL_REQUEST_DEFAULTS };
    struct arena a;
    enum err_code rc;

    CHECK_OK(arena_init(&a, 1 << 30, err), *err);
    r.prompt = engine_prompt(e, "grass");
    r.cancelled = s ? shorten_file : NULL;
    r.ctx = s;
    rc = paint_grey(e, r, &a, err);
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
                e = cpu_engine(transformer);
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
        e = cpu_engine(NULL);
        CHECK(engine_load(e, &err) != ERR_OK);
        if (!strstr(err.msg, files[i]))
            test_fail(__FILE__, __LINE__, "%s: %s", files[i], err.msg);
        CHECK_INT(engine_status(e).state, ENGINE_FAILED);
        engine_free(e);
    }
}

/* --- memory --- */

#if !defined(__SANITIZE_ADDRESS__) /* whose own memory no limit leaves room for */

/* The first picture of a size makes the library generate code, for which memory may be short: the job ends, and the
 * worker lives. */
TEST(engine__a_lack_of_memory_in_a_job_is_an_error)
{
    int n_short = 0;

    for (size_t mib = 0; mib <= 96; mib += 8) {
        pid_t child = fork();
        int status = 0;

        if (child == 0) {
            struct engine *e;
            struct err err = { 0 };
            enum err_code rc;

            make_folder("short");
            e = cpu_engine(transformer);
            CHECK_OK(engine_load(e, &err), err);
            limit_address_space((mib << 20) + ((size_t)1 << 30)); /* the request's arena is 1 GiB of addresses */
            rc = paint_with(e, NULL, &err);
            if (rc && rc != ERR_NOMEM)
                test_fail(__FILE__, __LINE__, "with %zu MiB: %s: %s", mib, err_name(rc), err.msg);
            CHECK_INT(engine_status(e).state, ENGINE_READY);
            _exit(rc ? 40 : 41);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 40 || WEXITSTATUS(status) == 41);
        n_short += WEXITSTATUS(status) == 40;
    }
    CHECK(n_short > 0);
}

#endif
