#include "models/text/clip_vocab.h"

#include "kernels/base/json_scan.h"
#include "models/text/piece_set.h"
#include "models/text/unicode.h"

#define END_OF_WORD "</w>"

enum { N_BYTES = 256, SYMBOL_BYTES = 8 };

const char *const clip_special_text[CLIP_SPECIALS] = { "<|startoftext|>", "<|endoftext|>" };

struct pair {
    struct span left, right;
};

struct pairs {
    struct pair *list;
    int n;
};

/* --- merges.txt --- */

static struct span take_line(struct span *text)
{
    const char *end = memchr(text->ptr, '\n', text->len);
    struct span line = { text->ptr, end ? (size_t)(end - text->ptr) : text->len };
    size_t taken = line.len + (end != NULL);

    text->ptr += taken;
    text->len -= taken;
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static enum err_code read_pair(struct span line, int number, struct pair *ret, struct err *err)
{
    const char *blank = memchr(line.ptr, ' ', line.len);
    size_t n = blank ? (size_t)(blank - line.ptr) : 0;

    if (n == 0 || n + 1 == line.len || memchr(blank + 1, ' ', line.len - n - 1))
        return err_set(err, ERR_CORRUPT, "merges.txt: line %d is not a pair", number);
    if (line.len > PIECE_MAX_BYTES)
        return err_set(err, ERR_CORRUPT, "merges.txt: line %d has %zu bytes; at most %d are allowed", number, line.len,
                       PIECE_MAX_BYTES);
    ret->left = (struct span){ line.ptr, n };
    ret->right = (struct span){ blank + 1, line.len - n - 1 };
    return ERR_OK;
}

static enum err_code read_merges(struct span file, struct pairs *ret, struct arena *a, struct err *err)
{
    int number = 0, n_lines = 1;

    for (size_t i = 0; i < file.len && n_lines <= BPE_MAX_MERGES; i++)
        n_lines += file.ptr[i] == '\n';
    TRY(arena_alloc(a, (size_t)n_lines, sizeof *ret->list, &ret->list, err));
    while (file.len) {
        struct span line = take_line(&file);

        if (!line.len || (number++ == 0 && span_starts(line, "#version")))
            continue;
        if (ret->n == BPE_MAX_MERGES)
            return err_set(err, ERR_TOO_LARGE, "merges.txt: more than %d merges", BPE_MAX_MERGES);
        TRY(read_pair(line, number, &ret->list[ret->n++], err));
    }
    return ERR_OK;
}

/* --- the pieces and their ids --- */

struct pieces {
    struct piece *list;
    int n;
};

static enum err_code add_joined(struct pieces *p, struct span left, struct span right, struct arena *a, struct err *err)
{
    char *text = NULL;

    TRY(arena_alloc(a, left.len + right.len + 1, 1, &text, err));
    memcpy(text, left.ptr, left.len);
    memcpy(text + left.len, right.ptr, right.len);
    p->list[p->n] = (struct piece){ .text = { text, left.len + right.len }, .id = p->n };
    p->n++;
    return ERR_OK;
}

static bool byte_is_printable(int b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

/* character: the one in which each byte is written; order: the bytes in the order of their ids. */
static void byte_characters(int32_t character[N_BYTES], int order[N_BYTES])
{
    int n = 0, next = 0x100;

    for (int b = 0; b < N_BYTES; b++) {
        character[b] = byte_is_printable(b) ? b : next++;
        if (byte_is_printable(b))
            order[n++] = b;
    }
    for (int b = 0; b < N_BYTES; b++)
        if (!byte_is_printable(b))
            order[n++] = b;
}

static struct span symbol_of(int32_t character, char buf[SYMBOL_BYTES])
{
    return (struct span){ buf, unicode_put(buf, character) };
}

/* The pieces of a folder without vocab.json. */
static enum err_code pieces_from_merges(const struct pairs *merges, struct pieces *ret, struct arena *a,
                                        struct err *err)
{
    int32_t character[N_BYTES];
    int order[N_BYTES];
    char buf[SYMBOL_BYTES];

    TRY(arena_alloc(a, (size_t)merges->n + 2 * N_BYTES + CLIP_SPECIALS, sizeof *ret->list, &ret->list, err));
    byte_characters(character, order);
    for (int i = 0; i < N_BYTES; i++)
        TRY(add_joined(ret, symbol_of(character[order[i]], buf), SPAN(""), a, err));
    for (int i = 0; i < N_BYTES; i++)
        TRY(add_joined(ret, symbol_of(character[order[i]], buf), SPAN(END_OF_WORD), a, err));
    for (int i = 0; i < merges->n; i++)
        TRY(add_joined(ret, merges->list[i].left, merges->list[i].right, a, err));
    for (int i = 0; i < CLIP_SPECIALS; i++)
        TRY(add_joined(ret, span_of(clip_special_text[i]), SPAN(""), a, err));
    return ERR_OK;
}

static enum err_code bad_json(const struct json_scan *s, const char *file, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: %s, at byte %zu", file, s->error ? s->error : "an unexpected value", s->at);
}

static enum err_code read_text(struct json_scan *s, struct span *ret, struct arena *a, struct err *err)
{
    char *buf = NULL;

    *ret = s->raw;
    if (!s->escaped)
        return ERR_OK;
    TRY(arena_alloc(a, ret->len + 1, 1, &buf, err));
    ret->ptr = buf;
    return json_unescape(s->raw, buf, s->raw.len + 1, &ret->len) ? ERR_OK : bad_json(s, "a string", err);
}

/* Every piece has a colon after it, so the colons are an upper bound on the pieces. */
static size_t count_colons(struct span file)
{
    size_t n = 0;

    for (size_t i = 0; i < file.len && n < CLIP_VOCAB_MAX_PIECES; i++)
        n += file.ptr[i] == ':';
    return n;
}

static enum err_code pieces_from_json(struct span file, struct pieces *ret, struct arena *a, struct err *err)
{
    size_t max = count_colons(file);
    struct json_scan s;
    enum json_event ev;
    int64_t id;

    TRY(arena_alloc(a, max, sizeof *ret->list, &ret->list, err));
    json_scan_init(&s, file);
    if (json_scan_next(&s) != JSON_OBJECT)
        return bad_json(&s, "vocab.json", err);
    while ((ev = json_scan_next(&s)) == JSON_KEY) {
        struct piece *p = &ret->list[ret->n];

        if ((size_t)ret->n++ == max)
            return err_set(err, ERR_TOO_LARGE, "vocab.json: more than %zu pieces", max);
        TRY(read_text(&s, &p->text, a, err));
        if (json_scan_next(&s) != JSON_NUMBER || !json_int64(s.raw, &id) || id < 0 || id >= CLIP_VOCAB_MAX_PIECES)
            return bad_json(&s, "vocab.json", err);
        p->id = (int32_t)id;
    }
    if (ev != JSON_OBJECT_END || json_scan_next(&s) != JSON_END)
        return bad_json(&s, "vocab.json", err);
    return ERR_OK;
}

/* --- tables --- */

static int32_t id_of(const struct piece_set *set, struct span left, struct span right)
{
    char buf[2 * PIECE_MAX_BYTES];
    const struct piece *p;

    memcpy(buf, left.ptr, left.len);
    memcpy(buf + left.len, right.ptr, right.len);
    p = piece_set_find(set, (struct span){ buf, left.len + right.len });
    return p ? p->id : -1;
}

static enum err_code look_up_merges(struct clip_vocab *v, const struct pairs *pairs, const struct piece_set *set,
                                    struct arena *a, struct arena *scratch, struct err *err)
{
    struct bpe_merge *merges = NULL;

    TRY(arena_alloc(scratch, (size_t)pairs->n, sizeof *merges, &merges, err));
    for (int i = 0; i < pairs->n; i++) {
        const struct pair *p = &pairs->list[i];

        merges[i] = (struct bpe_merge){ .left = id_of(set, p->left, SPAN("")),
                                        .right = id_of(set, p->right, SPAN("")),
                                        .merged = id_of(set, p->left, p->right),
                                        .rank = i };
        if (merges[i].left < 0 || merges[i].right < 0 || merges[i].merged < 0)
            return err_set(
                err, ERR_CORRUPT,
                "merges.txt: merge %d has a piece that is not in the vocabulary; do merges.txt and vocab.json "
                "belong together?",
                i);
    }
    return bpe_init(&v->bpe, merges, pairs->n, a, err);
}

static enum err_code look_up_symbols(struct clip_vocab *v, const struct piece_set *set, struct err *err)
{
    int32_t character[N_BYTES];
    int order[N_BYTES];
    char buf[SYMBOL_BYTES];

    for (int i = 0; i < CLIP_SPECIALS; i++) {
        v->special_id[i] = id_of(set, span_of(clip_special_text[i]), SPAN(""));
        if (v->special_id[i] < 0)
            return err_set(err, ERR_CORRUPT, "vocab.json: the token %s is missing", clip_special_text[i]);
    }
    byte_characters(character, order);
    for (int b = 0; b < N_BYTES; b++) {
        struct span symbol = symbol_of(character[b], buf);

        v->byte_id[b] = id_of(set, symbol, SPAN(""));
        v->last_byte_id[b] = id_of(set, symbol, SPAN(END_OF_WORD));
        if (v->byte_id[b] < 0) /* an unknown piece becomes the end token, as in the official library */
            v->byte_id[b] = v->special_id[CLIP_END];
        if (v->last_byte_id[b] < 0)
            v->last_byte_id[b] = v->special_id[CLIP_END];
    }
    return ERR_OK;
}

/* How many characters of more than one byte, or bytes, a piece is written with. */
static int n_characters(struct span text)
{
    int n = 0;

    if (span_ends(text, END_OF_WORD))
        text.len -= sizeof END_OF_WORD - 1;
    for (size_t i = 0; i < text.len; i++)
        n += (text.ptr[i] & 0xC0) != 0x80;
    return n;
}

/* Every piece of more than one character is made by a merge: else the end of merges.txt is missing, and texts would get
 * other ids. Tokens in angle brackets are found whole. */
static enum err_code check_merges(const struct clip_vocab *v, const struct pieces *pieces, struct arena *scratch,
                                  struct err *err)
{
    bool *made = NULL;
    int n = 0;

    TRY(arena_alloc(scratch, CLIP_VOCAB_MAX_PIECES, sizeof *made, &made, err));
    memset(made, 0, CLIP_VOCAB_MAX_PIECES);
    for (int i = 0; i < v->bpe.n; i++)
        made[v->bpe.merges[i].merged] = true;
    for (int i = 0; i < pieces->n; i++)
        n += !made[pieces->list[i].id] && n_characters(pieces->list[i].text) > 1 && *pieces->list[i].text.ptr != '<';
    if (n)
        return err_set(err, ERR_CORRUPT,
                       "merges.txt: %d pieces of vocab.json are made by none of its merges: the file is not all there; "
                       "fetch it again",
                       n);
    return ERR_OK;
}

/* --- special tokens --- */

struct special_flags {
    const char *file;
    bool known[CLIP_SPECIALS], normalised[CLIP_SPECIALS];
};

/* Reads the next value if it is of the form { "content": "<|endoftext|>", "normalized": true, ... }, and skips any
 * other. Flags that are known already stay. */
static enum err_code read_token(struct json_scan *s, struct special_flags *flags, struct err *err)
{
    enum json_event ev = json_scan_next(s);
    struct span content = { 0 };
    bool normalised = false;

    if (ev != JSON_OBJECT)
        return json_scan_skip(s, ev) ? ERR_OK : bad_json(s, flags->file, err);
    while ((ev = json_scan_next(s)) == JSON_KEY) {
        struct span key = s->raw;

        ev = json_scan_next(s);
        if (span_is(key, "content") && ev == JSON_STRING)
            content = s->raw;
        else if (span_is(key, "normalized"))
            normalised = ev == JSON_TRUE;
        if (!json_scan_skip(s, ev))
            break;
    }
    if (ev != JSON_OBJECT_END)
        return bad_json(s, flags->file, err);
    for (int i = 0; i < CLIP_SPECIALS; i++) {
        if (flags->known[i] || !span_is(content, clip_special_text[i]))
            continue;
        flags->known[i] = true;
        flags->normalised[i] = normalised;
    }
    return ERR_OK;
}

static enum err_code read_tokens(struct json_scan *s, struct special_flags *flags, struct err *err)
{
    enum json_event ev = json_scan_next(s);

    if (ev != JSON_OBJECT)
        return json_scan_skip(s, ev) ? ERR_OK : bad_json(s, flags->file, err);
    while ((ev = json_scan_next(s)) == JSON_KEY)
        TRY(read_token(s, flags, err));
    return ev == JSON_OBJECT_END ? ERR_OK : bad_json(s, flags->file, err);
}

static enum err_code read_flags(struct span file, const char *name, struct special_flags *flags, struct err *err)
{
    struct json_scan s;
    enum json_event ev;

    if (!file.len)
        return ERR_OK;
    flags->file = name;
    json_scan_init(&s, file);
    if (json_scan_next(&s) != JSON_OBJECT)
        return bad_json(&s, name, err);
    while ((ev = json_scan_next(&s)) != JSON_OBJECT_END) {
        if (ev != JSON_KEY)
            return bad_json(&s, name, err);
        if (span_is(s.raw, "added_tokens_decoder"))
            TRY(read_tokens(&s, flags, err));
        else if (span_is(s.raw, "bos_token") || span_is(s.raw, "pad_token")) /* pad_token overrides eos_token */
            TRY(read_token(&s, flags, err));
        else if (!json_scan_skip(&s, json_scan_next(&s)))
            return bad_json(&s, name, err);
    }
    return json_scan_next(&s) == JSON_END ? ERR_OK : bad_json(&s, name, err);
}

/* The text encoder finds the end of the text by the highest id, and has no rows for higher ones. */
static enum err_code check_end(const struct clip_vocab *v, const struct pieces *pieces, struct err *err)
{
    for (int i = 0; i < pieces->n; i++)
        if (pieces->list[i].id > v->special_id[CLIP_END])
            return err_set(err, ERR_UNSUPPORTED, "vocab.json: %s does not have the highest id",
                           clip_special_text[CLIP_END]);
    return ERR_OK;
}

enum err_code clip_vocab_read(struct clip_vocab *v, const struct clip_files *files, struct arena *a,
                              struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct clip_vocab made = { 0 };
    struct special_flags flags = { 0 };
    struct pairs merges = { 0 };
    struct pieces pieces = { 0 };
    struct piece_set set;

    TRY(read_merges(files->merges, &merges, scratch, err));
    if (files->vocab.len)
        TRY(pieces_from_json(files->vocab, &pieces, scratch, err));
    else
        TRY(pieces_from_merges(&merges, &pieces, scratch, err));
    TRY(piece_set_init(&set, pieces.list, pieces.n, scratch, err));
    TRY(look_up_symbols(&made, &set, err));
    TRY(check_end(&made, &pieces, err));
    TRY(look_up_merges(&made, &merges, &set, a, scratch, err));
    TRY(check_merges(&made, &pieces, scratch, err));
    TRY(read_flags(files->config, "tokenizer_config.json", &flags, err));
    TRY(read_flags(files->special_map, "special_tokens_map.json", &flags, err));
    memcpy(made.special_normalised, flags.normalised, sizeof made.special_normalised);
    *v = made;
    return ERR_OK;
}
