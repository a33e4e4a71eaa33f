/* The list of LoRAs as people write it, and where the files are looked for. */
#include "models/fill/lora_set.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

enum { ARENA_BYTES = 64 << 20 };

static void check_items(const char *text, int n, const char *const *names, const double *scales)
{
    static struct fill_loras l;
    struct err err = { 0 };

    l = (struct fill_loras){ 0 };
    CHECK_OK(fill_loras_add(&l, text, &err), err);
    CHECK_INT(l.n, n);
    for (int i = 0; i < n; i++) {
        CHECK_STR(l.items[i].path, names[i]);
        CHECK(l.items[i].scale == scales[i]);
    }
}

TEST(lora_set__reads_lists_with_blanks_and_colons)
{
    check_items("a, b.safetensors:0.5 ,\tc d : -2", 3, (const char *[]){ "a", "b.safetensors", "c d" }, (double[]){ 1, 0.5, -2 });
    check_items("a:b", 1, (const char *[]){ "a:b" }, (double[]){ 1 });
    check_items("a:2:1", 1, (const char *[]){ "a:2" }, (double[]){ 1 });
}

/* A record has a scale as f32; one that is more precise would be another in a replay. */
TEST(lora_set__has_scales_of_f32)
{
    check_items("a:0.1", 1, (const char *[]){ "a" }, (double[]){ (double)0.1F });
}

TEST(lora_set__refuses_lists_without_a_name_or_with_a_scale_out_of_range)
{
    static const char *const texts[] = { "", " ", "a,", ",a", ":1", " :1", "a:10.1", "a:nan", "a:-inf", "a:1e400" };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        static struct fill_loras l;
        struct err err = { 0 };

        l = (struct fill_loras){ 0 };
        CHECK_INT(fill_loras_add(&l, texts[i], &err), ERR_INVALID);
    }
}

static void open_set(const char *dir, const char *name, enum err_code code)
{
    const struct fill_lora one = { name, 1 };
    struct lora_set s;
    struct arena a = { 0 };
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_INT(lora_set_open(dir, &one, 1, &a, &s, &err), code);
    if (code)
        CHECK(strstr(err.msg, "there is no LoRA ") && strstr(err.msg, name));
    arena_done(&a);
}

TEST(lora_set__finds_files_by_path_and_in_the_model_folder)
{
    char dir[300], loras[320], path[640];
    struct arena a = { 0 };
    struct err err = { 0 };
    struct span bytes;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    temp_folder("models-with-loras", dir, sizeof dir);
    (void)snprintf(loras, sizeof loras, "%s/loras", dir);
    CHECK(mkdir(loras, 0700) == 0);
    bytes = file_bytes(&a, golden("lora/alphas.safetensors"));
    (void)temp_file("models-with-loras/loras/one.safetensors", bytes.ptr, bytes.len);
    open_set(dir, "one", ERR_OK);
    open_set(dir, "one.safetensors", ERR_OK);
    open_set(dir, "loras/one", ERR_OK);
    open_set(dir, "loras/one.safetensors", ERR_OK);
    (void)snprintf(path, sizeof path, "%s/one", loras);
    open_set(dir, path, ERR_OK);
    open_set(dir, "two", ERR_NOT_FOUND);
    open_set(dir, "loras/two", ERR_NOT_FOUND);
    (void)snprintf(path, sizeof path, "%s/two", loras);
    open_set(dir, path, ERR_NOT_FOUND);
    arena_done(&a);
}
