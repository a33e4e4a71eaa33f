#include "models/file/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20 };

TEST(tensor_file__names_what_is_there_by_mistake)
{
    static const struct {
        const char *start, *part;
    } cases[] = {
        { "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer" },
        { "PK\x03\x04zipzipzip", "PyTorch" },
        { "{\"a\": 1}     ", "JSON" },
        { "<!DOCTYPE html>", "web page" },
    };
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = temp_file("mistake", cases[i].start, strlen(cases[i].start));

        err = (struct err){ 0 };
        CHECK_INT(tensor_file_open(path, &a, &f, &err), ERR_UNSUPPORTED);
        CHECK(strstr(err.msg, cases[i].part) && strstr(err.msg, path));
    }
    CHECK_INT(a.used, 0);
    CHECK_INT(tensor_file_open(temp_path("no-such-model"), &a, &f, NULL), ERR_NOT_FOUND);
    CHECK_INT(tensor_file_open("/tmp", &a, &f, NULL), ERR_IO);
    CHECK_INT(tensor_file_open("/dev/zero", &a, &f, NULL), ERR_IO);
    CHECK_INT(tensor_file_open(temp_file("empty", "", 0), &a, &f, NULL), ERR_CORRUPT);
    arena_done(&a);
}

TEST(tensor_file__names_a_damaged_file_and_the_remedy)
{
    static const char *const starts[] = { "GGUF", "\x40\0\0\0\0\0\0\0{" };
    static const size_t lengths[] = { 4, 9 };
    struct arena a;
    struct tensor_file f;

    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        const char *path = temp_file("damaged", starts[i], lengths[i]);
        struct err err = { 0 };

        CHECK_INT(tensor_file_open(path, &a, &f, &err), ERR_CORRUPT);
        CHECK(span_starts(span_of(err.msg), path) && strstr(err.msg, "is damaged or incomplete; fetch it again: "));
    }
    CHECK_INT(a.used, 0);
    arena_done(&a);
}

/* Types by their number in a GGUF file (the table of MODEL.md 3.3). */
static const struct {
    const char *name;
    uint32_t id;
} gguf_types[] = {
    { "F16", 1 },   { "Q4_0", 2 },  { "Q4_1", 3 },  { "Q5_0", 6 },  { "Q5_1", 7 },    { "Q8_0", 8 },    { "Q2_K", 10 },
    { "Q3_K", 11 }, { "Q4_K", 12 }, { "Q5_K", 13 }, { "Q6_K", 14 }, { "IQ4_NL", 20 }, { "IQ4_XS", 23 }, { "BF16", 30 },
};
enum { N_TYPES = sizeof gguf_types / sizeof *gguf_types };

static const struct tensor_entry *find(const struct tensor_file *f, const char *name, const char *suffix)
{
    char text[64];
    const struct tensor_entry *e;

    (void)snprintf(text, sizeof text, "%s%s", name, suffix);
    e = tensor_file_find(f, span_of(text));
    if (!e)
        test_fail(__FILE__, __LINE__, "no tensor %s", text);
    return e;
}

/* The raw blocks of the golden set as one GGUF file with a tensor of each type. */
static struct bytes golden_as_gguf(const struct tensor_file *g)
{
    struct bytes b = { 0 };
    uint64_t offset = 0;

    bytes_text(&b, "GGUF");
    bytes_u32(&b, 3);
    bytes_u64(&b, N_TYPES);
    bytes_u64(&b, 0);
    for (int i = 0; i < N_TYPES; i++) {
        bytes_u64(&b, strlen(gguf_types[i].name));
        bytes_text(&b, gguf_types[i].name);
        bytes_u32(&b, 1);
        bytes_u64(&b, (uint64_t)find(g, gguf_types[i].name, ".f32")->dims[0]);
        bytes_u32(&b, gguf_types[i].id);
        bytes_u64(&b, offset);
        offset += (find(g, gguf_types[i].name, ".raw")->bytes + 31) & ~(size_t)31;
    }
    for (int i = 0; i < N_TYPES; i++) {
        const struct tensor_entry *raw = find(g, gguf_types[i].name, ".raw");

        bytes_pad(&b, 32);
        bytes_put(&b, raw->data, raw->bytes);
    }
    return b;
}

TEST(tensor_file__gives_the_official_values_of_every_gguf_type)
{
    const char *path = golden("common/dequantise.safetensors");
    struct arena a;
    struct tensor_file g, f;
    struct err err = { 0 };
    struct bytes b;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &g, &err), err);
    b = golden_as_gguf(&g);
    CHECK_OK(tensor_file_open(temp_file("types.gguf", b.ptr, b.len), &a, &f, &err), err);
    bytes_done(&b);
    for (int i = 0; i < N_TYPES; i++) {
        const struct tensor_entry *e = find(&f, gguf_types[i].name, ""), *want = find(&g, gguf_types[i].name, ".f32");
        float *got;

        CHECK_STR(dtype_info(e->dtype)->name, gguf_types[i].name);
        CHECK_OK(arena_alloc(&a, (size_t)e->dims[0], sizeof *got, &got, &err), err);
        dequantise_row(e->dtype, e->data, got, e->dims[0]);
        CHECK(memcmp(got, want->data, want->bytes) == 0); /* bit for bit */
    }
    arena_done(&a);
}
