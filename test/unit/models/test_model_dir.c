#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/model_dir.h"
#include "test/support/check.h"
#include "test/support/golden.h"

/* A folder of the test's own, with links to golden files. */
struct folder {
    char path[64];
    struct arena arena, scratch;
};

static void folder_open(struct folder *f)
{
    struct err err = { 0 };

    (void)snprintf(f->path, sizeof f->path, "/tmp/model-dir-XXXXXX");
    CHECK(mkdtemp(f->path));
    CHECK_OK(arena_init(&f->arena, 16 << 20, &err), err);
    CHECK_OK(arena_init(&f->scratch, 16 << 20, &err), err);
}

static const char *inside(const struct folder *f, const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char *ret = path[turn++ % 4];

    (void)snprintf(ret, sizeof path[0], "%s/%s", f->path, name);
    return ret;
}

static void add_folder(const struct folder *f, const char *name)
{
    CHECK(mkdir(inside(f, name), 0700) == 0);
}

static void add_link(const struct folder *f, const char *name, const char *golden_path)
{
    char *full = realpath(golden_path, NULL);

    CHECK(full && symlink(full, inside(f, name)) == 0);
    free(full);
}

static void add_text(const struct folder *f, const char *name, const char *text)
{
    FILE *out = fopen(inside(f, name), "w");

    CHECK(out && fputs(text, out) >= 0 && fclose(out) == 0);
}

static void folder_close(struct folder *f)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf %s", f->path);
    CHECK(system(command) == 0);
    arena_done(&f->scratch);
    arena_done(&f->arena);
}

static bool is_in(const char *path, const char *name)
{
    return path && span_ends(span_of(path), name);
}

TEST(model_dir__finds_the_parts_of_the_diffusers_layout)
{
    const char *small = golden("small/models"), *path = NULL;
    struct err err = { 0 };
    struct model_files t5;
    struct folder f;

    folder_open(&f);
    CHECK_OK(model_dir_vae(small, &f.arena, &path, &err), err);
    CHECK(is_in(path, "/ae.safetensors"));
    CHECK_OK(model_dir_clip(small, &f.arena, &path, &err), err);
    CHECK(is_in(path, "/text_encoder/model.safetensors"));
    CHECK_OK(model_dir_t5(small, &f.arena, &f.scratch, &t5, &err), err);
    CHECK(t5.n == 1 && is_in(t5.paths[0], "/text_encoder_2/model.safetensors"));
    CHECK_OK(model_dir_t5_tokenizer(small, &f.arena, &path, &err), err);
    CHECK(is_in(path, "/tokenizer_2/tokenizer.json"));
    CHECK_OK(model_dir_clip_tokenizer(small, &f.arena, &path, &err), err);
    CHECK(is_in(path, "/tokenizer"));
    CHECK_INT(f.scratch.used, 0);
    folder_close(&f);
}

TEST(model_dir__finds_the_parts_of_the_comfy_layout)
{
    const char *comfy = golden("comfy/models"), *path = NULL;
    struct err err = { 0 };
    struct model_files t5;
    struct folder f;

    folder_open(&f);
    CHECK_OK(model_dir_clip(comfy, &f.arena, &path, &err), err);
    CHECK(is_in(path, "/clip_l.safetensors"));
    CHECK_OK(model_dir_t5(comfy, &f.arena, &f.scratch, &t5, &err), err);
    CHECK(t5.n == 1 && is_in(t5.paths[0], "/t5-encoder-Q8_0.gguf"));
    CHECK_OK(model_dir_transformer(comfy, NULL, 0, &f.arena, &f.scratch, &path, &err), err);
    CHECK(is_in(path, "/flux1-fill-Q8_0.gguf"));
    CHECK_OK(model_dir_t5_tokenizer(comfy, &f.arena, &path, &err), err);
    CHECK(path == NULL);
    folder_close(&f);
}

TEST(model_dir__takes_the_transformer_that_is_asked_for_or_the_largest_that_fits)
{
    const char *small = golden("small/models"), *path = NULL;
    struct err err = { 0 };
    struct folder f;
    struct stat st;

    folder_open(&f);
    CHECK_OK(model_dir_transformer(small, "flux1-fill-Q4_1.gguf", 0, &f.arena, &f.scratch, &path, &err), err);
    CHECK(is_in(path, "/flux1-fill-Q4_1.gguf"));
    CHECK_OK(model_dir_transformer(f.path, golden("small/models/flux1-fill-Q4_1.gguf"), 0, &f.arena, &f.scratch, &path,
                                   &err), err);
    CHECK(is_in(path, "/flux1-fill-Q4_1.gguf"));
    CHECK_INT(model_dir_transformer(small, "no.gguf", 0, &f.arena, &f.scratch, &path, &err), ERR_NOT_FOUND);
    CHECK(strstr(err.msg, "no.gguf"));
    err = (struct err){ 0 };
    CHECK_OK(model_dir_transformer(small, NULL, 0, &f.arena, &f.scratch, &path, &err), err);
    CHECK(is_in(path, "/flux1-fill-F32.gguf"));
    CHECK(stat(golden("small/models/flux1-fill-Q8_0.gguf"), &st) == 0);
    CHECK_OK(model_dir_transformer(small, NULL, st.st_size, &f.arena, &f.scratch, &path, &err), err);
    CHECK(is_in(path, "/flux1-fill-Q8_0.gguf"));
    CHECK_INT(model_dir_transformer(small, NULL, 1000, &f.arena, &f.scratch, &path, &err), ERR_NOT_FOUND);
    CHECK(strstr(err.msg, "fits"));
    folder_close(&f);
}

TEST(model_dir__judges_a_container_by_its_tensors)
{
    const char *path = NULL;
    struct err err = { 0 };
    struct model_files t5;
    struct folder f;

    folder_open(&f);
    add_link(&f, "flux.gguf", golden("comfy/models/t5-encoder-Q8_0.gguf"));
    add_link(&f, "t5.gguf", golden("small/models/flux1-fill-Q4_0.gguf"));
    CHECK_OK(model_dir_transformer(f.path, NULL, 0, &f.arena, &f.scratch, &path, &err), err);
    CHECK(is_in(path, "/t5.gguf"));
    CHECK_OK(model_dir_t5(f.path, &f.arena, &f.scratch, &t5, &err), err);
    CHECK(t5.n == 1 && is_in(t5.paths[0], "/flux.gguf"));
    folder_close(&f);
}

TEST(model_dir__passes_over_a_broken_file_and_reports_it_when_there_is_no_other)
{
    const char *path = NULL;
    struct err err = { 0 };
    struct folder f;

    folder_open(&f);
    CHECK_INT(model_dir_transformer(f.path, NULL, 0, &f.arena, &f.scratch, &path, &err), ERR_NOT_FOUND);
    add_text(&f, "broken.gguf", "GGUF");
    err = (struct err){ 0 };
    CHECK(model_dir_transformer(f.path, NULL, 0, &f.arena, &f.scratch, &path, &err) == ERR_CORRUPT);
    CHECK(strstr(err.msg, "broken.gguf"));
    add_link(&f, "good.gguf", golden("small/models/flux1-fill-Q4_0.gguf"));
    err = (struct err){ 0 };
    CHECK_OK(model_dir_transformer(f.path, NULL, 0, &f.arena, &f.scratch, &path, &err), err);
    folder_close(&f);
}

static enum err_code t5_of_index(const char *text, struct model_files *ret, struct err *err)
{
    struct folder f;
    enum err_code rc;

    *err = (struct err){ 0 };
    folder_open(&f);
    add_folder(&f, "text_encoder_2");
    add_text(&f, "text_encoder_2/model.safetensors.index.json", text);
    rc = model_dir_t5(f.path, &f.arena, &f.scratch, ret, err);
    if (!rc)
        CHECK(is_in(ret->paths[0], "/text_encoder_2/model-1.safetensors"));
    folder_close(&f);
    return rc;
}

TEST(model_dir__reads_a_shard_index_and_takes_plain_names_only)
{
    static const char *const bad[] = {
        "", "{}", "{\"weight_map\":{}}", "{\"weight_map\":{\"a\":\"../b\"}}", "{\"weight_map\":{\"a\":\"/b\"}}",
        "{\"weight_map\":{\"a\":\"\"}}", "{\"weight_map\":{\"a\":\"b\\u002fc\"}}", "{\"weight_map\":{\"a\":\"b\"}",
        "{\"other\":{\"a\":\"b\"}}",
    };
    struct model_files t5;
    struct err err;

    CHECK_OK(t5_of_index("{\"metadata\":{\"total_size\":1,\"x\":\"y\"},\"weight_map\":{\"a\":\"model-1.safetensors\","
                         "\"b\":\"model-2.safetensors\",\"c\":\"model-1.safetensors\"}}", &t5, &err), err);
    CHECK_INT(t5.n, 2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(t5_of_index(bad[i], &t5, &err), ERR_CORRUPT);
        CHECK(strstr(err.msg, "index"));
    }
}
