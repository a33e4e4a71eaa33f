#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/gguf.h"
#include "models/file/safetensors.h"
#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { ARENA_BYTES = 64 << 20, TYPE_F32 = 0, TYPE_Q8_0 = 8, TYPE_MXFP4 = 39 };

#define ENTRY(type, shape, from, to) "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static struct bytes safetensors(const char *header, size_t data)
{
    struct bytes b = { 0 };

    bytes_u64(&b, strlen(header));
    bytes_text(&b, header);
    for (size_t i = 0; i < data; i++)
        bytes_u8(&b, (uint8_t)i);
    return b;
}

static const struct tensor_entry *entry(const struct tensor_file *f, const char *name)
{
    const struct tensor_entry *e = tensor_file_find(f, span_of(name));

    if (!e)
        test_fail(__FILE__, __LINE__, "no tensor %s", name);
    return e;
}

/* Surveys the bytes as a file and frees them. */
static enum err_code survey(struct bytes *b, struct arena *a, struct tensor_file *ret, struct err *err)
{
    const char *path = temp_file("surveyed", b->ptr, b->len);

    *err = (struct err){ 0 };
    bytes_done(b);
    return tensor_file_survey(path, a, ret, err);
}

static void expect_refusal(struct bytes *b, enum err_code want, const char *part)
{
    struct err err;
    struct arena a;
    struct tensor_file f;

    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    CHECK_INT(survey(b, &a, &f, &err), want);
    if (!strstr(err.msg, part))
        test_fail(__FILE__, __LINE__, "'%s' has no '%s'", err.msg, part);
    CHECK_INT(a.used, 0);
    arena_done(&a);
}

/* The numbers and names of ggml's types up to the newest we know of; NULL: numbers that no type has ever had. */
static const char *const gguf_names[] = {
    "F32",        "F16",        "Q4_0",  "Q4_1",   "Q4_2",    "Q4_3",     "Q5_0",     "Q5_1",     "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",  "Q4_K",   "Q5_K",    "Q6_K",     "Q8_K",     "IQ2_XXS",  "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL", "IQ3_S", "IQ2_S",   "IQ4_XS",   "I8",       "I16",      "I32",
    "I64",        "F64",        "IQ1_M", "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",    "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4", "Q1_0",
};
enum { N_NAMES = sizeof gguf_names / sizeof *gguf_names };

TEST(survey__lists_every_gguf_type_by_its_name)
{
    struct bytes b = { 0 };
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };
    char name[16];

    gguf_put_header(&b, 3, N_NAMES, 0);
    for (uint32_t i = 0; i < N_NAMES; i++) {
        (void)snprintf(name, sizeof name, "t%u", i);
        gguf_put_tensor(&b, name, i, 4096ull * i, GGUF_DIMS(256, 2));
    }
    bytes_pad(&b, 32);
    for (int i = 0; i < 4096 * N_NAMES; i++)
        bytes_u8(&b, 0);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(survey(&b, &a, &f, &err), err);
    CHECK_INT(f.n_entries, N_NAMES);
    CHECK_INT(f.missing_bytes, 0);
    for (int i = 0; i < N_NAMES; i++) {
        const struct tensor_entry *e = &f.entries[i];

        CHECK_STR(e->type_name, gguf_names[i]);
        CHECK(e->n_dims == 2 && e->dims[0] == 2 && e->dims[1] == 256);
        CHECK((e->bytes == 0) == (e->data == NULL));
        if (e->dtype != DT_COUNT)
            CHECK_STR(dtype_info(e->dtype)->name, gguf_names[i]);
    }
    CHECK(entry(&f, "t39")->dtype == DT_COUNT && entry(&f, "t39")->bytes == 2 * 8 * 17);
    CHECK(entry(&f, "t40")->bytes == 2 * 4 * 36 && entry(&f, "t28")->bytes == 2 * 256 * 8);
    arena_done(&a);
}

TEST(survey__lists_gguf_types_of_another_day_by_their_number)
{
    static const uint32_t types[] = { 42, 123, 0x7fffffff, 0xffffffff };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct arena_mark mark = arena_mark(&a);
        struct bytes b = { 0 };
        struct tensor_file f;
        char want[32];

        gguf_put_header(&b, 3, 2, 0);
        gguf_put_tensor(&b, "odd", types[i], 0, GGUF_DIMS(7, 3));
        gguf_put_tensor(&b, "even", TYPE_F32, 64, GGUF_DIMS(2));
        bytes_pad(&b, 32);
        for (int k = 0; k < 72; k++)
            bytes_u8(&b, (uint8_t)k);
        CHECK_OK(survey(&b, &a, &f, &err), err);
        (void)snprintf(want, sizeof want, "type %u", types[i]);
        CHECK_STR(entry(&f, "odd")->type_name, want);
        CHECK(entry(&f, "odd")->dtype == DT_COUNT && !entry(&f, "odd")->data && entry(&f, "odd")->bytes == 0);
        CHECK(*(const unsigned char *)entry(&f, "even")->data == 64);
        CHECK_INT(tensor_file_expanded_bytes(&f), 4);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

/* Three tensors of 40, 68 and 17 bytes, at 0, 64 and 160 of the data. */
static struct bytes three_tensors(size_t *ret_data)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 3, 0);
    gguf_put_tensor(&b, "first", TYPE_F32, 0, GGUF_DIMS(5, 2));
    gguf_put_tensor(&b, "second", TYPE_Q8_0, 64, GGUF_DIMS(64));
    gguf_put_tensor(&b, "third", TYPE_MXFP4, 160, GGUF_DIMS(32));
    bytes_pad(&b, 32);
    *ret_data = b.len;
    for (int i = 0; i < 177; i++)
        bytes_u8(&b, (uint8_t)i);
    return b;
}

TEST(survey__says_how_much_of_a_gguf_is_missing)
{
    static const size_t ends[] = { 40, 64 + 68, 160 + 17 };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    for (size_t here = 0; here <= 177; here++) {
        struct arena_mark mark = arena_mark(&a);
        struct tensor_file f = { 0 };
        size_t data;
        struct bytes b = three_tensors(&data);
        char *copy = exact_copy(b.ptr, data + here);

        CHECK_OK(gguf_survey((struct span){ copy, data + here }, &a, &f, &err), err);
        CHECK_INT(f.missing_bytes, 177 - here);
        for (int i = 0; i < 3; i++) {
            CHECK((f.entries[i].data != NULL) == (here >= ends[i]));
            CHECK(f.entries[i].bytes > 0);
        }
        free(copy);
        bytes_done(&b);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

/* What is cut inside its directory cannot be listed; what is listed never reaches beyond the bytes. */
TEST(survey__refuses_a_gguf_that_is_cut_in_its_directory)
{
    size_t data;
    struct bytes whole = three_tensors(&data);
    struct arena a;

    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    for (size_t n = 4; n < data - 31; n++) {
        char *copy = exact_copy(whole.ptr, n);
        struct tensor_file f = { 0 };

        CHECK_INT(gguf_survey((struct span){ copy, n }, &a, &f, NULL), ERR_CORRUPT);
        free(copy);
    }
    arena_done(&a);
    bytes_done(&whole);
}

TEST(survey__survives_every_changed_byte_of_a_gguf)
{
    static const unsigned char values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    size_t data;
    struct bytes b = three_tensors(&data);
    struct arena a;

    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    for (size_t i = 0; i < b.len * sizeof values; i++) {
        char *at = &b.ptr[i / sizeof values], was = *at, *copy;
        struct arena_mark mark = arena_mark(&a);
        struct tensor_file f = { 0 };

        *at = (char)values[i % sizeof values];
        copy = exact_copy(b.ptr, b.len);
        if (!gguf_survey((struct span){ copy, b.len }, &a, &f, NULL))
            for (int k = 0; k < f.n_entries; k++) {
                const struct tensor_entry *e = &f.entries[k];

                CHECK(e->type_name && f.missing_bytes >= 0 && f.missing_bytes <= TENSOR_FILE_MAX_BYTES);
                CHECK(!e->data || (const char *)e->data + e->bytes <= copy + b.len);
            }
        free(copy);
        arena_rewind(&a, mark);
        *at = was;
    }
    arena_done(&a);
    bytes_done(&b);
}

TEST(survey__refuses_a_gguf_that_no_download_could_finish)
{
    static const struct {
        uint64_t offset, dim;
    } cases[] = {
        { 1ull << 46, 8 },
        { UINT64_MAX - 31, 8 },
        { 1ull << 63, 8 },
        { 0, 1ull << 30 }, /* as many rows of four bytes */
    };
    struct bytes b;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        b = (struct bytes){ 0 };
        gguf_put_header(&b, 3, 1, 0);
        gguf_put_tensor(&b, "t", TYPE_F32, cases[i].offset, GGUF_DIMS(cases[i].dim, cases[i].dim));
        expect_refusal(&b, ERR_CORRUPT, "beyond the end of any file");
    }
    b = (struct bytes){ 0 };
    gguf_put_header(&b, 3, 2, 0);
    gguf_put_tensor(&b, "a", TYPE_F32, 0, GGUF_DIMS(64));
    gguf_put_tensor(&b, "b", TYPE_F32, 32, GGUF_DIMS(64)); /* both are cut off */
    expect_refusal(&b, ERR_CORRUPT, "overlap");
    b = (struct bytes){ 0 };
    gguf_put_header(&b, 3, 1, 0);
    gguf_put_tensor(&b, "t", 123, 0, GGUF_DIMS(1ull << 31, 1ull << 31, 4));
    expect_refusal(&b, ERR_CORRUPT, "size of tensor 't' overflows");
}

TEST(survey__lists_every_safetensors_type_by_its_name)
{
    static const char *const want[] = { "F64", "I16", "U16", "U32", "U64", "BOOL", "F8_E8M0", "F4", "F6_E2M3", "C64", "F32" };
    static const int counts[] = { 1, 1, 1, 1, 1, 3, 3, 4, 4, 1, 1 };
    static const int bytes[] = { 8, 2, 2, 4, 8, 3, 3, 2, 3, 8, 4 };
    enum { N = sizeof want / sizeof *want };
    char header[1024] = "{";
    size_t len = 1, at = 0;
    struct bytes b;
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };

    for (int i = 0; i < N; at += (size_t)bytes[i++])
        len += (size_t)snprintf(header + len, sizeof header - len,
                                "%s\"%c\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
                                'a' + i, want[i], counts[i], at, at + (size_t)bytes[i]);
    (void)snprintf(header + len, sizeof header - len, "}");
    b = safetensors(header, at);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(survey(&b, &a, &f, &err), err);
    CHECK_INT(f.n_entries, N);
    CHECK(f.n_unread == 0 && f.missing_bytes == 0);
    for (int i = 0; i < N; i++) {
        CHECK_STR(f.entries[i].type_name, want[i]);
        CHECK((f.entries[i].dtype == DT_COUNT) == (i < N - 1));
        CHECK(f.entries[i].data != NULL);
    }
    CHECK(entry(&f, "h")->bytes == 2 && entry(&f, "h")->dims[0] == 4);
    CHECK(*(const unsigned char *)entry(&f, "k")->data == 43);
    arena_done(&a);
}

TEST(survey__says_how_much_of_a_safetensors_file_is_missing)
{
    static const char header[] = "{\"last\":" ENTRY("F8_E8M0", "[6]", 12, 18) ",\"first\":" ENTRY(
        "F32", "[2]", 0, 8) ",\"second\":" ENTRY("BF16", "[2]", 8, 12) ",\"none\":" ENTRY("F32", "[0]", 18, 18) "}";
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    for (size_t here = 0; here <= 18; here++) {
        struct bytes b = safetensors(header, here);
        char *copy = exact_copy(b.ptr, b.len);
        struct tensor_file f = { 0 };

        CHECK_OK(safetensors_survey((struct span){ copy, b.len }, &a, &f, &err), err);
        CHECK_INT(f.missing_bytes, 18 - here);
        CHECK((entry(&f, "first")->data != NULL) == (here >= 8));
        CHECK((entry(&f, "second")->data != NULL) == (here >= 12));
        CHECK((entry(&f, "last")->data != NULL) == (here >= 18));
        CHECK(entry(&f, "last")->bytes == 6 && entry(&f, "first")->bytes == 8);
        free(copy);
        bytes_done(&b);
    }
    arena_done(&a);
}

TEST(survey__refuses_safetensors_that_are_no_directory)
{
    static const struct {
        const char *header;
        size_t data;
        const char *part;
    } cases[] = {
        { "{\"a\":" ENTRY("F32", "[1]", 0, 4), 4, "JSON" },
        { "{\"a\":" ENTRY("F4", "[2]", 1, 2) "}", 2, "hole" },
        { "{\"a\":" ENTRY("F4", "[2]", 0, 2) ",\"b\":" ENTRY("F6", "[2]", 1, 3) "}", 3, "overlaps" },
        { "{\"a\":" ENTRY("F64", "[2]", 0, 8) "}", 8, "does not fit" },
        { "{\"a\":" ENTRY("F4", "[9223372036854775807,4]", 0, 8) "}", 8, "overflows" },
        { "{\"a\":" ENTRY("U8", "[9223372036854775807]", 0, 9223372036854775807) "}", 8, "the file has 8" },
        { "{\"a\":" ENTRY("F32", "[1]", 0, 4) "}", 5, "the file has 5" },
        { "{\"a\":" ENTRY("", "[1]", 0, 4) "}", 4, "1 to 32" },
        { "{\"a\":" ENTRY("A2345678901234567890123456789012X", "[1]", 0, 4) "}", 4, "1 to 32" },
        { "{\"a\":" ENTRY("F 4", "[1]", 0, 4) "}", 4, "1 to 32" },
        { "{\"a\":" ENTRY("\xc2\x9b", "[1]", 0, 4) "}", 4, "1 to 32" }, /* which begins a terminal's command */
        { "{\"a\":{\"dtype\":4,\"shape\":[],\"data_offsets\":[0,1]}}", 1, "not a string" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = safetensors(cases[i].header, cases[i].data);

        expect_refusal(&b, ERR_CORRUPT, cases[i].part);
    }
}

/* The strict reader keeps what it does not read behind its directory, and names the types of both. */
TEST(survey__and_the_strict_reader_agree_on_a_whole_file)
{
    struct bytes b = safetensors("{\"wide\":" ENTRY("F64", "[1]", 0, 8) ",\"w\":" ENTRY("BF16", "[2]", 8, 12) "}", 12);
    const char *path = temp_file("agree.safetensors", b.ptr, b.len);
    struct arena a;
    struct tensor_file f, g;
    struct err err = { 0 };

    bytes_done(&b);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    CHECK_OK(tensor_file_survey(path, &a, &g, &err), err);
    CHECK(f.n_entries == 1 && f.n_unread == 1 && g.n_entries == 2 && g.n_unread == 0);
    CHECK_STR(entry(&f, "w")->type_name, "BF16");
    CHECK(!tensor_file_find(&f, SPAN("wide")) && span_is(f.entries[1].name, "wide") && f.entries[1].dtype == DT_COUNT);
    CHECK_STR(f.entries[1].type_name, "F64");
    CHECK(entry(&g, "w")->dtype == DT_BF16 && span_is(g.entries[0].name, "wide"));
    arena_done(&a);
}

TEST(survey__strict_reading_says_how_many_bytes_are_missing)
{
    struct bytes b = { 0 };
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };

    gguf_put_header(&b, 3, 2, 0);
    gguf_put_tensor(&b, "here", TYPE_F32, 0, GGUF_DIMS(8));
    gguf_put_tensor(&b, "gone", TYPE_F32, 32, GGUF_DIMS(8));
    bytes_pad(&b, 32);
    for (int i = 0; i < 40; i++)
        bytes_u8(&b, 0);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_INT(tensor_file_open(temp_file("short.gguf", b.ptr, b.len), &a, &f, &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "fetch it again") && strstr(err.msg, "'gone'") && strstr(err.msg, "24 bytes short"));
    arena_done(&a);
    bytes_done(&b);
}
