#include "models/text/t5_tokenizer.h"

#include <assert.h>

#include "kernels/base/file.h"
#include "models/text/unicode.h"

#define WORD_MARK "\xE2\x96\x81" /* U+2581 */

enum { WORD_MARK_BYTES = 3 };

/* The ids of a text, without the end id; at most max of them. */
struct id_list {
    int32_t *ids;
    int n, max;
};

static int32_t highest(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t highest_id(const struct piece_set *s)
{
    int32_t id = 0;

    for (int i = 0; i < s->n; i++)
        id = highest(id, s->pieces[i].id);
    return id;
}

enum err_code t5_tokenizer_init(struct t5_tokenizer *t, const struct t5_vocab *v, struct arena *a, struct err *err)
{
    struct t5_tokenizer made = { .prepend = v->prepend, .eos_id = v->eos_id, .pad_id = v->pad_id };
    char *blob = NULL;

    TRY(unigram_init(&made.unigram, v->pieces, v->n_pieces, v->unk_id, a, err));
    TRY(piece_set_init(&made.added, v->added, v->n_added, a, err));
    TRY(span_dup(a, v->charsmap, &blob, err));
    TRY(charsmap_open(&made.charsmap, (struct span){ blob, v->charsmap.len }, a, err));
    made.max_id = highest(highest(v->unk_id, v->eos_id), v->pad_id);
    made.max_id = highest(made.max_id, highest(highest_id(&made.added), highest_id(&made.unigram.pieces)));
    *t = made;
    return ERR_OK;
}

static enum err_code read_vocabulary(struct t5_tokenizer *t, const char *path, struct span file, struct arena *a,
                                     struct arena *scratch, struct err *err)
{
    struct t5_vocab v;

    if (span_ends(span_of(path), ".json"))
        TRY(t5_vocab_from_json(file, scratch, &v, err));
    else
        TRY(t5_vocab_from_spiece(file, scratch, &v, err));
    return t5_tokenizer_init(t, &v, a, err);
}

enum err_code t5_tokenizer_open(struct t5_tokenizer *t, const char *path, struct arena *a, struct arena *scratch,
                                struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct span file = { 0 };
    enum err_code rc;

    TRY(file_read(path, T5_VOCAB_MAX_FILE_BYTES, scratch, &file, err));
    rc = read_vocabulary(t, path, file, a, scratch, err);
    if (rc)
        (void)err_prefix(err, "%s", path);
    return rc;
}

enum err_code t5_tokenizer_open_gguf(struct t5_tokenizer *t, const struct gguf_meta *m, struct arena *a,
                                     struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct t5_vocab v;

    TRY(t5_vocab_from_gguf(m, scratch, &v, err));
    return t5_tokenizer_init(t, &v, a, err);
}

/* Step 3. */
static struct span strip_right(struct span text)
{
    struct span end = { text.ptr, 0 }, rest = text;
    int32_t cp;

    while ((cp = unicode_next(&rest)) >= 0)
        if (!unicode_is_white_space(cp))
            end.len = text.len - rest.len;
    return end;
}

/* Steps 4 and 5. */
static enum err_code mark_words(struct span text, bool prepend, struct arena *a, struct span *ret, struct err *err)
{
    char *buf = NULL;
    size_t n = 0;

    TRY(arena_alloc(a, text.len + 1, WORD_MARK_BYTES, &buf, err));
    if (text.len && prepend && text.ptr[0] != ' ' && !span_starts(text, WORD_MARK)) {
        memcpy(buf, WORD_MARK, WORD_MARK_BYTES);
        n = WORD_MARK_BYTES;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != ' ') {
            buf[n++] = text.ptr[i];
            continue;
        }
        memcpy(buf + n, WORD_MARK, WORD_MARK_BYTES);
        n += WORD_MARK_BYTES;
        while (i + 1 < text.len && text.ptr[i + 1] == ' ')
            i++;
    }
    *ret = (struct span){ buf, n };
    return ERR_OK;
}

/* Takes a word off the front. It ends before the next word mark, not counting one at its beginning. */
static struct span take_word(struct span *text)
{
    size_t skip = span_starts(*text, WORD_MARK) ? WORD_MARK_BYTES : 0;
    const char *next = memmem(text->ptr + skip, text->len - skip, WORD_MARK, WORD_MARK_BYTES);
    struct span word = { text->ptr, next ? (size_t)(next - text->ptr) : text->len };

    text->ptr += word.len;
    text->len -= word.len;
    return word;
}

/* Steps 2 to 6 for the text between two special tokens. */
static enum err_code encode_segment(const struct t5_tokenizer *t, struct span segment, bool first, struct id_list *out,
                                    struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    bool prepend = t->prepend == T5_PREPEND_ALWAYS || (t->prepend == T5_PREPEND_FIRST && first);
    struct span text = segment;

    TRY(charsmap_apply(&t->charsmap, segment, scratch, &text, err));
    TRY(mark_words(strip_right(text), prepend, scratch, &text, err));
    while (text.len && out->n < out->max)
        TRY(unigram_encode(&t->unigram, take_word(&text), out->ids, out->max, &out->n, scratch, err));
    return ERR_OK;
}

/* Bytes before the next special token. *ret_added: that token; NULL: there is none. */
static size_t find_added(const struct t5_tokenizer *t, struct span text, const struct piece **ret_added)
{
    for (size_t i = 0; i < text.len; i++) {
        *ret_added = piece_set_longest(&t->added, (struct span){ text.ptr + i, text.len - i });
        if (*ret_added)
            return i;
    }
    *ret_added = NULL;
    return text.len;
}

enum err_code t5_tokenize(const struct t5_tokenizer *t, struct span text, int max_ids, int32_t *ids, int *ret_n,
                          struct arena *scratch, struct err *err)
{
    struct id_list out = { ids, 0, max_ids - 1 };

    assert(max_ids >= 1);
    if (text.len > TEXT_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "the prompt has %zu bytes; at most %d are allowed", text.len,
                       TEXT_MAX_BYTES);
    if (!unicode_valid(text))
        return err_set(err, ERR_INVALID, "the prompt is not valid UTF-8");
    for (size_t at = 0; at < text.len && out.n < out.max;) {
        const struct piece *added;
        size_t n = find_added(t, (struct span){ text.ptr + at, text.len - at }, &added);

        TRY(encode_segment(t, (struct span){ text.ptr + at, n }, at == 0, &out, scratch, err));
        at += n + (added ? added->text.len : 0);
        if (added && out.n < out.max)
            out.ids[out.n++] = added->id;
    }
    ids[out.n++] = t->eos_id;
    *ret_n = out.n;
    return ERR_OK;
}

void t5_pad(const struct t5_tokenizer *t, int32_t *ids, int n, int len)
{
    for (int i = n; i < len; i++)
        ids[i] = t->pad_id;
}
