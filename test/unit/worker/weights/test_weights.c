/* A model folder in a bucket: what is fetched when, and which of it. */
#include "worker/weights/weights.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/base64.h"
#include "kernels/base/crc32c.h"
#include "kernels/base/file.h"
#include "kernels/base/memory_file.h"
#include "models/fill/fill.h"
#include "test/support/check.h"
#include "test/support/fake/storage_scene.h"
#include "test/support/golden.h"
#include "worker/weights/weights_choice.h"

enum { MAX_OBJECTS = 40, MAX_SEEN = 200 };
#define FOLDER "gs://demo.appspot.com/m/t"

/* The bucket: files of a folder of the golden set, below "m/t/". */
static struct {
    pthread_mutex_t lock;
    struct arena arena;
    struct object {
        const char *name;
        struct span bytes;
        int n_asked;
    } objects[MAX_OBJECTS];
    int n;
    char *list;
    struct weights *w;
    struct weights_progress told;
    char ranges[MAX_SEEN][64];
    int n_answers;
} b = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void put(const char *name, struct span bytes)
{
    CHECK(b.n < MAX_OBJECTS);
    b.objects[b.n++] = (struct object){ name, bytes, 0 };
}

static enum err_code put_file(void *ctx, const char *name, struct err *err)
{
    const char *sub = ctx;
    char *path = NULL, *in_folder = NULL;
    struct span bytes;

    TRY(arena_printf(&b.arena, &path, err, "%s%s/%s", golden("small/models"), sub, name));
    if (file_is_folder(path))
        return ERR_OK;
    TRY(arena_printf(&b.arena, &in_folder, err, "%s%s%s", *sub ? sub + 1 : "", *sub ? "/" : "", name));
    TRY(file_read(path, 64 << 20, &b.arena, &bytes, err));
    put(in_folder, bytes);
    return ERR_OK;
}

static void put_golden(void)
{
    static const char *const subs[] = { "", "/text_encoder", "/text_encoder_2", "/tokenizer", "/tokenizer_2" };
    char path[400];

    for (size_t i = 0; i < sizeof subs / sizeof *subs; i++) {
        (void)snprintf(path, sizeof path, "%s%s", golden("small/models"), subs[i]);
        CHECK_OK(file_list(path, put_file, (void *)(uintptr_t)subs[i], &scene.err), scene.err);
    }
}

static struct object *object(const char *name)
{
    for (int i = 0; i < b.n; i++)
        if (strcmp(b.objects[i].name, name) == 0)
            return &b.objects[i];
    test_fail(__FILE__, __LINE__, "no object %s", name);
    return NULL;
}

/* As Cloud Storage writes it: the four bytes in base64, the highest first. */
static void write_list(void)
{
    size_t at = 0, size = 1 << 16;

    CHECK_OK(arena_alloc(&b.arena, size, 1, &b.list, &scene.err), scene.err);
    at += (size_t)snprintf(b.list, size, "{\"items\":[");
    for (int i = 0; i < b.n; i++) {
        uint32_t crc = crc32c(0, b.objects[i].bytes.ptr, b.objects[i].bytes.len);
        const char bytes[] = { (char)(crc >> 24), (char)(crc >> 16), (char)(crc >> 8), (char)crc };
        char text[12];

        CHECK_OK(base64_encode((struct span){ bytes, 4 }, BASE64_STANDARD, text, sizeof text, NULL, &scene.err),
                 scene.err);
        at += (size_t)snprintf(b.list + at, size - at,
                               "%s{\"name\":\"m/t/%s\",\"generation\":\"7\",\"size\":\"%zu\",\"crc32c\":\"%s\"}",
                               i ? "," : "", b.objects[i].name, b.objects[i].bytes.len, text);
    }
    (void)snprintf(b.list + at, size - at, "]}");
}

static struct script_reply serve_media(const struct script_request *req)
{
    const char *asked = strstr(req->header_text, "Range: bytes=");
    struct script_reply r = { .status = 404 };
    char name[300] = "";
    size_t n = 0;
    long long from = 0, to = 0;

    for (const char *p = strstr(req->url, "m%2Ft%2F") + 8; *p && *p != '?';) {
        const bool slash = strncmp(p, "%2F", 3) == 0;

        name[n++] = slash ? '/' : *p;
        p += slash ? 3 : 1;
    }
    CHECK(asked && sscanf(asked, "Range: bytes=%lld-%lld\n", &from, &to) == 2);
    for (int i = 0; i < b.n; i++) {
        if (strcmp(b.objects[i].name, name) != 0)
            continue;
        b.objects[i].n_asked++;
        (void)snprintf(b.ranges[b.n_answers], sizeof b.ranges[0], "bytes %lld-%lld/%zu", from, to,
                       b.objects[i].bytes.len);
        r = (struct script_reply){ .status = 206,
                                   .body = { b.objects[i].bytes.ptr + from, (size_t)(to - from + 1) },
                                   .headers = { { "content-range", b.ranges[b.n_answers++] } } };
    }
    return r;
}

static struct script_reply serve(void *ctx, const struct script_request *req)
{
    struct script_reply r;

    (void)ctx;
    (void)pthread_mutex_lock(&b.lock);
    r = strstr(req->url, "/o?prefix=") ? (struct script_reply){ .status = 200, .body = span_of(b.list) }
                                       : serve_media(req);
    (void)pthread_mutex_unlock(&b.lock);
    return r;
}

static void told(void *ctx, const struct weights_progress *p)
{
    (void)ctx;
    b.told = *p;
}

static void start(void)
{
    scene_start();
    b.n = b.n_answers = 0;
    b.told = (struct weights_progress){ 0 };
    CHECK_OK(arena_init(&b.arena, 256 << 20, &scene.err), scene.err);
    scene.script.handle = serve;
}

static enum err_code look(const char *url, const char *const *loras, int n_loras)
{
    const struct weights_options o = { .http = &scene.script.http,
                                       .gauth = scene.gauth,
                                       .sys = &scene.script.sys,
                                       .url = url,
                                       .emulator_host = "127.0.0.1:9199",
                                       .told = told };

    scene.err = (struct err){ 0 };
    write_list();
    TRY(weights_new(&o, &b.w, &scene.err));
    return weights_look(b.w, loras, n_loras, &scene.err);
}

static void stop(void)
{
    weights_free(b.w);
    b.w = NULL;
    arena_done(&b.arena);
    scene_stop();
}

static enum err_code fetch_chosen(const char *transformer, struct fill_options *o)
{
    struct backend *be = NULL;
    enum err_code rc;

    *o = (struct fill_options){ .transformer = transformer, .max_width = 64, .max_height = 64, .max_steps = 1,
                                .max_t5_len = 16 };
    scene.err = (struct err){ 0 };
    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_F32, &be, &scene.err), scene.err);
    rc = weights_begin_chosen(b.w, o, be, &b.arena, &scene.err);
    rc = rc ? rc : weights_end(b.w, WEIGHTS_WAIT, &scene.err);
    backend_close(be);
    return rc;
}

TEST(weights__a_folder_in_a_bucket_is_a_folder_of_which_what_is_chosen_is_fetched_whole)
{
    struct fill_options o;
    struct span got;

    start();
    put_golden();
    put("README.md", SPAN("# not a part"));
    CHECK_OK(look(FOLDER "/", NULL, 0), scene.err);
    CHECK_STR(weights_folder(b.w), FOLDER);
    CHECK(file_is_folder(FOLDER) && file_is_named(FOLDER "/README.md"));
    CHECK_INT(object("README.md")->n_asked, 0);
    CHECK_INT(object("tokenizer/vocab.json")->n_asked, 1); /* small files are there at once */
    CHECK_OK(file_read(FOLDER "/tokenizer/vocab.json", 1 << 20, &b.arena, &got, &scene.err), scene.err);
    CHECK(span_eq(got, object("tokenizer/vocab.json")->bytes));
    CHECK_OK(fetch_chosen("flux1-fill-Q8_0", &o), scene.err);
    CHECK_STR(o.transformer, FOLDER "/flux1-fill-Q8_0.gguf");
    CHECK_OK(file_read(FOLDER "/ae.safetensors", 64 << 20, &b.arena, &got, &scene.err), scene.err);
    CHECK(span_eq(got, object("ae.safetensors")->bytes));
    CHECK_INT(object("ae.safetensors")->n_asked, 2);
    CHECK(b.told.arrived && b.told.done_bytes == b.told.total_bytes && b.told.n_objects >= 5);
    CHECK_INT(weights_percent(b.w), 99);
    stop();
}

/* A backend that says that it keeps copies, as a GPU does. */
static int64_t given_back(bool in_place)
{
    struct fill_model *m = NULL;
    struct backend *be = NULL;
    struct fill_options o;
    int64_t bytes;

    CHECK_OK(fetch_chosen("flux1-fill-Q8_0", &o), scene.err);
    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_F32, &be, &scene.err), scene.err);
    be->in_place = in_place;
    CHECK_OK(fill_model_open(FOLDER, &o, be, &m, &scene.err), scene.err);
    bytes = weights_done(b.w);
    fill_model_close(m);
    backend_close(be);
    return bytes;
}

TEST(weights__what_a_device_has_copied_is_given_back_and_what_is_used_in_place_is_not)
{
    int64_t bytes, all = 0;

    for (int in_place = 1; in_place >= 0; in_place--) {
        start();
        put_golden();
        CHECK_OK(look(FOLDER, NULL, 0), scene.err);
        for (int i = 0; i < b.n; i++)
            if (!in_place && (strstr(b.objects[i].name, ".safetensors") || strstr(b.objects[i].name, "Q8_0")))
                all += (int64_t)b.objects[i].bytes.len;
        bytes = given_back(in_place);
        if (in_place) /* convolutions are always copied */
            CHECK(bytes > 0 && bytes < (int64_t)object("ae.safetensors")->bytes.len);
        else
            CHECK(bytes > all * 3 / 4 && bytes <= all);
        stop();
    }
}

TEST(weights__of_several_transformers_the_largest_that_fits_is_chosen_by_its_directory)
{
    struct fill_options o;

    start();
    put_golden();
    CHECK_OK(look(FOLDER, NULL, 0), scene.err);
    CHECK_OK(fetch_chosen(NULL, &o), scene.err);
    CHECK_STR(o.transformer, FOLDER "/flux1-fill-F32.gguf");
    CHECK_INT(object("flux1-fill-BF16.gguf")->n_asked, 1);
    stop();
}

TEST(weights__the_loras_that_are_named_are_fetched_whole_and_no_others)
{
    static const char *const loras[] = { "one", "absent" };
    char *lora = NULL;

    start();
    put_golden();
    CHECK_OK(arena_alloc(&b.arena, 3 << 20, 1, &lora, &scene.err), scene.err);
    put("loras/one.safetensors", (struct span){ lora, 3 << 20 });
    put("loras/two.safetensors", (struct span){ lora, 3 << 20 });
    CHECK_OK(look(FOLDER, loras, 2), scene.err);
    CHECK_INT(object("loras/one.safetensors")->n_asked, 2);
    CHECK_INT(object("loras/two.safetensors")->n_asked, 1);
    stop();
}

/* Two threads would fetch the same bytes to the same place. */
TEST(weights__a_file_that_is_named_twice_is_fetched_once)
{
    static const char *const loras[] = { "one", "one.safetensors", "prompts" };
    char *bytes = NULL;

    start();
    put_golden();
    CHECK_OK(arena_alloc(&b.arena, 3 << 20, 1, &bytes, &scene.err), scene.err);
    put("loras/one.safetensors", (struct span){ bytes, 3 << 20 });
    put("prompts.safetensors", (struct span){ bytes, 3 << 20 });
    CHECK_OK(look(FOLDER, loras, 3), scene.err);
    CHECK_INT(object("loras/one.safetensors")->n_asked, 2);
    CHECK_INT(object("prompts.safetensors")->n_asked, 2);
    stop();
}

/* A safetensors file whose directory is longer than what is fetched of every file at first. */
static struct span long_directory(size_t directory)
{
    char *bytes = NULL;
    const size_t n = directory + 8 + 4;
    uint64_t length = directory;

    CHECK_OK(arena_alloc(&b.arena, n, 1, &bytes, &scene.err), scene.err);
    memcpy(bytes, &length, 8);
    memset(bytes + 8, ' ', directory);
    (void)memcpy(bytes + 8, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 53);
    return (struct span){ bytes, n };
}

TEST(weights__more_is_fetched_of_a_file_whose_directory_goes_on)
{
    start();
    put_golden();
    put("long.safetensors", long_directory(5 << 20));
    put("short.safetensors", (struct span){ long_directory(1 << 20).ptr, (1 << 20) + 12 });
    CHECK_OK(look(FOLDER, NULL, 0), scene.err);
    CHECK_INT(object("long.safetensors")->n_asked, 2);
    CHECK_INT(object("short.safetensors")->n_asked, 1);
    stop();
}

TEST(weights__what_a_model_lacks_is_told_as_of_a_folder)
{
    struct fill_options o;

    start();
    put_golden();
    object("ae.safetensors")->name = "ae.txt";
    CHECK_OK(look(FOLDER, NULL, 0), scene.err);
    CHECK_OK(fetch_chosen("flux1-fill-Q8_0", &o), scene.err); /* it is left to the loader, which says it best */
    CHECK_INT(fetch_chosen("flux1-fill-Q9_0", &o), ERR_NOT_FOUND);
    CHECK(strstr(scene.err.msg, FOLDER ": there is no transformer 'flux1-fill-Q9_0'"));
    stop();
}

TEST(weights__there_is_a_limit_of_files_and_nothing_that_is_packed)
{
    char names[WEIGHTS_TENSOR_FILES_MAX + 1][16];
    size_t at = 0;
    char *list = NULL;

    start();
    put("x.gguf", SPAN("GGUF"));
    CHECK_OK(arena_alloc(&b.arena, 1 << 16, 1, &list, &scene.err), scene.err);
    at += (size_t)snprintf(list, 1 << 16, "{\"items\":[");
    for (int i = 0; i <= WEIGHTS_TENSOR_FILES_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "%d.gguf", i);
        at += (size_t)snprintf(list + at, (1 << 16) - at, "%s{\"name\":\"m/t/%s\",\"generation\":\"7\",\"size\":\"4\"}",
                               i ? "," : "", names[i]);
    }
    (void)snprintf(list + at, (1 << 16) - at, "]}");
    scene.script.handle = NULL;
    scene_will(200, list);
    CHECK_INT(look(FOLDER, NULL, 0), ERR_TOO_LARGE);
    CHECK(strstr(scene.err.msg, "257 files of tensors and 0 of .json, .txt, .model and .check are below " FOLDER ", at most 256"));
    weights_free(b.w);
    scene_will(200, "{\"items\":[{\"name\":\"m/t/x.gguf\",\"generation\":\"7\",\"size\":\"4\",\"contentEncoding\":\"gzip\"}]}");
    CHECK_INT(look(FOLDER, NULL, 0), ERR_UNSUPPORTED);
    CHECK(strstr(scene.err.msg, FOLDER "/x.gguf is stored with a contentEncoding"));
    stop();
}

TEST(weights__what_does_not_fit_is_refused_and_nobody_waits_for_it)
{
    static const char *const paths[] = { FOLDER "/x.bin" };

    start();
    put("x.bin", SPAN("x"));
    scene.script.handle = NULL;
    scene_will(200, "{\"items\":[{\"name\":\"m/t/x.bin\",\"generation\":\"7\",\"size\":\"4000000000000\"}]}");
    CHECK_OK(look(FOLDER, NULL, 0), scene.err);
    CHECK_INT(weights_begin(b.w, paths, 1, &scene.err), ERR_NOMEM);
    CHECK(strstr(scene.err.msg, "have 4000.0 GB more than has arrived"));
    CHECK(!memory_files_arriving());
    CHECK_OK(memory_file_wait(paths[0], 0, 1, &scene.err), scene.err);
    stop();
}

TEST(weights__a_place_is_a_bucket_and_a_prefix)
{
    start();
    put("x.gguf", SPAN("GGUF"));
    for (int i = 0; i < 4; i++) {
        static const char *const bad[] = { "gs://", "gs://B/x", "s3://bucket/x", "gs://bucket//x" };

        CHECK_INT(look(bad[i], NULL, 0), ERR_INVALID);
    }
    stop();
}
