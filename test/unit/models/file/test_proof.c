#include "models/file/proof.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { PAGE = 4096, ARENA_BYTES = 64 << 20, PAGES = 24, SEEDED_BLOCKS = 5000 };

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Where a block's scales and minima are, spelled out from the block formats; all are f16. */
static const struct {
    enum dtype dtype;
    int fields[2], n_fields; /* bytes into the block; 0: a plain float */
} types[] = {
    { DT_F32, { 0 }, 0 },         { DT_F16, { 0 }, 0 },      { DT_BF16, { 0 }, 0 },      { DT_F8_E4M3, { 0 }, 0 },
    { DT_Q8_0, { 0 }, 1 },        { DT_Q4_0, { 0 }, 1 },     { DT_Q4_1, { 0, 2 }, 2 },   { DT_Q5_0, { 0 }, 1 },
    { DT_Q5_1, { 0, 2 }, 2 },     { DT_Q2_K, { 80, 82 }, 2 }, { DT_Q3_K, { 108 }, 1 },   { DT_Q4_K, { 0, 2 }, 2 },
    { DT_Q5_K, { 0, 2 }, 2 },     { DT_Q6_K, { 208 }, 1 },   { DT_IQ4_NL, { 0 }, 1 },    { DT_IQ4_XS, { 0 }, 1 },
};
enum { N_TYPES = sizeof types / sizeof *types };

static void put16(char *at, unsigned v)
{
    at[0] = (char)v;
    at[1] = (char)(v >> 8);
}

/* One value of about 0.02 with a random sign and mantissa. */
static void put_float(enum dtype t, char *at, uint32_t *seed)
{
    union {
        float f;
        uint32_t u;
    } v = { .u = 0x3ca00000u | (next(seed) & 0xfffff) | (next(seed) & 1u) << 31 };

    if (t == DT_F32)
        memcpy(at, &v, 4);
    else if (t == DT_BF16)
        put16(at, v.u >> 16);
    else if (t == DT_F16)
        put16(at, 0x2400 | (next(seed) & 0x83ff));
    else
        *at = (char)(0x08 | (next(seed) & 0x87));
}

/* A matrix of [rows, cols] values as a trained one may be, `shift` bytes behind the begin of a page. */
struct matrix {
    char *memory, *data;
    struct tensor_entry e;
};

static struct matrix make(int type, int64_t rows, int64_t cols, size_t shift)
{
    const enum dtype t = types[type].dtype;
    const size_t step = (size_t)dtype_info(t)->block_bytes, bytes = (size_t)rows * dtype_row_bytes(t, cols);
    struct matrix m = { .memory = aligned_alloc(PAGE, (bytes + 2 * PAGE) / PAGE * PAGE + PAGE) };
    uint32_t seed = (uint32_t)type + 7;

    CHECK(m.memory);
    m.data = m.memory + shift;
    for (size_t i = 0; i < bytes; i += step) {
        if (i >= SEEDED_BLOCKS * step) {
            memcpy(m.data + i, m.data + i - SEEDED_BLOCKS * step, step);
            continue;
        }
        for (size_t k = 0; k < step; k++)
            m.data[i + k] = (char)(next(&seed) | 1);
        if (types[type].n_fields == 0)
            put_float(t, m.data + i, &seed);
        for (int f = 0; f < types[type].n_fields; f++)
            put16(m.data + i + types[type].fields[f], 0x1400 | (next(&seed) & 0x83ff)); /* about 0.001 */
    }
    m.e = (struct tensor_entry){ .name = { "blk.weight", 10 }, .dtype = t, .n_dims = 2, .dims = { rows, cols },
                                 .data = m.data, .bytes = bytes };
    return m;
}

/* A matrix of about PAGES pages. */
static struct matrix make_pages(int type, size_t shift)
{
    const struct dtype_info *info = dtype_info(types[type].dtype);

    return make(type, PAGES * PAGE / 8 / info->block_bytes, (int64_t)8 * info->block_elems, shift);
}

static enum err_code prove(const struct matrix *m, struct err *err)
{
    *err = (struct err){ 0 };
    return proof_tensor(&m->e, "some/folder/model.gguf", err);
}

static void check(const struct matrix *m, enum err_code want, const char *text, const char *what)
{
    struct err err;
    enum err_code got = prove(m, &err);

    if (got != want || (want && !strstr(err.msg, text)))
        test_fail(__FILE__, __LINE__, "%s, %s: %s \"%s\"", dtype_info(m->e.dtype)->name, what, err_name(got), err.msg);
}

/* ---- what passes ---- */

TEST(proof__passes_plausible_matrices_of_every_type_at_any_address)
{
    static const size_t shifts[] = { 0, 2, 1, 4095 };

    for (int i = 0; i < N_TYPES; i++)
        for (size_t k = 0; k < sizeof shifts / sizeof *shifts; k++) {
            struct matrix m = make_pages(i, shifts[k]);

            check(&m, ERR_OK, "", "sound");
            free(m.memory);
        }
}

static void check_file(const char *path)
{
    struct arena a;
    struct tensor_file f;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    for (int i = 0; i < f.n_entries; i++)
            CHECK_OK(proof_tensor(&f.entries[i], path, &err), err);
    arena_done(&a);
}

static void check_files(const char *pattern)
{
    glob_t found;

    CHECK_INT(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_file(found.gl_pathv[i]);
    globfree(&found);
}

TEST(proof__passes_every_tensor_of_the_golden_models)
{
    check_files("test/golden/*/models/*.gguf");
    check_files("test/golden/*/models/*.safetensors");
    check_files("test/golden/*/models/*/*.safetensors");
    check_files("models/demo/*.gguf");
    check_files("models/demo/ae.safetensors");
}

TEST(proof__passes_blocks_of_all_K_types)
{
    check_file(golden("wide/models/flux1-fill-MIX.gguf"));
    check_file(golden("wide/models/flux1-fill-Q4_K.gguf"));
    check_file(golden("wide/models/flux1-fill-Q6_K.gguf"));
}

TEST(proof__passes_small_matrices_of_zeros_and_integers)
{
    static const char zeros[PAGE * 2];
    struct tensor_entry e = { .name = { "w", 1 }, .dtype = DT_F32, .n_dims = 2, .dims = { 3, 5 }, .data = zeros,
                              .bytes = 60 };
    struct err err = { 0 };

    CHECK_OK(proof_tensor(&e, "f", &err), err);
    e = (struct tensor_entry){ .name = { "w", 1 }, .dtype = DT_I64, .n_dims = 2, .dims = { 2, 512 }, .data = zeros,
                               .bytes = sizeof zeros };
    CHECK_OK(proof_tensor(&e, "f", &err), err);
    e.dtype = DT_COUNT; /* a type that is only listed */
    CHECK_OK(proof_tensor(&e, "f", &err), err);
    e = (struct tensor_entry){ .name = { "b", 1 }, .dtype = DT_F32, .n_dims = 1, .dims = { 2048 }, .data = zeros,
                               .bytes = sizeof zeros }; /* a bias */
    CHECK_OK(proof_tensor(&e, "f", &err), err);
}

/* ---- holes ---- */

TEST(proof__refuses_a_hole_at_the_begin_in_the_middle_and_at_the_end)
{
    for (int i = 0; i < N_TYPES; i++) {
        size_t hole = types[i].dtype == DT_F8_E4M3 ? 4 * PAGE : PAGE;

        for (size_t shift = 0; shift < 200; shift += 98) {
            for (int where = 0; where < 3; where++) {
                struct matrix m = make_pages(i, shift);
                size_t at = where == 0 ? 0 : where == 1 ? 9 * PAGE - shift : m.e.bytes - hole;
                char place[64];

                memset(m.data + at, 0, hole);
                (void)snprintf(place, sizeof place, "zeros from its byte %zu of %zu on", at, m.e.bytes);
                check(&m, ERR_CORRUPT, place, "hole");
                free(m.memory);
            }
        }
    }
}

TEST(proof__refuses_a_hole_of_many_pages_and_a_tensor_that_never_arrived)
{
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix m = make_pages(i, 34);

        memset(m.data + 5 * PAGE - 1000, 0, 9 * PAGE); /* it begins and ends in the middle of pages */
        check(&m, ERR_CORRUPT, "the download was not finished", "long hole");
        memset(m.data, 0, m.e.bytes);
        check(&m, ERR_CORRUPT, "zeros from its byte 0 of", "empty");
        m.e.bytes = (size_t)dtype_info(m.e.dtype)->block_bytes * 64; /* less than a page, or little more */
        check(&m, ERR_CORRUPT, "fetch the file again", "small and empty");
        free(m.memory);
    }
}

/* The tail of a small file: the last quarter of a small matrix, or its first. */
TEST(proof__refuses_a_small_matrix_that_begins_or_ends_in_a_hole)
{
    for (int i = 0; i < N_TYPES; i++) {
        const struct dtype_info *info = dtype_info(types[i].dtype);

        for (int where = 0; where < 2; where++) {
            struct matrix m = make(i, 1 + 1500 / info->block_bytes, (int64_t)2 * info->block_elems, 34);
            size_t hole = m.e.bytes / 4;

            check(&m, ERR_OK, "", "small");
            memset(where ? m.data + m.e.bytes - hole : m.data, 0, hole);
            check(&m, ERR_CORRUPT, "the download was not finished", "small with a hole");
            free(m.memory);
        }
    }
}

/* In plain casts to one byte, tiny weights are zeros: 8191 zeros may be two rows of a neuron that does nothing. */
TEST(proof__passes_rows_of_zeros_of_one_byte_each)
{
    struct matrix m = make_pages(3, 0);

    memset(m.data + 4 * PAGE, 0, 2 * PAGE);
    check(&m, ERR_OK, "", "dead neuron");
    free(m.memory);
}

/* Rows of many neurons that somebody pruned are zeros from row to row; what a download lacks begins and ends elsewhere. */
TEST(proof__passes_rows_that_were_pruned_and_no_hole_between_them)
{
    for (int i = 0; i < N_TYPES; i++) {
        const struct dtype_info *info = dtype_info(types[i].dtype);
        const int64_t blocks = 3072 / info->block_elems; /* in a row */
        struct matrix m = make(i, 80, blocks * info->block_elems, 98);
        const size_t row = dtype_row_bytes(types[i].dtype, blocks * info->block_elems), rows = 1 + 5 * PAGE / row;

        memset(m.data + 3 * row, 0, rows * row);
        check(&m, ERR_OK, "", "pruned");
        memset(m.data + (4 + rows) * row, 0, 2 * row);
        check(&m, ERR_OK, "", "pruned twice");
        memset(m.data + (6 + rows) * row, 0, rows * row + row / 2);
        check(&m, ERR_CORRUPT, "the download was not finished", "pruned, and a hole from there on");
        free(m.memory);
    }
}

/* Among the zeros of a plain cast to one byte, what is missing has the bounds of pages, not those of values. */
TEST(proof__refuses_a_page_that_is_missing_of_one_byte_each)
{
    for (int pages = 1; pages < 4; pages++) {
        struct matrix m = make(3, 30, 3072, 40);

        memset(m.data + 6 * PAGE - 40, 0, (size_t)pages * PAGE);
        check(&m, ERR_CORRUPT, "the download was not finished", "pages");
        memset(m.data + 6 * PAGE - 41, 0, (size_t)pages * PAGE + 3);
        check(&m, ERR_OK, "", "zeros");
        memset(m.data, 0, (size_t)(pages + 1) * PAGE - 40);
        check(&m, ERR_CORRUPT, "the download was not finished", "pages that begin before the tensor");
        free(m.memory);
    }
}

/* Large tensors are divided among processors: what is wrong first is told, also at the bounds of the parts. */
TEST(proof__finds_what_is_wrong_anywhere_in_a_large_matrix)
{
    for (int i = 0; i < N_TYPES; i += 2) {
        struct matrix m = make(i, 600, 3072, 130);
        const size_t step = (size_t)dtype_info(m.e.dtype)->block_bytes, field = (size_t)types[i].fields[0];
        char place[64];

        check(&m, ERR_OK, "", "large");
        for (int k = 20; k >= 0; k--) {
            const size_t at = m.e.bytes / step * (size_t)k / 21 * step + field;

            memset(m.data + at, 0x7f, step < 4 ? step : field ? 2 : step == 4 ? 4 : 2);
            (void)snprintf(place, sizeof place, "at its byte %zu of", at);
            check(&m, ERR_CORRUPT, place, "large");
        }
        free(m.memory);
    }
}

/* ---- factors of LoRAs ---- */

static void check_factor(int64_t rows, int64_t cols, size_t at, size_t n, enum err_code want)
{
    struct matrix m = make(2, rows, cols, 8);
    struct err err = { 0 };

    memset(m.data + at, 0, n);
    if (proof_factor(&m.e, "lora.safetensors", &err) != want)
        test_fail(__FILE__, __LINE__, "[%d, %d], %zu zeros at %zu: \"%s\"", (int)rows, (int)cols, n, at, err.msg);
    free(m.memory);
}

TEST(proof__factors_may_be_zero_in_whole_rows_and_have_no_holes)
{
    check_factor(16, 3072, 0, (size_t)16 * 3072 * 2, ERR_OK); /* nothing was trained */
    check_factor(9216, 16, 0, 3072 * 32, ERR_OK);             /* of q, k and v, q was not */
    check_factor(9216, 16, 3072 * 32, 3072 * 32, ERR_OK);
    check_factor(16, 384, 15 * 768 + 128, 640, ERR_OK); /* 64 inputs, padded */
    check_factor(9216, 384, 3071 * 768 + 256, 768, ERR_OK); /* along a diagonal */
    check_factor(16, 3072, 50000, (size_t)16 * 3072 * 2 - 50000, ERR_CORRUPT);
    check_factor(16, 3072, 0, 50001, ERR_CORRUPT);
    check_factor(16, 3072, 40000, PAGE, ERR_CORRUPT);
    check_factor(9216, 16, 100001, 9216 * 32 - 100001, ERR_CORRUPT);
    check_factor(9216, 16, 4 * PAGE - 8, 2 * PAGE, ERR_CORRUPT); /* rows and pages at once */
}

/* ---- token tables ---- */

static void check_table(int type, int64_t rows, int64_t n_zero, size_t more, enum err_code want)
{
    struct matrix m = make(type, rows, types[type].dtype == DT_F8_E4M3 ? 512 : 128, 88);
    size_t bytes = m.e.bytes / (size_t)rows * (size_t)n_zero + more;

    memset(m.data + m.e.bytes - bytes, 0, bytes);
    check(&m, want, "zeros from", "table");
    free(m.memory);
}

TEST(proof__passes_the_padding_of_a_token_table)
{
    check_table(1, 32128, 28, 0, ERR_OK);        /* F16 */
    check_table(1, 32128, 28, 2, ERR_OK);        /* the last value before it happens to be zero */
    check_table(4, 32128, 28, 0, ERR_OK);        /* Q8_0 */
    check_table(3, 32000, 64, 0, ERR_OK);        /* F8_E4M3 */
    check_table(3, 32000, 65, 0, ERR_CORRUPT);   /* more than padding */
    check_table(1, 32000, 65, 0, ERR_CORRUPT);
    check_table(1, 31999, 64, 0, ERR_CORRUPT);   /* too few rows for a token table */
    check_table(1, 32128, 32, 200, ERR_CORRUPT); /* not whole rows: a hole */
}

/* models/demo has convolutions that do nothing; those of FLUX.1's VAE are larger. */
TEST(proof__passes_small_convolutions_of_zeros)
{
    struct matrix m = make(1, 256, 1152, 32);

    m.e.n_dims = 4;
    m.e.dims[1] = 128;
    m.e.dims[2] = m.e.dims[3] = 3;
    memset(m.data + 17 * PAGE, 0, 2 * PAGE);
    check(&m, ERR_CORRUPT, "zeros from", "large convolution");
    m.e.dims[0] = 113; /* 260352 bytes */
    m.e.bytes = (size_t)113 * 1152 * 2;
    check(&m, ERR_OK, "", "small convolution");
    free(m.memory);
}

/* ---- values ---- */

TEST(proof__refuses_random_bytes_of_every_type)
{
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix m = make_pages(i, 0);
        uint32_t seed = 99;

        for (size_t k = 0; k < m.e.bytes; k++)
            m.data[k] = (char)next(&seed);
        check(&m, ERR_CORRUPT, "the file is damaged: fetch it again", "garbage");
        free(m.memory);
    }
}

/* NaN, both infinities, and the largest finite value, in any block, whichever field it is. */
TEST(proof__refuses_a_bad_value_or_scale_wherever_it_is)
{
    static const unsigned bad_halves[] = { 0x7e00, 0xfe01, 0x7c00, 0xfc00, 0x7bff };
    static const uint32_t bad_words[] = { 0x7fc00000, 0xffc00001, 0x7f800000, 0xff800000, 0x7f7fffff };

    for (int i = 0; i < N_TYPES; i++) {
        const size_t step = (size_t)dtype_info(types[i].dtype)->block_bytes;

        for (size_t k = 0; k < 5; k++) {
            for (int field = 0; field < (types[i].n_fields ? types[i].n_fields : 1); field++) {
                struct matrix m = make_pages(i, 3);
                size_t block = (k * 1237 + 41) % (m.e.bytes / step), at = block * step + (size_t)types[i].fields[field];
                char place[64];
                struct err err;

                if (types[i].dtype == DT_F8_E4M3)
                    m.data[at] = (char)(k % 2 ? 0x7f : 0xff);
                else if (types[i].dtype == DT_BF16)
                    put16(m.data + at, bad_words[k] >> 16);
                else if (types[i].dtype == DT_F32)
                    memcpy(m.data + at, &bad_words[k], 4);
                else
                    put16(m.data + at, bad_halves[k]);
                (void)snprintf(place, sizeof place, " at its byte %zu of %zu", at, m.e.bytes);
                if (prove(&m, &err) != ERR_CORRUPT || !strstr(err.msg, place))
                    test_fail(__FILE__, __LINE__, "%s, value %zu, field %d: \"%s\", want \"%s\"",
                              dtype_info(types[i].dtype)->name, k, field, err.msg, place);
                free(m.memory);
            }
        }
    }
}

/* The scale with which a block can just express 4096, and the next larger f16. */
TEST(proof__refuses_blocks_that_could_express_more_than_the_bound)
{
    static const struct {
        enum dtype dtype;
        unsigned passes; /* f16 bits */
    } cases[] = {
        { DT_Q8_0, 0x5000 },  /* 32 * 128 */
        { DT_Q4_0, 0x6000 },  /* 512 * 8 */
        { DT_Q4_1, 0x5c44 },  /* 273 * 15 = 4095 */
        { DT_Q5_0, 0x5c00 },  /* 256 * 16 */
        { DT_Q5_1, 0x5821 },  /* 132.125 * 31 = 4095.875 */
        { DT_Q2_K, 0x55b0 },  /* 91 * 45 = 4095 */
        { DT_Q3_K, 0x5000 },  /* 32 * 128 */
        { DT_Q6_K, 0x3c00 },  /* 1 * 4096 */
        { DT_IQ4_NL, 0x5008 } /* 32.25 * 127 = 4095.75 */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int type = 0; type < N_TYPES; type++) {
            struct matrix m;
            struct err err;

            if (types[type].dtype != cases[i].dtype)
                continue;
            m = make_pages(type, 0);
            put16(m.data + types[type].fields[0], cases[i].passes | 0x8000);
            CHECK_OK(prove(&m, &err), err);
            put16(m.data + types[type].fields[0], cases[i].passes + 1);
            CHECK_INT(prove(&m, &err), ERR_CORRUPT);
            free(m.memory);
        }
}

TEST(proof__refuses_values_over_the_bound_and_says_what_and_where)
{
    float values[32] = { [7] = 4096, [9] = -4096.5f };
    struct tensor_entry e = { .name = { "blk.weight", 10 }, .dtype = DT_F32, .n_dims = 2, .dims = { 4, 8 },
                              .data = values, .bytes = sizeof values };
    struct err err = { 0 };

    values[0] = values[31] = 1;
    CHECK_INT(proof_tensor(&e, "some/folder/model.safetensors", &err), ERR_CORRUPT);
    CHECK_STR(err.msg, "model.safetensors: tensor 'blk.weight' holds the value -4096.5 at its byte 36 of 128, which no "
                       "trained model has (its values are below 4096); the file is damaged: fetch it again");
    values[9] = 0;
    err = (struct err){ 0 };
    CHECK_OK(proof_tensor(&e, "model.safetensors", &err), err);
}

/* ---- vectors ---- */

TEST(proof__refuses_vectors_that_are_not_finite_and_norms_that_are_zero)
{
    float values[128] = { 0 };
    struct tensor_entry e = { .name = span_of("double_blocks.0.img_attn.norm.query_norm.scale"), .dtype = DT_F32,
                              .n_dims = 1, .dims = { 128 }, .data = values, .bytes = sizeof values };
    struct err err = { 0 };

    CHECK_INT(proof_tensor(&e, "f.gguf", &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "query_norm.scale' holds zeros from its byte 0 of 512 on"));
    values[77] = 60000; /* a vector has no bound */
    CHECK_INT(proof_tensor(&e, "f.gguf", NULL), ERR_OK);
    values[78] = (float)NAN;
    err = (struct err){ 0 };
    CHECK_INT(proof_tensor(&e, "f.gguf", &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "the value nan at its byte 312 of 512"));
    values[78] = -(float)INFINITY;
    CHECK_INT(proof_tensor(&e, "f.gguf", NULL), ERR_CORRUPT);
}
