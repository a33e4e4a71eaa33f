#include "models/text/t5_vocab.h"

#include <stdlib.h>

#include "kernels/base/file.h"
#include "models/text/t5_tokenizer.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 64 << 20, FILE_MAX = 1 << 20, SEED = 20240501 };

typedef enum err_code reader(struct span file, struct arena *a, struct t5_vocab *ret, struct err *err);

static struct arena *arena_fresh(void)
{
    static struct arena a;

    arena_done(&a);
    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    return &a;
}

/* Reads a vocabulary and makes a tokenizer from it, as t5_tokenizer_open() does. */
static enum err_code open_all(reader *read, struct span file, struct arena *a)
{
    struct arena_mark mark = arena_mark(a);
    struct t5_tokenizer t;
    struct t5_vocab v;
    struct err err = { 0 };
    enum err_code rc = read(file, a, &v, &err);

    if (!rc)
        rc = t5_tokenizer_init(&t, &v, a, &err);
    arena_rewind(a, mark);
    CHECK(rc == err.code && !!rc == !!err.msg[0]);
    return rc;
}

/* Cuts the file at every byte of its first and last 300, and at every `step`-th byte between. */
static void check_cut_off(reader *read, const char *path, size_t step)
{
    struct arena *a = arena_fresh();
    struct span file = { 0 };
    struct err err = { 0 };

    CHECK_OK(file_read(path, FILE_MAX, a, &file, &err), err);
    CHECK_INT(open_all(read, file, a), ERR_OK);
    for (size_t n = 0; n < file.len; n += n < 300 || n + 300 + step > file.len ? 1 : step) {
        char *cut = exact_copy(file.ptr, n);
        enum err_code rc = open_all(read, (struct span){ cut, n }, a);

        free(cut);
        if (rc == ERR_OK)
            test_fail(__FILE__, __LINE__, "%s: the first %zu of %zu bytes pass", path, n, file.len);
    }
}

/* Changes bytes at random. The file may be accepted or refused, but nothing is read out of bounds. */
static void check_flipped(reader *read, const char *path, int rounds)
{
    struct arena *a = arena_fresh();
    struct span file = { 0 };
    struct err err = { 0 };
    unsigned short rnd[3] = { SEED & 0xFFFF, SEED >> 16, 0 };
    char *copy;

    CHECK_OK(file_read(path, FILE_MAX, a, &file, &err), err);
    copy = exact_copy(file.ptr, file.len);
    for (int i = 0; i < rounds; i++) {
        size_t at[8];

        for (size_t k = 0; k < 8; k++) {
            at[k] = (size_t)nrand48(rnd) % file.len;
            copy[at[k]] = (char)nrand48(rnd);
        }
        (void)open_all(read, (struct span){ copy, file.len }, a);
        for (size_t k = 0; k < 8; k++)
            copy[at[k]] = file.ptr[at[k]];
    }
    free(copy);
}

TEST(t5_vocab__refuses_a_spiece_model_cut_off_anywhere)
{
    check_cut_off(t5_vocab_from_spiece, golden("small/models/tokenizer_2/spiece.model"), 397);
}

TEST(t5_vocab__refuses_a_tokenizer_json_cut_off_anywhere)
{
    check_cut_off(t5_vocab_from_json, golden("small/models/tokenizer_2/tokenizer.json"), 997);
}

TEST(t5_vocab__survives_changed_bytes)
{
    check_flipped(t5_vocab_from_spiece, golden("small/models/tokenizer_2/spiece.model"), 200);
    check_flipped(t5_vocab_from_json, golden("small/models/tokenizer_2/tokenizer.json"), 200);
}

/* --- spiece.model files made by hand --- */

static void put_field(struct bytes *b, int number, struct span message)
{
    CHECK(number < 16 && message.len < 128);
    bytes_u8(b, (uint8_t)(number << 3 | 2));
    bytes_u8(b, (uint8_t)message.len);
    bytes_put(b, message.ptr, message.len);
}

static void put_piece(struct bytes *b, const char *text, float score, int type)
{
    struct bytes piece = { 0 };

    put_field(&piece, 1, span_of(text));
    bytes_u8(&piece, 2 << 3 | 5);
    bytes_f32(&piece, score);
    bytes_u8(&piece, 3 << 3 | 0);
    bytes_u8(&piece, (uint8_t)type);
    put_field(b, 1, (struct span){ piece.ptr, piece.len });
    bytes_done(&piece);
}

static void put_specials(struct bytes *b)
{
    put_piece(b, "<pad>", 0, 3);
    put_piece(b, "</s>", 0, 3);
    put_piece(b, "<unk>", 0, 2);
}

static enum err_code read_and_done(struct bytes *b)
{
    char *exact = exact_copy(b->ptr, b->len);
    enum err_code rc = open_all(t5_vocab_from_spiece, (struct span){ exact, b->len }, arena_fresh());

    free(exact);
    bytes_done(b);
    return rc;
}

TEST(t5_vocab__judges_a_spiece_model_by_its_settings)
{
    static const struct {
        const char *trainer;
        size_t n;
        enum err_code want;
    } cases[] = {
        { "", 0, ERR_OK },
        { "\x18\x01", 2, ERR_OK },              /* model type Unigram */
        { "\x18\x02", 2, ERR_UNSUPPORTED },     /* BPE */
        { "\x98\x02\x01", 3, ERR_UNSUPPORTED }, /* byte fallback */
        { "\x98\x02\x00", 3, ERR_OK },
        { "\xD0\x02\x63", 3, ERR_CORRUPT },     /* end id 99 of 4 pieces */
        { "\x18", 1, ERR_CORRUPT },
        { "\x1B", 1, ERR_CORRUPT },             /* a group */
        { "\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 11, ERR_CORRUPT }, /* over 64 bits */
        { "\x00\x01", 2, ERR_CORRUPT },         /* field 0 */
        { "\x0A\x7F", 2, ERR_CORRUPT },         /* longer than the message */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };

        put_specials(&b);
        put_piece(&b, "a", -1, 1);
        put_field(&b, 2, (struct span){ cases[i].trainer, cases[i].n });
        put_field(&b, 3, SPAN(""));
        CHECK_INT(read_and_done(&b), cases[i].want);
    }
}

TEST(t5_vocab__judges_a_spiece_model_by_its_pieces)
{
    static const struct {
        const char *text;
        float score;
        int type;
        enum err_code want;
    } cases[] = {
        { "a", -1, 1, ERR_OK },
        { "a", -1, 5, ERR_OK },
        { "a", -1, 2, ERR_CORRUPT }, /* a second unknown piece */
        { "a", -1, 6, ERR_UNSUPPORTED },
        { "", -1, 1, ERR_CORRUPT },
        { "\xC3", -1, 1, ERR_CORRUPT },
        { "a", __builtin_nanf(""), 1, ERR_CORRUPT },
        { "a", -__builtin_inff(), 1, ERR_CORRUPT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = { 0 };

        put_specials(&b);
        put_piece(&b, cases[i].text, cases[i].score, cases[i].type);
        put_field(&b, 2, SPAN(""));
        put_field(&b, 3, SPAN(""));
        CHECK_INT(read_and_done(&b), cases[i].want);
    }
}

/* --- charsmaps --- */

static enum err_code open_map(const uint32_t *units, size_t n, const char *pool, size_t n_pool)
{
    struct bytes b = { 0 };
    struct charsmap m;
    char *exact;
    enum err_code rc;

    bytes_u32(&b, (uint32_t)(4 * n));
    for (size_t i = 0; i < n; i++)
        bytes_u32(&b, units[i]);
    bytes_put(&b, pool, n_pool);
    exact = exact_copy(b.ptr, b.len);
    rc = charsmap_open(&m, (struct span){ exact, b.len }, arena_fresh(), NULL);
    free(exact);
    bytes_done(&b);
    return rc;
}

enum { HAS_LEAF = 1 << 8, UNITS = 256 };

/* A trie that maps "a" to the string at `leaf`: the root is unit 0, its child 'a' has offset 1 and a leaf. */
static void small_trie(uint32_t units[UNITS], uint32_t leaf)
{
    memset(units, 0, UNITS * sizeof *units);
    units['a'] = 'a' | HAS_LEAF | 1 << 10;
    units['a' ^ 1] = leaf | 0x80000000;
}

TEST(charsmap__replaces_what_it_lists)
{
    uint32_t units[UNITS];
    struct bytes b = { 0 };
    struct charsmap m;
    struct span out = { 0 };
    struct arena *a = arena_fresh();
    struct err err = { 0 };

    small_trie(units, 2);
    bytes_u32(&b, 4 * UNITS);
    for (size_t i = 0; i < UNITS; i++)
        bytes_u32(&b, units[i]);
    bytes_put(&b, "x\0yz\0", 5);
    CHECK_OK(charsmap_open(&m, (struct span){ b.ptr, b.len }, a, &err), err);
    CHECK_OK(charsmap_apply(&m, SPAN("banane a\xCC\x81 a\xCC\x81\xCC\x81\xCC\x81"), a, &out, &err), err);
    /* a cluster under six bytes is replaced as a whole, a longer one code point by code point */
    CHECK(span_is(out, "byznyzne yz yz\xCC\x81\xCC\x81\xCC\x81"));
    bytes_done(&b);
}

/* A page of the file was never written: texts with what it lists would get other ids. */
TEST(charsmap__refuses_a_hole)
{
    uint32_t head[1 + UNITS] = { 4 * UNITS };
    static char big[64 << 10];
    struct charsmap m;
    struct err err = { 0 };

    small_trie(head + 1, 0);
    memset(big, 'x', sizeof big);
    for (size_t i = 99; i < sizeof big; i += 100)
        big[i] = 0;
    memcpy(big, head, sizeof head);
    big[sizeof big - 1] = 0;
    CHECK_OK(charsmap_open(&m, (struct span){ big, sizeof big }, arena_fresh(), &err), err);
    memset(big + 5000, 0, 4096);
    CHECK_INT(charsmap_open(&m, (struct span){ big, sizeof big }, arena_fresh(), &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "the download was not finished"));
}

TEST(charsmap__replaces_white_space_and_controls_when_there_is_none)
{
    struct charsmap m;
    struct span out = { 0 };
    struct arena *a = arena_fresh();
    struct err err = { 0 };

    CHECK_OK(charsmap_open(&m, SPAN(""), a, &err), err);
    CHECK_OK(charsmap_apply(&m, SPAN("a\tb\nc\rd\xC2\xA0" "e\x01" "f\xC3\xA9"), a, &out, &err), err);
    CHECK(span_is(out, "a b c d e" "f\xC3\xA9"));
}

TEST(charsmap__refuses_wild_indices)
{
    uint32_t units[UNITS];

    small_trie(units, 0);
    CHECK_INT(open_map(units, UNITS, "x", 2), ERR_OK);
    CHECK_INT(open_map(units, UNITS, "x", 1), ERR_CORRUPT); /* no NUL at the end */
    CHECK_INT(open_map(units, UNITS, "", 0), ERR_CORRUPT);
    CHECK_INT(open_map(units, UNITS - 1, "x", 2), ERR_CORRUPT); /* a child may be outside */
    CHECK_INT(open_map(units, 0, "x", 2), ERR_CORRUPT);
    small_trie(units, 2);
    CHECK_INT(open_map(units, UNITS, "x", 2), ERR_CORRUPT); /* beyond the pool */
    small_trie(units, 0x7FFFFFFF);
    CHECK_INT(open_map(units, UNITS, "x", 2), ERR_CORRUPT);
    small_trie(units, 1);
    CHECK_INT(open_map(units, UNITS, "\xC3\xA9", 3), ERR_CORRUPT); /* inside a character */
    small_trie(units, 0);
    units['a'] = 'a' | HAS_LEAF | 0x1FFFFFu << 10;
    CHECK_INT(open_map(units, UNITS, "x", 2), ERR_CORRUPT);
    units['a'] = 'a' | 0x200 | 0x1FFFFFu << 10; /* bit 9 shifts the offset by another eight bits */
    CHECK_INT(open_map(units, UNITS, "x", 2), ERR_CORRUPT);
    units['a'] = 'a' | 'a' << 10; /* a link back to the root: a search ends with its key */
    CHECK_INT(open_map(units, UNITS, "x", 2), ERR_OK);
}

TEST(charsmap__refuses_a_string_over_the_limit)
{
    static char pool[CHARSMAP_MAX_STRING + 2];
    uint32_t units[UNITS];

    memset(pool, 'x', sizeof pool - 1);
    small_trie(units, 0);
    CHECK_INT(open_map(units, UNITS, pool, sizeof pool), ERR_CORRUPT);
    small_trie(units, 1);
    CHECK_INT(open_map(units, UNITS, pool, sizeof pool), ERR_OK);
}

/* --- tokenizer.json texts made by hand --- */

#define ADDED "\"added_tokens\": [{\"id\": 1, \"content\": \"</s>\"}]"
#define MODEL(more) "\"model\": {\"unk_id\": 0, \"vocab\": [[\"<unk>\", 0.0], [\"</s>\", 0], [\"a\", -1.5]]" more "}"

TEST(t5_vocab__judges_a_tokenizer_json)
{
    static const struct {
        const char *text;
        enum err_code want;
    } cases[] = {
        { "{" ADDED ", " MODEL("") "}", ERR_OK },
        { "{" MODEL(", \"type\": \"Unigram\", \"byte_fallback\": false") "}", ERR_OK },
        { "{" MODEL(", \"type\": \"BPE\"") "}", ERR_UNSUPPORTED },
        { "{" MODEL(", \"byte_fallback\": true") "}", ERR_UNSUPPORTED },
        { "{" MODEL(", \"vocab\": []") "}", ERR_CORRUPT },
        { "{" MODEL(", \"unk_id\": 3") "}", ERR_CORRUPT },
        { "{" MODEL(", \"unk_id\": null") "}", ERR_CORRUPT },
        { "{" MODEL("") "} {}", ERR_CORRUPT },
        { "{" ADDED "}", ERR_CORRUPT },
        { "{\"added_tokens\": [{\"id\": 1}], " MODEL("") "}", ERR_CORRUPT },
        { "{\"added_tokens\": [{\"content\": \"x\"}], " MODEL("") "}", ERR_CORRUPT },
        { "{\"added_tokens\": [1], " MODEL("") "}", ERR_CORRUPT },
        { "{\"added_tokens\": {}, " MODEL("") "}", ERR_CORRUPT },
        { "{\"model\": {\"unk_id\": 0, \"vocab\": [[\"</s>\", 0], [\"a\"]]}}", ERR_CORRUPT },
        { "{\"model\": {\"unk_id\": 0, \"vocab\": [[\"</s>\", 0], [\"a\", 1, 2]]}}", ERR_CORRUPT },
        { "{\"model\": {\"unk_id\": 0, \"vocab\": [[\"</s>\", 0], [\"a\", 1e999]]}}", ERR_CORRUPT },
        { "{\"model\": {\"unk_id\": 0, \"vocab\": [[\"</s>\", 0], [1, 1]]}}", ERR_CORRUPT },
        { "{\"model\": {\"unk_id\": 0, \"vocab\": [[\"a\", 0]]}}", ERR_CORRUPT }, /* no end piece */
        { "{\"pre_tokenizer\": {\"prepend_scheme\": \"never\"}, " MODEL("") "}", ERR_OK },
        { "{\"pre_tokenizer\": {\"prepend_scheme\": \"last\"}, " MODEL("") "}", ERR_CORRUPT },
        { "{\"pre_tokenizer\": null, \"normalizer\": null, \"added_tokens\": [], " MODEL("") "}", ERR_OK },
        { "{\"normalizer\": {\"precompiled_charsmap\": \"!\"}, " MODEL("") "}", ERR_CORRUPT },
        { "{\"normalizer\": {\"precompiled_charsmap\": \"AAAA\"}, " MODEL("") "}", ERR_CORRUPT },
        { "{\"normalizer\": {\"precompiled_charsmap\": 1}, " MODEL("") "}", ERR_CORRUPT },
        { "[]", ERR_CORRUPT },
        { "", ERR_CORRUPT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err_code rc = open_all(t5_vocab_from_json, span_of(cases[i].text), arena_fresh());

        if (rc != cases[i].want)
            test_fail(__FILE__, __LINE__, "%s: %s, want %s", cases[i].text, err_name(rc), err_name(cases[i].want));
    }
}

/* The scheme decides which of two segments begins with a word mark. */
TEST(t5_vocab__follows_the_prepend_scheme)
{
    static const struct {
        const char *scheme;
        int n;
        int32_t ids[8];
    } cases[] = {
        /* 0 <unk>, 1 </s>, 2 a, 3 the mark, 4 the mark and a */
        { "first", 4, { 4, 1, 2, 1 } },
        { "always", 4, { 4, 1, 4, 1 } },
        { "never", 4, { 2, 1, 2, 1 } },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *a = arena_fresh();
        struct t5_tokenizer t;
        struct t5_vocab v;
        struct err err = { 0 };
        char *text = NULL;
        int32_t ids[8];
        int n = 0;

        CHECK_OK(arena_printf(a, &text, &err,
                              "{" ADDED ", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"%s\"}, "
                              "\"decoder\": {\"prepend_scheme\": \"never\"}, \"model\": {\"unk_id\": 0, \"vocab\": "
                              "[[\"<unk>\", 0], [\"</s>\", 0], [\"a\", -3], [\"\\u2581\", -3], [\"\\u2581a\", -1]]}}",
                              cases[i].scheme), err);
        CHECK_OK(t5_vocab_from_json(span_of(text), a, &v, &err), err);
        CHECK_OK(t5_tokenizer_init(&t, &v, a, &err), err);
        CHECK_OK(t5_tokenize(&t, SPAN("a</s>a"), 8, ids, &n, a, &err), err);
        CHECK_INT(n, cases[i].n);
        CHECK(memcmp(ids, cases[i].ids, (size_t)n * sizeof *ids) == 0);
    }
}

/* --- GGUF files made by hand --- */

static void put_string(struct bytes *b, const char *text)
{
    bytes_u64(b, strlen(text));
    bytes_text(b, text);
}

static void put_array(struct bytes *b, const char *key, enum gguf_type type, size_t n)
{
    put_string(b, key);
    bytes_u32(b, GGUF_ARRAY);
    bytes_u32(b, type);
    bytes_u64(b, n);
}

struct gguf_token {
    const char *text;
    float score;
    int32_t type;
};

static const struct gguf_token gguf_tokens[] = {
    { "<pad>", 0, 3 }, { "</s>", 0, 3 }, { "<unk>", 0, 2 },         { "\xE2\x96\x81", -2, 1 },
    { "a", -3, 1 },    { "ab", -4, 1 },  { "<extra_id_0>", 0, 4 },  { "[PAD7]", -10000, 5 },
};

enum { N_GGUF_TOKENS = sizeof gguf_tokens / sizeof *gguf_tokens };

/* The pairs of a vocabulary; `less_scores` of its scores are missing. charsmap_units: of a charsmap that replaces
 * nothing; -1: there is none. */
static struct bytes gguf_vocabulary_and(int charsmap_units, const char *model, const struct gguf_token *tokens, size_t n,
                                        size_t less_scores, uint32_t unk_id)
{
    struct bytes b = { 0 };

    bytes_text(&b, "GGUF");
    bytes_u32(&b, 3);
    bytes_u64(&b, 0);
    bytes_u64(&b, charsmap_units < 0 ? 5 : 6);
    put_string(&b, "tokenizer.ggml.model");
    bytes_u32(&b, GGUF_STRING);
    put_string(&b, model);
    put_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_string(&b, tokens[i].text);
    put_array(&b, "tokenizer.ggml.scores", GGUF_F32, n - less_scores);
    for (size_t i = 0; i < n - less_scores; i++)
        bytes_f32(&b, tokens[i].score);
    put_array(&b, "tokenizer.ggml.token_type", GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        bytes_u32(&b, (uint32_t)tokens[i].type);
    put_string(&b, "tokenizer.ggml.unknown_token_id");
    bytes_u32(&b, GGUF_U32);
    bytes_u32(&b, unk_id);
    if (charsmap_units >= 0) {
        put_array(&b, "tokenizer.ggml.precompiled_charsmap", GGUF_U8,
                  charsmap_units ? 4 + 4 * (size_t)charsmap_units + 2 : 0);
        if (charsmap_units)
            bytes_u32(&b, 4 * (uint32_t)charsmap_units);
        for (int i = 0; i < charsmap_units; i++)
            bytes_u32(&b, 0);
        bytes_put(&b, "x", charsmap_units ? 2 : 0);
    }
    bytes_pad(&b, 32);
    return b;
}

static struct bytes gguf_vocabulary(const char *model, const struct gguf_token *tokens, size_t n, size_t less_scores,
                                    uint32_t unk_id)
{
    return gguf_vocabulary_and(UNITS, model, tokens, n, less_scores, unk_id);
}

static enum err_code open_gguf(struct t5_tokenizer *t, struct bytes *b, struct arena *a)
{
    struct tensor_file file = { 0 };
    struct err err = { 0 };
    enum err_code rc = gguf_parse((struct span){ b->ptr, b->len }, a, &file, &err);

    CHECK(rc == ERR_OK);
    rc = t5_tokenizer_open_gguf(t, file.gguf, a, a, &err);
    CHECK(rc == err.code);
    bytes_done(b);
    return rc;
}

TEST(t5_vocab__judges_a_gguf)
{
    const struct gguf_token byte = { "<0x41>", 0, 6 };
    struct arena *a = arena_fresh();
    struct t5_tokenizer t;
    struct bytes b = gguf_vocabulary("t5", gguf_tokens, N_GGUF_TOKENS, 0, 2);

    CHECK_INT(open_gguf(&t, &b, a), ERR_OK);
    b = gguf_vocabulary("llama", gguf_tokens, N_GGUF_TOKENS, 0, 2);
    CHECK_INT(open_gguf(&t, &b, a), ERR_UNSUPPORTED);
    b = gguf_vocabulary("t5", gguf_tokens, N_GGUF_TOKENS, 1, 2);
    CHECK_INT(open_gguf(&t, &b, a), ERR_CORRUPT);
    b = gguf_vocabulary("t5", gguf_tokens, N_GGUF_TOKENS, 0, N_GGUF_TOKENS);
    CHECK_INT(open_gguf(&t, &b, a), ERR_CORRUPT);
    b = gguf_vocabulary("t5", &byte, 1, 0, 0);
    CHECK_INT(open_gguf(&t, &b, a), ERR_UNSUPPORTED);
    CHECK_INT(t5_tokenizer_open_gguf(&t, NULL, a, a, NULL), ERR_NOT_FOUND);
}

/* Converters may leave the normaliser out: a fraction or a full-width letter would become other tokens, without a word. */
TEST(t5_vocab__refuses_a_gguf_without_its_charsmap)
{
    static const struct {
        int units;
        enum err_code want;
    } cases[] = { { -1, ERR_UNSUPPORTED }, { 0, ERR_CORRUPT }, { UNITS, ERR_OK } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *a = arena_fresh();
        struct t5_tokenizer t;
        struct bytes b = gguf_vocabulary_and(cases[i].units, "t5", gguf_tokens, N_GGUF_TOKENS, 0, 2);

        CHECK_INT(open_gguf(&t, &b, a), cases[i].want);
    }
}

TEST(t5_vocab__leaves_unused_entries_of_a_gguf_out)
{
    /* "[PAD7]" is ordinary text and becomes an unknown. The sentinel, of type 4, is cut out. "ab" beats "a" and an
     * unknown "b", whose score follows from the least score of the entries in use. */
    static const int32_t want[] = { 3, 2, 6, 4, 5, 1 };
    struct bytes b = gguf_vocabulary("t5", gguf_tokens, N_GGUF_TOKENS, 0, 2);
    struct arena *a = arena_fresh();
    struct t5_tokenizer t;
    struct err err = { 0 };
    int32_t ids[16];
    char *copy = exact_copy(b.ptr, b.len);
    struct tensor_file file = { 0 };
    int n = 0;

    CHECK_OK(gguf_parse((struct span){ copy, b.len }, a, &file, &err), err);
    CHECK_OK(t5_tokenizer_open_gguf(&t, file.gguf, a, a, &err), err);
    free(copy); /* the tokenizer has copied what it needs */
    bytes_done(&b);
    CHECK_INT(t.max_id, 6);
    CHECK(t.unigram.unknown_score == -14);
    CHECK_OK(t5_tokenize(&t, SPAN("[PAD7]<extra_id_0>aab"), 16, ids, &n, a, &err), err);
    CHECK_INT(n, 6);
    CHECK(memcmp(ids, want, sizeof want) == 0);
}
