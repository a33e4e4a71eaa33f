#include "models/convert/convert.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/quant.h"
#include "kernels/quantise.h"
#include "models/layout/flux_names.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 256 << 20, MAX_TENSORS = 256 };

static struct arena arena, scratch;
static struct err err;

static void open_arenas(void)
{
    CHECK_OK(arena_init(&arena, ARENA_BYTES, &err), err);
    CHECK_OK(arena_init(&scratch, ARENA_BYTES, &err), err);
}

static void close_arenas(void)
{
    arena_done(&arena);
    arena_done(&scratch);
}

struct input {
    struct shards shards;
    struct weight_set set;
};

static void open_input(struct input *in, const char *path)
{
    CHECK_OK(shards_open(path, &arena, &in->shards, &err), err);
    CHECK_OK(flux_weight_set(&in->set, in->shards.files, in->shards.n_files, &err), err);
}

static enum err_code convert(struct input *in, const struct convert_options *o, const char *path)
{
    const struct convert_watch watch = { 0 };
    struct convert_plan plan;

    TRY(convert_plan_make(&in->set, o, &arena, &plan, &err));
    return convert_write(&plan, path, &watch, &scratch, &err);
}

static void convert_to(struct input *in, enum dtype type, const char *path)
{
    const struct convert_options o = { .types = { type, NULL, 0 } };

    CHECK_OK(convert(in, &o, path), err);
}

static struct tensor_file opened(const char *path)
{
    struct tensor_file f;

    CHECK_OK(tensor_file_open(path, &arena, &f, &err), err);
    return f;
}

/* The same tensors, in any order, with the same types and bytes. */
static void check_same_tensors(const struct tensor_file *got, const struct tensor_file *want)
{
    CHECK_INT(got->n_entries, want->n_entries);
    for (int i = 0; i < got->n_entries; i++) {
        const struct tensor_entry *g = &got->entries[i], *w = tensor_file_find(want, g->name);

        if (!w || g->dtype != w->dtype || g->n_dims != w->n_dims || g->bytes != w->bytes ||
            memcmp(g->dims, w->dims, (size_t)g->n_dims * sizeof *g->dims) || memcmp(g->data, w->data, g->bytes))
            test_fail(__FILE__, __LINE__, "tensor '%.*s' (%s) is another one in the other file", SPAN_ARG(g->name),
                      dtype_info(g->dtype)->name);
    }
}

/* --- types --- */

/* Sizes of files that are published; MODEL.md 3.5. Ours have one key more, general.name. */
TEST(convert_types__sizes_are_those_of_the_published_files)
{
    static const struct {
        enum dtype type;
        int64_t bytes;
        enum dtype qkv; /* DT_F32: as the others; else that of a mix, Q4_K_M and so on */
    } published[] = {
        { DT_BF16, 23821624608, DT_F32 }, { DT_F16, 23821624608, DT_F32 }, { DT_Q8_0, 12727035168, DT_F32 },
        { DT_Q6_K, 9860932896, DT_F32 },  { DT_Q5_1, 9028838688, DT_F32 }, { DT_Q5_0, 8289199392, DT_F32 },
        { DT_Q5_K, 8289199392, DT_F32 },  { DT_Q4_1, 7549560096, DT_F32 }, { DT_Q4_0, 6809920800, DT_F32 },
        { DT_Q4_K, 6809920800, DT_F32 },  { DT_Q3_K, 5238187296, DT_F32 }, { DT_Q2_K, 4036273440, DT_F32 },
        { DT_Q4_K, 6944400672, DT_Q5_K }, { DT_Q5_K, 8432084256, DT_Q6_K },
    };

    open_arenas();
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const struct convert_keep qkv = { "_attn.qkv", published[i].qkv };
        const struct convert_types types = { published[i].type, &qkv, qkv.type != DT_F32 };
        int64_t bytes = 0;

        CHECK_OK(convert_fill_bytes(&types, &scratch, &bytes, &err), err);
        if (bytes < published[i].bytes || bytes > published[i].bytes + 64)
            test_fail(__FILE__, __LINE__, "%s: %lld bytes, and the published file has %lld",
                      dtype_info(published[i].type)->name, (long long)bytes, (long long)published[i].bytes);
    }
    close_arenas();
}

TEST(convert_types__rows_that_are_not_whole_blocks_become_f16)
{
    const struct convert_types q8 = { .type = DT_Q8_0 }, q4_k = { .type = DT_Q4_K }, f32 = { .type = DT_F32 };
    const char *name = "double_blocks.0.img_mlp.0.weight";

    CHECK_INT(convert_type_of(&q8, name, 2, (int64_t[]){ 5, 64 }), DT_Q8_0);
    CHECK_INT(convert_type_of(&q8, name, 2, (int64_t[]){ 64, 48 }), DT_F16);
    CHECK_INT(convert_type_of(&q4_k, name, 2, (int64_t[]){ 5, 512 }), DT_Q4_K);
    CHECK_INT(convert_type_of(&q4_k, name, 2, (int64_t[]){ 5, 64 }), DT_F16);
    CHECK_INT(convert_type_of(&q8, "double_blocks.0.img_mlp.0.bias", 1, (int64_t[]){ 64 }), DT_F32);
    CHECK_INT(convert_type_of(&q8, "txt_in.weight", 2, (int64_t[]){ 5, 64 }), DT_BF16);
    CHECK_INT(convert_type_of(&q8, "img_in.weight", 2, (int64_t[]){ 5, 64 }), DT_F32);
    CHECK_INT(convert_type_of(&f32, "txt_in.weight", 2, (int64_t[]){ 5, 64 }), DT_F32);
}

TEST(convert_types__writes_what_the_quantiser_knows)
{
    for (int t = 0; t < DT_COUNT; t++)
        if (convert_can_write((enum dtype)t))
            CHECK(quantise_supports((enum dtype)t));
    for (int t = DT_Q8_0; t <= DT_Q5_1; t++)
        CHECK(convert_can_write((enum dtype)t));
    CHECK(convert_can_write(DT_F32) && convert_can_write(DT_F16) && convert_can_write(DT_BF16));
    CHECK(!convert_can_write(DT_I32) && !convert_can_write(DT_F8_E4M3));
}

/* --- files --- */

/* The golden files of all types were quantised by the gguf package from the values of the first. */
TEST(convert__files_of_the_official_quantiser_come_out_byte_for_byte)
{
    static const enum dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1 };

    open_arenas();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *name = dtype_info(types[i])->name;
        struct tensor_file want = opened(golden("small/models/flux1-fill-%s.gguf", name)), got;
        struct span text;
        struct input in;
        int64_t n = -1;

        open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
        convert_to(&in, types[i], temp_path(name));
        got = opened(temp_path(name));
        check_same_tensors(&got, &want);
        CHECK(gguf_string(got.gguf, "general.architecture", &text) && span_is(text, "flux"));
        CHECK(gguf_int(got.gguf, "general.quantization_version", &n) && n == 2);
        CHECK(gguf_int(got.gguf, "general.file_type", &n) && n == (int64_t)convert_file_type(types[i]));
    }
    close_arenas();
}

/* Quantised again, blocks would not always be the same: their largest value need not be the type's largest number. */
TEST(convert__file_of_the_same_type_keeps_its_bytes)
{
    static const enum dtype types[] = { DT_F16, DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q5_1 };

    open_arenas();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *name = dtype_info(types[i])->name;
        struct tensor_file want, got;
        struct input in;

        open_input(&in, golden("small/models/flux1-fill-%s.gguf", name));
        convert_to(&in, types[i], temp_path(name));
        want = *in.shards.files;
        got = opened(temp_path(name));
        check_same_tensors(&got, &want);
    }
    close_arenas();
}

static void check_pieces(struct input *in, enum dtype type, int n_threads, int64_t chunk_bytes)
{
    const struct convert_options o = { .types = { type, NULL, 0 } };
    const struct convert_watch small = { .chunk_bytes = chunk_bytes };
    struct convert_plan plan;
    struct span a, b;

    convert_to(in, type, temp_path("whole"));
    omp_set_num_threads(n_threads);
    CHECK_OK(convert_plan_make(&in->set, &o, &arena, &plan, &err), err);
    CHECK_OK(convert_write(&plan, temp_path("pieces"), &small, &scratch, &err), err);
    CHECK_OK(file_read(temp_path("whole"), ARENA_BYTES, &arena, &a, &err), err);
    CHECK_OK(file_read(temp_path("pieces"), ARENA_BYTES, &arena, &b, &err), err);
    CHECK(span_eq(a, b));
}

TEST(convert__number_of_threads_and_size_of_pieces_change_nothing)
{
    struct input in;

    open_arenas();
    open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
    check_pieces(&in, DT_Q5_0, 1, 0);
    check_pieces(&in, DT_Q5_0, 3, 1); /* one row at a time */
    check_pieces(&in, DT_Q8_0, 2, 5000);
    check_pieces(&in, DT_F32, 4, 3000);
    close_arenas();
}

/* --- other layouts --- */

struct rewriting {
    struct tensor_write out[MAX_TENSORS];
    int n;
};

/* Adds the parts of a tensor as diffusers names and cuts them. */
static void add_diffusers(struct rewriting *w, const struct tensor_entry *e)
{
    size_t row = e->bytes / (size_t)e->dims[0], half = e->bytes / 2;
    struct weight_names names;
    char *name = NULL, *data = NULL, *at;

    CHECK_OK(span_dup(&arena, e->name, &name, &err), err);
    CHECK_OK(arena_alloc(&arena, e->bytes, 1, &data, &err), err);
    CHECK(flux_names_diffusers(name, &names));
    at = data;
    memcpy(data, (const char *)e->data + (names.halves_swapped ? half : 0), names.halves_swapped ? half : e->bytes);
    if (names.halves_swapped)
        memcpy(data + half, e->data, half);
    for (int i = 0; i < names.n; i++) {
        struct tensor_write *t = &w->out[w->n++];
        /* q, k and v have as many rows as the model is wide; what is left over is the last one's */
        int64_t third = strstr(name, "single_blocks.") ? e->dims[0] / 7 : e->dims[0] / names.n;
        int64_t rows = names.n == 1 ? e->dims[0] : i < names.n - 1 ? third : e->dims[0] - third * (names.n - 1);

        *t = (struct tensor_write){ .dtype = e->dtype, .n_dims = e->n_dims, .dims = { rows, e->dims[1] }, .data = at };
        CHECK_OK(arena_printf(&arena, (char **)&t->name, &err, "%s", names.name[i]), err);
        at += (size_t)rows * row;
    }
}

TEST(convert__diffusers_names_give_the_same_file)
{
    static const enum dtype types[] = { DT_BF16, DT_Q8_0 };
    const char *path = temp_path("diffusers.safetensors");
    static struct rewriting w;
    struct input bfl, diffusers;

    open_arenas();
    open_input(&bfl, golden("small/models/flux1-fill-BF16.gguf"));
    for (int i = 0; i < bfl.shards.files->n_entries; i++)
        add_diffusers(&w, &bfl.shards.files->entries[i]);
    CHECK(w.n > bfl.shards.files->n_entries);
    CHECK_OK(safetensors_write(path, w.out, w.n, NULL, 0, &err), err);
    open_input(&diffusers, path);
    for (int i = 0; i < 2; i++) {
        struct tensor_file want, got;

        convert_to(&bfl, types[i], temp_path("bfl.gguf"));
        convert_to(&diffusers, types[i], temp_path("diffusers.gguf"));
        want = opened(temp_path("bfl.gguf"));
        got = opened(temp_path("diffusers.gguf"));
        check_same_tensors(&got, &want);
    }
    close_arenas();
}

/* A copy of the F32 golden file as safetensors, with one tensor changed, and perhaps one value more. */
static const char *changed_copy(const char *tensor, void (*change)(struct tensor_write *t), const char *extra,
                                const float *extra_value)
{
    static struct tensor_write out[MAX_TENSORS];
    const char *path = temp_path("changed.safetensors");
    struct tensor_file f = opened(golden("small/models/flux1-fill-F32.gguf"));
    int n = 0;

    for (; n < f.n_entries; n++) {
        const struct tensor_entry *e = &f.entries[n];
        char *name = NULL;

        CHECK_OK(span_dup(&arena, e->name, &name, &err), err);
        out[n] = (struct tensor_write){ name, e->dtype, e->n_dims, { e->dims[0], e->dims[1] }, e->data };
        if (strcmp(name, tensor) == 0)
            change(&out[n]);
    }
    if (extra)
        out[n++] = (struct tensor_write){ extra, DT_F32, 0, { 0 }, extra_value };
    CHECK_OK(safetensors_write(path, out, n, NULL, 0, &err), err);
    return path;
}

static void put_value(struct tensor_write *t, int64_t at, float value)
{
    int64_t n = t->dims[0] * (t->n_dims > 1 ? t->dims[1] : 1);
    float *copy = NULL;

    CHECK_OK(arena_alloc(&arena, (size_t)n, sizeof *copy, &copy, &err), err);
    memcpy(copy, t->data, (size_t)n * sizeof *copy);
    copy[at] = value;
    t->data = copy;
}

static void put_nan(struct tensor_write *t)
{
    put_value(t, t->n_dims > 1 ? 3 * t->dims[1] + 5 : 3, NAN);
}

static void put_infinity(struct tensor_write *t)
{
    put_value(t, 0, -INFINITY);
}

static const char linear2[] = "single_blocks.1.linear2.weight";

static void check_refused(const char *tensor, void (*change)(struct tensor_write *t), enum dtype type, const char *part)
{
    const struct convert_options o = { .types = { type, NULL, 0 } };
    struct input in;

    err = (struct err){ 0 };
    open_input(&in, changed_copy(tensor, change, NULL, NULL));
    CHECK_INT(convert(&in, &o, temp_path("no.gguf")), ERR_CORRUPT);
    if (!strstr(err.msg, "changed.safetensors: tensor '") || !strstr(err.msg, tensor) || !strstr(err.msg, part))
        test_fail(__FILE__, __LINE__, "%s", err.msg);
    CHECK(access(temp_path("no.gguf"), F_OK) != 0);
}

TEST(convert__damaged_values_are_refused_by_name)
{
    open_arenas();
    check_refused(linear2, put_nan, DT_Q8_0, "nan");
    check_refused(linear2, put_nan, DT_F32, "nan"); /* would be copied */
    check_refused(linear2, put_infinity, DT_BF16, "inf");
    check_refused("txt_in.bias", put_nan, DT_Q4_0, "nan");
    close_arenas();
}

static void make_f8(struct tensor_write *t)
{
    size_t n = (size_t)(t->dims[0] * t->dims[1]);
    unsigned char *values = NULL;

    CHECK_OK(arena_alloc(&arena, n, 1, &values, &err), err);
    for (size_t i = 0; i < n; i++)
        values[i] = (unsigned char)(i % 0x7f); /* 0x7f is NaN */
    t->dtype = DT_F8_E4M3;
    t->data = values;
}

TEST(convert__scaled_fp8_comes_out_with_its_scale)
{
    const float scale = 0.03125F;
    struct tensor_file f;
    const char *data;
    struct input in;

    open_arenas();
    open_input(&in, changed_copy(linear2, make_f8, "single_blocks.1.linear2.weight_scale", &scale));
    convert_to(&in, DT_F32, temp_path("f8.gguf"));
    f = opened(temp_path("f8.gguf"));
    CHECK(!tensor_file_find(&f, SPAN("single_blocks.1.linear2.weight_scale")));
    data = tensor_file_find(&f, span_of(linear2))->data;
    for (int i = 0; i < 64 * 320; i++) {
        float v;

        memcpy(&v, data + (size_t)i * sizeof v, sizeof v);
        CHECK(v == f8_e4m3_to_f32((uint8_t)(i % 0x7f)) * scale);
    }
    close_arenas();
}

TEST(convert__values_that_a_type_cannot_hold_are_refused_by_place)
{
    const float scale = 4096;
    struct convert_options o = { .types = { DT_F16, NULL, 0 } };
    struct input in;

    open_arenas();
    open_input(&in, changed_copy(linear2, make_f8, "single_blocks.1.linear2.weight_scale", &scale));
    CHECK_INT(convert(&in, &o, temp_path("scaled.gguf")), ERR_CORRUPT);
    CHECK(strstr(err.msg, "in row 0, column ") && strstr(err.msg, " and F16 holds 65504 at most: convert to BF16"));
    o.types.type = DT_BF16;
    err = (struct err){ 0 };
    CHECK_OK(convert(&in, &o, temp_path("scaled.gguf")), err);
    close_arenas();
}

/* --- patches --- */

static bool touches_linear2(const void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, linear2) == 0;
}

/* Adds the number of a row to all its values. */
static void add_rows(const void *ctx, const char *name, int64_t row0, int64_t n, int64_t cols, float *values)
{
    (void)ctx;
    (void)name;
    for (int64_t i = 0; i < n * cols; i++)
        values[i] += (float)(row0 + i / cols);
}

/* Puts the value that ctx points to into row 40, column 7. */
static void put_one(const void *ctx, const char *name, int64_t row0, int64_t n, int64_t cols, float *values)
{
    (void)name;
    if (row0 <= 40 && row0 + n > 40)
        values[(40 - row0) * cols + 7] = *(const float *)ctx;
}

static enum err_code convert_with(float value, enum dtype type)
{
    const struct convert_options o = { .types = { type, NULL, 0 } };
    struct input in;

    err = (struct err){ 0 };
    open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
    in.set.patches[in.set.n_patches++] = (struct weight_patch){ &value, touches_linear2, put_one };
    return convert(&in, &o, temp_path("patched.gguf"));
}

/* A trained weight is at most 4096 (models/file/proof.h): the loader would refuse what was written. */
TEST(convert__merged_values_that_no_training_comes_to_are_refused_by_place)
{
    static const enum dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_Q4_1 };
    static const float values[] = { NAN, -INFINITY, 4200, -70000, 3.4e38F };

    open_arenas();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            CHECK_INT(convert_with(values[k], types[i]), ERR_CORRUPT);
            CHECK(strstr(err.msg, "in row 40, column 7 with the LoRAs merged") && strstr(err.msg, linear2));
        }
        CHECK(access(temp_path("patched.gguf"), F_OK) != 0);
    }
    CHECK_INT(convert_with(4000, DT_F16), ERR_OK);
    close_arenas();
}

TEST(convert__patches_are_merged_before_quantising)
{
    const struct convert_options o = { .types = { DT_Q8_0, NULL, 0 } };
    const struct convert_watch watch = { 0 };
    struct tensor_file before, after;
    struct convert_plan plan;
    struct input in;
    float row[320];
    char want[340];

    open_arenas();
    open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
    convert_to(&in, DT_Q8_0, temp_path("before.gguf"));
    in.set.patches[in.set.n_patches++] = (struct weight_patch){ NULL, touches_linear2, add_rows };
    CHECK_OK(convert_plan_make(&in.set, &o, &arena, &plan, &err), err);
    CHECK_INT(plan.n_patched, 1);
    CHECK_OK(convert_write(&plan, temp_path("after.gguf"), &watch, &scratch, &err), err);
    before = opened(temp_path("before.gguf"));
    after = opened(temp_path("after.gguf"));
    for (int i = 0; i < before.n_entries; i++) {
        const struct tensor_entry *e = &before.entries[i], *other = &after.entries[i];

        CHECK_INT(memcmp(e->data, other->data, e->bytes) == 0, !span_is(e->name, linear2));
    }
    memcpy(row, (const char *)tensor_file_find(in.shards.files, span_of(linear2))->data + 7 * sizeof row, sizeof row);
    for (int i = 0; i < 320; i++)
        row[i] += 7;
    quantise_row(DT_Q8_0, row, want, 320);
    CHECK(!memcmp((const char *)tensor_file_find(&after, span_of(linear2))->data + 7 * sizeof want, want, sizeof want));
    close_arenas();
}

/* --- what the caller decides --- */

TEST(convert__kept_names_get_their_own_type)
{
    static const struct convert_keep keeps[] = { { "single_blocks.1.modulation", DT_F16 },
                                                 { "modulation.lin", DT_Q8_0 } };
    const struct convert_options o = { .types = { DT_Q4_0, keeps, 2 } };
    struct tensor_file f;
    struct input in;

    open_arenas();
    open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
    CHECK_OK(convert(&in, &o, temp_path("kept.gguf")), err);
    f = opened(temp_path("kept.gguf"));
    CHECK_INT(tensor_file_find(&f, SPAN("single_blocks.0.modulation.lin.weight"))->dtype, DT_Q8_0);
    CHECK_INT(tensor_file_find(&f, SPAN("single_blocks.1.modulation.lin.weight"))->dtype, DT_F16);
    CHECK_INT(tensor_file_find(&f, SPAN("single_blocks.1.modulation.lin.bias"))->dtype, DT_F32);
    CHECK_INT(tensor_file_find(&f, SPAN("single_blocks.1.linear1.weight"))->dtype, DT_Q4_0);
    close_arenas();
}

TEST(convert__kept_name_that_fits_nothing_is_refused)
{
    static const char *const parts[] = { "double_blocks.2.", "img_in", "mlp.0.bias" };
    struct input in;

    open_arenas();
    open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
    for (int i = 0; i < 3; i++) {
        const struct convert_keep keep = { parts[i], DT_F16 };
        const struct convert_options o = { .types = { DT_Q4_0, &keep, 1 } };

        err = (struct err){ 0 };
        CHECK_INT(convert(&in, &o, temp_path("no.gguf")), ERR_INVALID);
        CHECK(strstr(err.msg, parts[i]));
    }
    close_arenas();
}

struct watching {
    int calls;
    int64_t last, total;
};

static void on_progress(void *ctx, int64_t done, int64_t total)
{
    struct watching *w = ctx;

    CHECK(done >= w->last && done <= total);
    w->calls++;
    w->last = done;
    w->total = total;
}

static bool cancel_later(void *ctx)
{
    return ((struct watching *)ctx)->calls == 40;
}

TEST(convert__tells_how_far_it_is_and_stops_when_asked)
{
    const struct convert_options o = { .types = { DT_Q8_0, NULL, 0 } };
    const char *path = temp_path("watched.gguf");
    struct watching w = { 0 };
    struct convert_watch watch = { .progress = on_progress, .ctx = &w };
    struct convert_plan plan;
    struct span file;
    struct input in;

    open_arenas();
    open_input(&in, golden("small/models/flux1-fill-F32.gguf"));
    CHECK_OK(convert_plan_make(&in.set, &o, &arena, &plan, &err), err);
    CHECK_OK(convert_write(&plan, path, &watch, &scratch, &err), err);
    CHECK_OK(file_read(path, ARENA_BYTES, &arena, &file, &err), err);
    CHECK(w.last == w.total && w.total == (int64_t)file.len && plan.file_bytes == w.total);
    CHECK(w.calls > plan.outline.n_tensors && unlink(path) == 0);
    w = (struct watching){ 0 };
    watch.cancelled = cancel_later;
    CHECK_INT(convert_write(&plan, path, &watch, &scratch, &err), ERR_CANCELLED);
    CHECK_INT(w.calls, 40);
    CHECK(access(path, F_OK) != 0);
    close_arenas();
}
