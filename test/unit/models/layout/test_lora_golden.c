/* LoRAs of every style against what diffusers makes of them (scripts/golden_lora.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"
#include "models/layout/lora.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20, MAX_FILES = 4, MOST_ROWS = 448, MOST_COLS = 384, KEPT = 32, STEP = 3 };

struct golden_case {
    struct arena a;
    struct err err;
    struct tensor_file base, expected;
    struct weight_patch patches[MAX_FILES];
    const struct lora *loras[MAX_FILES];
    int n;
};

static bool shape_of(const void *ctx, const char *name, int64_t *ret_rows, int64_t *ret_cols)
{
    const struct tensor_entry *e = tensor_file_find(ctx, span_of(name));

    if (!e)
        return false;
    *ret_rows = e->dims[0];
    *ret_cols = e->n_dims > 1 ? e->dims[1] : 1;
    return true;
}

static const char *said(struct golden_case *c, const char *name, const char *what)
{
    const char *value = NULL;
    char key[64];

    (void)snprintf(key, sizeof key, "%s.%s", name, what);
    CHECK_OK(tensor_file_metadata(&c->expected, key, &c->a, &value, &c->err), c->err);
    return value;
}

static void open_case(struct golden_case *c, const char *name)
{
    char files[256];

    *c = (struct golden_case){ 0 };
    CHECK_OK(arena_init(&c->a, ARENA_BYTES, &c->err), c->err);
    CHECK_OK(tensor_file_open(golden("small/models/flux1-fill-F32.gguf"), &c->a, &c->base, &c->err), c->err);
    CHECK_OK(tensor_file_open(golden("lora/expected.safetensors"), &c->a, &c->expected, &c->err), c->err);
    (void)snprintf(files, sizeof files, "%s", said(c, name, "files"));
    for (char *file = strtok(files, ","); file; file = strtok(NULL, ",")) {
        char *scale = strchr(file, ':');

        CHECK(scale && c->n < MAX_FILES);
        *scale++ = '\0';
        CHECK_OK(lora_open(golden("lora/%s", file), atof(scale), &c->a, &c->loras[c->n], &c->err), c->err);
        CHECK_OK(lora_check(c->loras[c->n], shape_of, &c->base, &c->err), c->err);
        c->patches[c->n] = lora_patch(c->loras[c->n]);
        c->n++;
    }
}

/* All rows of the tensor with the patches, in calls of `chunk` rows. */
static void read_patched(const struct golden_case *c, const struct tensor_entry *e, int64_t chunk, float *ret)
{
    int64_t rows = e->dims[0], cols = e->n_dims > 1 ? e->dims[1] : 1;
    char name[TENSOR_NAME_MAX + 1];

    CHECK(rows <= MOST_ROWS && cols <= MOST_COLS);
    (void)snprintf(name, sizeof name, "%.*s", SPAN_ARG(e->name));
    dequantise_row(e->dtype, e->data, ret, rows * cols);
    for (int64_t o = 0; o < rows; o += chunk)
        for (int i = 0; i < c->n; i++)
            c->patches[i].add(c->patches[i].ctx, name, o, rows - o < chunk ? rows - o : chunk, cols, ret + o * cols);
}

static void check_tensor(struct golden_case *c, const char *name, const struct tensor_entry *e)
{
    static float got[MOST_ROWS * MOST_COLS], again[MOST_ROWS * MOST_COLS];
    int64_t rows = e->dims[0], cols = e->n_dims > 1 ? e->dims[1] : 1;
    const int64_t kept[] = { rows / 2 - 1, rows - 1 };
    const struct tensor_entry *want;
    float some[2 * KEPT];
    char key[TENSOR_NAME_MAX + 1];
    int n = 0;

    read_patched(c, e, rows, got);
    read_patched(c, e, 5, again);
    CHECK(!memcmp(got, again, (size_t)(rows * cols) * sizeof *got));
    for (int r = 0; r < 2; r++)
        for (int64_t j = 0; j < cols && j < KEPT * STEP; j += STEP)
            some[n++] = got[kept[r] * cols + j];
    (void)snprintf(key, sizeof key, "%s.rows.%.*s", name, SPAN_ARG(e->name));
    want = tensor_file_find(&c->expected, span_of(key));
    CHECK(want && want->dtype == DT_F32);
    CHECK_INT(want->bytes / sizeof(float), n);
    CHECK_REL(some, (const float *)want->data, (size_t)n, 2e-7);
}

static bool touched(const struct golden_case *c, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (c->patches[i].touches(c->patches[i].ctx, name))
            return true;
    return false;
}

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n]))
            return true;
    return false;
}

static void check_case(const char *name)
{
    struct golden_case c;
    const char *tensors;

    open_case(&c, name);
    tensors = said(&c, name, "tensors");
    for (int i = 0; i < c.base.n_entries; i++) {
        char tensor[TENSOR_NAME_MAX + 1];

        (void)snprintf(tensor, sizeof tensor, "%.*s", SPAN_ARG(c.base.entries[i].name));
        if (touched(&c, tensor) != listed(tensors, tensor))
            test_fail(__FILE__, __LINE__, "%s: touched %d, diffusers %d", tensor, touched(&c, tensor),
                      listed(tensors, tensor));
        if (touched(&c, tensor))
            check_tensor(&c, name, &c.base.entries[i]);
    }
    arena_done(&c.a);
}

TEST(lora__peft_names_merge_as_in_diffusers)
{
    check_case("peft");
}

TEST(lora__alphas_beside_matrices_count_as_in_diffusers)
{
    check_case("alphas");
}

TEST(lora__settings_in_the_metadata_count_as_in_diffusers)
{
    check_case("settings");
}

TEST(lora__biases_merge_as_in_diffusers)
{
    check_case("bias");
}

TEST(lora__kohya_names_merge_as_in_diffusers)
{
    check_case("kohya");
}

TEST(lora__kohya_names_around_diffusers_modules_merge_as_in_diffusers)
{
    check_case("mixed");
}

TEST(lora__xlabs_names_merge_as_in_diffusers)
{
    check_case("xlabs");
}

TEST(lora__bfl_names_with_down_and_up_merge_as_in_diffusers)
{
    check_case("comfy");
}

TEST(lora__bfl_names_with_a_and_b_merge_by_the_formula)
{
    check_case("bfl");
}

TEST(lora__layers_outside_of_blocks_and_whole_changes_merge_by_the_formula)
{
    check_case("by_hand");
}

TEST(lora__two_files_with_scales_merge_as_in_diffusers)
{
    check_case("two");
}
