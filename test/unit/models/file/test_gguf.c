#include "models/file/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20, TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q8_0 = 8 };

/* Two tensors, 24 and 68 bytes, and a key of every kind. */
static struct bytes good_file(uint32_t version)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, version, 2, 9);
    gguf_put_key(&b, "general.architecture", GGUF_STRING);
    gguf_put_string(&b, "flux");
    gguf_put_key(&b, "a.u8", GGUF_U8);
    bytes_u8(&b, 200);
    gguf_put_key(&b, "a.i32", GGUF_I32);
    bytes_u32(&b, (uint32_t)-7);
    gguf_put_key(&b, "a.f32", GGUF_F32);
    bytes_f32(&b, 0.25f);
    gguf_put_key(&b, "a.bool", GGUF_BOOL);
    bytes_u8(&b, 1);
    gguf_put_array(&b, "t.strings", GGUF_STRING, 3);
    gguf_put_string(&b, "one");
    gguf_put_string(&b, "");
    gguf_put_string(&b, "three");
    gguf_put_array(&b, "t.floats", GGUF_F32, 2);
    bytes_f32(&b, -1.5f);
    bytes_f32(&b, INFINITY);
    gguf_put_array(&b, "t.ints", GGUF_I32, 2);
    bytes_u32(&b, 5);
    bytes_u32(&b, (uint32_t)-5);
    gguf_put_array(&b, "t.bytes", GGUF_U8, 3);
    bytes_text(&b, "abc");
    gguf_put_tensor(&b, "first", TYPE_F32, 0, GGUF_DIMS(3, 2));
    gguf_put_tensor(&b, "second", TYPE_Q8_0, 32, GGUF_DIMS(32, 1, 2));
    bytes_pad(&b, 32);
    for (int i = 0; i < 6; i++)
        bytes_f32(&b, (float)i);
    bytes_pad(&b, 32);
    for (int i = 0; i < 68; i++)
        bytes_u8(&b, (uint8_t)i);
    return b;
}

/* Parses an exact copy, so that AddressSanitizer sees a read beyond it. The arena belongs to the caller, who looks at
 * the results. */
static enum err_code parse(const struct bytes *b, struct arena *a, char **ret_copy, struct tensor_file *ret,
                           struct err *err)
{
    *ret_copy = exact_copy(b->ptr, b->len);
    *err = (struct err){ 0 };
    *ret = (struct tensor_file){ 0 };
    return tensor_file_parse("test.gguf", (struct span){ *ret_copy, b->len }, a, ret, err);
}

/* Checks what reading a file returns, and a part of the message; frees the bytes. */
static void expect(struct bytes *b, enum err_code want, const char *part)
{
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    char *copy;
    enum err_code rc;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    rc = parse(b, &a, &copy, &f, &err);
    arena_done(&a);
    free(copy);
    bytes_done(b);
    if (rc != want || !strstr(err.msg, part))
        test_fail(__FILE__, __LINE__, "%s (%s), want %s with '%s'", err_name(rc), err.msg, err_name(want), part);
}

TEST(gguf__reads_versions_2_and_3)
{
    for (uint32_t version = 2; version <= 3; version++) {
        struct bytes b = good_file(version);
        struct arena a;
        struct tensor_file f;
        struct err err = { 0 };
        const struct tensor_entry *e;
        char *copy;

        CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
        CHECK_OK(parse(&b, &a, &copy, &f, &err), err);
        CHECK_INT(f.n_entries, 2);
        CHECK_INT(f.gguf->version, version);
        CHECK_INT(f.gguf->alignment, 32);
        e = tensor_file_find(&f, SPAN("first"));
        CHECK(e && e->dtype == DT_F32 && e->n_dims == 2 && e->dims[0] == 2 && e->dims[1] == 3 && e->bytes == 24);
        CHECK(((const float *)e->data)[5] == 5);
        e = tensor_file_find(&f, SPAN("second"));
        CHECK(e && e->dtype == DT_Q8_0 && e->n_dims == 3 && e->dims[0] == 2 && e->dims[1] == 1 && e->dims[2] == 32);
        CHECK(e->bytes == 68 && ((const char *)e->data)[67] == 67);
        CHECK(!tensor_file_find(&f, SPAN("firs")) && !tensor_file_find(&f, SPAN("firstt")) &&
              !tensor_file_find(&f, SPAN("")) && !tensor_file_find(&f, SPAN("zzz")));
        arena_done(&a);
        free(copy);
        bytes_done(&b);
    }
}

TEST(gguf__getters_are_typed)
{
    struct bytes b = good_file(3);
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    struct span text, *strings;
    int64_t i = 0, n = 0;
    float *floats;
    int32_t *ints;
    char *copy;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(parse(&b, &a, &copy, &f, &err), err);
    CHECK(gguf_string(f.gguf, "general.architecture", &text) && span_is(text, "flux"));
    CHECK(gguf_int(f.gguf, "a.u8", &i) && i == 200);
    CHECK(gguf_int(f.gguf, "a.i32", &i) && i == -7);
    CHECK(!gguf_string(f.gguf, "a.u8", &text) && !gguf_int(f.gguf, "a.f32", &i) && !gguf_int(f.gguf, "absent", &i));
    CHECK(!gguf_int(f.gguf, "a.bool", &i));
    CHECK(!gguf_string(f.gguf, "t.strings", &text) && !gguf_string(NULL, "general.architecture", &text));
    CHECK_OK(gguf_strings(f.gguf, "t.strings", &a, &strings, &n, &err), err);
    CHECK(n == 3 && span_is(strings[0], "one") && strings[1].len == 0 && span_is(strings[2], "three"));
    CHECK_OK(gguf_floats(f.gguf, "t.floats", &a, &floats, &n, &err), err);
    CHECK(n == 2 && floats[0] == -1.5f && isinf(floats[1]));
    CHECK_OK(gguf_ints(f.gguf, "t.ints", &a, &ints, &n, &err), err);
    CHECK(n == 2 && ints[0] == 5 && ints[1] == -5);
    CHECK_OK(gguf_bytes(f.gguf, "t.bytes", &text, &err), err);
    CHECK(span_is(text, "abc"));
    CHECK_INT(gguf_floats(f.gguf, "t.ints", &a, &floats, &n, NULL), ERR_CORRUPT);
    CHECK_INT(gguf_strings(f.gguf, "general.architecture", &a, &strings, &n, NULL), ERR_CORRUPT);
    CHECK_INT(gguf_bytes(f.gguf, "absent", &text, NULL), ERR_NOT_FOUND);
    arena_done(&a);
    free(copy);
    bytes_done(&b);
}

TEST(gguf__refuses_a_file_cut_at_any_byte)
{
    struct bytes b = good_file(3);
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    for (size_t n = 0; n < b.len; n++) {
        struct bytes part = { .ptr = b.ptr, .len = n };
        struct tensor_file f;
        struct arena_mark mark = arena_mark(&a);
        char *copy;
        enum err_code rc = parse(&part, &a, &copy, &f, &err);

        free(copy);
        arena_rewind(&a, mark);
        CHECK(rc == ERR_CORRUPT || (n < 4 && rc == ERR_UNSUPPORTED));
    }
    arena_done(&a);
    bytes_done(&b);
}

/* Any single byte is changed to a few values. The file may be accepted or refused, but nothing is read out of bounds. */
TEST(gguf__survives_every_changed_byte)
{
    static const unsigned char values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    struct bytes b = good_file(3);
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    for (size_t i = 0; i < b.len * sizeof values; i++) {
        char *at = &b.ptr[i / sizeof values], was = *at, *copy;
        struct arena_mark mark = arena_mark(&a);
        struct tensor_file f;

        *at = (char)values[i % sizeof values];
        if (!parse(&b, &a, &copy, &f, &err))
            for (int k = 0; k < f.n_entries; k++)
                CHECK((const char *)f.entries[k].data + f.entries[k].bytes <= copy + b.len);
        free(copy);
        arena_rewind(&a, mark);
        *at = was;
    }
    arena_done(&a);
    bytes_done(&b);
}

TEST(gguf__refuses_other_magic_versions_and_byte_orders)
{
    static const struct {
        uint32_t version;
        enum err_code want;
        const char *part;
    } cases[] = {
        { 0, ERR_UNSUPPORTED, "version 0" },           { 1, ERR_UNSUPPORTED, "version 1" },
        { 4, ERR_UNSUPPORTED, "version 4" },           { 0x03000000, ERR_UNSUPPORTED, "big-endian" },
        { 0x00010000, ERR_UNSUPPORTED, "big-endian" },
    };
    struct bytes b;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        b = good_file(cases[i].version);
        expect(&b, cases[i].want, cases[i].part);
    }
    b = good_file(3);
    b.ptr[0] = 'g';
    expect(&b, ERR_UNSUPPORTED, "neither GGUF nor safetensors");
    b = good_file(3);
    memcpy(b.ptr, "FUGG", 4);
    expect(&b, ERR_UNSUPPORTED, "byte order");
}

TEST(gguf__refuses_counts_that_cannot_be_true)
{
    static const struct {
        uint64_t tensors, pairs;
        enum err_code want;
    } cases[] = {
        { UINT64_MAX, 0, ERR_CORRUPT }, { 0, UINT64_MAX, ERR_CORRUPT },
        { 1ull << 63, 0, ERR_CORRUPT }, { 65537, 0, ERR_TOO_LARGE },
        { 0, 65537, ERR_TOO_LARGE },    { INT64_MAX, 0, ERR_TOO_LARGE },
        { 65536, 0, ERR_CORRUPT },      { 0, 65536, ERR_CORRUPT },
        { 1, 0, ERR_CORRUPT },          { 0, 0, ERR_OK },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };

        gguf_put_header(&b, 3, cases[i].tensors, cases[i].pairs);
        expect(&b, cases[i].want, "");
    }
}

/* The beginning of a file with one pair and no tensor; the caller appends the pair's value. */
static struct bytes one_pair(const char *key, uint32_t type)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 0, 1);
    gguf_put_key(&b, key, type);
    return b;
}

TEST(gguf__refuses_broken_pairs)
{
    struct bytes b = one_pair("", GGUF_U64);

    bytes_u64(&b, 1);
    expect(&b, ERR_CORRUPT, "empty key");

    b = one_pair("k", 13);
    bytes_u64(&b, 1);
    expect(&b, ERR_CORRUPT, "type 13");

    b = one_pair("k", GGUF_STRING);
    bytes_u64(&b, UINT64_MAX);
    expect(&b, ERR_CORRUPT, "");

    b = one_pair("k", GGUF_ARRAY);
    bytes_u32(&b, GGUF_ARRAY);
    bytes_u64(&b, 1);
    bytes_u64(&b, 0);
    expect(&b, ERR_CORRUPT, "array of type 9");

    b = one_pair("k", GGUF_ARRAY);
    bytes_u32(&b, 99);
    bytes_u64(&b, 0);
    expect(&b, ERR_CORRUPT, "array of type 99");

    b = one_pair("k", GGUF_ARRAY);
    bytes_u32(&b, GGUF_STRING);
    bytes_u64(&b, 1ull << 61);
    bytes_u64(&b, 0);
    expect(&b, ERR_CORRUPT, "array of");

    b = one_pair("k", GGUF_ARRAY);
    bytes_u32(&b, GGUF_F64);
    bytes_u64(&b, (1ull << 61) + 1);
    bytes_u64(&b, 0);
    expect(&b, ERR_CORRUPT, "array of");

    b = (struct bytes){ 0 };
    gguf_put_header(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        gguf_put_key(&b, "same", GGUF_U8);
        bytes_u8(&b, 1);
    }
    expect(&b, ERR_CORRUPT, "'same' comes twice");
}

TEST(gguf__limits_the_length_of_keys_and_names)
{
    char text[65537];
    struct bytes b;

    memset(text, 'x', sizeof text);
    text[65536] = 0;
    b = one_pair(text, GGUF_U8);
    bytes_u8(&b, 1);
    expect(&b, ERR_TOO_LARGE, "key of 65536 bytes");
    text[65535] = 0;
    b = one_pair(text, GGUF_U8);
    bytes_u8(&b, 1);
    expect(&b, ERR_OK, "");

    for (int n = 127; n <= 128; n++) {
        text[127] = 'x';
        text[n] = 0;
        b = (struct bytes){ 0 };
        gguf_put_header(&b, 3, 1, 0);
        gguf_put_tensor(&b, text, TYPE_F32, 0, GGUF_DIMS(1));
        bytes_pad(&b, 32);
        bytes_f32(&b, 1);
        expect(&b, n == 127 ? ERR_OK : ERR_TOO_LARGE, n == 127 ? "" : "tensor name of 128 bytes");
    }
}

TEST(gguf__checks_the_alignment)
{
    static const struct {
        uint32_t type, value;
        enum err_code want;
    } cases[] = {
        { GGUF_U32, 8, ERR_OK },           { GGUF_U32, 64, ERR_OK },
        { GGUF_U32, 65536, ERR_OK },       { GGUF_U32, 0, ERR_CORRUPT },
        { GGUF_U32, 1, ERR_CORRUPT },      { GGUF_U32, 3, ERR_CORRUPT },
        { GGUF_U32, 4, ERR_CORRUPT },      { GGUF_U32, 48, ERR_CORRUPT },
        { GGUF_U32, 131072, ERR_CORRUPT }, { GGUF_U32, 1u << 31, ERR_CORRUPT },
        { GGUF_I32, 32, ERR_CORRUPT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };

        gguf_put_header(&b, 3, 1, 1);
        gguf_put_key(&b, "general.alignment", cases[i].type);
        bytes_u32(&b, cases[i].value);
        gguf_put_tensor(&b, "t", TYPE_F32, 0, GGUF_DIMS(2));
        if (!cases[i].want)
            bytes_pad(&b, cases[i].value);
        bytes_u64(&b, 0);
        expect(&b, cases[i].want, cases[i].want ? "general.alignment" : "");
    }
}

/* A file with one tensor and `data` bytes after the directory. */
static struct bytes one_tensor(const char *name, uint32_t type, uint64_t offset, uint32_t n_dims, const uint64_t *dims,
                               size_t data)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 1, 0);
    gguf_put_tensor(&b, name, type, offset, n_dims, dims);
    bytes_pad(&b, 32);
    while (data--)
        bytes_u8(&b, 0);
    return b;
}

TEST(gguf__refuses_broken_tensors)
{
    static const struct {
        const char *name;
        uint32_t type;
        uint64_t offset;
        uint32_t n_dims;
        uint64_t dims[5];
        size_t data;
        enum err_code want;
        const char *part;
    } cases[] = {
        { "t", 0, 0, 1, { 4 }, 16, ERR_OK, "" },
        { "", 0, 0, 1, { 4 }, 16, ERR_CORRUPT, "empty tensor name" },
        { "t", 0, 0, 0, { 0 }, 16, ERR_CORRUPT, "0 dimensions" },
        { "t", 0, 0, 5, { 1, 1, 1, 1, 1 }, 16, ERR_CORRUPT, "5 dimensions" },
        { "t", 0, 0, UINT32_MAX, { 0 }, 16, ERR_CORRUPT, "dimensions" },
        { "t", 0, 0, 2, { 4, 0 }, 16, ERR_CORRUPT, "dimension of 0" },
        { "t", 0, 0, 1, { (1ull << 31) + 1 }, 16, ERR_CORRUPT, "dimension of" },
        { "t", 0, 0, 1, { UINT64_MAX }, 16, ERR_CORRUPT, "dimension of" },
        { "t", 0, 0, 3, { 1ull << 31, 1ull << 31, 1ull << 31 }, 16, ERR_CORRUPT, "overflows" },
        { "t", 0, 0, 2, { 1ull << 31, 1ull << 31 }, 16, ERR_CORRUPT, "overflows" },
        { "t", 8, 0, 4, { 1ull << 31, 1ull << 31, 2, 1 }, 16, ERR_CORRUPT, "overflows" },
        { "t", 0, 0, 1, { 1ull << 31 }, 16, ERR_CORRUPT, "beyond the end" },
        { "t", 0, 0, 1, { 4 }, 15, ERR_CORRUPT, "beyond the end" },
        { "t", 0, 32, 1, { 4 }, 16, ERR_CORRUPT, "beyond the end" },
        { "t", 0, 32, 1, { 4 }, 48, ERR_OK, "" },
        { "t", 0, 1ull << 63, 1, { 4 }, 16, ERR_CORRUPT, "beyond the end" },
        { "t", 0, UINT64_MAX - 31, 1, { 4 }, 16, ERR_CORRUPT, "beyond the end" },
        { "t", 0, 16, 1, { 4 }, 64, ERR_CORRUPT, "not a multiple of 32" },
        { "t", 8, 0, 1, { 31 }, 34, ERR_CORRUPT, "whole blocks of Q8_0" },
        { "t", 8, 0, 2, { 16, 2 }, 34, ERR_CORRUPT, "whole blocks of Q8_0" },
        { "t", 12, 0, 1, { 128 }, 144, ERR_CORRUPT, "whole blocks of Q4_K" },
        { "t", 12, 0, 1, { 256 }, 144, ERR_OK, "" },
        { "t", 12, 0, 1, { 256 }, 143, ERR_CORRUPT, "beyond the end" },
        { "odd", 16, 0, 1, { 256 }, 66, ERR_UNSUPPORTED, "'odd' has type IQ2_XXS (16)" },
        { "odd", 9, 0, 1, { 32 }, 36, ERR_UNSUPPORTED, "Q8_1" },
        { "odd", 39, 0, 1, { 32 }, 17, ERR_UNSUPPORTED, "MXFP4" },
        { "odd", 123, 0, 1, { 32 }, 17, ERR_UNSUPPORTED, "unknown (123)" },
        { "odd", UINT32_MAX, 0, 1, { 32 }, 17, ERR_UNSUPPORTED, "unknown" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t stored = cases[i].n_dims <= 5 ? cases[i].n_dims : 0;
        struct bytes b =
            one_tensor(cases[i].name, cases[i].type, cases[i].offset, stored, cases[i].dims, cases[i].data);

        if (stored != cases[i].n_dims)
            memcpy(b.ptr + 24 + 8 + strlen(cases[i].name), &cases[i].n_dims, 4);
        expect(&b, cases[i].want, cases[i].part);
    }
}

TEST(gguf__refuses_overlap_and_duplicate_names_but_not_gaps_or_another_order)
{
    static const struct {
        const char *second;
        uint64_t first_at, second_at;
        enum err_code want;
        const char *part;
    } cases[] = {
        { "b", 0, 64, ERR_OK, "" },
        { "b", 64, 0, ERR_OK, "" },
        { "b", 128, 0, ERR_OK, "" },
        { "b", 0, 32, ERR_CORRUPT, "overlap" },
        { "b", 32, 0, ERR_CORRUPT, "overlap" },
        { "b", 0, 0, ERR_CORRUPT, "overlap" },
        { "a", 0, 64, ERR_CORRUPT, "'a' comes twice" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };

        gguf_put_header(&b, 3, 2, 0);
        gguf_put_tensor(&b, "a", TYPE_F32, cases[i].first_at, GGUF_DIMS(16));
        gguf_put_tensor(&b, cases[i].second, TYPE_F16, cases[i].second_at, GGUF_DIMS(32));
        bytes_pad(&b, 32);
        for (int k = 0; k < 192; k++)
            bytes_u8(&b, 0);
        expect(&b, cases[i].want, cases[i].part);
    }
}

TEST(gguf__reads_the_golden_files)
{
    static const char *const files[] = {
        "small/models/flux1-fill-BF16.gguf", "small/models/flux1-fill-F16.gguf",  "small/models/flux1-fill-F32.gguf",
        "small/models/flux1-fill-Q4_0.gguf", "small/models/flux1-fill-Q4_1.gguf", "small/models/flux1-fill-Q5_0.gguf",
        "small/models/flux1-fill-Q5_1.gguf", "small/models/flux1-fill-Q8_0.gguf",
    };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct arena a;
        struct tensor_file f;
        struct err err = { 0 };
        struct span text;
        const struct tensor_entry *e;

        CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
        CHECK_OK(tensor_file_open(golden("%s", files[i]), &a, &f, &err), err);
        CHECK(gguf_string(f.gguf, "general.architecture", &text) && span_is(text, "flux"));
        e = tensor_file_find(&f, SPAN("img_in.weight"));
        CHECK(e && e->n_dims == 2 && e->dims[1] == 384);
        arena_done(&a);
    }
}

TEST(gguf__reads_a_file_of_many_types)
{
    static const struct {
        const char *tensor;
        enum dtype dtype;
    } some[] = {
        { "img_in.weight", DT_F32 },
        { "txt_in.weight", DT_BF16 },
        { "final_layer.linear.bias", DT_F32 },
    };
    const char *path = golden("wide/models/flux1-fill-MIX.gguf");
    bool seen[DT_COUNT] = { false };
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    int n_types = 0;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        const struct tensor_entry *e = tensor_file_find(&f, span_of(some[i].tensor));

        CHECK(e && e->dtype == some[i].dtype);
    }
    for (int i = 0; i < f.n_entries; i++) {
        n_types += !seen[f.entries[i].dtype];
        seen[f.entries[i].dtype] = true;
    }
    CHECK(seen[DT_Q2_K] && seen[DT_Q3_K] && seen[DT_Q5_1] && seen[DT_IQ4_XS]);
    CHECK_INT(n_types, 8);
    arena_done(&a);
}

TEST(gguf__reads_a_t5_vocabulary)
{
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    struct span text, *tokens;
    int64_t n_tokens = 0, n_scores = 0, n_types = 0;
    float *scores;
    int32_t *token_types;
    const char *path = golden("comfy/models/t5-encoder-Q8_0.gguf");

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    CHECK(gguf_string(f.gguf, "tokenizer.ggml.model", &text) && span_is(text, "t5"));
    CHECK_OK(gguf_strings(f.gguf, "tokenizer.ggml.tokens", &a, &tokens, &n_tokens, &err), err);
    CHECK_OK(gguf_floats(f.gguf, "tokenizer.ggml.scores", &a, &scores, &n_scores, &err), err);
    CHECK_OK(gguf_ints(f.gguf, "tokenizer.ggml.token_type", &a, &token_types, &n_types, &err), err);
    CHECK(n_tokens > 3 && n_scores == n_tokens && n_types == n_tokens);
    CHECK(span_is(tokens[0], "<pad>") && span_is(tokens[1], "</s>") && span_is(tokens[2], "<unk>"));
    CHECK(token_types[0] == 3 && token_types[2] == 2);
    arena_done(&a);
}
