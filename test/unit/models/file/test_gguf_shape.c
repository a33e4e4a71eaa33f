#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/gguf.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { ARENA_BYTES = 16 << 20, TYPE_F32 = 0, TYPE_Q8_0 = 8, TYPE_Q4_K = 12, TYPE_MXFP4 = 39, BF16 = 30 };

/* A file with one tensor "w" of 2304 values, stored as [9, 256], and the beginning of the pair about its shape. */
static struct bytes begin(uint32_t value_type, uint64_t n)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 1, 1);
    gguf_put_array(&b, "comfy.gguf.orig_shape.w", value_type, n);
    return b;
}

static void end(struct bytes *b, uint32_t type, size_t data)
{
    gguf_put_tensor(b, "w", type, 0, GGUF_DIMS(256, 9));
    bytes_pad(b, 32);
    while (data--)
        bytes_u8(b, (uint8_t)data);
}

static struct bytes shaped(uint32_t type, size_t data, uint64_t n, const int32_t *dims)
{
    struct bytes b = begin(GGUF_I32, n);

    bytes_put(&b, dims, n * sizeof *dims);
    end(&b, type, data);
    return b;
}
#define SHAPED(type, data, ...)                                                        \
    shaped(type, data, sizeof((int32_t[]){ __VA_ARGS__ }) / 4, (int32_t[]){ __VA_ARGS__ })

/* Reads the bytes, frees them, and compares the outcome; a shape is written as "64,4,3,3". */
static void expect(struct bytes b, bool survey, enum err_code want, const char *part)
{
    char *copy = exact_copy(b.ptr, b.len), shape[128] = "";
    struct span map = { copy, b.len };
    struct tensor_file f = { 0 };
    struct err err = { 0 };
    enum err_code rc;
    struct arena a;

    bytes_done(&b);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    rc = survey ? gguf_survey(map, &a, &f, &err) : gguf_parse(map, &a, &f, &err);
    for (int i = 0; !rc && i < f.entries[0].n_dims; i++)
        (void)snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%lld", i ? "," : "",
                       (long long)f.entries[0].dims[i]);
    if (rc != want || (rc ? !strstr(err.msg, part) : strcmp(shape, part) != 0))
        test_fail(__FILE__, __LINE__, "%s, '%s', [%s]; want %s with '%s'", err_name(rc), err.msg, shape, err_name(want),
                  part);
    if (!rc)
        CHECK(f.entries[0].data != NULL);
    arena_done(&a);
    free(copy);
}

TEST(gguf_shape__gives_back_what_the_converter_had_changed)
{
    for (int survey = 0; survey < 2; survey++) {
        expect(SHAPED(BF16, 4608, 64, 4, 3, 3), survey, ERR_OK, "64,4,3,3");
        expect(SHAPED(TYPE_F32, 9216, 2304), survey, ERR_OK, "2304");
        expect(SHAPED(TYPE_F32, 9216, 1, 1, 1, 1, 1, 1, 768, 3), survey, ERR_OK, "1,1,1,1,1,1,768,3");
        expect(SHAPED(TYPE_Q8_0, 2448, 36, 64), survey, ERR_OK, "36,64"); /* rows are two whole blocks */
        expect(SHAPED(TYPE_Q4_K, 1296, 3, 3, 256), survey, ERR_OK, "3,3,256");
    }
}

TEST(gguf_shape__is_refused_where_rows_are_no_whole_blocks)
{
    expect(SHAPED(TYPE_Q8_0, 2448, 64, 4, 3, 3), false, ERR_UNSUPPORTED, "rows of 3 values are not whole blocks");
    expect(SHAPED(TYPE_Q4_K, 1296, 36, 64), false, ERR_UNSUPPORTED, "'w' is Q4_K");
    expect(SHAPED(TYPE_Q8_0, 2448, 64, 4, 3, 3), true, ERR_OK, "64,4,3,3");
    expect(SHAPED(TYPE_MXFP4, 1224, 64, 4, 3, 3), true, ERR_OK, "64,4,3,3");
}

TEST(gguf_shape__must_have_as_many_values)
{
    static const int32_t wrong[][3] = {
        { 64, 4, 3 },   { 2304, 1, 2 }, { 0, 2304, 1 },   { -1, -2304, 1 }, { 2303, 1, 1 }, { 1 << 30, 1 << 30, 1 << 30 },
        { 48, 48, -1 },
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (int survey = 0; survey < 2; survey++)
            expect(shaped(TYPE_F32, 9216, 3, wrong[i]), survey, ERR_CORRUPT, "comfy.gguf.orig_shape.w'");
    expect(shaped(TYPE_F32, 9216, 0, NULL), false, ERR_CORRUPT, "not as many values");
}

TEST(gguf_shape__takes_whole_numbers_of_any_width_and_nothing_else)
{
    struct bytes b = begin(GGUF_I64, 2);

    bytes_u64(&b, 48);
    bytes_u64(&b, 48);
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_OK, "48,48");
    b = begin(GGUF_U64, 2);
    bytes_u64(&b, 48 + (1ull << 63));
    bytes_u64(&b, 48);
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_CORRUPT, "not a whole number");
    b = begin(GGUF_U8, 2);
    bytes_u8(&b, 48);
    bytes_u8(&b, 48);
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_OK, "48,48");
    b = begin(GGUF_F32, 1);
    bytes_f32(&b, 2304);
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_CORRUPT, "not a whole number");
    b = begin(GGUF_STRING, 1);
    gguf_put_string(&b, "2304");
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_CORRUPT, "not a whole number");
    expect(SHAPED(TYPE_F32, 9216, 1, 1, 1, 1, 1, 1, 1, 1, 2304), false, ERR_CORRUPT, "at most 8 numbers");
    b = (struct bytes){ 0 };
    gguf_put_header(&b, 3, 1, 1);
    gguf_put_int(&b, "comfy.gguf.orig_shape.w", 2304);
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_CORRUPT, "not a list");
}

TEST(gguf_shape__of_tensors_that_are_not_there_is_nothing)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 1, 2);
    gguf_put_ints(&b, "comfy.gguf.orig_shape.ww", 1, (int32_t[]){ 7 });
    gguf_put_ints(&b, "comfy.gguf.orig_shape.", 1, (int32_t[]){ 7 });
    end(&b, TYPE_F32, 9216);
    expect(b, false, ERR_OK, "9,256");
}
