#include "kernels/base/base64.h"
#include "kernels/base/json_scan.h"
#include "models/text/t5_vocab.h"

struct reader {
    struct json_scan scan;
    struct arena *arena;
    struct t5_vocab v;
    int max_pieces;
    struct err *err;
};

static enum err_code bad(struct reader *r, const char *what)
{
    if (r->scan.error)
        what = r->scan.error;
    return err_set(r->err, ERR_CORRUPT, "tokenizer.json: %s, at byte %zu", what, r->scan.at);
}

static bool key_is(const struct reader *r, const char *name)
{
    return span_is(r->scan.raw, name); /* compared as written, because no tool writes these names with escapes */
}

/* The string that the scanner has just read; a string without escapes is not copied. */
static enum err_code text_of(struct reader *r, struct span *ret)
{
    char *buf = NULL;

    *ret = r->scan.raw;
    if (!r->scan.escaped)
        return ERR_OK;
    TRY(arena_alloc(r->arena, ret->len + 1, 1, &buf, r->err));
    if (!json_unescape(r->scan.raw, buf, ret->len + 1, &ret->len))
        return bad(r, "a string is damaged");
    ret->ptr = buf;
    return ERR_OK;
}

static enum err_code need_string(struct reader *r, struct span *ret)
{
    return json_scan_next(&r->scan) == JSON_STRING ? text_of(r, ret) : bad(r, "a string was expected");
}

static enum err_code need_id(struct reader *r, int32_t *ret)
{
    int64_t id;

    if (json_scan_next(&r->scan) != JSON_NUMBER || !json_int64(r->scan.raw, &id) || id < 0 || id >= T5_VOCAB_MAX_PIECES)
        return bad(r, "an id was expected");
    *ret = (int32_t)id;
    return ERR_OK;
}

static enum err_code skip_value(struct reader *r)
{
    return json_scan_skip(&r->scan, json_scan_next(&r->scan)) ? ERR_OK : bad(r, "a value was expected");
}

typedef enum err_code member_fn(struct reader *r); /* called after a key, which is in r->scan.raw */

/* Calls fn for every member of the next value, an object; fn reads or skips the member's value. */
static enum err_code each_member(struct reader *r, member_fn *fn)
{
    enum json_event ev;

    if (json_scan_next(&r->scan) != JSON_OBJECT)
        return bad(r, "an object was expected");
    while ((ev = json_scan_next(&r->scan)) == JSON_KEY)
        TRY(fn(r));
    return ev == JSON_OBJECT_END ? ERR_OK : bad(r, "the object is damaged");
}

/* Calls fn for every member of every object inside the next value; fn reads the member's value, or leaves it unread. */
static enum err_code each_member_below(struct reader *r, member_fn *fn)
{
    enum json_event ev = json_scan_next(&r->scan);
    int outside = ev == JSON_OBJECT || ev == JSON_ARRAY ? r->scan.depth - 1 : r->scan.depth;

    if (ev <= JSON_END)
        return bad(r, "a value was expected");
    while (r->scan.depth > outside) {
        ev = json_scan_next(&r->scan);
        if (ev <= JSON_END)
            return bad(r, "the value is damaged");
        if (ev == JSON_KEY)
            TRY(fn(r));
    }
    return ERR_OK;
}

static enum err_code normaliser_member(struct reader *r)
{
    struct span text = { 0 };
    char *blob = NULL;
    size_t n = 0;

    if (!key_is(r, "precompiled_charsmap"))
        return ERR_OK;
    TRY(need_string(r, &text));
    TRY(arena_alloc(r->arena, BASE64_DECODED_MAX(text.len), 1, &blob, r->err));
    if (base64_decode(text, BASE64_STANDARD, blob, BASE64_DECODED_MAX(text.len), &n, NULL))
        return bad(r, "the charsmap is not base64");
    r->v.charsmap = (struct span){ blob, n };
    return ERR_OK;
}

static enum err_code pre_tokenizer_member(struct reader *r)
{
    static const char *const names[] = {
        [T5_PREPEND_FIRST] = "first", [T5_PREPEND_ALWAYS] = "always", [T5_PREPEND_NEVER] = "never"
    };
    struct span text = { 0 };

    if (!key_is(r, "prepend_scheme"))
        return ERR_OK;
    TRY(need_string(r, &text));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_is(text, names[i])) {
            r->v.prepend = (enum t5_prepend)i;
            return ERR_OK;
        }
    }
    return bad(r, "an unknown prepend_scheme");
}

static enum err_code added_member(struct reader *r)
{
    struct piece *p = &r->v.added[r->v.n_added];

    if (key_is(r, "id"))
        return need_id(r, &p->id);
    if (key_is(r, "content"))
        return need_string(r, &p->text);
    return skip_value(r);
}

static enum err_code read_added(struct reader *r)
{
    enum json_event ev;

    if (json_scan_next(&r->scan) != JSON_ARRAY)
        return bad(r, "added_tokens is not an array");
    while ((ev = json_scan_next(&r->scan)) == JSON_OBJECT) {
        struct piece *p = &r->v.added[r->v.n_added];

        if (r->v.n_added == T5_VOCAB_MAX_ADDED)
            return err_set(r->err, ERR_TOO_LARGE, "tokenizer.json: more than %d added tokens", T5_VOCAB_MAX_ADDED);
        *p = (struct piece){ .id = -1 };
        while ((ev = json_scan_next(&r->scan)) == JSON_KEY)
            TRY(added_member(r));
        if (ev != JSON_OBJECT_END || p->id < 0 || !p->text.len)
            return bad(r, "an added token without id or content");
        r->v.n_added++;
    }
    return ev == JSON_ARRAY_END ? ERR_OK : bad(r, "added_tokens is damaged");
}

/* ["text", score], whose opening bracket has been read. */
static enum err_code read_entry(struct reader *r)
{
    struct piece *p = &r->v.pieces[r->v.n_pieces];

    TRY(need_string(r, &p->text));
    if (json_scan_next(&r->scan) != JSON_NUMBER || !json_double(r->scan.raw, &p->score) ||
        json_scan_next(&r->scan) != JSON_ARRAY_END)
        return bad(r, "a vocabulary entry is not [text, score]");
    p->id = r->v.n_pieces++;
    return ERR_OK;
}

static enum err_code read_vocab(struct reader *r)
{
    enum json_event ev;

    if (json_scan_next(&r->scan) != JSON_ARRAY)
        return bad(r, "model.vocab is not an array");
    if (r->v.n_pieces)
        return bad(r, "model.vocab comes twice");
    while ((ev = json_scan_next(&r->scan)) == JSON_ARRAY) {
        if (r->v.n_pieces == r->max_pieces)
            return err_set(r->err, ERR_TOO_LARGE, "tokenizer.json: more than %d pieces", r->max_pieces);
        TRY(read_entry(r));
    }
    return ev == JSON_ARRAY_END ? ERR_OK : bad(r, "model.vocab is damaged");
}

static enum err_code read_model_type(struct reader *r)
{
    struct span type = { 0 };

    TRY(need_string(r, &type));
    if (!span_is(type, "Unigram"))
        return err_set(r->err, ERR_UNSUPPORTED, "tokenizer.json: the model is '%.*s'; only Unigram is supported",
                       SPAN_ARG(type));
    return ERR_OK;
}

static enum err_code read_byte_fallback(struct reader *r)
{
    if (json_scan_next(&r->scan) != JSON_FALSE)
        return err_set(r->err, ERR_UNSUPPORTED, "tokenizer.json: byte fallback is not supported");
    return ERR_OK;
}

static enum err_code model_member(struct reader *r)
{
    if (key_is(r, "type"))
        return read_model_type(r);
    if (key_is(r, "unk_id"))
        return need_id(r, &r->v.unk_id);
    if (key_is(r, "vocab"))
        return read_vocab(r);
    if (key_is(r, "byte_fallback"))
        return read_byte_fallback(r);
    return skip_value(r);
}

static enum err_code top_member(struct reader *r)
{
    if (key_is(r, "added_tokens"))
        return read_added(r);
    if (key_is(r, "normalizer"))
        return each_member_below(r, normaliser_member);
    if (key_is(r, "pre_tokenizer"))
        return each_member_below(r, pre_tokenizer_member);
    if (key_is(r, "model"))
        return each_member(r, model_member);
    return skip_value(r);
}

/* Every entry of the vocabulary begins with a bracket, so the brackets are an upper bound on the entries. */
static int count_brackets(struct span file)
{
    int n = 0;

    for (size_t i = 0; i < file.len && n < T5_VOCAB_MAX_PIECES; i++)
        n += file.ptr[i] == '[';
    return n;
}

static int32_t id_of(const struct t5_vocab *v, const char *text)
{
    for (int i = 0; i < v->n_added; i++)
        if (span_is(v->added[i].text, text))
            return v->added[i].id;
    for (int i = 0; i < v->n_pieces; i++)
        if (span_is(v->pieces[i].text, text))
            return i;
    return -1;
}

static enum err_code check(struct reader *r)
{
    struct t5_vocab *v = &r->v;

    v->eos_id = id_of(v, "</s>");
    v->pad_id = id_of(v, "<pad>");
    if (v->pad_id < 0)
        v->pad_id = 0;
    if (!v->n_pieces || v->unk_id < 0 || v->unk_id >= v->n_pieces || v->eos_id < 0)
        return err_set(r->err, ERR_CORRUPT, "tokenizer.json: the vocabulary, its unknown or its end piece is missing");
    return ERR_OK;
}

enum err_code t5_vocab_from_json(struct span file, struct arena *a, struct t5_vocab *ret, struct err *err)
{
    /* a Metaspace without a scheme means "always" */
    struct reader r = { .arena = a, .v = { .prepend = T5_PREPEND_ALWAYS, .unk_id = -1 }, .err = err };

    json_scan_init(&r.scan, file);
    r.max_pieces = count_brackets(file);
    TRY(arena_alloc(a, (size_t)r.max_pieces, sizeof *r.v.pieces, &r.v.pieces, err));
    TRY(arena_alloc(a, T5_VOCAB_MAX_ADDED, sizeof *r.v.added, &r.v.added, err));
    TRY(each_member(&r, top_member));
    if (json_scan_next(&r.scan) != JSON_END)
        return bad(&r, "something follows the value");
    TRY(check(&r));
    *ret = r.v;
    return ERR_OK;
}
