#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "worker/cli/commands.h"

enum { ARENA_BYTES = 16 << 20 };

/* Runs the command; its stdout goes into the file `out`. */
static int run(const char *out, int argc, char **argv)
{
    const struct outputs before = outputs_redirect(out);
    int status = cmd_inspect(argc, argv);

    outputs_restore(&before);
    return status;
}
#define RUN(out, ...)                                                              \
    run(out, (int)(sizeof((char *[]){ "inspect", __VA_ARGS__ }) / sizeof(char *)), \
        (char *[]){ "inspect", __VA_ARGS__, NULL })

static struct span contents(const char *path, struct arena *a)
{
    struct err err = { 0 };
    struct span text = { 0 };

    CHECK_OK(file_read(path, 1 << 20, a, &text, &err), err);
    return text;
}

TEST(cmd_inspect__lists_name_type_and_shape)
{
    static const int64_t ids[3] = { -1, 2, 3 };
    static const float values[6] = { 0 };
    static const unsigned char bytes[2] = { 0x3d, 0xc0 }; /* 2^0 (1 + 1/4), -2^1 */
    const struct tensor_write tensors[] = { { "matrix", DT_F32, 2, { 2, 3 }, values },
                                            { "ids", DT_I64, 1, { 3 }, ids },
                                            { "small", DT_F8_E5M2, 1, { 2 }, bytes },
                                            { "scalar\x1b[2J", DT_F32, 0, { 0 }, values } };
    char *path = (char *)temp_path("inspect.safetensors");
    const char *out = temp_path("inspect.txt");
    struct err err = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(safetensors_write(path, tensors, 4, NULL, 0, &err), err);
    CHECK_INT(RUN(out, path), 0);
    CHECK_STR(contents(out, &a).ptr, "matrix      F32      [2,3]\n"
                                     "ids         I64      [3]\n"
                                     "small       F8_E5M2  [2]\n"
                                     "scalar\\x1b[2J  F32      []\n");
    CHECK_INT(RUN(out, path, "--tensor", "ids"), 0);
    CHECK_STR(contents(out, &a).ptr, "ids  I64      [3]\n");
    CHECK_INT(RUN(out, path, "--tensor", "ids", "--out", (char *)temp_path("ids.f32")), 0);
    CHECK_INT(contents(out, &a).len, 0);
    CHECK(memcmp(contents(temp_path("ids.f32"), &a).ptr, (float[]){ -1, 2, 3 }, 12) == 0);
    CHECK_INT(RUN(out, path, "--tensor", "small", "--out", (char *)temp_path("small.f32")), 0);
    CHECK(memcmp(contents(temp_path("small.f32"), &a).ptr, (float[]){ 1.25f, -2 }, 8) == 0);
    arena_done(&a);
}

TEST(cmd_inspect__tells_failure_from_wrong_usage)
{
    char *path = (char *)golden("small/models/ae.safetensors");
    const char *out = temp_path("inspect.txt");

    CHECK_INT(RUN(out, "--help"), 0);
    CHECK_INT(run(out, 1, (char *[]){ "inspect", NULL }), 2);
    CHECK_INT(RUN(out, path, "--out", "/tmp/x"), 2);
    CHECK_INT(RUN(out, path, "--nonsense"), 2);
    CHECK_INT(RUN(out, "/nonexistent"), 1);
    CHECK_INT(RUN(out, path, "--tensor", "absent"), 1);
    CHECK_INT(RUN(out, path, "--tensor", "decoder.conv_in.bias", "--out", "/nonexistent/x"), 1);
}

/* The matrix is longer than one chunk of the writer. */
TEST(cmd_inspect__writes_dequantised_values)
{
    const char *name = "double_blocks.0.img_mlp.0.weight";
    char *path = (char *)golden("small/models/flux1-fill-BF16.gguf"), *out = (char *)temp_path("values.f32");
    struct err err = { 0 };
    struct tensor_file f;
    const struct tensor_entry *e;
    struct span got;
    struct arena a;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_INT(RUN(temp_path("inspect.txt"), path, "--tensor", (char *)name, "--out", out), 0);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    e = tensor_file_find(&f, span_of(name));
    CHECK(e && e->dtype == DT_BF16);
    got = contents(out, &a);
    CHECK_INT(got.len, 2 * e->bytes);
    for (size_t i = 0; i < e->bytes / 2; i++) { /* bf16 is the upper half of an f32 */
        CHECK(memcmp(got.ptr + 4 * i, "\0\0", 2) == 0);
        CHECK(memcmp(got.ptr + 4 * i + 2, (const char *)e->data + 2 * i, 2) == 0);
    }
    arena_done(&a);
}
