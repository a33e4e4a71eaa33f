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
        return err_set(err, ERR_CORRUPT, "merges.txt: line %d has %zu bytes", number, line.len);
    ret->left = (struct span){ line.ptr, n };
    ret->right = (struct span){ blank + 1, line.len - n - 1 };
    return ERR_OK;
}

static enum err_code read_merges(struct span file, struct pairs *ret, struct arena *a, struct err *err)
{
    int number = 0, n_lines = 1;
    enum err_code rc;

    for (size_t i = 0; i < file.len && n_lines <= BPE_MAX_MERGES; i++)
        n_lines += file.ptr[i] == '\n';
    rc = arena_alloc(a, (size_t)n_lines, sizeof *ret->list, &ret->list, err);
    while (!rc && file.len) {
        struct span line = take_line(&file);

        if (!line.len || (number++ == 0 && span_starts(line, "#version")))
            continue;
        rc = ret->n < BPE_MAX_MERGES ? read_pair(line, number, &ret->list[ret->n++], err)
                                     : err_set(err, ERR_TOO_LARGE, "merges.txt: over %d merges", BPE_MAX_MERGES);
    }
    return rc;
}

/* --- the pieces and their ids --- */

struct pieces {
    struct piece *list;
    int n;
};

static enum err_code add_joined(struct pieces *p, struct span left, struct span right, struct arena *a, struct err *err)
{
    char *text = NULL;
    enum err_code rc = arena_alloc(a, left.len + right.len + 1, 1, &text, err);

    if (rc)
        return rc;
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

/* The character that stands for each byte, and the bytes in the order of their ids. */
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

/* What vocab.json would say. */
static enum err_code pieces_from_merges(const struct pairs *merges, struct pieces *ret, struct arena *a,
                                        struct err *err)
{
    int32_t character[N_BYTES];
    int order[N_BYTES];
    char buf[SYMBOL_BYTES];
    enum err_code rc =
        arena_alloc(a, (size_t)merges->n + 2 * N_BYTES + CLIP_SPECIALS, sizeof *ret->list, &ret->list, err);

    byte_characters(character, order);
    for (int i = 0; !rc && i < N_BYTES; i++)
        rc = add_joined(ret, symbol_of(character[order[i]], buf), SPAN(""), a, err);
    for (int i = 0; !rc && i < N_BYTES; i++)
        rc = add_joined(ret, symbol_of(character[order[i]], buf), SPAN(END_OF_WORD), a, err);
    for (int i = 0; !rc && i < merges->n; i++)
        rc = add_joined(ret, merges->list[i].left, merges->list[i].right, a, err);
    for (int i = 0; !rc && i < CLIP_SPECIALS; i++)
        rc = add_joined(ret, span_of(clip_special_text[i]), SPAN(""), a, err);
    return rc;
}

static enum err_code bad_json(const struct json_scan *s, const char *file, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: %s, at byte %zu", file, s->error ? s->error : "not as expected", s->at);
}

static enum err_code read_text(struct json_scan *s, struct span *ret, struct arena *a, struct err *err)
{
    char *buf = NULL;
    enum err_code rc;

    *ret = s->raw;
    if (!s->escaped)
        return ERR_OK;
    rc = arena_alloc(a, ret->len + 1, 1, &buf, err);
    if (rc)
        return rc;
    ret->ptr = buf;
    return json_unescape(s->raw, buf, s->raw.len + 1, &ret->len) ? ERR_OK : bad_json(s, "a string", err);
}

/* Every piece needs a colon, so their number is bounded before anything is read. */
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
    enum json_event ev = JSON_END;
    int64_t id;
    enum err_code rc = arena_alloc(a, max, sizeof *ret->list, &ret->list, err);

    json_scan_init(&s, file);
    if (!rc && json_scan_next(&s) != JSON_OBJECT)
        rc = bad_json(&s, "vocab.json", err);
    while (!rc && (ev = json_scan_next(&s)) == JSON_KEY) {
        struct piece *p = &ret->list[ret->n];

        if ((size_t)ret->n++ == max)
            return err_set(err, ERR_TOO_LARGE, "vocab.json: over %zu pieces", max);
        rc = read_text(&s, &p->text, a, err);
        if (!rc &&
            (json_scan_next(&s) != JSON_NUMBER || !json_int64(s.raw, &id) || id < 0 || id >= CLIP_VOCAB_MAX_PIECES))
            rc = bad_json(&s, "vocab.json", err);
        else if (!rc)
            p->id = (int32_t)id;
    }
    if (!rc && (ev != JSON_OBJECT_END || json_scan_next(&s) != JSON_END))
        rc = bad_json(&s, "vocab.json", err);
    return rc;
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
    enum err_code rc = arena_alloc(scratch, (size_t)pairs->n, sizeof *merges, &merges, err);

    if (rc)
        return rc;
    for (int i = 0; i < pairs->n; i++) {
        const struct pair *p = &pairs->list[i];

        merges[i] = (struct bpe_merge){ .left = id_of(set, p->left, SPAN("")),
                                        .right = id_of(set, p->right, SPAN("")),
                                        .merged = id_of(set, p->left, p->right),
                                        .rank = i };
        if (merges[i].left < 0 || merges[i].right < 0 || merges[i].merged < 0)
            return err_set(err, ERR_CORRUPT, "merges.txt: merge %d has a piece that is not in the vocabulary", i);
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
            return err_set(err, ERR_CORRUPT, "vocab.json: there is no %s", clip_special_text[i]);
    }
    byte_characters(character, order);
    for (int b = 0; b < N_BYTES; b++) {
        struct span symbol = symbol_of(character[b], buf);

        v->byte_id[b] = id_of(set, symbol, SPAN(""));
        v->last_byte_id[b] = id_of(set, symbol, SPAN(END_OF_WORD));
        if (v->byte_id[b] < 0) /* what is unknown becomes the end token, as in the official library */
            v->byte_id[b] = v->special_id[CLIP_END];
        if (v->last_byte_id[b] < 0)
            v->last_byte_id[b] = v->special_id[CLIP_END];
    }
    return ERR_OK;
}

/* --- special tokens --- */

struct special_flags {
    const char *file;
    bool known[CLIP_SPECIALS], normalised[CLIP_SPECIALS];
};

/* The value that comes next: { "content": "<|endoftext|>", "normalized": true, ... } counts, all else is passed over.
 * What is known already stays. */
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
    enum err_code rc = ERR_OK;

    if (ev != JSON_OBJECT)
        return json_scan_skip(s, ev) ? ERR_OK : bad_json(s, flags->file, err);
    while (!rc && (ev = json_scan_next(s)) == JSON_KEY)
        rc = read_token(s, flags, err);
    return rc || ev == JSON_OBJECT_END ? rc : bad_json(s, flags->file, err);
}

static enum err_code read_flags(struct span file, const char *name, struct special_flags *flags, struct err *err)
{
    struct json_scan s;
    enum json_event ev;
    enum err_code rc;

    if (!file.len)
        return ERR_OK;
    flags->file = name;
    json_scan_init(&s, file);
    rc = json_scan_next(&s) == JSON_OBJECT ? ERR_OK : bad_json(&s, name, err);
    while (!rc && (ev = json_scan_next(&s)) != JSON_OBJECT_END) {
        if (ev != JSON_KEY)
            rc = bad_json(&s, name, err);
        else if (span_is(s.raw, "added_tokens_decoder"))
            rc = read_tokens(&s, flags, err);
        else if (span_is(s.raw, "bos_token") ||
                 span_is(s.raw, "pad_token")) /* eos_token is the pad's text, and yields */
            rc = read_token(&s, flags, err);
        else if (!json_scan_skip(&s, json_scan_next(&s)))
            rc = bad_json(&s, name, err);
    }
    return rc || json_scan_next(&s) == JSON_END ? rc : bad_json(&s, name, err);
}

/* The text encoder takes its vector at the highest id, and has no rows beyond it. */
static enum err_code check_end(const struct clip_vocab *v, const struct pieces *pieces, struct err *err)
{
    for (int i = 0; i < pieces->n; i++)
        if (pieces->list[i].id > v->special_id[CLIP_END])
            return err_set(err, ERR_UNSUPPORTED, "vocab.json: %s is not the last id", clip_special_text[CLIP_END]);
    return ERR_OK;
}

enum err_code clip_vocab_read(struct clip_vocab *v, const struct clip_files *files, struct arena *a,
                              struct arena *scratch, struct err *err)
{
    struct arena_mark mark = arena_mark(scratch);
    struct clip_vocab made = { 0 };
    struct special_flags flags = { 0 };
    struct pairs merges = { 0 };
    struct pieces pieces = { 0 };
    struct piece_set set;
    enum err_code rc = read_merges(files->merges, &merges, scratch, err);

    if (!rc)
        rc = files->vocab.len ? pieces_from_json(files->vocab, &pieces, scratch, err)
                              : pieces_from_merges(&merges, &pieces, scratch, err);
    if (!rc)
        rc = piece_set_init(&set, pieces.list, pieces.n, scratch, err);
    if (!rc)
        rc = look_up_symbols(&made, &set, err);
    if (!rc)
        rc = check_end(&made, &pieces, err);
    if (!rc)
        rc = look_up_merges(&made, &merges, &set, a, scratch, err);
    if (!rc)
        rc = read_flags(files->config, "tokenizer_config.json", &flags, err);
    if (!rc)
        rc = read_flags(files->special_map, "special_tokens_map.json", &flags, err);
    if (!rc) {
        memcpy(made.special_normalised, flags.normalised, sizeof made.special_normalised);
        *v = made;
    }
    arena_rewind(scratch, mark);
    return rc;
}
