#include "models/file/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/file/gguf.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { ARENA_BYTES = 64 << 20, TYPE_F32 = 0, TYPE_Q8_0 = 8 };

/* --- safetensors with an index --- */

/* Writes FOLDER/NAME with one tensor of four bytes for each letter of `names`; upper case ones are of a type that is
 * not read. The last `cut` bytes are missing. */
static void put_shard(const char *path, const char *names, size_t cut)
{
    char header[512] = "{";
    size_t len = 1, n = strlen(names);
    struct bytes b = { 0 };

    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(header + len, sizeof header - len,
                                "%s\"%c\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
                                names[i], names[i] < 'a' ? "U32" : "F32", 4 * i, 4 * i + 4);
    (void)snprintf(header + len, sizeof header - len, "}");
    bytes_u64(&b, strlen(header));
    bytes_text(&b, header);
    for (size_t i = 0; i < n; i++)
        bytes_u32(&b, 0x3f800000);
    (void)temp_file(path, b.ptr, b.len - cut);
    bytes_done(&b);
}

/* Writes the index and opens it; compares the outcome and a part of the message, where there is one. */
static void expect_index(const char *json, bool survey, enum err_code want, const char *part)
{
    const char *path = temp_file("ix/m.safetensors.index.json", json, strlen(json));
    struct err err = { 0 };
    struct shards s;
    struct arena a;
    enum err_code rc;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    rc = (survey ? shards_survey : shards_open)(path, &a, &s, &err);
    if (rc != want || !strstr(err.msg, part))
        test_fail(__FILE__, __LINE__, "%s: %s (%s), want %s with '%s'", json, err_name(rc), err.msg, err_name(want),
                  part);
    if (rc)
        CHECK_INT(a.used, 0);
    arena_done(&a);
}

#define MAP(pairs) "{\"weight_map\":{" pairs "}}"

TEST(shards__hold_what_their_index_lists_where_it_lists_it)
{
    put_shard("ix/a.safetensors", "abX", 0);
    put_shard("ix/b.safetensors", "cY", 0);
    for (int survey = 0; survey < 2; survey++) {
        expect_index(MAP("\"a\":\"a.safetensors\",\"c\":\"b.safetensors\",\"b\":\"a.safetensors\""), survey, ERR_OK, "");
        /* of types that are not read */
        expect_index(MAP("\"X\":\"a.safetensors\",\"Y\":\"b.safetensors\""), survey, ERR_OK, "");
        expect_index(MAP("\"\\u0061\":\"\\u0061.safetensors\""), survey, ERR_OK, "");
        expect_index(MAP("\"d\":\"a.safetensors\",\"c\":\"b.safetensors\""), survey, ERR_CORRUPT,
                     "lists weight 'd' in a.safetensors, but no shard holds it");
        expect_index(MAP("\"a\":\"a.safetensors\",\"b\":\"b.safetensors\""), survey, ERR_CORRUPT,
                     "weight 'b' is in a.safetensors, but the index lists it in b.safetensors");
        expect_index(MAP("\"a\":\"a.safetensors\",\"X\":\"b.safetensors\""), survey, ERR_CORRUPT,
                     "weight 'X' is in a.safetensors, but the index lists it in b.safetensors");
        expect_index(MAP("\"a\":\"a.safetensors\",\"a\":\"a.safetensors\""), survey, ERR_CORRUPT, "'a' twice");
    }
}

TEST(shards__need_an_index_that_is_whole)
{
    static const char *const texts[] = { "", "{", "version https://git-lfs.github.com/spec/v1\n",
                                         "{\"weight_map\":{\"a\":\"a.safetensors\"}", "[[[[[[[[[1]]]]]]]]]",
                                         "{\"weight_map\":{\"a\\u0000\":\"a.safetensors\"}}" };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect_index(texts[i], i % 2, ERR_CORRUPT, "the index is damaged or incomplete; fetch it again: JSON: ");
    expect_index("[]", false, ERR_CORRUPT, "the index is not a JSON object");
    expect_index("{\"weight_map\":{}}", false, ERR_CORRUPT, "the index has no weight_map that lists files");
}

TEST(shards__are_only_files_beside_their_index)
{
    static const char *const names[] = { "unet/x.safetensors", "../a.safetensors",  "/etc/a.safetensors", "..",
                                         "a.safetensors/",     "a.bin",             "a.gguf",             "",
                                         ".safetensors",       "./a.safetensors",   "c:\\\\a.safetensors", "\\u002e./a.safetensors",
                                         "a.safetensors\\n",   "x\\/a.safetensors" };
    char json[256];

    put_shard("ix/a.safetensors", "a", 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(json, sizeof json, MAP("\"a\":\"%s\""), names[i]);
        expect_index(json, i % 2, ERR_CORRUPT, "not the name of a safetensors file beside the index");
    }
}

TEST(shards__of_an_index_are_safetensors_inside_too)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 1, 0);
    gguf_put_tensor(&b, "a", TYPE_F32, 0, GGUF_DIMS(1));
    bytes_pad(&b, 32);
    bytes_f32(&b, 1);
    (void)temp_file("ix/g.safetensors", b.ptr, b.len);
    bytes_done(&b);
    for (int survey = 0; survey < 2; survey++)
        expect_index(MAP("\"a\":\"g.safetensors\""), survey, ERR_UNSUPPORTED, "g.safetensors is GGUF, but an index");
}

TEST(shards__that_are_missing_or_short_are_named)
{
    static const char json[] = MAP("\"a\":\"a.safetensors\",\"b\":\"b-2.safetensors\"");

    put_shard("ix/a.safetensors", "a", 0);
    (void)unlink(temp_path("ix/b-2.safetensors"));
    expect_index(json, false, ERR_NOT_FOUND, "needs b-2.safetensors, which is not beside it: fetch that file too");
    expect_index(json, true, ERR_NOT_FOUND, "needs b-2.safetensors");
    put_shard("ix/b-2.safetensors", "b", 2);
    expect_index(json, false, ERR_CORRUPT, "b-2.safetensors is damaged or incomplete; fetch it again");
    expect_index(json, true, ERR_OK, "");
    CHECK_INT(unlink(temp_path("ix/b-2.safetensors")), 0);
    CHECK_INT(mkfifo(temp_path("ix/b-2.safetensors"), 0600), 0);
    expect_index(json, false, ERR_IO, "b-2.safetensors is a pipe, not a regular file");
    CHECK_INT(unlink(temp_path("ix/b-2.safetensors")), 0);
}

TEST(shards__are_unfinished_when_they_are_less_than_the_index_says)
{
    static const struct {
        const char *metadata;
        enum err_code want;
    } cases[] = {
        { "{\"total_size\":8}", ERR_OK },
        { "{\"total_size\":100000}", ERR_CORRUPT },
        { "{\"total_size\":1e5}", ERR_CORRUPT },
        { "{\"total_size\":1e400}", ERR_OK },
        { "{\"total_size\":-1}", ERR_OK },
        { "{\"total_size\":\"100000\"}", ERR_OK },
        { "{\"total_size\":{\"total_size\":100000}}", ERR_OK },
        { "{\"total_size\":[100000]}", ERR_OK },
        { "{\"other\":{\"total_size\":100000}}", ERR_OK },
        { "[100000]", ERR_OK },
        { "null", ERR_OK },
        { "{}", ERR_OK },
        { "{\"total_size\":9223372036854775807}", ERR_CORRUPT },
    };
    char json[256];

    put_shard("ix/a.safetensors", "ab", 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(json, sizeof json, "{\"metadata\":%s,\"weight_map\":{\"a\":\"a.safetensors\"}}",
                       cases[i].metadata);
        expect_index(json, false, cases[i].want, cases[i].want ? "its shards have " : "");
        expect_index(json, true, ERR_OK, "");
    }
}

TEST(shards__survey_says_how_much_is_missing)
{
    static const char json[] = "{\"metadata\":{\"total_size\":%d},\"weight_map\":{\"a\":\"a.safetensors\",\"c\":"
                               "\"b.safetensors\"}}";
    char text[256];
    struct err err = { 0 };
    struct shards s;
    struct arena a;

    put_shard("ix/a.safetensors", "ab", 3);
    put_shard("ix/b.safetensors", "cd", 5);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    (void)snprintf(text, sizeof text, json, 16);
    CHECK_OK(shards_survey(temp_file("ix/m.index.json", text, strlen(text)), &a, &s, &err), err);
    CHECK(s.n_files == 2 && s.missing_bytes == 8 && s.files[1].missing_bytes == 5);
    (void)snprintf(text, sizeof text, json, 100000);
    CHECK_OK(shards_survey(temp_file("ix/n.index.json", text, strlen(text)), &a, &s, &err), err);
    CHECK_INT(s.missing_bytes, 100000 - shards_bytes(&s));
    arena_done(&a);
}

/* --- a split GGUF file --- */

struct part {
    int no, count, tensors; /* as split.* say; tensors -1: no such key */
    const char *names;      /* of tensors [2, 4] of f32 */
    bool shapes;            /* says of "a", "b" and "c" that they were [8] */
};

static struct bytes make_part(const struct part *p)
{
    struct bytes b = { 0 };
    size_t n = strlen(p->names);

    gguf_put_header(&b, 3, n, 2 + (p->tensors >= 0) + 3 * (uint64_t)p->shapes);
    gguf_put_key(&b, "split.no", GGUF_U16);
    bytes_put(&b, &(uint16_t){ (uint16_t)p->no }, 2);
    gguf_put_key(&b, "split.count", GGUF_U16);
    bytes_put(&b, &(uint16_t){ (uint16_t)p->count }, 2);
    if (p->tensors >= 0)
        gguf_put_int(&b, "split.tensors.count", p->tensors);
    for (int i = 0; p->shapes && i < 3; i++) {
        char key[] = "comfy.gguf.orig_shape.a";

        key[sizeof key - 2] = (char)('a' + i);
        gguf_put_ints(&b, key, 1, (int32_t[]){ 8 });
    }
    for (size_t i = 0; i < n; i++)
        gguf_put_tensor(&b, (char[]){ p->names[i], 0 }, TYPE_F32, 32 * i, GGUF_DIMS(4, 2));
    bytes_pad(&b, 32);
    for (size_t i = 0; i < 8 * n; i++)
        bytes_f32(&b, (float)i);
    return b;
}

static void put_part(const char *path, struct part p)
{
    struct bytes b = make_part(&p);

    (void)temp_file(path, b.ptr, b.len);
    bytes_done(&b);
}

static void put_three(void)
{
    put_part("sp/m-00001-of-00003.gguf", (struct part){ 0, 3, 4, "ad", false });
    put_part("sp/m-00002-of-00003.gguf", (struct part){ 1, 3, 4, "b", false });
    put_part("sp/m-00003-of-00003.gguf", (struct part){ 2, 3, 4, "c", false });
}

static void expect_split(const char *path, enum err_code want, const char *part)
{
    for (int survey = 0; survey < 2; survey++) {
        struct err err = { 0 };
        struct shards s;
        struct arena a;
        enum err_code rc;

        CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
        rc = (survey ? shards_survey : shards_open)(temp_path(path), &a, &s, &err);
        if (rc != want || !strstr(err.msg, part))
            test_fail(__FILE__, __LINE__, "%s: %s (%s), want %s with '%s'", path, err_name(rc), err.msg, err_name(want),
                      part);
        if (rc)
            CHECK_INT(a.used, 0);
        arena_done(&a);
    }
}

TEST(shards__open_all_parts_of_a_split_gguf)
{
    struct err err = { 0 };
    struct shards s;
    struct arena a;

    put_three();
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(shards_open(temp_path("sp/m-00001-of-00003.gguf"), &a, &s, &err), err);
    CHECK_INT(s.n_files, 3);
    CHECK(tensor_file_find(&s.files[0], SPAN("d")) && tensor_file_find(&s.files[1], SPAN("b")) &&
          tensor_file_find(&s.files[2], SPAN("c")));
    CHECK(((const float *)tensor_file_find(&s.files[0], SPAN("d"))->data)[7] == 15);
    arena_done(&a);
    /* what gguf-split has joined again says so with a count of 0 */
    put_part("sp/whole.gguf", (struct part){ 0, 0, 2, "ab", false });
    expect_split("sp/whole.gguf", ERR_OK, "");
    put_part("sp/one.gguf", (struct part){ 0, 1, -1, "ab", false });
    expect_split("sp/one.gguf", ERR_OK, "");
}

TEST(shards__give_all_parts_the_shapes_that_the_first_one_keeps)
{
    struct err err = { 0 };
    struct shards s;
    struct arena a;

    put_part("sq/m-00001-of-00002.gguf", (struct part){ 0, 2, 2, "a", true });
    put_part("sq/m-00002-of-00002.gguf", (struct part){ 1, 2, 2, "b", false });
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(shards_open(temp_path("sq/m-00001-of-00002.gguf"), &a, &s, &err), err);
    for (int i = 0; i < 2; i++)
        CHECK(s.files[i].entries[0].n_dims == 1 && s.files[i].entries[0].dims[0] == 8);
    arena_done(&a);
}

TEST(shards__name_the_part_to_open_or_to_fetch)
{
    put_three();
    expect_split("sp/m-00002-of-00003.gguf", ERR_INVALID,
                 "is part 2 of 3 of a split file: name the first part, m-00001-of-00003.gguf");
    CHECK_INT(rename(temp_path("sp/m-00003-of-00003.gguf"), temp_path("sp/renamed.gguf")), 0);
    expect_split("sp/renamed.gguf", ERR_INVALID, "name the first part, whose name ends in -00001-of-00003.gguf");
    expect_split("sp/m-00001-of-00003.gguf", ERR_NOT_FOUND,
                 "needs m-00003-of-00003.gguf, which is not beside it: fetch that file too");
    CHECK_INT(rename(temp_path("sp/m-00001-of-00003.gguf"), temp_path("sp/first.gguf")), 0);
    expect_split("sp/first.gguf", ERR_INVALID, "give all parts the names they were published with");
}

TEST(shards__refuse_parts_of_something_else)
{
    put_three();
    put_part("sp/m-00002-of-00003.gguf", (struct part){ 2, 3, 4, "b", false });
    expect_split("sp/m-00001-of-00003.gguf", ERR_CORRUPT, "says in its metadata that it is part 3 of 3");
    put_part("sp/m-00002-of-00003.gguf", (struct part){ 1, 4, 4, "b", false });
    expect_split("sp/m-00001-of-00003.gguf", ERR_CORRUPT, "says in its metadata that it is part 2 of 4");
    put_part("sp/m-00002-of-00003.gguf", (struct part){ 0, 0, 4, "b", false });
    expect_split("sp/m-00001-of-00003.gguf", ERR_CORRUPT, "says in its metadata that it is part 1 of 1");
    put_part("sp/m-00002-of-00003.gguf", (struct part){ 1, 3, 4, "be", false });
    expect_split("sp/m-00001-of-00003.gguf", ERR_CORRUPT, "have 5 tensors together, but split.tensors.count is 4");
    put_three();
    put_part("sp/m-00001-of-00003.gguf", (struct part){ 0, 3, -1, "a", false }); /* it need not say how many */
    expect_split("sp/m-00001-of-00003.gguf", ERR_OK, "");
    put_part("sp/m-00001-of-00065.gguf", (struct part){ 0, 65, 4, "a", false });
    expect_split("sp/m-00001-of-00065.gguf", ERR_TOO_LARGE, "one of 65 parts; at most 64");
    put_part("sp/m-00001-of-00003.gguf", (struct part){ 3, 3, 4, "a", false });
    expect_split("sp/m-00001-of-00003.gguf", ERR_CORRUPT, "split.no is 3 and split.count 3");
}

TEST(shards__name_a_part_that_is_cut_off)
{
    struct part p = { 1, 3, 4, "b", false };
    struct bytes b = make_part(&p);
    struct err err = { 0 };
    struct shards s;
    struct arena a;

    put_three();
    (void)temp_file("sp/m-00002-of-00003.gguf", b.ptr, b.len - 7);
    bytes_done(&b);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_INT(shards_open(temp_path("sp/m-00001-of-00003.gguf"), &a, &s, &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "m-00002-of-00003.gguf is damaged or incomplete; fetch it again"));
    err = (struct err){ 0 };
    CHECK_OK(shards_survey(temp_path("sp/m-00001-of-00003.gguf"), &a, &s, &err), err);
    CHECK(s.missing_bytes == 7 && s.files[1].missing_bytes == 7 && !s.files[1].entries[0].data);
    arena_done(&a);
}
