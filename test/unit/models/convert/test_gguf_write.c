#include "models/convert/gguf_write.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20 };

static struct arena arena;
static struct err err;

static void open_arena(void)
{
    CHECK_OK(arena_init(&arena, ARENA_BYTES, &err), err);
}

static const char *const three[] = { "one", "", "Wiese \xc3\xb6" };
static const struct gguf_write_pair some_pairs[] = {
    { .key = "general.architecture", .type = GGUF_WRITE_TEXT, .text = "flux" },
    { .key = "general.quantization_version", .type = GGUF_WRITE_NUMBER, .number = 2 },
    { .key = "a.texts", .type = GGUF_WRITE_TEXTS, .texts = three, .n_texts = 3 },
    { .key = "a.nothing", .type = GGUF_WRITE_TEXTS, .texts = three, .n_texts = 0 },
};
static const struct gguf_write_tensor some_tensors[] = {
    { "a", DT_F32, 1, { 3 } },
    { "b.weight", DT_Q8_0, 2, { 5, 64 } },
    { "c", DT_BF16, 4, { 2, 3, 1, 7 } },
};
static const struct gguf_outline some = { some_pairs, 4, some_tensors, 3 };
enum { SOME_BYTES = 12 + 5 * 68 + 84 };

static const char *some_data(void)
{
    static char data[SOME_BYTES];

    for (int i = 0; i < SOME_BYTES; i++)
        data[i] = (char)(i * 37 + 11);
    return data;
}

static void write_some(const char *path, size_t piece)
{
    struct gguf_writer *w = NULL;

    CHECK_OK(gguf_write_open(&w, path, &some, (struct gguf_listener){ 0 }, &err), err);
    for (size_t at = 0; at < SOME_BYTES; at += piece)
        CHECK_OK(gguf_write_data(w, some_data() + at, piece < SOME_BYTES - at ? piece : SOME_BYTES - at, &err), err);
    CHECK_OK(gguf_write_close(w, OUT_FILE_KEEP, &err), err);
}

TEST(gguf_write__reader_finds_what_was_written)
{
    const char *path = temp_path("some.gguf");
    struct span *texts, text;
    struct tensor_file f;
    int64_t n, bytes = 0;

    open_arena();
    write_some(path, 7);
    CHECK_OK(tensor_file_open(path, &arena, &f, &err), err);
    CHECK_INT(f.n_entries, 3);
    CHECK(span_is(f.entries[1].name, "b.weight"));
    CHECK_INT(f.entries[1].dtype, DT_Q8_0);
    CHECK_INT(f.entries[1].dims[0], 5);
    CHECK_INT(f.entries[1].dims[1], 64);
    CHECK_INT(f.entries[2].n_dims, 4);
    CHECK_INT(f.entries[2].dims[3], 7);
    CHECK(!memcmp(f.entries[0].data, some_data(), 12));
    CHECK(!memcmp(f.entries[1].data, some_data() + 12, 340));
    CHECK(!memcmp(f.entries[2].data, some_data() + 352, 84));
    CHECK(gguf_string(f.gguf, "general.architecture", &text) && span_is(text, "flux"));
    CHECK(gguf_int(f.gguf, "general.quantization_version", &n) && n == 2);
    CHECK_OK(gguf_strings(f.gguf, "a.texts", &arena, &texts, &n, &err), err);
    CHECK(n == 3 && span_is(texts[1], "") && span_is(texts[2], three[2]));
    CHECK_OK(gguf_strings(f.gguf, "a.nothing", &arena, &texts, &n, &err), err);
    CHECK_INT(n, 0);
    CHECK_OK(gguf_outline_bytes(&some, &bytes, &err), err);
    CHECK_INT(bytes, f.map.len);
    arena_done(&arena);
}

TEST(gguf_write__size_of_the_pieces_does_not_matter)
{
    static const size_t pieces[] = { 1, 12, 13, 100, SOME_BYTES };
    const char *first = temp_path("first.gguf"), *path = temp_path("other.gguf");
    struct span want, got;

    open_arena();
    write_some(first, SOME_BYTES / 2);
    CHECK_OK(file_read(first, ARENA_BYTES, &arena, &want, &err), err);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        write_some(path, pieces[i]);
        CHECK_OK(file_read(path, ARENA_BYTES, &arena, &got, &err), err);
        CHECK(span_eq(got, want));
    }
    arena_done(&arena);
}

static void append(void *ctx, const void *bytes, size_t n)
{
    bytes_put(ctx, bytes, n);
}

/* The golden file was written by the gguf package. */
TEST(gguf_write__file_of_the_official_writer_comes_out_byte_for_byte)
{
    static const struct gguf_write_pair pairs[] = {
        { .key = "general.architecture", .type = GGUF_WRITE_TEXT, .text = "flux" },
        { .key = "general.quantization_version", .type = GGUF_WRITE_NUMBER, .number = 2 },
    };
    const char *path = temp_path("copy.gguf");
    struct gguf_write_tensor tensors[256] = { 0 };
    struct gguf_outline o = { pairs, 2, tensors, 0 };
    struct gguf_writer *w = NULL;
    struct bytes heard = { 0 };
    struct tensor_file f;
    struct span got;

    open_arena();
    CHECK_OK(tensor_file_open(golden("small/models/flux1-fill-Q5_1.gguf"), &arena, &f, &err), err);
    for (; o.n_tensors < f.n_entries; o.n_tensors++) {
        const struct tensor_entry *e = &f.entries[o.n_tensors];
        char *name = NULL;

        CHECK_OK(span_dup(&arena, e->name, &name, &err), err);
        tensors[o.n_tensors] = (struct gguf_write_tensor){ name, e->dtype, e->n_dims, { e->dims[0], e->dims[1] } };
    }
    CHECK_OK(gguf_write_open(&w, path, &o, (struct gguf_listener){ append, &heard }, &err), err);
    for (int i = 0; i < f.n_entries; i++)
        CHECK_OK(gguf_write_data(w, f.entries[i].data, f.entries[i].bytes, &err), err);
    CHECK_OK(gguf_write_close(w, OUT_FILE_KEEP, &err), err);
    CHECK_OK(file_read(path, ARENA_BYTES, &arena, &got, &err), err);
    CHECK(span_eq(got, f.map));
    CHECK(span_eq((struct span){ heard.ptr, heard.len }, f.map)); /* and so did who listens */
    bytes_done(&heard);
    arena_done(&arena);
}

TEST(gguf_write__refuses_what_no_reader_takes)
{
    static const char long_name[] = "0123456789012345678901234567890123456789012345678901234567890123456789"
                                    "0123456789012345678901234567890123456789012345678901234567";
    static const struct {
        struct gguf_write_tensor t[2];
        const char *part;
    } cases[] = {
        { { { "", DT_F32, 1, { 1 } } }, "0 bytes long" },
        { { { long_name, DT_F32, 1, { 1 } } }, "128 bytes long; 1 to 127" },
        { { { "\xff", DT_F32, 1, { 1 } } }, "UTF-8" },
        { { { "a", DT_F32, 1, { 1 } }, { "a", DT_F32, 1, { 1 } } }, "'a' is there twice" },
        { { { "a", DT_F8_E4M3, 1, { 1 } } }, "type or a shape" },
        { { { "a", DT_I64, 1, { 1 } } }, "type or a shape" },
        { { { "a", DT_F32, 0, { 1 } } }, "type or a shape" },
        { { { "a", DT_F32, 5, { 1, 1, 1, 1 } } }, "type or a shape" },
        { { { "a", DT_F32, 2, { 0, 1 } } }, "type or a shape" },
        { { { "a", DT_F32, 2, { 1, -1 } } }, "type or a shape" },
        { { { "a", DT_Q8_0, 2, { 4, 33 } } }, "type or a shape" },
        { { { "a", DT_F32, 3, { INT64_MAX / 4, 4, 4 } } }, "type or a shape" },
        { { { "a", DT_F32, 1, { 1LL << 59 } }, { "b", DT_F32, 2, { 1LL << 30, 1LL << 30 } } }, "type or a shape" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf_outline o = { NULL, 0, cases[i].t, cases[i].t[1].name ? 2 : 1 };
        struct gguf_writer *w = NULL;
        int64_t bytes = -1;

        err = (struct err){ 0 };
        CHECK_INT(gguf_outline_bytes(&o, &bytes, &err), ERR_INVALID);
        if (!strstr(err.msg, cases[i].part))
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, err.msg);
        CHECK_INT(gguf_write_open(&w, temp_path("no.gguf"), &o, (struct gguf_listener){ 0 }, &err), ERR_INVALID);
        CHECK(access(temp_path("no.gguf"), F_OK) != 0);
    }
}

TEST(gguf_write__refuses_keys_that_no_reader_takes)
{
    static const char *const surrogate[] = { "x", "\xed\xa0\x80" };
    static const struct gguf_write_pair cases[][2] = {
        { { .key = "", .type = GGUF_WRITE_NUMBER }, { .key = "b" } },
        { { .key = "a", .type = GGUF_WRITE_NUMBER }, { .key = "a" } },
        { { .key = "\xc3", .type = GGUF_WRITE_NUMBER }, { .key = "b" } },
        { { .key = "a", .type = GGUF_WRITE_TEXT, .text = "\xc0\x80" }, { .key = "b" } },
        { { .key = "a", .type = GGUF_WRITE_TEXTS, .texts = surrogate, .n_texts = 2 },
          { .key = "b" } },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf_outline o = { cases[i], 2, NULL, 0 };
        int64_t bytes = 0;

        err = (struct err){ 0 };
        CHECK_INT(gguf_outline_bytes(&o, &bytes, &err), ERR_INVALID);
    }
}

TEST(gguf_write__missing_and_surplus_data_leave_no_file)
{
    const char *path = temp_path("part.gguf");
    struct gguf_writer *w = NULL;

    CHECK_OK(gguf_write_open(&w, path, &some, (struct gguf_listener){ 0 }, &err), err);
    CHECK_OK(gguf_write_data(w, some_data(), SOME_BYTES - 1, &err), err);
    CHECK_INT(gguf_write_close(w, OUT_FILE_KEEP, &err), ERR_INTERNAL);
    CHECK(strstr(err.msg, "'c'"));
    CHECK(access(path, F_OK) != 0);
    err = (struct err){ 0 };
    CHECK_OK(gguf_write_open(&w, path, &some, (struct gguf_listener){ 0 }, &err), err);
    CHECK_OK(gguf_write_data(w, some_data(), SOME_BYTES, &err), err);
    CHECK_INT(gguf_write_data(w, "x", 1, &err), ERR_INTERNAL);
    err_ignore(gguf_write_close(w, OUT_FILE_DISCARD, &err));
    CHECK(access(path, F_OK) != 0);
}

TEST(gguf_write__full_disk_ends_it_early_and_leaves_no_file)
{
    static const struct gguf_write_tensor large = { "large", DT_F32, 2, { 1024, 1024 } };
    static float row[1024];
    const struct gguf_outline o = { NULL, 0, &large, 1 };
    const char *path = temp_path("full.gguf");
    struct rlimit before, few;
    struct gguf_writer *w = NULL;
    int rows = 0;

    (void)signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    few = before;
    few.rlim_cur = 100000;
    CHECK_OK(gguf_write_open(&w, path, &o, (struct gguf_listener){ 0 }, &err), err);
    CHECK(setrlimit(RLIMIT_FSIZE, &few) == 0);
    while (rows < 1024 && gguf_write_data(w, row, sizeof row, &err) == ERR_OK)
        rows++;
    CHECK_INT(gguf_write_close(w, OUT_FILE_KEEP, &err), ERR_IO);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(rows < 40);
    CHECK_INT(err.code, ERR_IO);
    CHECK(strstr(err.msg, "full.gguf: cannot be written: File too large"));
    CHECK(access(path, F_OK) != 0);
}
