#include "models/text/t5_tokenizer.h"

#include <stdlib.h>
#include <time.h>

#include "kernels/base/file.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/fake/ids.h"

enum { MODEL_BYTES = 64 << 20 };

/* A tokenizer with its arenas. There is one, which each test opens anew. */
struct rig {
    struct arena model, scratch;
    struct t5_tokenizer t5;
};

static struct rig *rig_new(void)
{
    static struct rig rig;
    struct err err = { 0 };

    arena_done(&rig.model);
    arena_done(&rig.scratch);
    CHECK_OK(arena_init(&rig.model, MODEL_BYTES, &err), err);
    CHECK_OK(arena_init(&rig.scratch, T5_SCRATCH_BYTES, &err), err);
    return &rig;
}

static struct rig *rig_open(const char *path)
{
    struct rig *r = rig_new();
    struct err err = { 0 };

    CHECK_OK(t5_tokenizer_open(&r->t5, path, &r->model, &r->scratch, &err), err);
    CHECK_INT(r->scratch.used, 0);
    return r;
}

static struct rig *rig_open_gguf(const char *path)
{
    struct rig *r = rig_new();
    struct tensor_file file = { 0 };
    struct err err = { 0 };

    CHECK_OK(tensor_file_open(path, &r->model, &file, &err), err);
    CHECK_OK(t5_tokenizer_open_gguf(&r->t5, file.gguf, &r->model, &r->scratch, &err), err);
    return r;
}

static void check_case(const struct ids_case *c, void *ctx)
{
    struct rig *r = ctx;
    struct err err = { 0 };
    int32_t ids[T5_MAX_TOKENS];
    int n = 0;

    CHECK_OK(t5_tokenize(&r->t5, c->text, T5_MAX_TOKENS, ids, &n, &r->scratch, &err), err);
    ids_check(c->text, ids, n, c->ids, c->n);
    CHECK_INT(r->scratch.used, 0);
}

TEST(t5_tokenizer__golden_texts_with_spiece_model)
{
    ids_each(golden("small/cases/tokenizer.json"), "t5", check_case,
             rig_open(golden("small/models/tokenizer_2/spiece.model")));
}

TEST(t5_tokenizer__golden_texts_with_tokenizer_json)
{
    ids_each(golden("small/cases/tokenizer.json"), "t5", check_case,
             rig_open(golden("small/models/tokenizer_2/tokenizer.json")));
}

TEST(t5_tokenizer__golden_texts_with_gguf)
{
    ids_each(golden("comfy/cases/tokenizer.json"), "t5", check_case,
             rig_open_gguf(golden("comfy/models/t5-encoder-Q8_0.gguf")));
}

TEST(t5_tokenizer__golden_texts_with_the_real_vocabulary)
{
    ids_each(golden("tokenizers/ids.json"), "t5", check_case,
             rig_open(golden("tokenizers/tokenizer_2/tokenizer.json")));
}

struct vector {
    const char *text;
    int n;
    int32_t ids[16];
};

static void check_vectors(struct rig *r, const struct vector *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ids_case c = { .text = span_of(v[i].text), .n = v[i].n };

        memcpy(c.ids, v[i].ids, sizeof v[i].ids);
        check_case(&c, r);
    }
}

TEST(t5_tokenizer__published_vectors)
{
    static const struct vector vectors[] = { /* MODEL.md 6.5 */
        { "Grass.", 6, { 3, 4744, 7, 7, 5, 1 } },
        { "a white paper cup", 6, { 3, 9, 872, 1040, 4119, 1 } },
        { "  leading and   inner  spaces\tand tabs\nand newlines  ", 11,
          { 1374, 11, 4723, 4856, 11, 3808, 7, 11, 126, 6972, 1 } },
        { "</s> <pad> <extra_id_0> literal", 5, { 1, 0, 32099, 26998, 1 } },
        { "\xE7\x8A\xAC\xE3\x81\x8C\xE8\x8D\x89", 3, { 3, 2, 1 } }, /* adjacent unknowns become one id */
        { "", 1, { 1 } },
        { "   ", 1, { 1 } },
        { "\xEF\xBC\x9Cpad\xEF\xBC\x9E", 3, { 3, 0, 1 } }, /* full-width brackets: not cut out as a special token, yet equal to its piece once normalised */
    };

    check_vectors(rig_open(golden("tokenizers/tokenizer_2/tokenizer.json")), vectors, sizeof vectors / sizeof *vectors);
}

/* Expected ids: tokenizers 0.23.3 with the same file. */
TEST(t5_tokenizer__clusters_are_replaced_as_the_official_library_does)
{
    static const struct vector vectors[] = {
        { "\xEF\xBC\xA1\xCC\x81 b", 4, { 15, 3, 395, 1 } }, /* full-width A and a mark: replaced whole */
        { "\xE2\x84\xA2\xCC\x81", 3, { 16, 36, 1 } },
        { "\xC2\xA9\xE2\x80\x8D\xE2\x84\xA2\xCC\x81", 6, { 3, 2, 391, 36, 2, 1 } }, /* pictographs and a joiner */
        { "\xD8\x80" "e\xCC\x81", 5, { 3, 2, 7, 2, 1 } },    /* a prepender */
        { "\xF0\x91\xA8\xBA" "e\xCC\x81", 4, { 3, 2, 81, 1 } }, /* U+11A3A: not a prepender since Unicode 16 */
        { "e\xCC\x81\xF0\x90\xB5\xAB", 4, { 3, 7, 2, 1 } }, /* U+10D6B, a mark of Unicode 16 */
        { "a\r\n\xCC\x81" "b", 5, { 40, 3, 2, 395, 1 } },
        { "\xE2\x96\x81\xE2\x96\x81" "a", 2, { 40, 1 } },
        { "a</s> b", 5, { 40, 1, 3, 395, 1 } }, /* after a special token, only a blank becomes a word mark */
        { "a </s>b", 4, { 40, 1, 395, 1 } },
    };

    size_t n = sizeof vectors / sizeof *vectors;

    check_vectors(rig_open(golden("small/models/tokenizer_2/tokenizer.json")), vectors, n);
    check_vectors(rig_open(golden("small/models/tokenizer_2/spiece.model")), vectors, n);
}

TEST(t5_tokenizer__cuts_off_before_the_end_id_and_pads)
{
    struct rig *r = rig_open(golden("small/models/tokenizer_2/spiece.model"));
    struct err err = { 0 };
    int32_t whole[T5_MAX_TOKENS], ids[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    int n_whole = 0, n = 0;
    struct span text = SPAN("a white paper cup on the green grass");

    CHECK_OK(t5_tokenize(&r->t5, text, T5_MAX_TOKENS, whole, &n_whole, &r->scratch, &err), err);
    CHECK(n_whole > 8);
    for (int max = 1; max <= 7; max++) {
        CHECK_OK(t5_tokenize(&r->t5, text, max, ids, &n, &r->scratch, &err), err);
        CHECK_INT(n, max);
        CHECK(memcmp(ids, whole, (size_t)(max - 1) * sizeof *ids) == 0);
        CHECK_INT(ids[max - 1], 1);
        CHECK_INT(ids[max], -1);
    }
    t5_pad(&r->t5, ids, 3, 8);
    CHECK_INT(ids[2], whole[2]);
    for (int i = 3; i < 8; i++)
        CHECK_INT(ids[i], 0);
}

TEST(t5_tokenizer__refuses_text_that_is_not_utf8_or_too_long)
{
    static const char *const bad[] = { "\x80", "a\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF" };
    struct rig *r = rig_open(golden("small/models/tokenizer_2/spiece.model"));
    static char longest[TEXT_MAX_BYTES + 1];
    int32_t ids[T5_MAX_TOKENS];
    int n = -7;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(t5_tokenize(&r->t5, span_of(bad[i]), T5_MAX_TOKENS, ids, &n, &r->scratch, NULL), ERR_INVALID);
    memset(longest, 'a', sizeof longest);
    CHECK_INT(t5_tokenize(&r->t5, (struct span){ longest, sizeof longest }, T5_MAX_TOKENS, ids, &n, &r->scratch, NULL),
              ERR_TOO_LARGE);
    CHECK_INT(n, -7);
    CHECK_INT(r->scratch.used, 0);
}

/* Texts of the greatest length: one word, all marks, all special tokens, the largest expansion. */
TEST(t5_tokenizer__hostile_text_takes_little_time_and_memory)
{
    static const char *const units[] = {
        "a", " ", "s", "<", "</s>", "<extra_id_", "\xCC\x81",
        "\xEF\xB7\xBA", "\xE3\x8C\x96", "\xE2\x96\x81", "\xF0\x9F\x90\xB6",
    };
    struct rig *r = rig_open(golden("small/models/tokenizer_2/tokenizer.json"));
    static char text[TEXT_MAX_BYTES];

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t len = strlen(units[i]), at = 0;
        struct err err = { 0 };
        int32_t ids[T5_MAX_TOKENS];
        int n = 0;
        clock_t start = clock();

        for (; at + len <= sizeof text; at += len)
            memcpy(text + at, units[i], len);
        CHECK_OK(t5_tokenize(&r->t5, (struct span){ text, at }, T5_MAX_TOKENS, ids, &n, &r->scratch, &err), err);
        CHECK(n >= 1 && n <= T5_MAX_TOKENS && ids[n - 1] == 1);
        CHECK(clock() - start < 4 * CLOCKS_PER_SEC); /* takes 0.05 s; an algorithm of quadratic time would take a minute */
    }
}
