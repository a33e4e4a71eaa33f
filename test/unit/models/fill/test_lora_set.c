/* The list of LoRAs as people write it, and where the files are looked for. */
#include "models/fill/lora_set.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

TEST(lora_set__scales_are_written_with_as_few_digits_as_read_back_the_same)
{
    static const struct {
        double scale;
        const char *text;
    } cases[] = { { 1, "1" },       { 0.8, "0.8" }, { -10, "-10" }, { 0, "0" }, { 1.25, "1.25" }, { 0.1234567, "0.1234567" },
                  { 1e-300, "1e-300" } };
    char text[LORA_SCALE_TEXT_SIZE];
    uint64_t state = 7;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lora_scale_text(cases[i].scale, text);
        CHECK_STR(text, cases[i].text);
    }
    for (int i = 0; i < 1000; i++) {
        double v;

        state = state * 6364136223846793005u + 1442695040888963407u;
        v = ldexp((double)(int64_t)state, -60 - i % 64);
        lora_scale_text(v, text);
        CHECK(strtod(text, NULL) == v && strlen(text) < sizeof text - 1);
    }
}
