#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/file/gguf.h"
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

/* Runs the command; the status and what it wrote to both outputs. */
static int inspect(struct outputs_text *ret, const char *const *words)
{
    return outputs_of(cmd_inspect, words, ret);
}
#define INSPECT(ret, ...) inspect(ret, (const char *const[]){ "inspect", __VA_ARGS__, NULL })

#define ENTRY(type, from, to) "{\"dtype\":\"" type "\",\"shape\":[4],\"data_offsets\":[" #from "," #to "]}"

static const char *put_safetensors(const char *name, const char *header, size_t data)
{
    struct bytes b = { 0 };
    const char *path;

    bytes_u64(&b, strlen(header));
    bytes_text(&b, header);
    while (data--)
        bytes_u8(&b, 0);
    path = temp_file(name, b.ptr, b.len);
    bytes_done(&b);
    return path;
}

TEST(cmd_inspect__lists_what_it_cannot_read_and_says_so_last)
{
    const char *path = put_safetensors("odd.safetensors",
                                       "{\"w\":" ENTRY("F4", 0, 2) ",\"s\":" ENTRY("F8_E8M0", 2, 6) ",\"b\":" ENTRY(
                                           "F32", 6, 22) ",\"c\":" ENTRY("F4", 22, 24) "}",
                                       24);
    struct outputs_text got;

    CHECK_INT(INSPECT(&got, path), 0);
    CHECK_STR(got.out, "w  F4       [4]\ns  F8_E8M0  [4]\nb  F32      [4]\nc  F4       [4]\n");
    CHECK_STR(got.errors, "inpaint-worker: warning: 3 tensors cannot be read by this program: F4, F8_E8M0\n");
    CHECK_INT(INSPECT(&got, path, "--tensor", "w", "--out", temp_path("w.f32")), 1);
    CHECK(strstr(got.errors, "tensor 'w' of type F4 cannot be read by this program"));
    CHECK(access(temp_path("w.f32"), F_OK) != 0);
    CHECK_INT(INSPECT(&got, path, "--tensor", "b", "--out", temp_path("b.f32")), 0);
}

TEST(cmd_inspect__lists_an_unfinished_file_and_says_how_much_is_missing)
{
    const char *path = put_safetensors("cut.safetensors",
                                       "{\"a\":" ENTRY("F32", 0, 16) ",\"b\":" ENTRY("F32", 16, 32) "}", 20);
    struct outputs_text got;

    CHECK_INT(INSPECT(&got, path), 0);
    CHECK_STR(got.out, "a  F32      [4]\nb  F32      [4]\n");
    CHECK(strstr(got.errors, "cut.safetensors is unfinished: 12 bytes are missing at its end"));
    CHECK_INT(INSPECT(&got, path, "--tensor", "a", "--out", temp_path("a.f32")), 0);
    CHECK_INT(INSPECT(&got, path, "--tensor", "b", "--out", temp_path("b.f32")), 1);
    CHECK(strstr(got.errors, "tensor 'b' is not all in the file, which is 12 bytes short"));
}

static void put_metadata(struct bytes *b)
{
    char text[400];

    memset(text, 'x', sizeof text - 1);
    memcpy(text, "a\nb\x1b[2J\xc2\x9b\\", 10);
    text[sizeof text - 1] = 0;
    gguf_put_header(b, 3, 0, 10);
    gguf_put_text(b, "general.architecture", "flux");
    gguf_put_text(b, "evil\r", text);
    gguf_put_key(b, "u8", GGUF_U8);
    bytes_u8(b, 255);
    gguf_put_key(b, "i8", GGUF_I8);
    bytes_u8(b, 255);
    gguf_put_key(b, "u64", GGUF_U64);
    bytes_u64(b, UINT64_MAX);
    gguf_put_key(b, "f32", GGUF_F32);
    bytes_f32(b, 0.1f);
    gguf_put_key(b, "bool", GGUF_BOOL);
    bytes_u8(b, 1);
    gguf_put_ints(b, "few", 2, (int32_t[]){ -1, 2 });
    gguf_put_ints(b, "none", 0, NULL);
    gguf_put_array(b, "many", GGUF_STRING, 9);
    for (int i = 0; i < 9; i++)
        gguf_put_string(b, i ? "t\t" : "0123456789012345678901234567890123456789!");
}

TEST(cmd_inspect__shows_metadata_of_a_gguf)
{
    struct bytes b = { 0 };
    struct outputs_text got;
    const char *path;

    put_metadata(&b);
    path = temp_file("meta.gguf", b.ptr, b.len);
    bytes_done(&b);
    CHECK_INT(INSPECT(&got, path, "--metadata"), 0);
    CHECK(span_starts(span_of(got.out), "general.architecture  string   flux\n"
                                        "evil\\x0d              string   a\\x0ab\\x1b[2J\\xc2\\x9b\\\\xxx"));
    CHECK(strstr(got.out, "xxx... (399 bytes)\n"
                          "u8                    u8       255\n"
                          "i8                    i8       -1\n"
                          "u64                   u64      18446744073709551615\n"
                          "f32                   f32      0.100000001\n"
                          "bool                  bool     true\n"
                          "few                   i32[2]   [-1, 2]\n"
                          "none                  i32[0]   []\n"
                          "many                  string[9]  [\"0123456789012345678901234567890123456789... (41 bytes)\", "
                          "\"t\\x09\", \"t\\x09\", \"t\\x09\", \"t\\x09\", \"t\\x09\", \"t\\x09\", \"t\\x09\", ...]\n"));
    CHECK_STR(got.errors, "");
    CHECK_INT(INSPECT(&got, path), 0);
    CHECK_STR(got.out, "");
    CHECK_INT(INSPECT(&got, path, "--metadata", "--tensor", "x"), 2);
}

TEST(cmd_inspect__shows_metadata_of_safetensors)
{
    const char *path = put_safetensors("meta.safetensors",
                                       "{\"__metadata__\":{\"format\":\"pt\",\"ss_\\u001btag\":\"{\\\"a\\\":1}\\u2028\"},"
                                       "\"w\":" ENTRY("F32", 0, 16) "}",
                                       16);
    struct outputs_text got;

    CHECK_INT(INSPECT(&got, path, "--metadata"), 0);
    CHECK_STR(got.out, "format        string   pt\nss_\\x1btag    string   {\"a\":1}\\xe2\\x80\\xa8\n");
    path = put_safetensors("plain.safetensors", "{\"w\":" ENTRY("F32", 0, 16) "}", 16);
    CHECK_INT(INSPECT(&got, path, "--metadata"), 0);
    CHECK_STR(got.out, "");
}

TEST(cmd_inspect__lists_all_shards_with_their_names)
{
    static const char json[] = "{\"metadata\":{\"total_size\":9999},\"weight_map\":{\"w\":\"m-1.safetensors\",\"long\":"
                               "\"m-2.safetensors\"}}";
    const char *path;
    struct outputs_text got;
    struct arena a;
    struct err err = { 0 };

    (void)put_safetensors("is/m-1.safetensors", "{\"w\":" ENTRY("F32", 0, 16) "}", 16);
    (void)put_safetensors("is/m-2.safetensors",
                          "{\"__metadata__\":{\"format\":\"pt\"},\"long\":" ENTRY("F16", 0, 8) "}", 7);
    path = temp_file("is/m.safetensors.index.json", json, strlen(json));
    CHECK_INT(INSPECT(&got, path), 0);
    CHECK_STR(got.out, "w     F32      [4]  m-1.safetensors\nlong  F16      [4]  m-2.safetensors\n");
    CHECK(strstr(got.errors, "m-2.safetensors is unfinished: 1 byte is missing"));
    CHECK(strstr(got.errors, "bytes less than m.safetensors.index.json says"));
    CHECK_INT(INSPECT(&got, path, "--metadata"), 0);
    CHECK_STR(got.out, "m-2.safetensors  format  string   pt\n");
    CHECK_INT(INSPECT(&got, path, "--tensor", "w", "--out", temp_path("w.f32")), 0);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_INT(contents(temp_path("w.f32"), &a).len, 16);
    arena_done(&a);
    (void)unlink(temp_path("is/m-2.safetensors"));
    CHECK_INT(INSPECT(&got, path), 1);
    CHECK(strstr(got.errors, "needs m-2.safetensors, which is not beside it: fetch that file too"));
}

TEST(cmd_inspect__says_what_is_no_file)
{
    const char *pipe = temp_path("inspect-pipe");
    struct outputs_text got;

    CHECK_INT(mkfifo(pipe, 0600), 0);
    CHECK_INT(INSPECT(&got, pipe), 1);
    CHECK(strstr(got.errors, "inspect-pipe is a pipe, not a regular file"));
    CHECK_INT(INSPECT(&got, "/dev/zero"), 1);
    CHECK(strstr(got.errors, "/dev/zero is a device, not a regular file"));
    CHECK_INT(INSPECT(&got, "/tmp", "--metadata"), 1);
    CHECK(strstr(got.errors, "/tmp is a folder, not a regular file"));
    (void)unlink(pipe);
    pipe = temp_path("pipe.index.json");
    CHECK_INT(mkfifo(pipe, 0600), 0);
    CHECK_INT(INSPECT(&got, pipe), 1);
    CHECK(strstr(got.errors, "pipe.index.json is a pipe, not a regular file"));
    (void)unlink(pipe);
}
