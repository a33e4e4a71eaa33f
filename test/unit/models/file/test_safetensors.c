#include "models/file/safetensors.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20 };

#define ENTRY(type, shape, from, to) "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static struct bytes make_file(uint64_t header_len, const char *header, size_t data)
{
    struct bytes b = { 0 };

    bytes_u64(&b, header_len);
    bytes_text(&b, header);
    for (size_t i = 0; i < data; i++)
        bytes_u8(&b, (uint8_t)i);
    return b;
}

static enum err_code parse_copy(const struct bytes *b, struct arena *a, struct err *err)
{
    char *copy = exact_copy(b->ptr, b->len);
    struct tensor_file f = { 0 };
    enum err_code rc = tensor_file_parse("test", (struct span){ copy, b->len }, a, &f, err);

    for (int i = 0; !rc && i < f.n_entries; i++)
        CHECK((const char *)f.entries[i].data + f.entries[i].bytes <= copy + b->len);
    free(copy);
    return rc;
}

/* Checks what the reader returns for the bytes, and frees them. */
static void expect_bytes(struct bytes *b, enum err_code want, const char *part)
{
    struct arena a;
    struct err err = { 0 };
    enum err_code rc;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    rc = parse_copy(b, &a, &err);
    arena_done(&a);
    bytes_done(b);
    if (rc != want || !strstr(err.msg, part))
        test_fail(__FILE__, __LINE__, "%s (%s), want %s with '%s'", err_name(rc), err.msg, err_name(want), part);
}

static void expect(const char *header, size_t data, enum err_code want, const char *part)
{
    struct bytes b = make_file(strlen(header), header, data);

    expect_bytes(&b, want, part);
}

TEST(safetensors__reads_what_the_format_allows)
{
    static const char header[] =
        "{\"__metadata__\":{\"k\\\"ey\":\"va\\nl\\u00fce\",\"empty\":\"\"},"
        "\"b\":" ENTRY("F32", "[2,3]", 8, 32) ",\"sc\\u0061lar\":" ENTRY(
            "I64", "[]", 0, 8) ","
                               "\"none\":" ENTRY("BF16", "[0,7]", 32, 32) ",\"flags\":" ENTRY(
                                   "BOOL", "[3]", 32, 35) ","
                                                          "\"wide\":" ENTRY("F64", "[1]", 35, 43) ",\"f8\":" ENTRY(
                                                              "F8_E4M3", "[1,1,1,1,1,1,1,5]", 43, 48) ","
        "\"half\":" ENTRY("F8_E5M2", "[2,1]", 48, 50) "}   ";
    struct bytes b = make_file(sizeof header - 1, header, 50);
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    const struct tensor_entry *e;
    const char *text;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(temp_file("good.safetensors", b.ptr, b.len), &a, &f, &err), err);
    CHECK_INT(f.n_entries, 5); /* BOOL and F64 are left out */
    CHECK(!f.gguf);
    e = tensor_file_find(&f, SPAN("b"));
    CHECK(e && e->dtype == DT_F32 && e->n_dims == 2 && e->dims[0] == 2 && e->dims[1] == 3 && e->bytes == 24);
    CHECK(*(const unsigned char *)e->data == 8);
    e = tensor_file_find(&f, SPAN("scalar"));
    CHECK(e && e->dtype == DT_I64 && e->n_dims == 0 && e->bytes == 8);
    e = tensor_file_find(&f, SPAN("none"));
    CHECK(e && e->bytes == 0 && e->dims[0] == 0);
    e = tensor_file_find(&f, SPAN("f8"));
    CHECK(e && e->dtype == DT_F8_E4M3 && e->n_dims == 8 && e->bytes == 5);
    e = tensor_file_find(&f, SPAN("half"));
    CHECK(e && e->dtype == DT_F8_E5M2 && e->n_dims == 2 && e->bytes == 2 && *(const unsigned char *)e->data == 48);
    CHECK(!tensor_file_find(&f, SPAN("flags")) && !tensor_file_find(&f, SPAN("wide")));
    CHECK_OK(tensor_file_metadata(&f, "k\"ey", &a, &text, &err), err);
    CHECK_STR(text, "va\nl\xc3\xbc"
                    "e");
    CHECK_OK(tensor_file_metadata(&f, "empty", &a, &text, &err), err);
    CHECK_STR(text, "");
    CHECK_INT(tensor_file_metadata(&f, "absent", &a, &text, &err), ERR_NOT_FOUND);
    arena_done(&a);
    bytes_done(&b);
    expect("{}", 0, ERR_OK, "");
    expect("{\"__metadata__\":{}}", 0, ERR_OK, "");
    expect("{\"t\":{\"extra\":[{}],\"shape\":[1],\"data_offsets\":[0,1],\"dtype\":\"U8\"}}", 1, ERR_OK, "");
}

TEST(safetensors__refuses_ranges_that_do_not_tile_the_buffer)
{
    expect("{\"a\":" ENTRY("F32", "[1]", 0, 4) ",\"b\":" ENTRY("F32", "[1]", 8, 12) "}", 12, ERR_CORRUPT, "hole");
    expect("{\"a\":" ENTRY("F32", "[1]", 4, 8) "}", 8, ERR_CORRUPT, "hole");
    expect("{\"a\":" ENTRY("F32", "[2]", 0, 8) ",\"b\":" ENTRY("F32", "[1]", 4, 8) "}", 8, ERR_CORRUPT, "overlaps");
    expect("{\"a\":" ENTRY("F32", "[1]", 0, 4) ",\"b\":" ENTRY("F32", "[1]", 0, 4) "}", 4, ERR_CORRUPT, "overlaps");
    expect("{\"a\":" ENTRY("F32", "[1]", 0, 4) "}", 3, ERR_CORRUPT, "take 4 bytes, the file has 3");
    expect("{\"a\":" ENTRY("F32", "[1]", 0, 4) "}", 5, ERR_CORRUPT, "take 4 bytes, the file has 5");
    expect("{}", 1, ERR_CORRUPT, "take 0 bytes");
    expect("{\"a\":" ENTRY("BOOL", "[4]", 0, 4) ",\"b\":" ENTRY("U8", "[1]", 3, 4) "}", 4, ERR_CORRUPT, "overlaps");
    expect("{\"b\":" ENTRY("U8", "[1]", 4, 5) ",\"a\":" ENTRY("BOOL", "[4]", 0, 4) "}", 5, ERR_OK, "");
}

TEST(safetensors__refuses_wrong_sizes)
{
    expect("{\"a\":" ENTRY("F32", "[2]", 0, 4) "}", 4, ERR_CORRUPT, "does not fit");
    expect("{\"a\":" ENTRY("F16", "[]", 0, 4) "}", 4, ERR_CORRUPT, "does not fit");
    expect("{\"a\":" ENTRY("F32", "[1]", 4, 0) "}", 4, ERR_CORRUPT, "before it begins");
    expect("{\"a\":" ENTRY("F32", "[4611686018427387905]", 0, 4) "}", 4, ERR_CORRUPT, "overflows");
    expect("{\"a\":" ENTRY("U8", "[4294967296,4294967296]", 0, 0) "}", 0, ERR_CORRUPT, "overflows");
    expect("{\"a\":" ENTRY("U8", "[9223372036854775808]", 0, 0) "}", 0, ERR_CORRUPT, "not a size");
    expect("{\"a\":" ENTRY("U8", "[-1]", 0, 0) "}", 0, ERR_CORRUPT, "not a size");
    expect("{\"a\":" ENTRY("U8", "[1.0]", 0, 1) "}", 1, ERR_CORRUPT, "not a size");
    expect("{\"a\":" ENTRY("U8", "[\"1\"]", 0, 1) "}", 1, ERR_CORRUPT, "not a size");
    expect("{\"a\":" ENTRY("U8", "[[1]]", 0, 1) "}", 1, ERR_CORRUPT, "not a size");
    expect("{\"a\":" ENTRY("U8", "{}", 0, 1) "}", 1, ERR_CORRUPT, "not a list");
    expect("{\"a\":" ENTRY("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, ERR_CORRUPT, "8 dimensions");
    expect("{\"a\":" ENTRY("U8", "[1]", -1, 0) "}", 1, ERR_CORRUPT, "pair of sizes");
    expect("{\"a\":" ENTRY("U8", "[9223372036854775807]", 0, 9223372036854775807) "}", 1, ERR_CORRUPT,
           "the file has 1");
}

TEST(safetensors__refuses_headers_of_another_form)
{
    expect("[]", 0, ERR_UNSUPPORTED, "neither");
    expect("{\"a\":1}", 0, ERR_CORRUPT, "not an object");
    expect("{\"a\":{}}", 0, ERR_CORRUPT, "missing");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 1, ERR_CORRUPT, "missing");
    expect("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, ERR_CORRUPT, "missing");
    expect("{\"a\":{\"shape\":[],\"data_offsets\":[0,1]}}", 1, ERR_CORRUPT, "missing");
    expect("{\"a\":{\"dtype\":8,\"shape\":[],\"data_offsets\":[0,1]}}", 1, ERR_CORRUPT, "not a string");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1,2]}}", 1, ERR_CORRUPT, "pair of sizes");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0]}}", 1, ERR_CORRUPT, "pair of sizes");
    expect("{\"odd\":" ENTRY("F4", "[2]", 0, 1) "}", 1, ERR_UNSUPPORTED, "'odd' has the unknown type 'F4'");
    expect("{\"__metadata__\":null}", 0, ERR_CORRUPT, "not an object");
    expect("{\"__metadata__\":{\"a\":1}}", 0, ERR_CORRUPT, "not a string");
    expect("{\"a\":" ENTRY("U8", "[1]", 0, 1) ",}", 1, ERR_CORRUPT, "JSON");
    expect("{\"a\":" ENTRY("U8", "[1]", 0, 1), 1, ERR_CORRUPT, "JSON");
    expect("{\"a\":" ENTRY("U8", "[01]", 0, 1) "}", 1, ERR_CORRUPT, "JSON");
    expect("{}x", 0, ERR_CORRUPT, "JSON");
    expect("{\"a\":" ENTRY("U8", "[1]", 0, 1) ",\"a\":" ENTRY("U8", "[1]", 1, 2) "}", 2, ERR_CORRUPT, "'a' twice");
    expect("{\"a\":" ENTRY("U8", "[1]", 0, 1) ",\"\\u0061\":" ENTRY("U8", "[1]", 1, 2) "}", 2, ERR_CORRUPT, "twice");
    expect("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, ERR_CORRUPT, "twice");
    expect("{\"__metadata__\":{},\"__metadata__\":{}}", 0, ERR_CORRUPT, "twice");
    expect("{\"a\":{\"x\":[[[[[[[[]]]]]]]]}}", 0, ERR_CORRUPT, "nested");
    expect("{\"a\\u0000b\":" ENTRY("U8", "[1]", 0, 1) "}", 1, ERR_CORRUPT, "U+0000");
}

TEST(safetensors__refuses_header_lengths_that_cannot_be_true)
{
    static const struct {
        uint64_t len;
        enum err_code want;
    } cases[] = {
        { 0, ERR_CORRUPT },
        { 1, ERR_CORRUPT },
        { 3, ERR_CORRUPT },
        { 100000000, ERR_CORRUPT },
        { 100000001, ERR_TOO_LARGE },
        { UINT32_MAX, ERR_TOO_LARGE },
        { 1ull << 40, ERR_UNSUPPORTED },
        { UINT64_MAX, ERR_UNSUPPORTED },
    };
    char name[TENSOR_NAME_MAX + 2], header[512];
    struct bytes b;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        b = make_file(cases[i].len, "{}", 0);
        expect_bytes(&b, cases[i].want, "");
    }
    for (size_t n = 0; n < 8; n++) {
        b = make_file(2, "", 0);
        b.len = n;
        expect_bytes(&b, ERR_UNSUPPORTED, "neither");
    }
    memset(name, 'n', sizeof name);
    for (int n = TENSOR_NAME_MAX; n <= TENSOR_NAME_MAX + 1; n++) {
        (void)snprintf(header, sizeof header, "{\"%.*s\":" ENTRY("U8", "[1]", 0, 1) "}", n, name);
        expect(header, 1, n == TENSOR_NAME_MAX ? ERR_OK : ERR_TOO_LARGE, "");
    }
}

TEST(safetensors__refuses_more_tensors_than_the_limit)
{
    struct bytes text = { 0 }, b = { 0 };
    char name[32];

    bytes_text(&text, "{\"__metadata__\":{}");
    for (int i = 0; i <= TENSOR_FILE_MAX_TENSORS; i++) {
        (void)snprintf(name, sizeof name, ",\"%x\":", (unsigned)i);
        bytes_text(&text, name);
        bytes_text(&text, ENTRY("U8", "[0]", 0, 0));
    }
    bytes_text(&text, "}");
    bytes_u64(&b, text.len);
    bytes_put(&b, text.ptr, text.len);
    bytes_done(&text);
    expect_bytes(&b, ERR_TOO_LARGE, "more than 65536 tensors");
}

TEST(safetensors__refuses_a_file_cut_at_any_byte)
{
    static const char header[] = "{\"a\":" ENTRY("F32", "[2]", 0, 8) ",\"__metadata__\":{\"x\":\"y\"}}  ";
    struct bytes b = make_file(sizeof header - 1, header, 8);
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(parse_copy(&b, &a, &err), err);
    for (size_t n = 0; n < b.len; n++) {
        struct bytes part = { .ptr = b.ptr, .len = n };
        struct err why = { 0 };
        enum err_code rc = parse_copy(&part, &a, &why);

        CHECK(rc == ERR_CORRUPT || (n < 9 && rc == ERR_UNSUPPORTED));
    }
    arena_done(&a);
    bytes_done(&b);
}

TEST(safetensors__writes_what_it_reads)
{
    static const float matrix[6] = { 1, 2, 3, 4, 5, -0.0f };
    static const int64_t ids[2] = { -1, INT64_MAX };
    static const uint8_t odd[3] = { 7, 8, 9 };
    static const struct tensor_write out[] = {
        { "odd \"name\"\\\n", DT_U8, 1, { 3 }, odd },
        { "matrix", DT_F32, 2, { 2, 3 }, matrix },
        { "ids", DT_I64, 1, { 2 }, ids },
        { "scalar", DT_F32, 0, { 0 }, matrix + 4 },
        { "none", DT_BF16, 2, { 0, 4 }, NULL },
    };
    static const struct metadata_pair metadata[] = { { "prompt", "say \"cheese\"\n\xe2\x82\xac" }, { "steps", "4" } };
    const char *path = temp_path("out/written.safetensors"), *text;
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    glob_t left = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(safetensors_write(path, out, 5, metadata, 2, &err), err);
    CHECK_OK(safetensors_write(path, out, 5, metadata, 2, &err), err); /* replaces an older file */
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    CHECK_INT(f.n_entries, 5);
    for (int i = 0; i < 5; i++) {
        const struct tensor_entry *e = tensor_file_find(&f, span_of(out[i].name));

        CHECK(e == &f.entries[i] && e->dtype == out[i].dtype && e->n_dims == out[i].n_dims);
        for (int d = 0; d < e->n_dims; d++)
            CHECK_INT(e->dims[d], out[i].dims[d]);
        CHECK(e->bytes == 0 || memcmp(e->data, out[i].data, e->bytes) == 0);
    }
    CHECK_INT(((const char *)f.entries[0].data - f.map.ptr) % 8, 0);
    CHECK_OK(tensor_file_metadata(&f, "prompt", &a, &text, &err), err);
    CHECK_STR(text, metadata[0].value);
    CHECK_INT(glob(temp_path("out/*"), 0, NULL, &left), 0);
    CHECK_INT(left.gl_pathc, 1); /* no temporary file is left */
    globfree(&left);
    arena_done(&a);
}

TEST(safetensors__refuses_to_write_what_it_would_not_read)
{
    static const float one = 1;
    static const struct {
        struct tensor_write t[2];
        enum err_code want;
    } cases[] = {
        { { { "a", DT_F32, 0, { 0 }, &one }, { "a", DT_F32, 0, { 0 }, &one } }, ERR_INVALID },
        { { { "a", DT_Q8_0, 1, { 32 }, &one }, { "b", DT_F32, 0, { 0 }, &one } }, ERR_INVALID },
        { { { "a", DT_F32, 1, { -1 }, &one }, { "b", DT_F32, 0, { 0 }, &one } }, ERR_INVALID },
        { { { "a", DT_F32, 9, { 0 }, &one }, { "b", DT_F32, 0, { 0 }, &one } }, ERR_INVALID },
        { { { "a", DT_F32, 2, { INT64_MAX, 4 }, &one }, { "b", DT_F32, 0, { 0 }, &one } }, ERR_INVALID },
        { { { "\xff", DT_F32, 0, { 0 }, &one }, { "b", DT_F32, 0, { 0 }, &one } }, ERR_INVALID },
    };
    const char *path = temp_path("refused.safetensors");

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(safetensors_write(path, cases[i].t, 2, NULL, 0, NULL), cases[i].want);
        CHECK(access(path, F_OK) != 0);
    }
    CHECK_INT(safetensors_write(temp_path("absent/x") /* temp_path() makes the folder */, cases[0].t, 1, NULL, 0, NULL), ERR_OK);
    CHECK_INT(safetensors_write("/nonexistent/folder/x", cases[0].t, 1, NULL, 0, NULL), ERR_IO);
}

TEST(safetensors__does_not_replace_a_device)
{
    static const float one = 1;
    static const struct tensor_write t = { "a", DT_F32, 0, { 0 }, &one };
    struct stat st;

    CHECK_INT(safetensors_write("/dev/null", &t, 1, NULL, 0, NULL), ERR_OK);
    CHECK(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
    if (access("/dev/full", W_OK) == 0)
        CHECK_INT(safetensors_write("/dev/full", &t, 1, NULL, 0, NULL), ERR_IO);
}

TEST(safetensors__reads_the_golden_files)
{
    static const struct {
        const char *path, *tensor;
        enum dtype dtype;
    } cases[] = {
        { "small/models/ae.safetensors", "decoder.conv_in.weight", DT_BF16 },
        { "small/models/text_encoder/model.safetensors", "embeddings.token_embedding.weight", DT_F32 },
        { "small/cases/transformer.safetensors", "hidden_states", DT_F32 },
        { "common/dequantise.safetensors", "Q4_0.raw", DT_U8 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct tensor_file f;
        struct err err = { 0 };
        const struct tensor_entry *e;

        CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
        CHECK_OK(tensor_file_open(golden("%s", cases[i].path), &a, &f, &err), err);
        e = tensor_file_find(&f, span_of(cases[i].tensor));
        CHECK(e && e->dtype == cases[i].dtype);
        arena_done(&a);
    }
}
