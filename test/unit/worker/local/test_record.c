#include "worker/local/record.h"

#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

static struct arena arena;
static struct err err;

static void fresh(void)
{
    arena_done(&arena);
    err = (struct err){ 0 };
    CHECK_OK(arena_init(&arena, 16 << 20, &err), err);
}

/* A request whose every member differs from its default. */
static struct edit_request unusual(void)
{
    struct edit_request q = {
        .original = SPAN("photo"),
        .mask = SPAN("mask"),
        .pictures = { .max_pixels = 1234567,
                      .geometry = PICTURE_FULL,
                      .patch_match = true,
                      .mask_grow_px = 9,
                      .mask_feather_px = 3,
                      .mask_max_share = 0.1,
                      .shadow = true,
                      .output = PICTURE_SPLICE,
                      .fast_huffman = true,
                      .second_pass = PICTURE_SECOND_BOTH,
                      .decode_jail = true,
                      .heic = true },
        .paint = { .kind = EDIT_PAINT_SOLID, .name = "solid:0a0b0c", .rgb = { 10, 11, 12 } },
        .mask_wishes = { MASK_KIND_CUT_OUT, MASK_STORED },
        .wishes = { .prompt = "gr\xc3\xa4s \"x\"" },
        .fill = { FILL_REQUEST_DEFAULTS },
    };

    q.fill.steps = 7;
    q.fill.guidance = 0.1 + 0.2;
    q.fill.seed = UINT64_MAX;
    return q;
}

static void make(const struct edit_request *q, struct record *ret)
{
    const struct edit_result result = { .files = { .edited = SPAN("abc"), .preview = SPAN("") } };

    CHECK_OK(record_of_request(q, NULL, &arena, ret, &err), err);
    CHECK_OK(record_add_result(ret, &result, &err), err);
}

TEST(record__comes_back_as_it_was_written)
{
    const struct edit_request q = unusual();
    const char *path = temp_path("record.json");
    struct record x, y;
    bool same = false;

    fresh();
    make(&q, &x);
    CHECK_OK(record_write(path, &x, &arena, &err), err);
    CHECK_OK(record_read(path, &arena, &y, &err), err);
    CHECK_OK(record_same_request(&x, &y, &arena, &same, &err), err);
    CHECK(same && record_same_file(&x.edited, &y.edited) && record_same_file(&x.preview, &y.preview));
    CHECK_STR(y.edited.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4 */
    CHECK(y.request.fill.seed == UINT64_MAX && y.request.fill.guidance == 0.1 + 0.2 && y.request.fill.steps == 7);
    CHECK(y.request.mask_wishes.kind == MASK_KIND_CUT_OUT && y.request.mask_wishes.orientation == MASK_STORED);
    CHECK(memcmp(&y.request.pictures, &q.pictures, sizeof q.pictures) == 0);
    CHECK(y.request.paint.kind == EDIT_PAINT_SOLID && memcmp(y.request.paint.rgb, q.paint.rgb, 3) == 0);
    CHECK_STR(y.request.wishes.prompt, q.wishes.prompt);
    CHECK(!y.model);
    arena_done(&arena);
}

TEST(record__differs_when_anything_that_decides_does)
{
    struct edit_request q[10];
    struct record x, y;

    fresh();
    for (int i = 0; i < 10; i++)
        q[i] = unusual();
    q[1].fill.seed--;
    q[2].fill.guidance = 0.3;
    q[3].original = SPAN("phot0");
    q[4].mask = SPAN("masks");
    q[5].wishes.prompt = "grass";
    q[6].pictures.shadow = false;
    q[7].pictures.mask_max_share = 0.2;
    q[8].paint.rgb[2]++;
    q[9].fill.steps = 8;
    make(&q[0], &x);
    for (int i = 0; i < 10; i++) {
        bool same = false;

        make(&q[i], &y);
        CHECK_OK(record_same_request(&x, &y, &arena, &same, &err), err);
        CHECK(same == (i == 0));
    }
    y = x;
    y.version = "other";
    y.edited.bytes++; /* what came out does not count */
    for (int i = 0; i < 2; i++) {
        bool same = !i;

        CHECK_OK(record_same_request(&x, &y, &arena, &same, &err), err);
        CHECK(same == (i == 1));
        y.version = x.version;
    }
    arena_done(&arena);
}

/* The text with its first `from` made `to`; both may have any length. */
static const char *changed(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *ret = NULL;

    CHECK(at);
    CHECK_OK(arena_printf(&arena, &ret, &err, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)), err);
    return ret;
}

TEST(record__says_what_is_wrong_with_a_file)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        { "\"record\":1", "\"record\":2", "of the format 2, and this version reads format 1" },
        { "\"record\":1", "\"other\":1", "not a record of `edit --record`" },
        { "\"steps\":7", "\"steps\":0", "'steps' is not a whole number from 1 to 1000" },
        { "\"steps\":7", "\"steps\":7.5", "'steps'" },
        { "\"seed\":\"1", "\"seed\":\"-1", "'seed' is not a text of digits" },
        { "\"seed\":\"1", "\"seed\":\"9999", "'seed'" },
        { "\"seed\":\"1", "\"seed\":\"9", "'seed'" }, /* beyond 2^64 */
        { "\"guidance\":0", "\"guidance\":1e9,\"x\":0", "'guidance' is not a number from 0 to 1000" },
        { "\"geometry\":\"full\"", "\"geometry\":\"round\"", "'geometry' is not a word that this version knows" },
        { "\"heic\":true", "\"heic\":1", "'heic' is not true or false" },
        { "\"maskGrow\":9", "\"maskGrow\":-9", "'maskGrow'" },
        { "\"rgb\":\"0a", "\"rgb\":\"0", "'rgb' is not six hexadecimal digits" },
        { "\"paint\":\"solid\"", "\"paint\":\"model\"", "'model' is not a text" },
        { "\"paint\":\"solid\"", "\"paint\":\"file\"", "'paint' is not a file with its bytes and its sha256" },
        { "\"original.jpg\"", "\"orig.jpg\"", "'original.jpg' is not a file" },
        { "ba7816bf", "BA7816BF", "'edited.jpg'" },
        { "\"prompt\":\"", "\"prompt\":null,\"x\":\"", "'prompt' is not a text" },
        { "{\"record\"", "[{\"record\"", "" },
    };
    const struct edit_request q = unusual();
    struct record x;
    char *text = NULL;

    fresh();
    make(&q, &x);
    CHECK_OK(json_print(&arena, record_to_json(&x, &arena), &text, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *bad = changed(text, cases[i].from, cases[i].to);
        const char *path = temp_file("bad.json", bad, strlen(bad));

        CHECK(record_read(path, &arena, &x, &err) != ERR_OK);
        CHECK(strstr(err.msg, cases[i].words) && strstr(err.msg, "bad.json"));
        err = (struct err){ 0 };
    }
    CHECK_INT(record_read("/no/such/record", &arena, &x, &err), ERR_NOT_FOUND);
    arena_done(&arena);
}
