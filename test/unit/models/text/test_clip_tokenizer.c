#include "models/text/clip_tokenizer.h"

#include <string.h>
#include <time.h>

#include "kernels/base/file.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/fake/ids.h"

enum { MODEL_BYTES = 16 << 20, FILE_MAX = 4 << 20 };

/* A tokenizer with its arenas. There is one, which each test opens anew. */
struct rig {
    struct arena model, scratch;
    struct clip_tokenizer clip;
};

static struct rig *rig_new(void)
{
    static struct rig rig;
    struct err err = { 0 };

    arena_done(&rig.model);
    arena_done(&rig.scratch);
    CHECK_OK(arena_init(&rig.model, MODEL_BYTES, &err), err);
    CHECK_OK(arena_init(&rig.scratch, CLIP_SCRATCH_BYTES, &err), err);
    return &rig;
}

static struct rig *rig_open(const char *folder)
{
    struct rig *r = rig_new();
    struct err err = { 0 };

    CHECK_OK(clip_tokenizer_open(&r->clip, folder, &r->model, &r->scratch, &err), err);
    CHECK_INT(r->scratch.used, 0);
    return r;
}

/* Reads a vocabulary from texts; NULL: the file is absent. */
static enum err_code rig_read(struct rig *r, const char *merges, const char *vocab, const char *config,
                              const char *special_map)
{
    struct clip_files files = { span_of(merges), span_of(vocab), span_of(config), span_of(special_map) };

    return clip_vocab_read(&r->clip.vocab, &files, &r->model, &r->scratch, NULL);
}

static void check_case(const struct ids_case *c, void *ctx)
{
    struct rig *r = ctx;
    struct err err = { 0 };
    int32_t ids[CLIP_MAX_IDS];
    int n = 0;

    CHECK_OK(clip_tokenize(&r->clip, c->text, ids, &n, &r->scratch, &err), err);
    ids_check(c->text, ids, n, c->ids, c->n);
    CHECK_INT(r->scratch.used, 0);
}

static void check_text(struct rig *r, const char *text, int n, const int32_t *ids)
{
    struct ids_case c = { .text = span_of(text), .n = n };

    memcpy(c.ids, ids, (size_t)n * sizeof *ids);
    check_case(&c, r);
}

TEST(clip_tokenizer__golden_texts_of_the_small_set)
{
    (void)golden("small/models/tokenizer/merges.txt");
    ids_each(golden("small/cases/tokenizer.json"), "clip", check_case, rig_open(golden("small/models/tokenizer")));
}

TEST(clip_tokenizer__golden_texts_of_the_comfy_set)
{
    ids_each(golden("comfy/cases/tokenizer.json"), "clip", check_case, rig_open(golden("comfy/models/tokenizer")));
}

TEST(clip_tokenizer__golden_texts_with_the_real_vocabulary)
{
    ids_each(golden("tokenizers/ids.json"), "clip", check_case, rig_open(golden("tokenizers/tokenizer")));
}

TEST(clip_tokenizer__ids_follow_from_the_merges_alone)
{
    struct rig *r = rig_new();
    struct err err = { 0 };
    struct clip_files files = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, 2 * FILE_MAX, &err), err);
    CHECK_OK(file_read(golden("small/models/tokenizer/merges.txt"), FILE_MAX, &a, &files.merges, &err), err);
    CHECK_OK(clip_vocab_read(&r->clip.vocab, &files, &r->model, &r->scratch, &err), err);
    arena_done(&a);
    ids_each(golden("small/cases/tokenizer.json"), "clip", check_case, r);
}

TEST(clip_tokenizer__published_vectors)
{
    static const struct {
        const char *text;
        int n;
        int32_t ids[12];
    } vectors[] = { /* MODEL.md 7.3 */
        { "a white paper cup", 6, { 49406, 320, 1579, 2802, 1937, 49407 } },
        { "a photo of a cat", 7, { 49406, 320, 1125, 539, 320, 2368, 49407 } },
        { "", 2, { 49406, 49407 } },
        { "It's 2024!!", 9, { 49406, 585, 568, 273, 271, 273, 275, 748, 49407 } },
        { "FLUX.1 Fill-dev", 8, { 49406, 25249, 269, 272, 6277, 268, 3670, 49407 } },
        { "na\xC3\xAFve caf\xC3\xA9", 6, { 49406, 1097, 35689, 563, 15304, 49407 } },
        { "nai\xCC\x88ve cafe\xCC\x81", 6, { 49406, 1097, 35689, 563, 15304, 49407 } }, /* composed by NFC */
        { "inpainting", 4, { 49406, 512, 3086, 49407 } },
    };
    struct rig *r = rig_open(golden("tokenizers/tokenizer"));

    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        check_text(r, vectors[i].text, vectors[i].n, vectors[i].ids);
}

/* Expected ids: transformers 5.23 with the same files. */
TEST(clip_tokenizer__unicode_is_that_of_the_official_library)
{
    static const struct {
        const char *text;
        int n;
        int32_t ids[16];
    } vectors[] = {
        { "\xEA\xB1\x94\xE1\x86\xA7", 8, { 712, 166, 109, 242, 157, 228, 356, 713 } }, /* U+11A7 is not a final jamo */
        { "\xF0\x90\xB5\x8D", 6, { 712, 172, 238, 113, 491, 713 } },
        { "\xF0\x90\xB5\x96x", 7, { 712, 172, 238, 113, 114, 343, 713 } }, /* lower case of Unicode 16 */
        { "\xF0\x94\x83\x84\xF0\xA5\xB7\x81", 10,
          { 712, 172, 242, 225, 226, 172, 98, 115, 479, 713 } }, /* letters of Unicode 16 */
        { "q\xE1\xAB\x84\xCC\xB4", 8, { 712, 336, 157, 104, 226, 136, 368, 713 } }, /* a mark that NFC does not move */
        { "e\xCC\x96\xCC\x81", 5, { 712, 675, 136, 500, 713 } }, /* two marks that NFC reorders */
        { "\xC4\xB0\xCE\xA3", 7, { 712, 328, 136, 485, 139, 481, 713 } }, /* U+0130 becomes i and U+0307; no final sigma */
        { "a\xC2\x85\xE2\x80\x8B" "b", 6, { 712, 320, 532, 489, 321, 713 } }, /* U+0085 is blank, U+200B is not */
        { "\x1C", 3, { 712, 472, 713 } },
        { "<|ENDOFTEXT|>!!", 16, { 712, 27, 347, 68, 77, 533, 69, 83, 68, 87, 339, 91, 285, 0, 256, 713 } },
    };
    struct rig *r = rig_open(golden("small/models/tokenizer"));

    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        check_text(r, vectors[i].text, vectors[i].n, vectors[i].ids);
}

#define SPECIALS_TEXT "a <|STARTOFTEXT|>b <|startoftext|> <|ENDOFTEXT|> <|endoftext|>"

/* Expected ids are those of transformers 5.23 for folders with these files (FLUX.1's vocabulary). */
TEST(clip_tokenizer__special_tokens_are_cut_out_before_or_after_normalising)
{
    static const char normal[] = "{\"added_tokens_decoder\": {"
                                 "\"49406\": {\"content\": \"<|startoftext|>\", \"normalized\": true}}}";
    static const char raw[] = "{\"added_tokens_decoder\": {"
                              "\"49406\": {\"content\": \"<|startoftext|>\", \"normalized\": false}}}";
    static const char both[] = "{\"added_tokens_decoder\": {"
                               "\"49406\": {\"content\": \"<|startoftext|>\", \"normalized\": true}, "
                               "\"49407\": {\"normalized\": true, \"content\": \"<|endoftext|>\"}}}";
    static const char map[] = "{\"bos_token\": {\"content\": \"<|startoftext|>\", \"normalized\": true}, "
                              "\"eos_token\": \"<|endoftext|>\"}";
    static const char openai[] = "{\"bos_token\": {\"content\": \"<|startoftext|>\", \"normalized\": true}, "
                                 "\"eos_token\": {\"content\": \"<|endoftext|>\", \"normalized\": true}, "
                                 "\"pad_token\": \"<|endoftext|>\"}";
    static const int32_t as_normal[] = { 49406, 320, 49406, 321, 49406, 27, 347, 40786, 4160, 91, 285, 49407, 49407 };
    static const int32_t as_raw[] = { 49406, 320, 27, 347, 993, 6659, 4160, 91, 285, 321,
                                      49406, 27, 347, 40786, 4160, 91, 285, 49407, 49407 };
    static const int32_t as_both[] = { 49406, 320, 49406, 321, 49406, 49407, 49407, 49407 };
    static const struct {
        const char *config, *special_map;
        int n;
        const int32_t *ids;
    } cases[] = {
        { NULL, NULL, 19, as_raw },   { normal, NULL, 13, as_normal }, { raw, map, 19, as_raw },
        { "{}", map, 13, as_normal }, { NULL, map, 13, as_normal },    { both, NULL, 8, as_both },
        { openai, NULL, 13, as_normal }, { NULL, openai, 13, as_normal },
    };
    struct arena a;
    struct err err = { 0 };
    struct span merges = { 0 };

    CHECK_OK(arena_init(&a, 2 * FILE_MAX, &err), err);
    CHECK_OK(file_read(golden("tokenizers/tokenizer/merges.txt"), FILE_MAX, &a, &merges, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *r = rig_new();

        CHECK_INT(rig_read(r, merges.ptr, NULL, cases[i].config, cases[i].special_map), ERR_OK);
        check_text(r, SPECIALS_TEXT, cases[i].n, cases[i].ids);
    }
    arena_done(&a);
}

TEST(clip_tokenizer__keeps_75_ids_and_pads_with_the_end)
{
    struct rig *r = rig_open(golden("small/models/tokenizer"));
    struct err err = { 0 };
    int32_t ids[CLIP_MAX_IDS];
    char text[200];
    int n = 0;

    memset(text, '7', sizeof text); /* each digit is one id */
    for (int len = 74; len <= 76; len++) {
        CHECK_OK(clip_tokenize(&r->clip, (struct span){ text, (size_t)len }, ids, &n, &r->scratch, &err), err);
        CHECK_INT(n, len < 75 ? len + 2 : 77);
        CHECK_INT(ids[0], 712);
        CHECK_INT(ids[n - 1], 713);
        CHECK_INT(ids[n - 2], ids[1]);
    }
    CHECK_OK(clip_tokenize(&r->clip, SPAN("7"), ids, &n, &r->scratch, &err), err);
    clip_pad(&r->clip, ids, n);
    for (int i = 2; i < CLIP_MAX_IDS; i++)
        CHECK_INT(ids[i], 713);
}

TEST(clip_tokenizer__refuses_text_that_is_not_utf8_or_too_long)
{
    struct rig *r = rig_open(golden("small/models/tokenizer"));
    static char longest[TEXT_MAX_BYTES + 1];
    int32_t ids[CLIP_MAX_IDS];
    int n = -7;

    CHECK_INT(clip_tokenize(&r->clip, SPAN("a\xC3"), ids, &n, &r->scratch, NULL), ERR_INVALID);
    CHECK_INT(clip_tokenize(&r->clip, SPAN("\xED\xA0\x80"), ids, &n, &r->scratch, NULL), ERR_INVALID);
    memset(longest, 'a', sizeof longest);
    CHECK_INT(clip_tokenize(&r->clip, (struct span){ longest, sizeof longest }, ids, &n, &r->scratch, NULL),
              ERR_TOO_LARGE);
    CHECK_INT(n, -7);
    CHECK_INT(r->scratch.used, 0);
}

/* One long word, marks in the worst order, the largest growth under NFC, special tokens only. */
TEST(clip_tokenizer__hostile_text_takes_little_time_and_memory)
{
    static const char *const units[] = {
        "a", "th", " ", "!", "<|", "<|endoftext|>", "<|ENDOFTEXT|>", "\xCC\x81\xCC\xA3\xCC\xB4", "\xF0\x9D\x85\xA0",
        "\xC4\xB0",
    };
    struct rig *r = rig_open(golden("small/models/tokenizer"));
    static char text[TEXT_MAX_BYTES];

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t len = strlen(units[i]), at = 0;
        struct err err = { 0 };
        int32_t ids[CLIP_MAX_IDS];
        int n = 0;
        clock_t start = clock();

        for (; at + len <= sizeof text; at += len)
            memcpy(text + at, units[i], len);
        CHECK_OK(clip_tokenize(&r->clip, (struct span){ text, at }, ids, &n, &r->scratch, &err), err);
        CHECK(n >= 2 && n <= CLIP_MAX_IDS && ids[n - 1] == 713);
        CHECK(clock() - start < 4 * CLOCKS_PER_SEC); /* takes 0.05 s; an algorithm of quadratic time would take a minute */
    }
}

TEST(clip_tokenizer__merges_without_a_comment_or_with_carriage_returns)
{
    struct rig *r = rig_new();

    CHECK_INT(rig_read(r, "#version: 0.2\r\na b\r\n\r\nab c</w>\r\n", NULL, NULL, NULL), ERR_OK);
    CHECK_INT(r->clip.vocab.bpe.n, 2);
    CHECK_INT(rig_read(r, "a b\nab c</w>", NULL, NULL, NULL), ERR_OK);
    CHECK_INT(r->clip.vocab.bpe.n, 2);
    CHECK_INT(r->clip.vocab.special_id[CLIP_START], 514);
    CHECK_INT(r->clip.vocab.special_id[CLIP_END], 515);
    /* a 64, b 65, c 66; ab 512, abc</w> 513 */
    check_text(r, "abc ababc", 5, (const int32_t[]){ 514, 513, 512, 513, 515 });
}

/* The end of merges.txt is missing, at the end of a line: texts would get other ids. */
TEST(clip_tokenizer__refuses_merges_that_are_not_all_there)
{
    static const char vocab[] = "{\"a\": 0, \"b\": 1, \"a</w>\": 2, \"b</w>\": 3, \"ab\": 4, \"ab</w>\": 5, "
                                "\"aab</w>\": 6, \"<|startoftext|>\": 7, \"<|endoftext|>\": 8}";
    struct rig *r = rig_new();

    CHECK_INT(rig_read(r, "a b\na b</w>\na ab</w>\n", vocab, NULL, NULL), ERR_OK);
    CHECK_INT(rig_read(r, "a b\na b</w>\na ab</w>", vocab, NULL, NULL), ERR_OK);
    CHECK_INT(rig_read(r, "a b\na b</w>\n", vocab, NULL, NULL), ERR_CORRUPT);
    CHECK_INT(rig_read(r, "a b\n", vocab, NULL, NULL), ERR_CORRUPT);
    CHECK_INT(rig_read(r, "", vocab, NULL, NULL), ERR_CORRUPT);
}

TEST(clip_tokenizer__refuses_damaged_vocabularies)
{
    static const char *const bad_merges[] = { "a", "a b c", " a", "a ", "a  b", "foo bar", "a \xC3", "#version\na" };
    static const char *const bad_vocabs[] = {
        "[]", "{", "{\"a\": -1}", "{\"a\": 1.5}", "{\"a\": \"b\"}", "{\"a\": 99999999999}", "{\"a\": 1,}",
        "{\"a\": 1} x", "{\"a\": 1}", "{\"<|startoftext|>\": 1}", "{\"a\": [1]}",
    };
    static const char *const bad_configs[] = {
        "[]", "{\"added_tokens_decoder\": {\"1\": {\"content\": }}}", "{\"added_tokens_decoder\"", "{} {}",
        "{\"bos_token\": {\"content\": \"x\"]",
    };
    struct rig *r = rig_new();

    for (size_t i = 0; i < sizeof bad_merges / sizeof *bad_merges; i++)
        CHECK_INT(rig_read(r, bad_merges[i], NULL, NULL, NULL), ERR_CORRUPT);
    for (size_t i = 0; i < sizeof bad_vocabs / sizeof *bad_vocabs; i++)
        CHECK_INT(rig_read(r, "", bad_vocabs[i], NULL, NULL), ERR_CORRUPT);
    for (size_t i = 0; i < sizeof bad_configs / sizeof *bad_configs; i++) {
        CHECK_INT(rig_read(r, "", NULL, bad_configs[i], NULL), ERR_CORRUPT);
        CHECK_INT(rig_read(r, "", NULL, NULL, bad_configs[i]), ERR_CORRUPT);
    }
    CHECK_INT(rig_read(r, "", "{\"<|startoftext|>\": 1, \"<|endoftext|>\": 2}", NULL, NULL), ERR_OK);
    CHECK_INT(rig_read(r, "", "{\"<|startoftext|>\": 2, \"<|endoftext|>\": 1}", NULL, NULL), ERR_UNSUPPORTED);
    CHECK_INT(r->scratch.used, 0);
}
